"""Installing that fails, or finds something strange: all hooks or none, and no trace. See also test_install.py."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from macmgr.errors import NotThere
from macmgr.hookcheck import DRIVERS, FORMER, MARK, NAME
from macmgr.installation import find_program, install_hooks, uninstall_hooks

PROGRAM = Path("/usr/bin/macmgr")
Tree = dict[str, tuple[int, bytes]]


def tree(root: Path) -> Tree:
    """Everything below a directory: kind and mode, and what a file holds or where a link leads."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        mode = path.lstat().st_mode
        content = path.read_bytes() if stat.S_ISREG(mode) else b""
        if stat.S_ISLNK(mode):
            content = bytes(path.readlink())
        found[str(path.relative_to(root))] = (mode, content)
    return found


def install(hooks: Path, program: Path = PROGRAM) -> list[str]:
    return [step.what for step in install_hooks(hooks, program)]


def uninstall(hooks: Path) -> list[str]:
    return [step.what for step in uninstall_hooks(hooks)]


@pytest.fixture
def hooks(tmp_path: Path) -> Path:
    """A host whose administrator has hooks already."""
    made = tmp_path / "etc" / "libvirt" / "hooks"
    (made / "qemu.d").mkdir(parents=True)
    for name in ("qemu", "qemu.d/10-theirs", "qemu.d/90-theirs"):
        (made / name).write_text("#!/bin/sh\nexit 0\n")
        (made / name).chmod(0o755)
    (made / "qemu.d" / "link").symlink_to("10-theirs")
    return made


@pytest.mark.parametrize("there", ["", "etc", "etc/libvirt", "etc/libvirt/hooks", "etc/libvirt/hooks/lxc.d"])
def test_directories_that_were_made_go_too(tmp_path: Path, there: str) -> None:
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    before = tree(tmp_path)
    hooks = tmp_path / "etc" / "libvirt" / "hooks"
    install(hooks)
    uninstall(hooks)
    assert tree(tmp_path) == before


def test_twice_is_once(hooks: Path) -> None:
    install(hooks)
    once = tree(hooks)
    nodes = [(hooks / f"{driver}.d" / NAME).stat().st_ino for driver in DRIVERS]
    assert install(hooks) == ["already there"] * len(DRIVERS)
    assert tree(hooks) == once
    assert [(hooks / f"{driver}.d" / NAME).stat().st_ino for driver in DRIVERS] == nodes


def with_former(hooks: Path) -> None:
    """The hooks that an older macmgr left, and a hook of that name which is somebody else's."""
    install(hooks)
    for driver in DRIVERS:
        (hooks / f"{driver}.d" / NAME).rename(hooks / f"{driver}.d" / FORMER)
    (hooks / "lxc.d" / FORMER).write_text("#!/bin/sh\nexit 0\n")


def test_the_hooks_of_an_older_macmgr_give_way(hooks: Path) -> None:
    with_former(hooks)
    assert sorted(install(hooks)) == ["installed"] * len(DRIVERS) + ["removed"] * (len(DRIVERS) - 1)
    assert [path.parent.name for path in hooks.glob(f"*/{FORMER}")] == ["lxc.d"]
    assert install(hooks) == ["already there"] * len(DRIVERS)


def test_uninstall_removes_the_hooks_of_an_older_macmgr(hooks: Path) -> None:
    with_former(hooks)
    assert uninstall(hooks) == ["removed"] * (len(DRIVERS) - 1)
    assert [path.parent.name for path in hooks.glob(f"*/{FORMER}")] == ["lxc.d"]


def test_ours_is_behind_those_of_others(hooks: Path) -> None:
    """libvirt runs them in the order of their names; the last one sees what the others made of a port."""
    install(hooks)
    names = sorted(path.name for path in (hooks / "qemu.d").iterdir() if path.name[0] != ".")
    assert names[-2:] == [NAME, "link"]
    assert "90-theirs" in names


@pytest.mark.parametrize("damage", ["older", "not executable", "not text"])
def test_an_old_or_damaged_shim_is_replaced(hooks: Path, damage: str) -> None:
    install(hooks)
    right = tree(hooks)
    shim = hooks / "qemu.d" / NAME
    if damage == "not executable":
        shim.chmod(0o644)
    else:
        shim.write_bytes(b"#!/bin/sh\n" + MARK + (b" 0.0\n" if damage == "older" else b"\xff\xfe\n"))
    assert install(hooks) == ["replaced", *["already there"] * (len(DRIVERS) - 1)]
    assert tree(hooks) == right


@pytest.mark.parametrize("kind", ["file", "symlink", "directory"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_file_that_is_not_ours_is_refused_and_nothing_is_put(hooks: Path, driver: str, kind: str) -> None:
    target = hooks / f"{driver}.d" / NAME
    target.parent.mkdir(exist_ok=True)
    if kind == "file":
        target.write_text("#!/bin/sh\nexit 0\n")
    elif kind == "symlink":
        target.symlink_to("/bin/true")
    else:
        target.mkdir()
    before = tree(hooks)
    with pytest.raises(NotThere, match=str(target)):
        install(hooks)
    assert tree(hooks) == before
    assert uninstall(hooks) == []
    assert tree(hooks) == before


def test_a_disk_that_is_full_leaves_no_half_a_shim(hooks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = tree(hooks)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NotThere, match="No space left on device"):
        install(hooks)
    uninstall(hooks)
    assert tree(hooks) == before


def test_the_program_is_named_by_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libvirt gives a hook a PATH of its own, and / as its directory."""
    program = tmp_path / "macmgr"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for invoked in ("./macmgr", str(program)):
        monkeypatch.setattr("sys.argv", [invoked])
        assert find_program() == program
    monkeypatch.setattr("sys.argv", ["pytest"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_program() == program
