"""The real shims and the real daemon: a guest's port is right when its hook has ended, whoever did the work."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import LONG, Namespace, eventually
from tests.netns.hooked import HOOK, install
from tests.netns.house import MANAGED, House, house, mac_of

ONE_CALL = [{"driver": "qemu", "operation": "started", "count": 1}]


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED + HOOK)
        install(made)
        made.ns.add_tap("vnet1")
        yield made


def shim(host: House) -> list[str]:
    """The hook as libvirt calls it."""
    path = str(host.root / "hooks" / "qemu.d" / "99-macmgr")
    return host.command("env", "-i", "LC_ALL=C", "PATH=/usr/bin:/bin", path, "g1", "started", "begin", "-")


def started(host: House) -> None:
    """What libvirt does when a guest runs: the status file, then the hook, which says nothing."""
    xml = host.status_file("g1", "vnet1", mac_of(1))
    said = subprocess.run(shim(host), input=xml.encode(), capture_output=True, check=True, cwd="/", timeout=LONG)
    assert (said.stdout, said.stderr) == (b"", b"")


def is_answered_at_once(host: House) -> bool:
    """A call that is handed over has ended, without an answer, once the daemon has given its status a few times."""
    xml = host.status_file("g1", "vnet1", mac_of(1))
    with socket.socket(socket.AF_UNIX) as hook:
        hook.connect(f"/proc/{host.keeper.pid}/root/run/macmgr/hook.sock")
        hook.sendall(b"\0".join((b"hook", b"qemu", b"g1", b"started", b"begin", b"-", xml.encode())))
        hook.shutdown(socket.SHUT_WR)
        for _ in range(5):
            host.status()
        return bool(select.select([hook], [], [], 0)[0]) and hook.recv(1) == b""


def did_it_itself(host: House) -> bool:
    return (host.root / "itself").exists()


def test_with_a_daemon_that_does_it(host: House) -> None:
    with host.daemon():
        started(host)
        assert host.managed(1)
        assert host.status()["hooks"]["calls"] == ONE_CALL
    assert not did_it_itself(host)


def test_without_a_daemon(host: House) -> None:
    started(host)
    assert host.managed(1)
    assert did_it_itself(host)


def test_with_a_daemon_that_is_stopped(host: House) -> None:
    with host.daemon() as daemon:
        daemon.send_signal(signal.SIGSTOP)
        started(host)
        assert host.managed(1)
        assert did_it_itself(host)
        daemon.send_signal(signal.SIGCONT)
        eventually(lambda: host.status()["in_sync"], "the daemon goes on, and finds all in order")
        assert host.managed(1)


def test_with_a_daemon_that_was_killed_and_one_after_it(host: House) -> None:
    with host.daemon() as daemon:
        daemon.kill()
        daemon.wait()
    started(host)
    assert host.managed(1)
    assert did_it_itself(host)
    (host.root / "itself").unlink()
    with host.daemon():
        started(host)
        assert host.status()["hooks"]["calls"] == ONE_CALL
    assert not did_it_itself(host)


@pytest.mark.parametrize(
    "words", [("--observe",), ("--netns", "another"), ("--run-dir", "/run/another")], ids=lambda words: words[0]
)
def test_with_a_daemon_that_only_watches_or_looks_elsewhere(host: House, words: tuple[str, ...]) -> None:
    """It is asked first, answers nothing, and does not wait until the hook gives up."""
    subprocess.run(host.command("ip", "netns", "add", "another"), check=True)
    with host.daemon(*words):
        started(host)
        assert host.managed(1)
        assert did_it_itself(host)
        assert is_answered_at_once(host)
        assert host.status()["hooks"]["calls"] == []


@pytest.mark.parametrize("words", [("--run-dir", "/run/libvirt"), ("--run-dir", "/run/another/../libvirt")])
def test_with_a_daemon_to_which_this_host_is_named(host: House, words: tuple[str, ...]) -> None:
    subprocess.run(host.command("mkdir", "/run/another"), check=True)
    with host.daemon(*words):
        started(host)
        assert host.managed(1)
        assert host.status()["hooks"]["calls"] == ONE_CALL
    assert not did_it_itself(host)


def test_on_a_bridge_that_is_only_observed_the_daemon_answers_all_the_same(host: House) -> None:
    """The hook itself would only tell there, too."""
    host.config.write_text(MANAGED + "mode = 'observe'\n" + HOOK)
    with host.daemon():
        xml = host.status_file("g1", "vnet1", mac_of(1))
        said = subprocess.run(shim(host), input=xml.encode(), capture_output=True, check=True, cwd="/", timeout=LONG)
        assert said.stdout == b""
        assert host.status()["hooks"]["calls"] == ONE_CALL
    assert not host.managed(1)
    assert not did_it_itself(host)


def test_a_second_daemon_says_that_one_runs(host: House) -> None:
    with host.daemon():
        said = host.macmgr("watch")
        assert said.returncode == 75
        assert b"another 'macmgr watch' runs" in said.stderr
