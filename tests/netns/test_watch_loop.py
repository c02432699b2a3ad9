"""The daemon's loop, in this process: what may not hold it up, and what may not end it."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from macmgr import paths
from macmgr.hook.work import read_call
from macmgr.model.hookcall import HookCall
from macmgr.readers.hookdata import HookInput
from macmgr.state import lock
from macmgr.watch.daemonlog import DaemonLog
from macmgr.watch.journal import Journal
from macmgr.watch.systemd import Systemd
from tests.netns.conftest import LONG, Namespace
from tests.netns.house import MANAGED, mac_of

pytest.importorskip("inotify_simple")

from macmgr.watch import daemon as daemon_module
from macmgr.watch.daemon import Daemon, Places
from macmgr.watch.round import Round, Rounds

STARTED = b"hook\0qemu\0g1\0started\0begin\0-\0"


class Host:
    """A bridge with one guest, a run directory, and the daemon for them."""

    def __init__(self, ns: Namespace, root: Path) -> None:
        self.ns, self.root = ns, root
        ns.add_bridge()
        ns.add_tap("vnet1")
        (root / "libvirt" / "qemu").mkdir(parents=True)
        (root / "macmgr.toml").write_text(MANAGED)
        self.xml = (
            "<domain type='kvm'><name>g1</name><uuid>u</uuid><devices><interface type='bridge'>"
            f"<mac address='{mac_of(1)}'/><source bridge='br0'/><target dev='vnet1'/></interface></devices></domain>"
        )
        self.write_status_file()

    def write_status_file(self) -> None:
        path = self.root / "libvirt" / "qemu" / "g1.xml"
        path.with_suffix(".new").write_text(f"<domstatus state='running' pid='1'>{self.xml}</domstatus>")
        path.with_suffix(".new").rename(path)

    def live(self, test: Callable[[], Awaitable[None]], log: DaemonLog | None = None) -> None:
        """Run the daemon, ``test`` beside it, and end it as systemd does."""

        async def both() -> None:
            said = Places(
                self.root / "libvirt", self.root / "macmgr.toml", self.ns.name, socket=self.root / "run" / "hook.sock"
            )
            running = asyncio.create_task(Daemon(said, log or DaemonLog(Journal()), Systemd({})).run())
            async with asyncio.timeout(LONG):
                try:
                    await test()
                finally:
                    os.kill(os.getpid(), signal.SIGTERM)
                    await running

        asyncio.run(both())

    async def hook(self) -> bytes:
        reader, writer = await asyncio.open_unix_connection(self.root / "run" / "hook.sock")
        writer.write(STARTED + self.xml.encode())
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    @property
    def managed(self) -> bool:
        return self.ns.port_of(mac_of(1)) == "vnet1"

    async def until_managed(self) -> None:
        while not self.managed:
            await asyncio.sleep(0.01)


@pytest.fixture
def host(ns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    monkeypatch.setattr(paths, "STATE", tmp_path / "state" / "state.json")
    monkeypatch.setattr(paths, "OBSERVED", tmp_path / "observed.json")
    monkeypatch.setattr(paths, "REMEMBERED", tmp_path / "remembered")
    monkeypatch.setattr(lock, "hold", partial(lock.hold, tmp_path / "lock"))
    return Host(ns, tmp_path)


def test_a_hook_does_not_wait_until_a_burst_has_come_together(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon_module, "FIRST_WINDOW", 10 * LONG)

    async def test() -> None:
        await host.until_managed()
        host.write_status_file()  # opens the window
        await asyncio.sleep(0)
        assert await host.hook() == b"ok\n"

    host.live(test)


def test_what_cannot_be_told_ends_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("hunter2")

    monkeypatch.setattr(DaemonLog, "round", broken)

    async def test() -> None:
        await host.until_managed()
        host.ns.bridge(f"fdb del {mac_of(1)} dev vnet1 master")
        await host.until_managed()
        assert await host.hook() == b"ok\n"

    host.live(test)
    said = capfd.readouterr().err
    assert "failed unexpectedly (KeyError at test_watch_loop.py:" in said
    assert "hunter2" not in said


def test_it_ends_soon_while_another_writer_holds_the_lock(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """At its very first round, and told twice: it waits for the lock once, and begins nothing after that."""
    looks: list[str] = []

    def run(*arguments: Any, **named: Any) -> Round:
        looks.append("a round")
        return run_round(*arguments, **named)

    run_round = Rounds.run
    monkeypatch.setattr(Rounds, "run", run)
    with (host.root / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)

        async def test() -> None:
            while signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
                await asyncio.sleep(0.01)
            os.kill(os.getpid(), signal.SIGTERM)

        host.live(test)
    assert looks == ["a round"]


def test_a_thousand_calls_and_reloads_leave_nothing_behind(host: Host) -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    async def test() -> None:
        await host.until_managed()
        for _ in range(10):
            await host.hook()
        before, tasks = descriptors(), len(asyncio.all_tasks())
        for number in range(1000):
            if number % 10 == 0:
                os.kill(os.getpid(), signal.SIGHUP)
            assert await host.hook() == b"ok\n"
        while len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0.01)
        assert descriptors() <= before + 1

    host.live(test)


def test_a_document_that_takes_long_keeps_no_other_hook_waiting(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight megabytes of it take seconds. Its own hook gives up; all others are served meanwhile."""
    answered, in_time = threading.Event(), []

    def slow(call: HookCall, data: bytes) -> HookInput:
        if call.object == "g2":
            in_time.append(answered.wait(LONG / 2))
        return read_call(call, data)

    monkeypatch.setattr("macmgr.watch.hookcalls.read_call", slow)

    async def test() -> None:
        await host.until_managed()
        _, writer = await asyncio.open_unix_connection(host.root / "run" / "hook.sock")
        writer.write(STARTED.replace(b"g1", b"g2") + b" " * 100_000)
        writer.write_eof()
        assert await host.hook() == b"ok\n"
        answered.set()
        while not in_time:
            await asyncio.sleep(0.01)
        writer.transport.abort()

    host.live(test)
    assert in_time == [True]
