"""What happens to a guest whose hosts run EVPN. Each scenario ends with the guest reached, or fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count

from tests.evpn.fabric import Host, wait_for_tunnels, wait_until
from tests.evpn.guests import Client, Guest, client, must_be_reached

Hosts = dict[int, Host]
_NUMBERS = count(1)
_SETTLED = 2.0  # seconds of frames behind the last event


@dataclass(frozen=True)
class Stage:
    """The hosts, with a guest that runs on h1 and is reached from behind h3."""

    hosts: Hosts
    guest: Guest
    client: Client
    daemons: dict[int, ExitStack]


@contextmanager
def stage(hosts: Hosts, number: int, *, without_daemon: tuple[int, ...] = ()) -> Iterator[Stage]:
    """h1 and h2 with the daemon, but for those where a hook has put the entry and nobody watches."""
    with ExitStack() as opened:
        daemons = {}
        for each in (1, 2):
            daemons[each] = opened.enter_context(ExitStack())
            if each not in without_daemon:
                daemons[each].enter_context(hosts[each].house.daemon())
        guest = Guest(number)
        sender = opened.enter_context(client(hosts[3], guest))
        guest.boots(hosts[1])
        if 1 in without_daemon:
            hosts[1].house.macmgr("apply")
        try:
            must_be_reached(guest, sender, hosts[1], hosts[3])
            sender.sent.clear()
            guest.running[1] = time.monotonic()
            yield Stage(hosts, guest, sender, daemons)
        finally:
            for each in list(guest.running):
                guest.leaves(hosts[each])


def _ends_on(stage: Stage, number: int) -> None:
    time.sleep(_SETTLED)
    must_be_reached(stage.guest, stage.client, stage.hosts[number], stage.hosts[3])


def live_move(stage: Stage, downtime: float = 0.08) -> None:
    stage.guest.moves(stage.hosts[1], stage.hosts[2], downtime=downtime)
    _ends_on(stage, 2)


def quick_move(stage: Stage) -> None:
    live_move(stage, downtime=0.005)


def crash(stage: Stage) -> None:
    """The source host dies, and the guest is started on another one."""
    source = stage.hosts[1]
    stage.guest.halts(source)
    source.ns.ip("link set under down")
    stage.daemons[1].close()
    source.kill_frr()
    stage.guest.unplug(source)
    time.sleep(1)
    stage.guest.boots(stage.hosts[2])
    _ends_on(stage, 2)
    source.house.remove(f"qemu/g{stage.guest.number}.xml")
    source.ns.ip("link set under up")
    source.start_frr()
    wait_for_tunnels(stage.hosts)


def destination_dies(stage: Stage) -> None:
    """In the copy phase."""
    stage.guest.is_incoming(stage.hosts[2])
    time.sleep(1)
    stage.guest.leaves(stage.hosts[2])
    _ends_on(stage, 1)


def fails_in_finish(stage: Stage) -> None:
    """The CPUs have stopped on the source; the destination cannot start them, and the source goes on."""
    source, destination = stage.hosts[1], stage.hosts[2]
    stage.guest.is_incoming(destination)
    time.sleep(1)
    stage.guest.stops(source)
    time.sleep(0.2)
    stage.guest.leaves(destination)
    stage.guest.starts(source)
    _ends_on(stage, 1)


def one_frame(stage: Stage) -> None:
    """Somebody behind another host sends once with the guest's address."""
    other = stage.hosts[2]
    if "p0" not in other.ns.links():
        other.ns.add_cable("p0")
    other.ns.send_frame("p0-far", stage.guest.mac)
    _ends_on(stage, 1)


def second_guest(stage: Stage) -> None:
    """Another running guest has the address, on another host, for a while."""
    twin, other = Guest(stage.guest.number), stage.hosts[2]
    twin.boots(other)
    time.sleep(10)
    twin.leaves(other)
    twin.close()
    _ends_on(stage, 1)


def there_and_back(stage: Stage) -> None:
    for source, destination in ((1, 2), (2, 1), (1, 2), (2, 1)):
        stage.guest.moves(stage.hosts[source], stage.hosts[destination])
        time.sleep(2)
    _ends_on(stage, 1)


@dataclass(frozen=True)
class Scenario:
    """A row of the table."""

    name: str
    play: Callable[[Stage], None]
    without_daemon: tuple[int, ...] = ()


SCENARIOS = (
    Scenario("live move, 80 ms downtime", live_move),
    Scenario("live move, 5 ms downtime", quick_move),
    Scenario("source without a daemon", live_move, without_daemon=(1,)),
    Scenario("destination dies in the copy phase", destination_dies),
    Scenario("fails in finish", fails_in_finish),
    Scenario("somebody on h2 sends once with its MAC", one_frame),
    Scenario("a second running guest with its MAC on h2", second_guest),
    Scenario("there and back, four moves", there_and_back),
    Scenario("source host crashes, guest restarted on h2", crash),
)


def _in_sync(host: Host) -> bool:
    return host.house.audit() == set()


def play(scenario: Scenario, hosts: Hosts) -> tuple[int, int]:
    """The frames that were lost, and those that were sent while the guest ran."""
    with stage(hosts, next(_NUMBERS), without_daemon=scenario.without_daemon) as made:
        scenario.play(made)
        made.client.stop()
        lost = made.client.lost()
        for each in (1, 2):
            wait_until(partial(_in_sync, hosts[each]), f"h{each} is in sync")
    return lost
