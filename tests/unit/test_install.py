"""Hooks are installed beside everybody else's, twice as well as once, and undone without a trace."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from macmgr.errors import NotThere
from macmgr.hookcheck import DRIVERS, NAME
from macmgr.installation import find_program, install_hooks, uninstall_hooks

PROGRAM = Path("/usr/bin/macmgr")


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """An administrator's hooks directory: a hook of libvirt's old kind, and somebody's script beside ours to be."""
    made = tmp_path / "hooks"
    (made / "qemu.d").mkdir(parents=True)
    write(made / "qemu", "#!/bin/sh\n# the administrator's\n")
    write(made / "qemu.d" / "10-backup", "#!/bin/sh\n")
    return made


def write(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a directory: names, modes and contents."""
    found = {}
    for path in sorted(root.rglob("*")):
        content = os.fsencode(path.readlink()) if path.is_symlink() else b"" if path.is_dir() else path.read_bytes()
        found[str(path.relative_to(root))] = (path.lstat().st_mode, content)
    return found


def install(hooks: Path, program: Path = PROGRAM) -> list[str]:
    return [step.what for step in install_hooks(hooks, program)]


def uninstall(hooks: Path) -> list[str]:
    return [step.what for step in uninstall_hooks(hooks)]


def test_each_driver_gets_a_hook_that_libvirt_would_run(hooks: Path) -> None:
    assert install(hooks) == ["installed"] * 4
    for driver in DRIVERS:
        shim = hooks / f"{driver}.d" / NAME
        assert shim.stat().st_mode & 0o777 == 0o755
        assert "macmgr=/usr/bin/macmgr\n" in shim.read_text()
        subprocess.run(["sh", "-n", shim], check=True)


def test_other_peoples_hooks_are_untouched(hooks: Path) -> None:
    before = tree(hooks)
    install(hooks)
    after = tree(hooks)
    assert {name: after[name] for name in before} == before


def test_a_second_time_changes_nothing(hooks: Path) -> None:
    install(hooks)
    before = tree(hooks)
    assert install(hooks) == ["already there"] * 4
    assert tree(hooks) == before


def test_what_was_changed_is_put_right(hooks: Path) -> None:
    """Another program, an older shim, a lost permission: all are what a new installation replaces."""
    install(hooks, Path("/opt/old/macmgr"))
    (hooks / "qemu.d" / NAME).chmod(0o644)
    assert install(hooks) == ["replaced"] * 4
    assert os.access(hooks / "qemu.d" / NAME, os.X_OK)
    assert b"/opt/old" not in b"".join(content for _, content in tree(hooks).values())


def test_uninstall_leaves_no_trace(hooks: Path) -> None:
    before = tree(hooks)
    install(hooks)
    assert uninstall(hooks) == ["removed"] * 4
    assert tree(hooks) == before


def test_uninstall_leaves_no_trace_where_there_was_no_hooks_directory(tmp_path: Path) -> None:
    install(tmp_path / "hooks")
    uninstall(tmp_path / "hooks")
    assert tree(tmp_path) == {}


def test_uninstall_where_nothing_is_installed(hooks: Path) -> None:
    before = tree(hooks)
    assert uninstall(hooks) == []
    assert tree(hooks) == before


def test_uninstall_keeps_what_others_put_beside_ours(hooks: Path) -> None:
    install(hooks)
    write(hooks / "lxc.d" / "60-other", "#!/bin/sh\n")
    uninstall(hooks)
    assert [name for name in tree(hooks) if name.startswith("lxc.d")] == ["lxc.d", "lxc.d/60-other"]


def test_a_file_of_our_name_that_is_not_ours_is_refused_and_kept(hooks: Path) -> None:
    """Somebody replaced it with a script of their own: neither overwritten nor removed."""
    theirs = write(hooks / "qemu.d" / NAME, "#!/bin/sh\n# mine now\n")
    with pytest.raises(NotThere, match="exists and is not macmgr's; move it away first"):
        install(hooks)
    assert uninstall(hooks) == []
    assert theirs.read_text() == "#!/bin/sh\n# mine now\n"


def test_a_link_is_not_followed(hooks: Path, tmp_path: Path) -> None:
    """Not even to a file that carries our mark."""
    target = write(tmp_path / "elsewhere", "# installed by macmgr\n")
    (hooks / "qemu.d" / NAME).symlink_to(target)
    with pytest.raises(NotThere, match="is not macmgr's"):
        install(hooks)
    assert uninstall(hooks) == []
    assert target.read_text() == "# installed by macmgr\n"
    assert (hooks / "qemu.d" / NAME).is_symlink()


def test_nothing_half_written_is_left_where_libvirt_looks(hooks: Path) -> None:
    install(hooks)
    install(hooks, Path("/opt/new/macmgr"))
    names = [path.name for path in (hooks / "qemu.d").iterdir() if os.access(path, os.X_OK)]
    assert sorted(names) == ["10-backup", NAME]


@pytest.mark.parametrize("name", ["mac mgr", "mac'mgr", "$(touch x)", 'mac"mgr', "-n"])
def test_a_program_of_any_name_is_started(hooks: Path, tmp_path: Path, name: str) -> None:
    program = write(tmp_path / name, f"#!/bin/sh\necho called > '{tmp_path}/called'\n")
    install(hooks, program)
    shim = hooks / "qemu.d" / NAME
    done = subprocess.run([shim, "g1", "started", "begin", "-"], check=True, capture_output=True)
    assert (done.stdout, done.stderr) == (b"", b"")
    assert (tmp_path / "called").read_text() == "called\n"


def test_a_place_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    write(tmp_path / "file", "")
    with pytest.raises(NotThere, match="cannot be written: File exists"):
        install(tmp_path / "file")


def test_the_program_is_the_one_that_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = write(tmp_path / "macmgr", "#!/bin/sh\n")
    monkeypatch.setattr("sys.argv", [str(program), "install"])
    assert find_program() == program


def test_without_a_program_it_says_how_to_name_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NotThere, match="name it with --program"):
        find_program()
