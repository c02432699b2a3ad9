"""How long the daemon takes from a drift to its repair, on a bridge with a thousand ports: by the clock on the wall.

And how much processor time a repair costs it. A netlink monitor of bridge(8)'s kind sees both: the flag that somebody
turned on, and the daemon's turning it off.
"""

from __future__ import annotations

import select
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from macmgr.kernel.events import EventSocket
from macmgr.model.kernelevents import LinkEvent
from tests import crowd
from tests.bench.measure import Result
from tests.netns.conftest import eventually, namespace
from tests.netns.house import House, house
from tests.netns.starter import Process

PORTS, DRIFTS = 1000, 100
LIMIT, COST = 30.0, 10.0  # ms, of the clock and of the processor


def repair(_: Path) -> Iterator[Result]:
    """A hundred times: learning is turned on by somebody, and off again by the daemon."""
    guests = [crowd.CrowdGuest(number) for number in range(1, PORTS + 1)]
    with watched(guests) as host, host.daemon(forked=False) as daemon:

        def at_rest() -> None:
            eventually(lambda: bool(host.status()["in_sync"]), lambda: host.log[-2000:])

        at_rest()
        events = EventSocket(host.ns.name)
        took, status = [], _status_costs(host, daemon)
        used = processor_time(daemon.pid)
        for number in range(DRIFTS):
            tap = guests[number * 37 % PORTS].tap
            at_rest()  # what is measured is one drift, not a queue of them
            events.read()
            host.ns.bridge(f"link set dev {tap} learning on")
            took.append(repair_of(events, tap))
        at_rest()
        used = processor_time(daemon.pid) - used
        events.close()
    what = f"drift on one of {PORTS:,} ports to its repair, "
    limit = f"{LIMIT:.0f} ms"
    yield Result(f"{what}median of {DRIFTS}, by the clock on the wall", limit, 1.0, took, [LIMIT], by_median=True)
    each = [used * 1000 / DRIFTS - status]
    yield Result(f"{what}processor time of the daemon for each", f"{COST:.0f} ms", 1.0, each, [COST])


def _status_costs(host: House, daemon: Process) -> float:
    """Milliseconds of the daemon's processor time to say how it stands, as it is asked before each drift."""
    used = processor_time(daemon.pid)
    for _ in range(DRIFTS):
        host.status()
    return (processor_time(daemon.pid) - used) * 1000 / DRIFTS


def processor_time(pid: int) -> float:
    """Seconds of all its threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


@contextmanager
def watched(guests: list[crowd.CrowdGuest]) -> Iterator[House]:
    """A host with a guest for each tap, and nothing managed yet."""
    with namespace() as ns, tempfile.TemporaryDirectory() as name, house(ns, Path(name)) as host:
        subprocess.run(host.command("rm", "-r", "/run/libvirt"), check=True)
        crowd.write_status_files(Path(f"/proc/{host.keeper.pid}/root/run/libvirt"), guests)
        crowd.add_taps(ns.name, [guest.tap for guest in guests])
        yield host


def repair_of(events: EventSocket, tap: str) -> float:
    """Milliseconds from the kernel's word that the tap learns to its word that it does not: 0 if both come at once."""
    seen, end = 0.0, time.monotonic() + 30
    while time.monotonic() < end:
        select.select([events.fileno()], [], [], 1)
        for event in events.read():
            if isinstance(event, LinkEvent) and event.name == tap and event.flags:
                if event.flags.learning:
                    seen = seen or time.monotonic()
                elif seen:
                    return (time.monotonic() - seen) * 1000
    raise AssertionError(f"learning of {tap} was not turned {'off' if seen else 'on'}")
