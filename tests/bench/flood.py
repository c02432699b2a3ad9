"""The daemon while the LAN floods its bridge with new addresses: what it costs, and how long a repair takes then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from macmgr.kernel import Kernel
from macmgr.kernel.events import EventSocket
from macmgr.model.kernelevents import Strangers
from tests import crowd
from tests.bench.measure import Result
from tests.bench.watching import processor_time, repair_of, watched
from tests.netns.conftest import BROADCAST, Namespace, eventually, transmit
from tests.netns.test_watch_endurance import resident

GUESTS, RATE, SECONDS, DRIFTS = 200, 5_000, 60.0, 50
_AT_ONCE = 50  # frames between two looks at the clock
MOST, LONGEST, SHARE = 100.0, 500.0, 3.0  # ms, ms, percent
SETTLING = 2.0  # seconds
SENDER = """\
a repair reads one port, and is quick; under the flood its sender and the bridge take a core of the machine's two."""


def flood(_: Path) -> Iterator[Result]:
    guests = [crowd.CrowdGuest(number) for number in range(1, GUESTS + 1)]
    with watched(guests) as host, host.daemon(forked=False) as daemon:
        eventually(lambda: bool(host.status()["in_sync"]), "all ports are managed")
        ns = host.ns
        rest = list(_repairs(ns, guests))
        with _flooded(ns) as sent:
            time.sleep(SETTLING)
            begun, used, already = time.monotonic(), processor_time(daemon.pid), sent()
            before = resident(daemon.pid)
            time.sleep(SECONDS)
            share = 100 * (processor_time(daemon.pid) - used) / (time.monotonic() - begun)
            rate = (sent() - already) / (time.monotonic() - begun)
            under = list(_repairs(ns, guests[::-1]))  # other ports: who repairs one too often pauses
            after = resident(daemon.pid)
        lost = host.status()["events"]["lost"]
        assert lost == 0, f"{lost} events were lost"
    what = f"{rate:,.0f} new addresses a second on a managed bridge's uplink: "
    limit = f"{MOST:.0f} ms"
    yield Result(f"{what}drift to repair, median of {DRIFTS}", limit, 1.0, under, [MOST], by_median=True)
    yield Result(f"{what}drift to repair, the longest of {DRIFTS}", f"{LONGEST:.0f} ms", 1.0, [max(under)], [LONGEST])
    yield Result(f"{what}drift to repair", "the same without them", 1.5, under, rest, SENDER, by_median=True)
    yield Result(f"{what}the daemon's share of a processor", f"{SHARE:g} %", 1.0, [share], [SHARE], unit="%")
    yield Result(f"{what}the daemon's memory after all of it", "before it", 1.05, [after], [before], unit="MB")


def _repairs(ns: Namespace, guests: list[crowd.CrowdGuest]) -> Iterator[float]:
    """Milliseconds from a flag that somebody turns on to its turning off, as the kernel reports both."""
    for number in range(DRIFTS):
        tap = guests[number * 7 % len(guests)].tap
        events = EventSocket(ns.name)
        events.leave_out(_uplink(ns))
        ns.bridge(f"link set dev {tap} learning on")
        took = repair_of(events, tap)
        events.close()
        yield took


def _uplink(ns: Namespace) -> Strangers:
    with Kernel(ns.name) as kernel:
        return Strangers(ports=frozenset({kernel.read_snapshot(()).ports["up0"].ifindex}))


@contextmanager
def _flooded(ns: Namespace) -> Iterator[Callable[[], int]]:
    """Frames from one new address after the other come in by the uplink; how many there were so far."""
    ends, sent = threading.Event(), [0]

    def send() -> None:
        begun = time.monotonic()
        with ns.packet_socket("up0-far") as opened:
            for number in count():
                if number % _AT_ONCE == 0:
                    if ends.wait(max(0.0, begun + number / RATE - time.monotonic())):
                        return
                    sent[0] = number
                source = bytes((2, 0x10)) + number.to_bytes(4, "big")
                transmit(opened, bytes.fromhex(BROADCAST.replace(":", "")) + source + b"\x88\xb5" + bytes(46))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield lambda: sent[0]
    finally:
        ends.set()
        thread.join()
