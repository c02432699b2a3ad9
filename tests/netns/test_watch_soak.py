"""A compressed day of a host: guests start, stop and move, networks and bridges are made anew, the daemon is replaced.

Four guests stay all day and are reached by frames after each hour, with and without a daemon. What the daemon holds is
flat: memory, descriptors, threads. In the ordinary run the day has few guests; ``--endurance`` (tox -e soak) has as
many as the issue asks. Each hour prints its figures.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pytest

from tests import crowd
from tests.netns.conftest import Namespace, eventually, transmit
from tests.netns.house import House, house, mac_of
from tests.netns.starter import Process
from tests.netns.test_watch_endurance import assert_reached, processor_seconds, resident

pytest.importorskip("inotify_simple")

STAYING = range(1, 5)
MOVING = range(101, 111)  # ten at a time
FIRST = 1000  # the number of the day's first other guest
WAVE = 50  # guests that start at a time
NETWORK = (
    "<networkstatus><network><name>lan</name><uuid>00000000-0000-4000-8000-0000000000ff</uuid><forward mode='bridge'/>"
    "<bridge name='br1' macTableManager='libvirt'/></network></networkstatus>"
)


@dataclass(frozen=True)
class Day:
    """``shifts`` daemons one after the other, each for some ``hours``; ``starts`` and ``moves`` an hour."""

    shifts: int
    hours: int
    starts: int
    moves: int


ORDINARY = Day(shifts=2, hours=2, starts=2 * WAVE, moves=len(MOVING))
WHOLE = Day(shifts=4, hours=6, starts=450, moves=50)  # 10,800 starts and stops, 1,200 migrations in and as many out


class Held(NamedTuple):
    """What a daemon holds."""

    megabytes: float
    descriptors: int
    threads: int
    state: int  # bytes of the file with what is remembered


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.ns.add_bridge("br1")
        made.write("network/lan.xml", NETWORK)
        yield made


def test_a_compressed_day(host: House, request: pytest.FixtureRequest) -> None:
    day = WHOLE if request.config.getoption("--endurance") else ORDINARY
    chance = random.Random(1)  # noqa: S311 - the same day each time
    for number in STAYING:
        host.ns.add_cable(f"vnet{number}")
        status(host, number, "br0")
    with ExitStack() as opened:
        reach = Reach(host.ns, opened)
        coming = iter(range(FIRST, 60_000))
        for shift in range(day.shifts):
            with host.daemon(forked=False) as daemon:
                hours = [hour(host, daemon, day, reach, coming, chance) for _ in range(day.hours)]
                stop = signal.SIGTERM if shift % 2 else signal.SIGKILL  # an upgrade is a restart
                daemon.send_signal(stop)
                daemon.wait()
            reach.of(STAYING)
            flat(hours)
    assert "Traceback" not in host.log


def hour(host: House, daemon: Process, day: Day, reach: Reach, coming: Iterator[int], chance: random.Random) -> Held:
    used = processor_seconds(daemon.pid)
    for _ in range(day.starts // WAVE):
        wave(host, [next(coming) for _ in range(WAVE)], chance)
    for _ in range(day.moves // len(MOVING)):
        moves(host, reach)
    anew(host)
    reach.of(STAYING)
    eventually(lambda: at_rest(host, len(STAYING)), lambda: host.log[-2000:])
    held, used = held_by(host, daemon), processor_seconds(daemon.pid) - used
    print(
        f"{day.starts} starts and stops, {day.moves} migrations in and out: {held.megabytes:.1f} MB, "
        f"{held.descriptors} descriptors, {held.threads} threads, {held.state} bytes remembered, "
        f"{used:.1f} s of processor time, load average {os.getloadavg()[0]:.1f}"
    )
    return held


def flat(hours: Sequence[Held]) -> None:
    """The last hour holds no more than the first, which has loaded all there is to load."""
    first, last = hours[0], hours[-1]
    assert last.megabytes <= 1.05 * first.megabytes + 1, hours
    assert (last.descriptors, last.threads) == (first.descriptors, first.threads), hours
    assert last.state <= first.state, hours


def held_by(host: House, daemon: Process) -> Held:
    proc = Path(f"/proc/{daemon.pid}")
    threads = len(list((proc / "task").iterdir()))
    state = Path(f"/proc/{host.keeper.pid}/root/var/lib/macmgr/state.json")
    return Held(resident(daemon.pid), len(list((proc / "fd").iterdir())), threads, state.stat().st_size)


# Guests that come and go


def wave(host: House, numbers: Sequence[int], chance: random.Random) -> None:
    """Some are waited for, and some end before anybody has looked at them."""
    bridge = chance.choice(("br0", "br1"))
    crowd.add_taps(host.ns.name, [f"vnet{number}" for number in numbers], bridge)
    for number in numbers:
        status(host, number, bridge)
    if chance.random() < 0.7:
        eventually(lambda: at_rest(host, len(STAYING) + len(numbers)), lambda: host.log[-2000:])
    end(host, numbers)


def moves(host: House, reach: Reach) -> None:
    """Guests come from another host and go back to it: what the kernel and libvirt's files show of that.

    Their addresses were learned on the uplink, and are so again before their taps are gone.
    """
    reach.speak_elsewhere(MOVING)
    crowd.ip(host.ns.name, (line for number in MOVING for line in cable(number)))
    for number in MOVING:
        status(host, number, "br0", "paused")
    for number in MOVING:
        status(host, number, "br0")
    eventually(lambda: at_rest(host, len(STAYING) + len(MOVING)), lambda: host.log[-2000:])
    with ExitStack() as opened:
        Reach(host.ns, opened, MOVING).of(MOVING)
    for number in MOVING:
        status(host, number, "br0", "paused")
    reach.speak_elsewhere(MOVING)
    end(host, MOVING)
    reach.speak_elsewhere(MOVING)
    macs = {mac_of(number) for number in MOVING}

    def nothing_is_left() -> bool:
        return not any(each["mac"] in macs and each["state"] == "static" for each in host.ns.fdb())

    eventually(nothing_is_left, lambda: host.log[-2000:])


def anew(host: House) -> None:
    """The network ends and starts, and with it its bridge."""
    host.remove("network/lan.xml")
    host.ns.ip("link del br1")
    host.ns.add_bridge("br1")
    host.write("network/lan.xml", NETWORK)


def status(host: House, number: int, bridge: str, state: str = "running") -> None:
    """The guest's status file; on br1 its NIC is one of the network."""
    if bridge == "br0":
        host.status_file(f"g{number}", f"vnet{number}", mac_of(number), state)
        return
    nic = f"<mac address='{mac_of(number)}'/><source network='lan' bridge='br1'/><target dev='vnet{number}'/>"
    domain = (
        f"<name>g{number}</name><uuid>u-g{number}</uuid><devices><interface type='network'>{nic}</interface></devices>"
    )
    host.write(
        f"qemu/g{number}.xml", f"<domstatus state='{state}' pid='1'><domain type='kvm'>{domain}</domain></domstatus>"
    )


def end(host: House, numbers: Iterable[int]) -> None:
    crowd.ip(host.ns.name, [f"link del vnet{number}" for number in numbers])
    for number in numbers:
        host.remove(f"qemu/g{number}.xml")


def at_rest(host: House, guests: int) -> bool:
    now = host.status()
    return bool(now["in_sync"]) and now["managed"]["guests"] == guests


def cable(number: int) -> Iterator[str]:
    yield f"link add vnet{number} type veth peer name vnet{number}-far"
    yield f"link set vnet{number} address fe:02:00:00:00:{number & 255:02x} master br0 up"
    yield f"link set vnet{number}-far up"


class Reach:
    """Frames from the LAN, and the far ends of the guests' cables."""

    def __init__(self, ns: Namespace, opened: ExitStack, guests: Iterable[int] = STAYING) -> None:
        self._ns = ns
        self._lan = opened.enter_context(ns.packet_socket("up0-far"))
        self._far = {number: opened.enter_context(ns.packet_socket(f"vnet{number}-far")) for number in guests}

    def of(self, guests: Iterable[int]) -> None:
        for number in guests:
            assert_reached(self._ns, self._lan, self._far[number], number)

    def speak_elsewhere(self, guests: Iterable[int]) -> None:
        """A frame of each guest comes from the LAN."""
        for number in guests:
            source = bytes.fromhex(mac_of(number).replace(":", ""))
            transmit(self._lan, b"\xff" * 6 + source + b"\x88\xb5" + bytes(46))
