"""Where a control plane puts addresses, the daemon puts the entries of guests again, unchanged, and nowhere else."""

from __future__ import annotations

import select
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.kernel.events import EventSocket
from macmgr.model.kernelevents import EntryEvent
from tests.netns.conftest import LONG, Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

pytestmark = pytest.mark.full_kernel


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """br0 and br1; br0 has a tunnel that does not learn. A guest on each."""
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED + MANAGED.replace("br0", "br1"))
        require("vxlan", ns.accepts("link add vx10 type vxlan id 10 dstport 4789 nolearning"))
        ns.ip("link set vx10 master br0")
        ns.ip("link set vx10 up")
        ns.add_bridge("br1")
        made.guest(1)
        ns.add_tap("vnet2", "br1")
        made.status_file("g2", "vnet2", mac_of(2), bridge="br1")
        yield made


def told(events: EventSocket, until: int) -> Counter[tuple[str, bool, bool]]:
    """How often each MAC was told to be static where it is, until one was so often."""
    counted: Counter[tuple[str, bool, bool]] = Counter()
    while max(counted.values(), default=0) < until:
        assert select.select([events], [], [], LONG)[0], f"no more was told than {counted}"
        for event in events.read():
            if isinstance(event, EntryEvent) and event.mac in (mac_of(1), mac_of(2)):
                counted[event.mac, event.sticky, event.gone] += 1
    return counted


def test_an_entry_is_put_again_and_again_and_stays_as_it_is(host: House) -> None:
    with host.daemon():
        eventually(lambda: len(host.ns.fdb()) > 0 and host.ns.port_of(mac_of(2)) == "vnet2", "both are managed")
        before = host.ns.fdb()
        events = EventSocket(host.ns.name)
        repairs = host.status()["repairs"]["count"]
        counted = told(events, 3)
        events.close()
        assert set(counted) == {(mac_of(1), False, False)}
        assert host.ns.fdb() == before
        assert host.audit() == set()
        assert host.status()["repairs"]["count"] == repairs


def test_a_bridge_that_is_only_observed_is_left_alone(host: House) -> None:
    """br1 is managed and has a tunnel as well: its guest's entry is put again, when that of br0 would be, too."""
    host.ns.ip("link add vx11 type vxlan id 11 dstport 4790 nolearning", "link set vx11 master br1 up")
    host.macmgr("apply")
    host.config.write_text(host.config.read_text().replace("[bridge.br0]", "[bridge.br0]\nmode = 'observe'"))
    events = EventSocket(host.ns.name)
    with host.daemon():
        assert set(told(events, 3)) == {(mac_of(2), False, False)}
    events.close()
