"""Hook calls that come too late: libvirt has gone on, and what they say was true once. Only the files count then."""

from __future__ import annotations

import fcntl
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED + "[hook]\ntimeout = 0.2\n")
        made.guest(1)
        yield made


def run(host: House) -> Path:
    return Path(f"/proc/{host.keeper.pid}/root/run/macmgr")


@contextmanager
def calling(host: House, operation: str) -> Iterator[socket.socket]:
    """A hook that has handed its call over; it gives up at the end."""
    xml = host.status_file("g1", "vnet1", mac_of(1))
    with socket.socket(socket.AF_UNIX) as hook:
        hook.connect(str(run(host) / "hook.sock"))
        hook.sendall(b"\0".join([b"hook", b"qemu", b"g1", operation.encode(), b"end", b"-", xml.encode()]))
        hook.shutdown(socket.SHUT_WR)
        yield hook


def rounds(host: House) -> int:
    return int(host.status()["rounds"]["count"])


@pytest.mark.parametrize("operation", ["stopped", "start"])
def test_a_call_whose_hook_has_gone_before_it_is_read(host: House, operation: str) -> None:
    """The daemon was suspended; meanwhile the guest came back, as its status file says."""
    with host.daemon() as daemon:
        before = rounds(host)
        daemon.send_signal(signal.SIGSTOP)
        with calling(host, operation):
            pass
        daemon.send_signal(signal.SIGCONT)
        eventually(lambda: rounds(host) > before, "it has looked")
        assert host.managed(1)
        assert host.log.count("dropped") == 0


@pytest.mark.parametrize("operation", ["stopped", "start"])
def test_a_call_whose_hook_goes_while_its_round_waits_for_the_lock(host: House, operation: str) -> None:
    with host.daemon(), (run(host) / "lock").open() as lock:
        before = rounds(host)
        fcntl.flock(lock, fcntl.LOCK_EX)
        with calling(host, operation) as hook:
            eventually(lambda: "not done after 0.1 s" in host.log, "it has given up")
            assert hook.recv(100) == b"", "no answer: the hook does it itself"
        fcntl.flock(lock, fcntl.LOCK_UN)
        eventually(lambda: rounds(host) > before, "the round is over")
        assert host.managed(1)
        assert host.log.count("dropped") == 0


def test_a_round_that_fails_gives_no_answer(host: House) -> None:
    """What the daemon cannot do, the hook may be able to: it is another process, with descriptors of its own."""
    with host.daemon():
        (run(host) / "lock").unlink()
        (run(host) / "lock").mkdir()
        with calling(host, "started") as hook:
            assert hook.recv(100) == b""
        (run(host) / "lock").rmdir()
