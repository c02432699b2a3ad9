"""What the service manager hears, on real sockets; and nothing where there is none."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.watch.systemd import Systemd, watchdog_seconds


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    name = f"@macmgr-{uuid.uuid4()}" if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as receiver:
        receiver.bind(name.replace("@", "\0"))
        yield name, receiver


def test_each_thing_is_said_in_its_words(manager: tuple[str, socket.socket]) -> None:
    name, receiver = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    systemd.ready("12 ports on 2 bridges")
    assert receiver.recv(4096) == b"READY=1\nSTATUS=12 ports on 2 bridges"
    systemd.ready()
    assert receiver.recv(4096) == b"READY=1"
    systemd.status("in sync")
    assert receiver.recv(4096) == b"STATUS=in sync"
    systemd.alive()
    assert receiver.recv(4096) == b"WATCHDOG=1"
    systemd.stopping()
    assert receiver.recv(4096) == b"STOPPING=1"
    before = time.monotonic()
    systemd.reloading()
    first, second = receiver.recv(4096).decode().split("\n")
    assert first == "RELOADING=1"
    assert before - 0.001 <= int(second.removeprefix("MONOTONIC_USEC=")) / 1e6 <= time.monotonic()


def test_a_status_adds_no_assignment(manager: tuple[str, socket.socket]) -> None:
    name, receiver = manager
    Systemd({"NOTIFY_SOCKET": name}).status("web1\nMAINPID=1\ud800")
    assert receiver.recv(4096) == b"STATUS=web1 MAINPID=1?"


def test_an_empty_status_is_not_sent(manager: tuple[str, socket.socket]) -> None:
    name, receiver = manager
    Systemd({"NOTIFY_SOCKET": name}).status("")
    with pytest.raises(BlockingIOError):
        receiver.recv(1)


@pytest.mark.parametrize(
    "address", ["", "relative", "vsock:2:1234", "/nowhere/at/all", "@nobody-" + "x" * 40, "/" * 500]
)
def test_where_nobody_listens_nothing_happens(address: str) -> None:
    Systemd({"NOTIFY_SOCKET": address}).ready("so what")
    Systemd({}).alive()


def test_a_manager_that_does_not_read_blocks_nobody(manager: tuple[str, socket.socket]) -> None:
    name, receiver = manager
    systemd = Systemd({"NOTIFY_SOCKET": name})
    for _ in range(1000):  # net.unix.max_dgram_qlen
        systemd.alive()
    assert receiver.recv(4096) == b"WATCHDOG=1"


def test_the_watchdog_is_ours_only() -> None:
    mine = str(os.getpid())
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": mine}) == 30
    assert watchdog_seconds({"WATCHDOG_USEC": "500000"}) == 0.5
    assert watchdog_seconds({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}) is None
    assert watchdog_seconds({}) is None
    for wrong in ("", "0", "-1", "soon", "²"):
        assert watchdog_seconds({"WATCHDOG_USEC": wrong}) is None
