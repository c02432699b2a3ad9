"""Real directories, looked at again and again as without inotify: each change is a reason to look, once."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from macmgr.watch.eventsources import _status_directories
from macmgr.watch.polledfiles import PolledDirectories


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    (tmp_path / "libvirt" / "qemu").mkdir(parents=True)
    return tmp_path / "libvirt"


def save(path: Path) -> None:
    """As libvirt does: a new file of the same length, renamed into place."""
    path.with_name(path.name + ".new").write_text("<domstatus/>")
    path.with_name(path.name + ".new").rename(path)


def test_a_host_without_the_library_polls(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inotify_simple", None)
    monkeypatch.delitem(sys.modules, "macmgr.watch.files", raising=False)
    assert isinstance(_status_directories(run_dir), PolledDirectories)


def test_another_missing_library_is_an_error(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "macmgr.watch.files", None)
    with pytest.raises(ModuleNotFoundError):
        _status_directories(run_dir)


@pytest.mark.parametrize("name", ["qemu/web.xml", "qemu/web 1.xml", "qemu/Kühlhaus ☃.xml"])
def test_a_file_that_is_saved_again_and_deleted(run_dir: Path, name: str) -> None:
    polled = PolledDirectories(run_dir)
    assert polled.read() == []
    for _ in range(2):
        save(run_dir / name)
        assert polled.read() == [f"status file {name}"]
        assert polled.read() == []
    (run_dir / name).unlink()
    assert polled.read() == [f"status file {name}"]
    assert polled.read() == []


def test_a_file_that_is_written_in_place(run_dir: Path) -> None:
    (run_dir / "qemu" / "web.xml").write_text("<a/>")
    polled = PolledDirectories(run_dir)
    (run_dir / "qemu" / "web.xml").write_text("<domstatus/>")
    assert polled.read() == ["status file qemu/web.xml"]


def test_other_files_are_no_reason(run_dir: Path) -> None:
    polled = PolledDirectories(run_dir)
    (run_dir / "qemu" / "web.pid").write_text("1")
    (run_dir / "qemu" / "web.xml.new").write_text("1")
    assert polled.read() == []


def test_directories_that_come_and_go(run_dir: Path) -> None:
    polled = PolledDirectories(run_dir)
    ports = run_dir / "network" / "lan" / "ports"
    ports.mkdir(parents=True)
    save(ports / "uuid.xml")
    assert polled.read() == [
        "directory network appeared",
        "directory network/lan appeared",
        "directory network/lan/ports appeared",
        "status file network/lan/ports/uuid.xml",
    ]
    shutil.rmtree(run_dir)
    assert len(polled.read()) == 5
    assert polled.read() == []
    (run_dir / "qemu").mkdir(parents=True)
    assert polled.read() == ["directory qemu appeared"]


def test_names_that_are_no_text_and_what_a_terminal_obeys(run_dir: Path) -> None:
    polled = PolledDirectories(run_dir)
    save(run_dir / "qemu" / "a\x1b[31m.xml")
    save(Path(os.fsdecode(os.fsencode(run_dir) + b"/qemu/\xff.xml")))
    assert set(polled.read()) == {r"status file qemu/a\x1b[31m.xml", r"status file qemu/\xff.xml"}
