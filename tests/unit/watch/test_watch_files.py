"""Real directories and the real inotify: what is told, and that nothing is missed while directories come and go."""

from __future__ import annotations

import os
import select
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from macmgr.errors import MacmgrError

inotify_simple = pytest.importorskip("inotify_simple")

from macmgr.watch.files import StatusDirectories  # noqa: E402

KINDS = ("qemu", "lxc", "network")


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for kind in KINDS:
        (tmp_path / "libvirt" / kind).mkdir(parents=True)
    return tmp_path / "libvirt"


@contextmanager
def watching(run_dir: Path) -> Iterator[StatusDirectories]:
    opened = StatusDirectories(run_dir)
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def watched(run_dir: Path) -> Iterator[StatusDirectories]:
    with watching(run_dir) as opened:
        yield opened


def save(path: Path | bytes, text: str = "<domstatus/>") -> None:
    """As libvirt does: a new file, renamed into place."""
    name = os.fsencode(path)
    with open(name + b".new", "w") as file:  # noqa: PTH123 - the name may be no text
        file.write(text)
    os.rename(name + b".new", name)  # noqa: PTH104


def wakes(watched: StatusDirectories) -> bool:
    return bool(select.select([watched], [], [], 0)[0])


def silent(watched: StatusDirectories) -> bool:
    """Whether nothing is told, now and after what reading itself may have caused."""
    return not watched.read() and not watched.read() and not wakes(watched)


def test_nothing_happened(watched: StatusDirectories) -> None:
    assert not wakes(watched)
    assert watched.read() == []


@pytest.mark.parametrize(
    "name", ["qemu/web.xml", "lxc/c1.xml", "network/lan.xml", "qemu/web 1.xml", "qemu/Kühlhaus ☃.xml", "qemu/a.new.xml"]
)
def test_a_file_that_is_saved_again_and_deleted(run_dir: Path, watched: StatusDirectories, name: str) -> None:
    for _ in range(2):
        save(run_dir / name)
        assert wakes(watched)
        assert watched.read() == [f"status file {name}"]
        assert silent(watched)
    (run_dir / name).unlink()
    assert watched.read() == [f"status file {name}"]


def test_a_file_written_in_place_or_moved_away(run_dir: Path, watched: StatusDirectories) -> None:
    path = run_dir / "qemu/web.xml"
    path.write_text("<domstatus/>")
    assert watched.read() == ["status file qemu/web.xml"]
    path.rename(run_dir / "web.xml")
    assert watched.read() == ["status file qemu/web.xml"]


def test_a_name_that_is_no_text_or_not_fit_for_a_log(run_dir: Path, watched: StatusDirectories) -> None:
    save(os.fsencode(run_dir / "qemu") + b"/w\xff\xfe.xml")
    assert watched.read() == ["status file qemu/w\\xff\\xfe.xml"]
    save(run_dir / "qemu/a\nb\x1b[31m.xml")
    assert watched.read() == ["status file qemu/a\\nb\\x1b[31m.xml"]


@pytest.mark.parametrize(
    "name", ["qemu/web.xml.new", "qemu/web.pid", "qemu/web.monitor", "web.xml", "network/lan.conf"]
)
def test_what_is_no_status_file(run_dir: Path, watched: StatusDirectories, name: str) -> None:
    (run_dir / name).write_text("")
    assert silent(watched)
    (run_dir / name).unlink()
    assert silent(watched)


def test_other_directories_are_none_of_ours(run_dir: Path, watched: StatusDirectories) -> None:
    for name in ("storage", "qemu/swtpm", "network.xml"):
        (run_dir / name).mkdir()
        (run_dir / name / "some.xml").write_text("")
    assert silent(watched)


def test_a_burst_is_one_reason_for_each_file(run_dir: Path, watched: StatusDirectories) -> None:
    for _ in range(100):
        save(run_dir / "qemu/a.xml")
        save(run_dir / "qemu/b.xml")
    assert watched.read() == ["status file qemu/a.xml", "status file qemu/b.xml"]


def test_more_than_the_kernel_keeps(run_dir: Path, watched: StatusDirectories) -> None:
    """Files and directories may have come and gone unseen."""
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    shutil.rmtree(run_dir / "lxc")
    for _ in range(limit // 2 + 10):  # two equal events in a row are one, these are not
        (run_dir / "qemu/a.xml").write_text("")
        (run_dir / "qemu/b.xml").write_text("")
    (run_dir / "lxc").mkdir()
    save(run_dir / "lxc/c1.xml")
    assert {"everything", "directory lxc appeared"} <= set(watched.read())
    save(run_dir / "lxc/c1.xml")
    assert watched.read() == ["status file lxc/c1.xml"]


# Directories that come and go


def test_the_ports_of_a_network(run_dir: Path, watched: StatusDirectories) -> None:
    ports = run_dir / "network/lan/ports"
    ports.mkdir(parents=True)
    assert "directory network/lan/ports appeared" in watched.read()
    save(ports / "d8a2.xml")
    assert watched.read() == ["status file network/lan/ports/d8a2.xml"]
    (ports / "d8a2.xml").unlink()
    ports.rmdir()
    ports.parent.rmdir()
    assert watched.read() == [
        "status file network/lan/ports/d8a2.xml",
        "directory network/lan is gone",
        "directory network/lan/ports is gone",
    ]
    assert silent(watched)


def test_the_ports_of_a_network_that_was_there(run_dir: Path) -> None:
    ports = run_dir / "network/my net/ports"
    ports.mkdir(parents=True)
    with watching(run_dir) as watched:
        save(ports / "d8a2.xml")
        assert watched.read() == ["status file network/my net/ports/d8a2.xml"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_made_later(run_dir: Path, kind: str) -> None:
    (run_dir / kind).rmdir()
    with watching(run_dir) as watched:
        (run_dir / kind).mkdir()
        save(run_dir / kind / "early.xml")  # before anybody can watch it
        assert watched.read() == [f"directory {kind} appeared"]
        save(run_dir / kind / "late.xml")
        assert watched.read() == [f"status file {kind}/late.xml"]


def test_a_directory_deleted_and_made_again(run_dir: Path, watched: StatusDirectories) -> None:
    (run_dir / "qemu").rmdir()
    (run_dir / "qemu").mkdir()
    assert watched.read() == ["directory qemu appeared"]
    save(run_dir / "qemu/web.xml")
    assert watched.read() == ["status file qemu/web.xml"]
    (run_dir / "qemu/web.xml").unlink()
    watched.read()
    (run_dir / "qemu").rmdir()
    assert watched.read() == ["directory qemu is gone"]
    assert silent(watched)
    (run_dir / "qemu").mkdir()
    assert watched.read() == ["directory qemu appeared"]


def test_a_run_directory_that_comes_late_and_step_by_step(tmp_path: Path) -> None:
    """The nearest directory that is there is watched; each step may come before the one before it is watched."""
    with watching(tmp_path / "run/libvirt") as watched:
        (tmp_path / "elsewhere.xml").write_text("")
        assert silent(watched)
        (tmp_path / "run").mkdir()
        assert silent(watched)
        (tmp_path / "run/libvirt").mkdir()
        assert watched.read() == [f"directory {tmp_path}/run/libvirt appeared"]
        (tmp_path / "run/libvirt/qemu").mkdir()
        assert watched.read() == ["directory qemu appeared"]
        save(tmp_path / "run/libvirt/qemu/web.xml")
        assert watched.read() == ["status file qemu/web.xml"]


def test_a_run_directory_that_comes_all_at_once(tmp_path: Path) -> None:
    with watching(tmp_path / "run/libvirt") as watched:
        (tmp_path / "run/libvirt/network/lan/ports").mkdir(parents=True)
        assert watched.read() == [
            f"directory {tmp_path}/run/libvirt appeared",
            "directory network appeared",
            "directory network/lan appeared",
            "directory network/lan/ports appeared",
        ]
        assert silent(watched)


def test_a_run_directory_that_goes_and_comes_again(run_dir: Path, watched: StatusDirectories) -> None:
    shutil.rmtree(run_dir.parent / "libvirt")
    assert set(watched.read()) == {
        f"directory {run_dir} is gone",
        *(f"directory {kind} is gone" for kind in KINDS),
    }
    assert silent(watched)
    (run_dir / "qemu").mkdir(parents=True)
    assert watched.read() == [f"directory {run_dir} appeared", "directory qemu appeared"]
    save(run_dir / "qemu/web.xml")
    assert watched.read() == ["status file qemu/web.xml"]


def test_a_run_directory_that_is_put_in_anothers_place(run_dir: Path, watched: StatusDirectories) -> None:
    """The old one lives on elsewhere, and nothing is heard of it any more."""
    old = run_dir.rename(run_dir.parent / "old")
    (run_dir / "qemu").mkdir(parents=True)
    assert "directory qemu appeared" in watched.read()
    save(old / "qemu/old.xml")
    save(run_dir / "qemu/new.xml")
    assert watched.read() == ["status file qemu/new.xml"]


@pytest.mark.parametrize("there", ["", "run", "run/libvirt", "run/libvirt/network", "run/libvirt/network/lan"])
@pytest.mark.parametrize("made", ["run", "run/libvirt", "run/libvirt/network/lan", "run/libvirt/network/lan/ports"])
def test_a_directory_made_while_the_watches_are_set_is_not_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: str, made: str
) -> None:
    """Right before and right after each single watch: what is then written in it is told all the same."""
    for moment in range(1, 9):
        for after in (False, True):
            root = tmp_path / f"{moment} {after}"
            (root / there).mkdir(parents=True)
            with monkeypatch.context() as patch:
                patch.setattr(inotify_simple.INotify, "add_watch", meddling(root / made, moment, after))
                assert heard_all(root), f"moment {moment}, after {after}"


def meddling(made: Path, moment: int, after: bool) -> Callable[[Any, Path, int], int]:
    """INotify.add_watch, and somebody who makes a directory before or after one of its calls."""
    add, calls = inotify_simple.INotify.add_watch, count(1)

    def add_watch(self: Any, path: Path, mask: int) -> int:
        now = next(calls) == moment
        if now and not after:
            made.mkdir(parents=True, exist_ok=True)
        try:
            return int(add(self, path, mask))
        finally:
            if now and after:
                made.mkdir(parents=True, exist_ok=True)

    return add_watch


def heard_all(root: Path) -> bool:
    """Whether a file is heard of that was written after all was told."""
    with watching(root / "run/libvirt") as watched:
        watched.read()
        ports = root / "run/libvirt/network/lan/ports"
        ports.mkdir(parents=True, exist_ok=True)
        watched.read()
        save(ports / "some.xml")
        return watched.read() == ["status file network/lan/ports/some.xml"]


# What cannot be watched


def test_a_file_where_a_directory_should_be(run_dir: Path) -> None:
    (run_dir / "lxc").rmdir()
    (run_dir / "lxc").write_text("")
    with watching(run_dir) as watched:
        assert silent(watched)


def test_a_directory_that_cannot_be_watched_is_a_reason_to_look(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add = inotify_simple.INotify.add_watch

    def full(self: Any, path: Path, mask: int) -> int:
        if path.name == "qemu":
            raise OSError(28, "No space left on device")
        return int(add(self, path, mask))

    monkeypatch.setattr(inotify_simple.INotify, "add_watch", full)
    with watching(run_dir) as watched:
        assert watched.read() == [
            "qemu cannot be watched: No space left on device; fs.inotify.max_user_watches limits how many there may be"
        ]
        assert watched.read() == []
        save(run_dir / "lxc/c1.xml")
        assert watched.read() == ["status file lxc/c1.xml"]
        watched.try_again()
        assert len(watched.troubles) == 1
        assert watched.read() == []  # told once
        monkeypatch.undo()
        watched.try_again()
        assert watched.troubles == []
        save(run_dir / "qemu/g1.xml")
        assert watched.read() == ["status file qemu/g1.xml"]


def test_no_inotify_at_all(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("macmgr.watch.files.INotify", full)
    with pytest.raises(MacmgrError, match="max_user_instances"):
        StatusDirectories(run_dir)


def test_nothing_is_watched_that_is_not_there_any_more(run_dir: Path, watched: StatusDirectories) -> None:
    """A network that comes and goes a hundred times leaves no watch behind."""

    def watches() -> int:
        return Path(f"/proc/self/fdinfo/{watched.fileno()}").read_text().count("inotify wd:")

    before = watches()
    for number in range(100):
        (run_dir / f"network/n{number}/ports").mkdir(parents=True)
        watched.read()
        (run_dir / f"network/n{number}").rename(run_dir.parent / f"n{number}")
        watched.read()
    assert watches() == before == len(KINDS) + 1


def test_a_definition_that_is_edited_is_a_reason_to_look(tmp_path: Path) -> None:
    """`virsh net-edit` writes it as libvirt writes all its files, and touches no status file."""
    definitions = tmp_path / "etc/libvirt/qemu/networks"
    definitions.mkdir(parents=True)
    (tmp_path / "run/libvirt/network").mkdir(parents=True)
    directories = StatusDirectories(tmp_path / "run/libvirt")
    try:
        (definitions / "lan.xml.new").write_text("<network/>")
        (definitions / "lan.xml.new").rename(definitions / "lan.xml")
        assert directories.read() == [f"definition {definitions}/lan.xml"]
    finally:
        directories.close()
