"""The age of an entry on the real kernel: whose frames begin it anew, and whose do not."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from macmgr.kernel import Kernel
from macmgr.kernel.events import EventSocket
from macmgr.model.kernelevents import EntryEvent
from tests.netns.conftest import BROADCAST, Namespace, eventually, require

GUEST, OTHER, MARK = "52:54:00:00:00:01", "52:54:00:00:00:02", "02:aa:aa:aa:aa:aa"
OLD = 0.5  # seconds: more than twice of what a busy machine's ticks are behind its clock


@pytest.fixture
def kernel(ns: Namespace) -> Iterator[Kernel]:
    """A guest's closed port with its sticky entry, and an uplink that learns."""
    ns.add_bridge()
    ns.add_cable("guest")
    ns.add_cable("up0")
    ns.bridge("link set dev guest learning off flood off")
    ns.bridge(f"fdb replace {GUEST} dev guest master static sticky")
    with Kernel(ns.name) as opened:
        yield opened


def age(kernel: Kernel, mac: str = GUEST, vid: int = 0) -> float | None:
    return kernel.ages([("br0", mac, vid)], kernel.read_snapshot())["br0", mac, vid]


def begins_anew(kernel: Kernel, act: Callable[[], object], vid: int = 0) -> bool:
    """Whether an old entry is about as young as ``act``, after it; else it is older by all that it was before."""
    eventually(lambda: (age(kernel, vid=vid) or 0) > OLD, "the entry grows old")
    start = time.monotonic()
    act()
    found, since = age_and_time(kernel, vid)
    return found < since - start + OLD / 2


def age_and_time(kernel: Kernel, vid: int, within: float = OLD / 4) -> tuple[float, float]:
    """The entry's age, and when that was asked for; asked again where the machine was too busy to say when."""
    asked: list[tuple[float, float]] = []

    def in_time() -> bool:
        before = time.monotonic()
        found = age(kernel, vid=vid)
        assert found is not None
        asked.append((found, before))
        return time.monotonic() - before < within

    eventually(in_time, "the kernel answers at once")
    return asked[-1]


def sent_and_seen(ns: Namespace, interface: str, source: str, destination: str = BROADCAST) -> None:
    """A frame, and one behind it from the uplink whose address is learned: then the bridge is done with the first."""
    ns.send_frame(interface, source, destination)
    ns.run("bridge", "fdb", "del", MARK, "dev", "up0", "vlan", "1", "master", check=False)
    ns.run("bridge", "fdb", "del", MARK, "dev", "up0", "master", check=False)
    ns.send_frame("up0-far", MARK)
    eventually(lambda: any(entry["mac"] == MARK for entry in ns.fdb()), "the frame behind it is seen")


def test_an_entry_grows_old_in_seconds(ns: Namespace, kernel: Kernel) -> None:
    """By the second that bridge(8) counts, between two looks."""
    eventually(lambda: (age(kernel) or 0) > 1.1, "the entry grows old")
    before = age(kernel)
    command = ["bridge", "-n", ns.name, "-s", "-j", "fdb", "show", "br", "br0"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    (said,) = [row["updated"] for row in rows if row["mac"] == GUEST and not row.get("vlan")]
    after = age(kernel)
    assert before is not None
    assert after is not None
    assert before - 1 < said <= after
    assert os.sysconf("SC_CLK_TCK") == 100


def test_a_frame_on_another_port_that_learns_begins_it_anew(ns: Namespace, kernel: Kernel) -> None:
    """And the entry stays where it is: a duplicate is told, and does no harm."""
    assert begins_anew(kernel, lambda: sent_and_seen(ns, "up0-far", GUEST))
    assert ns.port_of(GUEST) == "guest"


def test_frames_on_its_own_port_do_not(ns: Namespace, kernel: Kernel) -> None:
    assert not begins_anew(kernel, lambda: sent_and_seen(ns, "guest-far", GUEST))


def test_they_do_while_the_port_learns(ns: Namespace, kernel: Kernel) -> None:
    ns.bridge("link set dev guest learning on")
    assert begins_anew(kernel, lambda: sent_and_seen(ns, "guest-far", GUEST))


def test_frames_to_the_guest_do_not(ns: Namespace, kernel: Kernel) -> None:
    assert not begins_anew(kernel, lambda: sent_and_seen(ns, "up0-far", OTHER, GUEST))


def test_frames_on_another_port_that_does_not_learn_do_not(ns: Namespace, kernel: Kernel) -> None:
    ns.add_cable("second")
    ns.bridge("link set dev second learning off")
    assert not begins_anew(kernel, lambda: sent_and_seen(ns, "second-far", GUEST))


@pytest.mark.parametrize("words", ["static sticky", "static"])
def test_putting_the_entry_does_too_and_is_told(ns: Namespace, kernel: Kernel, words: str) -> None:
    """Even as it is: bridge(8) and macmgr say NUD_REACHABLE as well, which is no state that an entry reads back as."""
    events = EventSocket(ns.name)
    assert begins_anew(kernel, lambda: ns.bridge(f"fdb replace {GUEST} dev guest master {words}"))
    assert GUEST in macs(events)
    events.close()


def test_what_is_seen_elsewhere_is_not_told(ns: Namespace, kernel: Kernel) -> None:
    """So an age that begins anew without an event was no put."""
    events = EventSocket(ns.name)
    assert begins_anew(kernel, lambda: sent_and_seen(ns, "up0-far", GUEST))
    told = macs(events)
    assert MARK in told
    assert GUEST not in told
    events.close()


def macs(events: EventSocket) -> set[str]:
    return {event.mac for event in events.read() if isinstance(event, EntryEvent)}


def test_what_is_not_there_has_no_age(kernel: Kernel) -> None:
    keys = [("br0", GUEST, 0), ("br0", OTHER, 0), ("br9", GUEST, 0)]
    found = kernel.ages(keys, kernel.read_snapshot())
    assert list(found) == keys
    assert found["br0", GUEST, 0] is not None
    assert found["br0", OTHER, 0] is None
    assert found["br9", GUEST, 0] is None
    assert kernel.ages([], kernel.read_snapshot()) == {}


@pytest.mark.full_kernel
def test_a_frame_is_seen_in_its_own_vlan_only(ns: Namespace, kernel: Kernel) -> None:
    require("bridge VLAN filtering", ns.accepts("link set br0 type bridge vlan_filtering 1"))
    ns.bridge("vlan add dev guest vid 10")
    ns.bridge(f"fdb replace {GUEST} dev guest vlan 10 master static sticky")
    for vid, seen in ((1, True), (0, False), (10, False)):
        assert begins_anew(kernel, lambda: sent_and_seen(ns, "up0-far", GUEST), vid) == seen
