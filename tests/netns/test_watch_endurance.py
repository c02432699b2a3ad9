"""The daemon over and over: killed at random moments, guests by the hundred that come and go, and a minute of nothing.

In the ordinary run each is short; ``--endurance`` (tox -e endurance) makes them as long as the issue asks.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from pyroute2 import netns

from macmgr import paths
from macmgr.state import lock
from macmgr.watch.daemonlog import DaemonLog
from macmgr.watch.journal import Journal
from macmgr.watch.messages import Priority
from macmgr.watch.systemd import Systemd
from tests import crowd
from tests.netns.conftest import LONG, Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of

pytest.importorskip("inotify_simple")

from macmgr.watch.daemon import Daemon, Places

GUESTS = 4


@pytest.fixture
def endurance(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--endurance"))


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        yield made


# kill -9


class Killable:
    """A daemon in a child of this process, which has everything imported: it starts in milliseconds."""

    def __init__(self, ns: Namespace, root: Path) -> None:
        self.pid = os.fork()
        if self.pid == 0:
            try:
                netns.setns(ns.name, flags=0)
                vars(lock)["hold"] = partial(lock.hold, root / "lock")  # its default was read when it was imported
                paths.LOCK, paths.STATE = root / "lock", root / "state" / "state.json"
                paths.OBSERVED, paths.REMEMBERED = root / "observed.json", root / "remembered"
                places = Places(root / "libvirt", root / "macmgr.toml", socket=root / "run" / "hook.sock")
                log = os.open(root / "daemon.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
                daemonlog = DaemonLog(Journal(stderr=log, stream="", least=Priority.WARNING))
                asyncio.run(Daemon(places, daemonlog, Systemd({})).run())
            finally:
                os._exit(1)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        assert os.WIFSIGNALED(status), "the daemon ended by itself"


def status_file(root: Path, number: int, state: str) -> None:
    source = f"<source bridge='br0'/><target dev='vnet{number}'/>"
    nic = f"<interface type='bridge'><mac address='{mac_of(number)}'/>{source}</interface>"
    domain = f"<domain type='kvm'><name>g{number}</name><uuid>u{number}</uuid><devices>{nic}</devices></domain>"
    path = root / "libvirt" / "qemu" / f"g{number}.xml"
    path.with_suffix(".new").write_text(f"<domstatus state='{state}' pid='1'>{domain}</domstatus>")
    path.with_suffix(".new").rename(path)


def make_again(ns: Namespace, chance: random.Random) -> None:
    """A port as a new guest's is: open, without an entry. Never while a round runs that may be closing the port."""
    number = chance.randint(1, GUESTS)
    if chance.random() < 0.5:
        ns.ip(f"link set vnet{number} nomaster")
        ns.ip(f"link set vnet{number} master br0")
    else:
        ns.bridge(f"link set dev vnet{number} learning on flood on")
        ns.run("bridge", "fdb", "del", mac_of(number), "dev", f"vnet{number}", "master", check=False)


def disturb(ns: Namespace, root: Path, chance: random.Random) -> None:
    """Something that makes the daemon write, at any moment, and that by itself cuts nobody off."""
    number = chance.randint(1, GUESTS)
    match chance.randint(0, 2):
        case 0:
            ns.bridge(f"link set dev vnet{number} learning on flood on")
        case 1:
            status_file(root, number, "paused")
            status_file(root, number, "running")
        case 2:
            status_file(root, number, "paused")
            ns.bridge(f"link set dev vnet{number} learning on")
            status_file(root, number, "running")


def test_a_daemon_that_is_killed_leaves_every_guest_reachable(ns: Namespace, tmp_path: Path, endurance: bool) -> None:
    """Frames from the uplink reach each guest after each kill, and the last start mends all that was left."""
    ns.add_bridge()
    ns.add_cable("up0")
    (tmp_path / "libvirt" / "qemu").mkdir(parents=True)
    (tmp_path / "macmgr.toml").write_text(MANAGED)
    (tmp_path / "run").mkdir()
    for number in range(1, GUESTS + 1):
        ns.add_cable(f"vnet{number}")
        status_file(tmp_path, number, "running")
    with ExitStack() as opened:
        lan = opened.enter_context(ns.packet_socket("up0-far"))
        far = {number: opened.enter_context(ns.packet_socket(f"vnet{number}-far")) for number in range(1, GUESTS + 1)}
        kill_over_and_over(ns, tmp_path, lan, far, 1000 if endurance else 60)
    log = tmp_path / "daemon.log"
    assert "Traceback" not in (log.read_text() if log.exists() else "")


def kill_over_and_over(
    ns: Namespace, root: Path, lan: socket.socket, far: Mapping[int, socket.socket], times: int
) -> None:
    chance = random.Random(1)  # noqa: S311 - the same disturbances each time
    for _ in range(times):
        for _ in range(chance.randint(0, 2)):
            make_again(ns, chance)
        daemon = Killable(ns, root)
        started = time.monotonic()
        moment = chance.uniform(0, 0.08)
        while time.monotonic() - started < moment:
            disturb(ns, root, chance)
        daemon.kill()
        for number in range(1, GUESTS + 1):
            assert_reached(ns, lan, far[number], number)
    daemon = Killable(ns, root)
    eventually(lambda: all(is_managed(ns, number) for number in range(1, GUESTS + 1)), "all are managed")
    daemon.kill()


def assert_reached(ns: Namespace, lan: socket.socket, guest: socket.socket, number: int) -> None:
    """A frame that comes from the LAN gets to the guest, as soon as its port forwards."""
    eventually(lambda: ns.port_state(f"vnet{number}") == "forwarding", "the port forwards")
    mark, mac = os.urandom(8), mac_of(number)
    frame = bytes.fromhex(mac.replace(":", "")) + b"\x02\xff\xff\xff\xff\x01" + b"\x88\xb5" + mark + bytes(40)
    lan.send(frame)
    guest.settimeout(LONG)
    while guest.recv(2048)[14:22] != mark:
        pass


def is_managed(ns: Namespace, number: int) -> bool:
    entries = [each for each in ns.fdb() if each["mac"] == mac_of(number)]
    port = next(each for each in ns.bridge_json("-d link") if each["ifname"] == f"vnet{number}")
    held = bool(entries) and all("sticky" in each["flags"] for each in entries)
    return held and not port["learning"] and not port["flood"]


# A storm of guests, and none at all


@contextmanager
def crowded(host: House, guests: list[crowd.CrowdGuest]) -> Iterator[Path]:
    """The run directory of a host whose guests are there, the daemon not yet."""
    subprocess.run(host.command("rm", "-r", "/run/libvirt"), check=True)
    run_dir = Path(f"/proc/{host.keeper.pid}/root/run/libvirt")
    crowd.write_status_files(run_dir, guests)
    crowd.add_taps(host.ns.name, [guest.tap for guest in guests])
    yield run_dir


def resident(pid: int) -> float:
    """Resident memory in MB, without what is shared with files."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) / 1024


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_storm_of_guests_leaves_nothing_behind(host: House, endurance: bool) -> None:
    """Guests that start and stop all at once, over and over: no stale entry, and memory stays flat."""
    count, rounds = (1000, 10) if endurance else (150, 4)
    guests = [crowd.CrowdGuest(number) for number in range(1, count + 1)]
    sizes: list[float] = []
    with host.daemon(forked=False) as daemon:
        for _ in range(rounds):
            with crowded(host, guests) as run_dir:
                in_sync(host, count)
                crowd.ip(host.ns.name, [f"link del {guest.tap}" for guest in guests])
                for guest in guests:
                    (run_dir / "qemu" / f"{guest.name}.xml").unlink()
                in_sync(host, 0)
            sizes.append(resident(daemon.pid))
            left = [entry for entry in host.ns.fdb() if entry["mac"].startswith("52:54:00")]
            assert left == []
    assert sizes[-1] <= 1.1 * sizes[1] + 2, f"MB after each round: {sizes}"


def in_sync(host: House, guests: int) -> None:
    def now() -> bool:
        status = host.status()
        return bool(status["in_sync"]) and status["managed"]["guests"] == guests

    eventually(now, lambda: host.log[-2000:])


def test_with_nothing_to_do_it_does_nothing(host: House, endurance: bool) -> None:
    """A host with many ports at rest: no event, no round, and next to no processor time."""
    count, seconds = (1000, 60) if endurance else (200, 5)
    guests = [crowd.CrowdGuest(number) for number in range(1, count + 1)]
    with crowded(host, guests), host.daemon(forked=False) as daemon:
        in_sync(host, count)
        before, rounds = processor_seconds(daemon.pid), host.status()["rounds"]["count"]
        time.sleep(seconds)
        used = processor_seconds(daemon.pid) - before
        assert host.status()["rounds"]["count"] == rounds
        # a tick of the clock is 10 ms, and asking for its status twice costs some of them
        assert used <= 0.001 * seconds + 0.03, f"{used:.2f} s of processor time in {seconds} s"
        size = resident(daemon.pid)
        assert size <= 80, f"{size:.0f} MB"
        print(f"{count} ports at rest for {seconds} s: {used * 1000:.0f} ms of processor time, {size:.0f} MB")
