"""What a guest is allowed costs each look in proportion: counted in comparisons of addresses, not by the clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Policy
from macmgr.model.mac import Patterns, matches
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.reconcile import look
from tests.fake_kernel import FakeKernel


class Mac(str):
    """An address that counts how often it is compared, or asked for its beginning."""

    __slots__ = ()
    compared = 0

    def __eq__(self, other: object) -> bool:
        Mac.compared += 1
        return str.__eq__(self, other)

    __hash__ = str.__hash__

    def startswith(self, *words: Any) -> bool:
        Mac.compared += 1
        return str.startswith(self, *words)


@contextmanager
def counted() -> Iterator[list[int]]:
    found = [0]
    before = Mac.compared
    yield found
    found[0] = Mac.compared - before


def comparisons(allowed: int) -> int:
    """Of a look at a guest that is allowed so many addresses, when all is in sync."""
    macs = [Mac(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}") for number in range(allowed)]
    own = "52:54:00:00:00:01"
    port = BridgePort("vnet1", 11, "br0", "fe:00:00:00:00:01", PortFlags(False, False))
    policy = Policy(Manager.LIBVIRT, allow=(*macs, "06:00:*", "0a:*"))
    guest = GuestPort("vnet1", "br0", "g1", "u1", (own, *macs), policy=policy, facts=NicFacts(configured_mac=own))
    entries = tuple(Entry(mac, 0, "vnet1", EntryState.STATIC, True) for mac in (own, *map(_again, macs)))
    bridge = Bridge("br0", 1, "02:b0:00:00:00:01")
    kernel = FakeKernel(Snapshot({"br0": bridge}, {"vnet1": port}, {"vnet1": "br0"}, entries))
    with counted() as found:
        view = look(lambda: Intent((guest,), {"br0": "the test"}), kernel)
    assert not view.plan.changes
    return found[0]


def _again(mac: Mac) -> Mac:
    """As the kernel says it: equal, and not the same object."""
    return Mac(mac[:])


def test_twice_as_many_addresses_are_twice_the_work() -> None:
    few, many = comparisons(250), comparisons(500)
    assert many <= 2.5 * few + 500


octets = st.integers(0, 3).map(lambda value: f"{value:02x}")
macs = st.lists(octets, min_size=6, max_size=6).map(":".join)
prefixes = st.lists(octets, min_size=1, max_size=5).map(lambda parts: ":".join([*parts, "*"]))


@given(st.lists(macs | prefixes, max_size=6), macs)
def test_patterns_match_as_each_of_them_does(patterns: list[str], mac: str) -> None:
    assert Patterns(patterns).matches(mac) is any(matches(pattern, mac) for pattern in patterns)
