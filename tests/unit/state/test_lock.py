"""One writer at a time, and nobody is led to another file."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from macmgr.errors import Busy, NotThere
from macmgr.state import lock
from macmgr.state.lock import hold
from tests.lab.wait import until


def test_the_second_writer_is_busy_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with (
        hold(path),
        pytest.raises(
            Busy, match=f"another macmgr is writing .{path} is held by process {os.getpid()}, .*nothing was changed"
        ),
    ):
        hold(path, wait=0).__enter__()
    with hold(path, wait=0):
        pass


def test_the_holder_is_named(tmp_path: Path) -> None:
    """By the process that took it, with the kernel's name for its program, and whether it is stopped."""
    path = tmp_path / "lo ck"
    code = f"import fcntl, sys; f = open({str(path)!r}, 'w'); fcntl.flock(f, 2); print(flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        for stopped in (False, True):
            if stopped:
                holder.send_signal(signal.SIGSTOP)
                os.waitpid(holder.pid, os.WUNTRACED)
            with pytest.raises(Busy, match=f"held by process {holder.pid}, python") as told:
                hold(path, wait=0).__enter__()
            assert told.value.pid == holder.pid
            assert told.value.program.startswith("python")
            assert (f"kill -CONT {holder.pid}" in str(told.value)) == stopped
    finally:
        holder.kill()
        holder.communicate()


def test_a_holder_that_cannot_be_told_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without /proc, and where the kernel's list holds what is none of ours."""
    path = tmp_path / "lock"
    monkeypatch.setattr(lock, "PROC", tmp_path)
    with hold(path), pytest.raises(Busy, match="it holds") as told:
        hold(path, wait=0).__enter__()
    assert told.value.pid is None
    status = path.stat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    lines = [
        "",
        "1: POSIX ADVISORY WRITE 7 " + place,
        "2: -> FLOCK ADVISORY WRITE 8 " + place,
        "3: FLOCK ADVISORY WRITE",
    ]
    lines += [f"4: FLOCK ADVISORY WRITE 0 {place} 0 EOF", "5: FLOCK ADVISORY WRITE 9 00:01:2 0 EOF"]
    (tmp_path / "locks").write_text("\n".join(lines))
    with hold(path), pytest.raises(Busy, match="it holds"):
        hold(path, wait=0).__enter__()
    (tmp_path / "locks").write_text("\n".join([*lines, f"6: FLOCK ADVISORY WRITE 4194305 {place} 0 EOF"]))
    with hold(path), pytest.raises(Busy, match=r"held by process 4194305\)"):
        hold(path, wait=0).__enter__()


def test_the_second_writer_waits_for_the_first(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", list[str]()
    first_has_it = threading.Event()

    def first() -> None:
        with hold(path):
            first_has_it.set()
            until(lambda: bool(order), "the second one is at the door")
            order.append("first is done")

    thread = threading.Thread(target=first)
    thread.start()
    assert first_has_it.wait(60)
    order.append("second knocks")
    with hold(path, wait=60):
        order.append("second writes")
    thread.join()
    assert order == ["second knocks", "first is done", "second writes"]


def test_a_lock_that_the_kernel_refuses_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    with pytest.raises(Busy, match="the writer lock cannot be taken: No locks available; nothing was changed"):
        hold(tmp_path / "lock", wait=0).__enter__()


def test_a_writer_that_fails_lets_go(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), hold(tmp_path / "lock"):
        raise ZeroDivisionError
    with hold(tmp_path / "lock", wait=0):
        pass


def test_the_file_is_the_owners_alone_and_stays(tmp_path: Path) -> None:
    """Removing it would let two writers hold two files of one name."""
    path = tmp_path / "lock"
    before = os.umask(0)
    try:
        with hold(path):
            pass
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    node = path.stat().st_ino
    with hold(path):
        assert path.stat().st_ino == node


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    """A process started meanwhile that outlives us would hold the lock for ever."""
    with hold(tmp_path / "lock"):
        ours = [fd for fd in os.listdir("/proc/self/fd") if _leads_to(fd, tmp_path / "lock")]
        assert len(ours) == 1
        assert not os.get_inheritable(int(ours[0]))


def _leads_to(descriptor: str, path: Path) -> bool:
    try:
        return Path("/proc/self/fd", descriptor).readlink() == path
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["symlink", "dangling symlink", "directory"])
def test_what_is_no_lock_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    path, victim = tmp_path / "lock", tmp_path / "victim"
    if kind == "symlink":
        victim.write_text("precious")
    if kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(victim)
    with pytest.raises((Busy, NotThere), match=str(path)):
        hold(path).__enter__()
    assert victim.exists() == (kind == "symlink")
