"""The daemon's unit: what systemd understands, what the daemon needs, put there once and undone without a trace."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from macmgr import paths
from macmgr.cli import run
from macmgr.errors import NotThere
from macmgr.hookcheck import UNIT
from macmgr.installation import install_unit, uninstall_unit
from macmgr.placing import Step
from tests.unit.test_install import tree

PROGRAM = Path("/usr/bin/macmgr")
THERE, ANOTHER = "/bin/true", "/usr/bin/true"  # the verb asks whether it does nothing, silently, when told to
PACKAGED = Path(__file__).parents[2] / "packaging" / UNIT
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def setting(text: str, name: str) -> list[str]:
    return re.findall(rf"(?m)^{name}=(.*)$", text)


def test_the_unit_is_put_and_put_right(tmp_path: Path) -> None:
    target = tmp_path / UNIT
    assert install_unit(tmp_path, PROGRAM) == Step(target, "installed")
    assert target.stat().st_mode & 0o777 == 0o644
    assert target.read_text() == PACKAGED.read_text()  # the packaged one is for the place where Debian has programs
    assert install_unit(tmp_path, PROGRAM) == Step(target, "already there")
    target.chmod(0o600)
    assert install_unit(tmp_path, PROGRAM) == Step(target, "replaced")
    assert install_unit(tmp_path, Path("/opt/macmgr/bin/macmgr")) == Step(target, "replaced")
    assert setting(target.read_text(), "ExecStart") == ["/opt/macmgr/bin/macmgr watch"]


def test_undone_without_a_trace(tmp_path: Path) -> None:
    """The link by which systemctl enabled it goes too; what an administrator added to it is the administrator's."""
    (tmp_path / "multi-user.target.wants").mkdir()
    (tmp_path / "multi-user.target.wants" / "ssh.service").symlink_to("/lib/systemd/system/ssh.service")
    (tmp_path / f"{UNIT}.d").mkdir()
    (tmp_path / f"{UNIT}.d" / "override.conf").write_text("[Service]\nMemoryMax=2G\n")
    before = tree(tmp_path)
    install_unit(tmp_path, PROGRAM)
    link = tmp_path / "multi-user.target.wants" / UNIT
    link.symlink_to(tmp_path / UNIT)
    assert [step.path for step in uninstall_unit(tmp_path)] == [tmp_path / UNIT, link]
    assert tree(tmp_path) == before
    assert list(uninstall_unit(tmp_path)) == []


def test_directories_that_were_made_go_too(tmp_path: Path) -> None:
    install_unit(tmp_path / "systemd" / "system", PROGRAM)
    list(uninstall_unit(tmp_path / "systemd" / "system"))
    assert tree(tmp_path) == {}


@pytest.fixture
def of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The unit that a package brought, for the program THERE."""
    for name in ("CONFIG", "STATE", "UNITS", "PACKAGED_UNITS", "LIBVIRT_HOOKS", "SYSTEMD"):
        monkeypatch.setattr(paths, name, tmp_path / "root" / name)
    for directory in (paths.SYSTEMD, paths.PACKAGED_UNITS, paths.UNITS / "multi-user.target.wants"):
        directory.mkdir(parents=True)
    packaged = paths.PACKAGED_UNITS / UNIT
    packaged.write_text(PACKAGED.read_text().replace(str(PROGRAM), THERE))
    return packaged


def install(program: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run(["install", "--hooks-dir", str(paths.LIBVIRT_HOOKS), "--program", program]) == 0
    return capsys.readouterr().out


def test_a_package_has_the_only_unit(of_a_package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = install(THERE, capsys)
    assert f"already there {of_a_package}\n" in said
    assert "systemctl enable --now macmgr" in said
    assert not (paths.UNITS / UNIT).exists()


def test_an_earlier_unit_gives_way_and_stays_enabled(of_a_package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The earlier macmgr was installed elsewhere than the package's: its unit would hide the package's."""
    install_unit(program=Path(ANOTHER), units_dir=paths.UNITS)
    link = paths.UNITS / "multi-user.target.wants" / UNIT
    link.symlink_to(paths.UNITS / UNIT)
    said = install(THERE, capsys)
    assert f"removed       {paths.UNITS}/{UNIT}\n" in said
    assert "'systemctl daemon-reload' and 'systemctl restart macmgr'" in said
    assert not (paths.UNITS / UNIT).exists()
    assert link.readlink() == of_a_package
    assert run(["uninstall", "--hooks-dir", str(paths.LIBVIRT_HOOKS)]) == 0
    assert link.readlink() == of_a_package  # the package's own removal takes it


def test_a_macmgr_elsewhere_has_its_own_unit(of_a_package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"installed     {paths.UNITS}/{UNIT}\n" in install(ANOTHER, capsys)
    assert setting((paths.UNITS / UNIT).read_text(), "ExecStart") == [f"{ANOTHER} watch"]
    assert setting(of_a_package.read_text(), "ExecStart") == [f"{THERE} watch"]


def test_a_packages_unit_may_be_masked(of_a_package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (paths.UNITS / UNIT).symlink_to("/dev/null")
    assert f"already there {of_a_package}\n" in install(THERE, capsys)
    assert (paths.UNITS / UNIT).readlink() == Path("/dev/null")


@pytest.mark.parametrize("kind", ["file", "symlink", "directory"])
def test_a_unit_that_is_not_ours_is_refused_and_kept(tmp_path: Path, kind: str) -> None:
    """Masked (a link to /dev/null), or written by somebody: neither replaced nor removed."""
    target = tmp_path / UNIT
    if kind == "file":
        target.write_text("[Service]\nExecStart=/usr/local/bin/mine\n")
    elif kind == "symlink":
        target.symlink_to("/dev/null")
    else:
        target.mkdir()
    before = tree(tmp_path)
    with pytest.raises(NotThere, match="exists and is not macmgr's; move it away first"):
        install_unit(tmp_path, PROGRAM)
    assert list(uninstall_unit(tmp_path)) == []
    assert tree(tmp_path) == before


def words(tmp_path: Path, verb: str) -> list[str]:
    program = ["--program", THERE] if verb == "install" else []
    return [verb, "--hooks-dir", str(tmp_path / "hooks"), "--units-dir", str(tmp_path / "units"), *program]


def test_the_verb_says_which_command_starts_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words(tmp_path, "install")) == 0
    said = capsys.readouterr().out
    assert f"installed     {tmp_path}/units/{UNIT}\n" in said
    assert "systemctl enable --now macmgr" in said
    assert run(words(tmp_path, "install")) == 0
    assert f"already there {tmp_path}/units/{UNIT}\n" in capsys.readouterr().out
    assert run([*words(tmp_path, "install")[:-1], ANOTHER]) == 0
    assert "'systemctl daemon-reload' and 'systemctl restart macmgr'" in capsys.readouterr().out
    assert run(words(tmp_path, "uninstall")) == 0
    said = capsys.readouterr().out
    assert f"removed       {tmp_path}/units/{UNIT}\n" in said
    assert "'systemctl daemon-reload' forgets the unit." in said
    assert "systemctl stop macmgr" not in said
    assert tree(tmp_path) == {}


def test_uninstall_says_that_a_daemon_goes_on_where_one_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "STATE", tmp_path / "state.json")
    words_of = [*words(tmp_path, "uninstall"), "--config", str(tmp_path / "macmgr.toml")]
    for runs in (False, True):
        monkeypatch.setattr("macmgr.verbs.install.daemon_runs", lambda runs=runs: runs)
        assert run(words_of) == 0
        assert ("The daemon goes on: 'systemctl stop macmgr' ends it." in capsys.readouterr().out) is runs


def test_a_unit_that_is_refused_leaves_no_hooks(tmp_path: Path) -> None:
    (tmp_path / "units").mkdir()
    (tmp_path / "units" / UNIT).write_text("mine\n")
    before = tree(tmp_path)
    assert run(words(tmp_path, "install")) == NotThere.exit_code
    assert tree(tmp_path) == before


@pytest.mark.parametrize("booted", [True, False])
def test_this_host_gets_it_where_systemd_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, booted: bool) -> None:
    for name in ("CONFIG", "STATE", "UNITS", "LIBVIRT_HOOKS", "SYSTEMD"):
        monkeypatch.setattr(paths, name, tmp_path / "root" / name)
    if booted:
        paths.SYSTEMD.mkdir(parents=True)
    assert run(["install", "--hooks-dir", str(paths.LIBVIRT_HOOKS), "--program", THERE]) == 0
    assert (paths.UNITS / UNIT).exists() == booted


def test_hooks_for_elsewhere_bring_no_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "UNITS", tmp_path / "units")
    monkeypatch.setattr(paths, "SYSTEMD", tmp_path)
    assert run(["install", "--hooks-dir", str(tmp_path / "hooks"), "--program", THERE]) == 0
    assert not paths.UNITS.exists()


@needs_systemd
@pytest.mark.parametrize("name", ["macmgr", "mac mgr", "mac%mgr", "%n", "$HOME", "größe"])
def test_systemd_finds_no_fault_in_it(tmp_path: Path, name: str) -> None:
    """Wherever the program is: systemd-analyze looks for it, and would not find one under a name it misread."""
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    install_unit(tmp_path / "units", program)
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "units" / UNIT],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    mine = [line for line in checked.stderr.splitlines() if UNIT in line or "macmgr" in line or name in line]
    assert mine == []
    program.unlink()
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / "units" / UNIT],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert "is not executable" in checked.stderr
    assert checked.returncode != 0


@pytest.mark.parametrize("name", ['mac"mgr', "mac\\mgr", "mac'mgr", "mac\nmgr"])
def test_a_name_that_systemd_does_not_start_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotThere, match="systemd starts no program with such a name"):
        install_unit(tmp_path, tmp_path / name)
    assert tree(tmp_path) == {}


@needs_systemd
def test_it_is_confined_as_systemd_counts() -> None:
    """0 is nothing at all, 10 is root with all of its powers; what is left are the powers that are its work."""
    said = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", PACKAGED],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout[-2000:]


def test_it_has_what_the_daemon_asks_for() -> None:
    text = PACKAGED.read_text()
    assert setting(text, "Type") == ["notify"]
    assert setting(text, "WatchdogSec")
    assert setting(text, "ExecReload") == ["/bin/kill -HUP $MAINPID"]
    assert setting(text, "RuntimeDirectory") == [paths.RUNTIME.name]
    assert setting(text, "RuntimeDirectoryPreserve") == ["yes"]
    assert setting(text, "StateDirectory") == [paths.STATE.parent.name]
    assert not setting(text, "Wants")
    assert not setting(text, "Requires")
    assert not setting(text, "Before")
