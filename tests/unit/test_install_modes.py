"""What `macmgr install` says of the bridges: observed until somebody says manage, and what is there stays as it is."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest

from macmgr.cli import run
from macmgr.verbs import install as verb
from tests.unit.test_install import tree

LAN = (
    "<networkstatus><network><name>lan</name><uuid>n</uuid><forward mode='bridge'/>"
    "<bridge name='br0' macTableManager='libvirt'/></network></networkstatus>"
)
WEB = (
    "<domstatus state='running' pid='1'><domain type='kvm'><name>web1</name><uuid>u</uuid><devices>"
    "<interface type='network'><mac address='52:54:00:aa:00:01'/>"
    "<source network='lan' bridge='br0' macTableManager='libvirt'/><target dev='vnet0'/></interface>"
    "</devices></domain></domstatus>"
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("qemu", "network"):
        (tmp_path / "run" / name).mkdir(parents=True)
    (tmp_path / "run" / "network" / "lan.xml").write_text(LAN)
    (tmp_path / "run" / "qemu" / "web1.xml").write_text(WEB)
    (tmp_path / "macmgr").write_text("#!/bin/sh\n")
    (tmp_path / "macmgr").chmod(0o755)
    return tmp_path


def lines(root: Path, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    """What it says."""
    places = ["--hooks-dir", f"{root}/hooks", "--units-dir", f"{root}/units", "--program", f"{root}/macmgr"]
    config = ["--config", f"{root}/etc/macmgr.toml", "--run-dir", f"{root}/run"]
    assert run(["install", *places, *config, *words]) == 0
    return capsys.readouterr().out.splitlines()


def install(root: Path, capsys: pytest.CaptureFixture[str], *words: str, line: int = 0) -> str:
    """The first line that it says, or another one."""
    return lines(root, capsys, *words)[line]


BR0 = "br0 (network lan: macTableManager, 1 port)"
NOW = "Managed from now on: {}; the next hook, or 'macmgr apply', makes what 'macmgr plan' shows."


def test_a_new_configuration_observes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    until = "nothing is changed until 'macmgr manage br0'"
    assert install(root, capsys) == f"Observed only: {BR0}; {until}; 'macmgr plan' shows what would be."


def test_a_new_configuration_manages_where_that_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert install(root, capsys, "--manage") == NOW.format(BR0)


@pytest.mark.parametrize("words", [(), ("--manage",)])
def test_one_that_is_there_stays_and_decides(
    root: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    (root / "etc").mkdir()
    config = root / "etc" / "macmgr.toml"
    config.write_text('[bridge."br0"]\nmode = "observe"\n[bridge."br1"]\nmac_table_manager = "libvirt"\n')
    before = config.read_text()
    assert install(root, capsys, *words).startswith("Observed only: br0 ")
    assert install(root, capsys, *words, line=1) == NOW.format('br1 ([bridge."br1"] in the configuration, 0 ports)')
    assert config.read_text() == before


def test_where_nothing_is_managed_it_says_so(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "run" / "network" / "lan.xml").unlink()
    (root / "run" / "qemu" / "web1.xml").unlink()
    said = "Nothing is managed here yet; 'macmgr {} BRIDGE' names a bridge, and one that a network names would be {}."
    assert install(root, capsys) == said.format("observe", "observed")
    (root / "etc" / "macmgr.toml").write_text("# as without [defaults]\n")
    assert install(root, capsys) == said.format("manage", "managed at once")


def test_a_configuration_with_a_mistake_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "etc").mkdir()
    (root / "etc" / "macmgr.toml").write_text("[defaults]\nmode = 'watch'\n")
    said = install(root, capsys)
    assert said.startswith("Nothing is done until the configuration is understood: ")
    assert said.endswith("macmgr.toml:2: mode is 'watch'; allowed: manage, observe")


def test_hooks_that_cannot_be_put_leave_no_configuration(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And it is there before the first hook: one that finds none would manage what nobody has looked at yet."""
    (root / "hooks" / "qemu.d" / "99-macmgr").mkdir(parents=True)
    before = tree(root)
    places = ["--hooks-dir", f"{root}/hooks", "--units-dir", f"{root}/units", "--program", f"{root}/macmgr"]
    assert run(["install", *places, "--config", f"{root}/etc/macmgr.toml"]) == 69
    assert tree(root) == before


def test_the_daemons_of_libvirt_that_run_are_named(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Split ones end when they are idle; one that was killed leaves the file with its process."""
    monkeypatch.setattr(verb, "PID_FILES", root)
    looks = "libvirt looks for hooks when it starts or reloads"
    with contextlib.ExitStack() as ending:
        for daemon in ("virtlxcd", "virtqemud"):
            (root / daemon).symlink_to(shutil.which("sleep") or "")
            process = ending.enter_context(subprocess.Popen([root / daemon, "infinity"]))
            ending.callback(process.kill)
            (root / f"{daemon}.pid").write_text(f"{process.pid}\n")
        (root / "virtnetworkd.pid").write_text("1\n")
        (root / "libvirtd.pid").write_text("")
        said = lines(root, capsys)
    assert f"{looks}: 'systemctl reload virtqemud virtlxcd'." in said
    assert f"{looks}." in lines(root, capsys)
