"""A daemon that cannot look says so, wherever it is asked, and never that all is well."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import LONG, Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of

_HOLD = """
import fcntl, os, signal
lock = os.open("/run/macmgr/lock", os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(lock, fcntl.LOCK_EX)
print("held", flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
signal.pause()
"""


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED + f"[daemon]\nmetrics_file = '{tmp_path}/macmgr.prom'\n")
        made.guest(1)
        yield made


@contextmanager
def lock_held(host: House) -> Iterator[int]:
    """By a process that was stopped while it writes."""
    holder = subprocess.Popen(host.command(sys.executable, "-c", _HOLD), stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        yield holder.pid  # nsenter becomes the program, where it enters no PID namespace
    finally:
        holder.kill()
        holder.communicate()


def asked(host: House) -> tuple[int, dict[str, Any]]:
    said = host.macmgr("status", "--json")
    return said.returncode, json.loads(said.stdout)


def is_unknown(host: House) -> bool:
    return host.status()["in_sync"] is None


def exported(host: House) -> str:
    path = host.root / "macmgr.prom"
    return path.read_text() if path.exists() else ""


def drift(host: House) -> None:
    host.ns.bridge(f"fdb replace {mac_of(1)} dev up0 master static")


def well(host: House) -> bool:
    code, said = asked(host)
    return code == 0 and said["in_sync"] is True and said["unknown"] is None and host.managed(1)


def test_while_somebody_holds_the_lock_nobody_knows(host: House) -> None:
    with host.daemon():
        assert well(host)
        eventually(lambda: "macmgr_in_sync 1" in exported(host), "a verdict is exported")
        with lock_held(host) as holder:
            drift(host)
            eventually(lambda: is_unknown(host), "the daemon says that it does not know")
            code, said = asked(host)
            assert code == 75
            assert said["unknown"]["lock_holder"]["pid"] == holder
            assert said["unknown"]["lock_holder"]["program"].startswith("python")
            assert f"kill -CONT {holder}" in said["unknown"]["why"]
            text = host.macmgr("status", "--no-color")
            assert text.returncode == 75
            assert text.stdout.startswith(b"Unknown for ")
            assert b"In sync" not in text.stdout
            assert f"process {holder}" in " ".join(text.stdout.decode().split())
            assert "the state is unknown since" in host.log
            eventually(lambda: "macmgr_unknown_since_timestamp_seconds" in exported(host), "that is exported too")
            assert "in_sync" not in exported(host)
        eventually(lambda: well(host), "and mends it once it can")
        assert "the state is known again" in host.log


def test_systemd_is_told_that_nobody_knows(host: House) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(host.root / "notify"))
        manager.settimeout(LONG)

        def until(words: str) -> None:
            while words not in manager.recv(4096).decode():
                pass

        with host.daemon(environment={"NOTIFY_SOCKET": str(host.root / "notify")}):
            until("STATUS=managed ports: 1, errors that the last look found: 0")
            with lock_held(host) as holder:
                drift(host)
                until(f"held by process {holder}")
            until("STATUS=managed ports: 1, errors that the last look found: 0")


def test_a_daemon_that_never_looked_does_not_know(host: House) -> None:
    host.macmgr("apply")
    with lock_held(host):
        command = host.macmgr_command("watch")
        with (host.root / "daemon.log").open("ab") as log:
            daemon = subprocess.Popen(command, stderr=log, stdout=log)
        try:
            eventually(lambda: host.macmgr("status").stdout != b"", "it answers")
            code, said = asked(host)
            assert (code, said["in_sync"]) == (said["unknown"]["exit_code"], None)
            assert code in (69, 75)
        finally:
            daemon.terminate()
            daemon.wait(LONG)


def test_a_lock_that_cannot_be_opened(host: House) -> None:
    root = Path(f"/proc/{host.keeper.pid}/root/run/macmgr")
    with host.daemon():
        (root / "lock").unlink()
        (root / "lock").mkdir()
        drift(host)
        eventually(lambda: is_unknown(host), "the daemon says that it does not know")
        code, said = asked(host)
        assert code != 0
        assert "Is a directory" in said["unknown"]["why"]
        assert said["unknown"]["lock_holder"] is None
        (root / "lock").rmdir()
        eventually(lambda: well(host), "and mends it once it can")


def test_a_daemon_without_file_descriptors_says_nothing_rather_than_what_it_saw(host: House) -> None:
    with host.daemon() as daemon:
        assert well(host)
        before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        drift(host)
        eventually(lambda: "Too many open files" in host.log, "a look fails")
        said = host.macmgr("status")
        assert (said.returncode, said.stdout) == (69, b"")
        assert said.stderr.count(b"\n") == 1
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
        eventually(lambda: well(host), "and mends it once it can")


def test_a_daemon_that_stands_still_is_not_waited_for(host: House) -> None:
    with host.daemon() as daemon:
        daemon.send_signal(signal.SIGSTOP)
        said = host.macmgr("status")
        assert (said.returncode, said.stdout) == (69, b"")
        assert said.stderr.count(b"\n") == 1
        assert f"process {daemon.pid}".encode() in said.stderr
        assert f"kill -CONT {daemon.pid}".encode() in said.stderr
        daemon.send_signal(signal.SIGCONT)
        eventually(lambda: well(host), "and goes on")


def test_a_configuration_that_is_wrong_at_sighup_is_told(host: House) -> None:
    good = host.config.read_text()
    with host.daemon() as daemon:
        host.config.write_text(good.replace("'libvirt'", "'libvrit'"))
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: bool(host.status()["configuration"]["problem"]), "the daemon says what is wrong with it")
        code, said = asked(host)
        assert (code, said["in_sync"]) == (0, True)
        assert "libvrit" in said["configuration"]["problem"]
        assert "libvrit" in host.macmgr("status").stdout.decode()
        host.config.write_text(good)
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: host.status()["configuration"]["problem"] is None, "and that it is right again")
