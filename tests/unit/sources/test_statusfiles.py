"""The status files of one host: one that cannot be understood is told, and the rest goes on."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from macmgr.errors import KernelError, NoPermission, NotThere
from macmgr.model.findings import Code, fix_of
from macmgr.sources import statusfiles
from macmgr.sources.statusfiles import Disk, First, StatusFiles

SECRET = "hunter2"  # noqa: S105 - in the files, in no message


def domstatus(name: str, state: str = "running") -> str:
    return (
        f"<domstatus state='{state}' reason='booted' pid='1'><domain type='kvm'><name>{name}</name><uuid>u</uuid>"
        f"<devices><graphics type='vnc' passwd='{SECRET}'/></devices></domain></domstatus>"
    )


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for name in ("qemu", "lxc", "network"):
        (tmp_path / name).mkdir()
    return tmp_path


def names(run_dir: Path) -> list[str]:
    return [status.name for status in StatusFiles(run_dir).read().domains]


def test_a_host_on_which_libvirt_has_not_run(tmp_path: Path) -> None:
    with pytest.raises(NotThere, match=r"libvirt: no such directory; .*--run-dir"):
        StatusFiles(tmp_path / "libvirt").read()


def test_a_run_directory_that_cannot_be_looked_at_is_no_bug(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it a host without libvirt, where a release goes by the memory alone."""

    def fails(*_: object) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Disk, "is_directory", fails)
    with pytest.raises(KernelError, match="cannot be read: Input/output error"):
        StatusFiles(run_dir).read()


def test_a_host_without_guests(tmp_path: Path) -> None:
    """libvirt makes each directory when its driver is first used."""
    assert StatusFiles(tmp_path).read().domains == ()


def test_domains_of_both_drivers(run_dir: Path) -> None:
    (run_dir / "qemu" / "web 1.xml").write_text(domstatus("web 1"))
    (run_dir / "lxc" / "c1.xml").write_text(domstatus("c1"))
    assert names(run_dir) == ["web 1", "c1"]


def test_a_file_that_is_being_written_is_not_read(run_dir: Path) -> None:
    """libvirt writes NAME.xml.new, and renames it; other files beside are none of ours."""
    (run_dir / "qemu" / "g1.xml.new").write_text("<domst")
    (run_dir / "qemu" / "g1.pid").write_text("1")
    (run_dir / "qemu" / "g1.xml").write_text(domstatus("g1"))
    sources = StatusFiles(run_dir).read()
    assert ([status.name for status in sources.domains], sources.findings) == (["g1"], ())


@pytest.mark.parametrize(
    "text",
    ["", f"<domstatus><a passwd='{SECRET}", f"<pool>{SECRET}</pool>", f"<domstatus state='{SECRET}'/>"],
    ids=["empty", "truncated", "another document", "no domain"],
)
def test_an_unreadable_file_is_a_finding_and_the_rest_goes_on(run_dir: Path, text: str) -> None:
    (run_dir / "qemu" / "a.xml").write_text(domstatus("a"))
    (run_dir / "qemu" / "b.xml").write_text(text)
    (run_dir / "qemu" / "c.xml").write_text(domstatus("c"))
    sources = StatusFiles(run_dir).read()
    (finding,) = sources.findings
    assert [status.name for status in sources.domains] == ["a", "c"]
    assert (finding.code, finding.severity, finding.domain) == ("unreadable-xml", "error", "b")
    assert str(run_dir / "qemu" / "b.xml") in finding.message
    assert SECRET not in finding.message + fix_of(finding).text


def test_a_file_that_vanishes_after_the_directory_was_listed(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that ends at that moment is no error."""
    (run_dir / "qemu" / "g1.xml").write_text(domstatus("g1"))
    listed = os.listdir(run_dir / "qemu")
    monkeypatch.setattr(
        "macmgr.sources.statusfiles.os.listdir", lambda path: [*listed, "gone.xml"] if path.name == "qemu" else []
    )
    sources = StatusFiles(run_dir).read()
    assert ([status.name for status in sources.domains], sources.findings) == (["g1"], ())


def test_a_directory_that_is_called_like_a_file_is_told(run_dir: Path) -> None:
    (run_dir / "qemu" / "d.xml").mkdir()
    (run_dir / "qemu" / "g1.xml").write_text(domstatus("g1"))
    sources = StatusFiles(run_dir).read()
    assert [status.name for status in sources.domains] == ["g1"]
    assert [finding.code for finding in sources.findings] == ["unreadable-xml"]


@pytest.mark.parametrize("place", ["qemu", "qemu/g1.xml"])
def test_what_may_not_be_read_asks_for_root(run_dir: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An audit of half a host would be a lie: entries of guests that cannot be seen would be called extra."""
    (run_dir / "qemu" / "g1.xml").write_text(domstatus("g1"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    reads = "macmgr.sources.statusfiles.os.listdir" if place == "qemu" else "macmgr.safefiles.os.open"
    monkeypatch.setattr(reads, refuse)
    told = run_dir / place if place != "qemu" else run_dir / "[a-z]+"
    with pytest.raises(NoPermission, match=f"{told}: may not be read; .*root"):
        StatusFiles(run_dir).read()


def test_a_running_domain_and_a_paused_one(run_dir: Path) -> None:
    for state in ("running", "paused", "nonsense"):
        (run_dir / "qemu" / f"{state}.xml").write_text(domstatus(state, state))
    states = {status.name: (status.state, status.running) for status in StatusFiles(run_dir).read().domains}
    assert states == {"running": ("running", True), "paused": ("paused", False), "nonsense": ("unknown", False)}


def write_as_libvirt_does(path: Path, text: str) -> None:
    path.with_name(f"{path.name}.new").write_text(text)
    path.with_name(f"{path.name}.new").rename(path)


def test_a_later_look_says_what_a_first_one_does(run_dir: Path) -> None:
    files = StatusFiles(run_dir)
    for step in (
        lambda: write_as_libvirt_does(run_dir / "qemu" / "g1.xml", domstatus("g1")),
        lambda: write_as_libvirt_does(run_dir / "qemu" / "g2.xml", domstatus("g2")),
        lambda: write_as_libvirt_does(run_dir / "qemu" / "g1.xml", domstatus("g1", "paused")),
        lambda: (run_dir / "lxc" / "bad.xml").write_text("<domst"),
        lambda: (run_dir / "qemu" / "g2.xml").unlink(),
        lambda: (run_dir / "lxc" / "bad.xml").write_text(domstatus("bad")),
        lambda: (run_dir / "qemu" / "g1.xml").write_text(domstatus("g1", "running")),
    ):
        step()
        assert files.read() == StatusFiles(run_dir).read()


def test_nothing_new_is_the_very_same_record(run_dir: Path) -> None:
    files = StatusFiles(run_dir)
    write_as_libvirt_does(run_dir / "qemu" / "g1.xml", domstatus("g1"))
    first = files.read()
    assert files.read() is first
    write_as_libvirt_does(run_dir / "qemu" / "g1.xml", domstatus("g1", "paused"))
    assert files.read() is not first


def test_only_what_has_changed_is_read_again(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []

    def counted(disk: Disk, path: str) -> Any:
        opened.append(Path(path).name)
        return read(disk, path)

    read = Disk.read
    monkeypatch.setattr(Disk, "read", counted)
    files = StatusFiles(run_dir)
    for name in ("g1", "g2"):
        write_as_libvirt_does(run_dir / "qemu" / f"{name}.xml", domstatus(name))
        files.read()
    assert opened == ["g1.xml", "g2.xml"]


def test_what_is_gone_is_forgotten(run_dir: Path) -> None:
    files = StatusFiles(run_dir)
    for number in range(50):
        path = run_dir / "qemu" / f"g{number}.xml"
        write_as_libvirt_does(path, domstatus(f"g{number}"))
        files.read()
        path.unlink()
    files.read()
    assert not files._known


class Clock:
    """It is late once so many files were read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, until: int) -> None:
        self.read: list[str] = []
        self._until = until
        really = Disk.read

        def read(disk: Disk, path: str) -> Any:
            self.read.append(Path(path).relative_to(Path(path).parent.parent).as_posix())
            return really(disk, path)

        monkeypatch.setattr(Disk, "read", read)

    def late(self) -> bool:
        return len(self.read) >= self._until


@pytest.mark.parametrize(("driver", "name"), [("qemu", "m"), ("lxc", "m"), ("qemu", "z"), ("qemu", "a")])
def test_the_called_domain_is_read_first_and_others_while_there_is_time(
    driver: str, name: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run_dir / "lxc").mkdir(exist_ok=True)
    for other in {"b", "c", "d"}:
        (run_dir / "qemu" / f"{other}.xml").write_text(domstatus(other))
    (run_dir / driver / f"{name}.xml").write_text(domstatus(name))
    clock, files = Clock(monkeypatch, until=3), StatusFiles(run_dir)
    first = First(driver, name, clock.late)
    sources = files.read(first)
    assert clock.read == [f"{driver}/{name}.xml", "qemu/b.xml", "qemu/c.xml"]
    assert {status.name for status in sources.domains} == {name, "b", "c"}
    assert {(each.code, each.domain) for each in sources.findings} == {(Code.UNREADABLE_XML, "d")}
    assert files.read(first) is sources, "a second look says the same"
    assert len(clock.read) == 3


def test_the_called_domain_is_read_however_late_it_is(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for other in ("a", "b"):
        (run_dir / "qemu" / f"{other}.xml").write_text(domstatus(other))
    clock = Clock(monkeypatch, until=0)
    sources = StatusFiles(run_dir).read(First("qemu", "b", clock.late))
    assert [status.name for status in sources.domains] == ["b"]


def test_a_domain_whose_process_is_not_here_is_named_without_a_new_file(run_dir: Path) -> None:
    """libvirt removes the file when it hears of the end; while it is down, nobody does."""
    alive = {1, 2}
    (run_dir / "qemu" / "a.xml").write_text(domstatus("a").replace("pid='1'", "pid='2'"))
    (run_dir / "qemu" / "b.xml").write_text(domstatus("b").replace(" pid='1'", ""))
    (run_dir / "qemu" / "c.xml").write_text(domstatus("c").replace("pid='1'", f"pid='{SECRET}'"))
    files = StatusFiles(run_dir, alive.__contains__)
    assert files.read().without_process == {}
    alive.remove(2)
    assert files.read().without_process == {"a": 2}


def test_this_process_is_here() -> None:
    assert statusfiles._process_is_here(os.getpid())
    assert not statusfiles._process_is_here(10**15)
