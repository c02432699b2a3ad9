"""On the real kernel: what macmgr does itself is no news to it, and what anybody else does to its ports is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from macmgr.kernel import Kernel
from macmgr.kernel.events import EventSocket
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.kernelevents import EntryEvent
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from macmgr.watch.eventfilter import LastView
from tests.netns.conftest import Namespace, eventually, require
from tests.netns.hearing import heard
from tests.notebook import Notebook

G1, G2, DEPARTED, STRANGER = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:dd", "02:00:00:00:00:99"
LOCK = WriterLock()


def guest(port: str, mac: str, running: bool = True) -> GuestPort:
    return GuestPort(port, "br0", f"of-{port}", "uuid", (mac,), running=running, policy=Policy(manager=Manager.LIBVIRT))


INTENT = Intent(
    (guest("tap1", G1), guest("tap2", G2), guest("coming", "52:54:00:00:00:03")),
    {"br0": "a test says so"},
    gone_domains=("gone",),
    gone_ports=(guest("tap0", DEPARTED),),
)


@dataclass
class Host:
    """A bridge with an uplink, two guests' taps and one that is nobody's, after an apply."""

    ns: Namespace
    kernel: Kernel
    events: EventSocket

    def applied(self, wanted: Intent = INTENT) -> LastView:
        return LastView(apply(LOCK, lambda: wanted, self.kernel, notes=Notebook()).view)

    def news(self, view: LastView) -> list[str]:
        """Of each event by itself: what the daemon sees that is not busy."""
        return [words for event in heard(self.ns, self.events) if (words := view.news_in(event))]


@pytest.fixture
def host(ns: Namespace) -> Iterator[Host]:
    ns.add_bridge()
    ns.add_cable("up0")
    for name in ("tap1", "tap2", "plain"):
        ns.add_tap(name)
    ns.settle()  # a port whose bridge hears late that it has no carrier would be news
    events = EventSocket(ns.name)
    with Kernel(ns.name) as kernel:
        yield Host(ns, kernel, events)
    events.close()


def test_what_an_apply_wrote_is_no_news(host: Host) -> None:
    view = host.applied()
    read = heard(host.ns, host.events)
    assert {event.mac for event in read if isinstance(event, EntryEvent)} >= {G1, G2}
    assert view.news_among(read) == []
    assert [words for event in read if (words := view.news_in(event))] == []


def test_drift_and_its_repair_are_no_news_after_the_repair(host: Host) -> None:
    host.applied()
    host.ns.bridge("link set dev tap1 learning on flood on")
    host.ns.ip("link set tap2 type bridge_slave learning on")
    host.ns.bridge(f"fdb del {G2} dev tap2 master")
    host.ns.bridge(f"fdb replace {G1} dev up0 master static")
    host.ns.bridge(f"fdb add {STRANGER} dev tap1 master static")
    host.ns.bridge(f"fdb add {DEPARTED} dev up0 master static")
    view = host.applied()
    assert view.news_among(heard(host.ns, host.events)) == []


def test_a_port_that_left_and_is_back_is_no_news_after_the_repair(host: Host) -> None:
    host.applied()
    host.ns.ip("link set tap1 nomaster")
    host.ns.ip("link set tap1 master br0")
    view = host.applied()
    assert view.news_among(heard(host.ns, host.events)) == []


DRIFT = {
    "bridge link set dev tap1 learning on": "tap1: learning is on",
    "bridge link set dev tap1 flood on": "tap1: unicast flood is on",
    "ip link set tap1 type bridge_slave learning on": "tap1: learning is on",
    "bridge link set dev up0 learning off": "up0: learning is off",
    f"bridge fdb del {G1} dev tap1 master": f"the entry of {G1} on tap1 is gone",
    f"bridge fdb replace {G1} dev up0 master static": f"the entry of {G1} moved to up0",
    f"bridge fdb replace {G1} dev tap1 master static": f"the entry of {G1} on tap1 is static",
    f"bridge fdb replace {G1} dev tap1 master permanent": f"the entry of {G1} on tap1 is permanent",
    f"bridge fdb add {STRANGER} dev tap1 master static": f"the entry of {STRANGER} appeared on tap1 (static)",
    f"bridge fdb add {DEPARTED} dev up0 master static": f"the entry of {DEPARTED} appeared on up0 (static)",
    "ip link set tap1 nomaster": "tap1 left br0",
    "ip link del tap1": "tap1 left br0",
    "ip link set up0 nomaster": "up0 left br0",
    "ip tuntap add coming mode tap": "coming appeared",
    "ip link add new master br0 type veth peer name new-far": "new joined br0",
    "ip link del br0": "br0 is gone",
}


def test_an_entry_that_was_moved_and_is_then_deleted_is_news(host: Host) -> None:
    """Both in one reading, as while a round runs: the port is closed, so the guest is cut off until somebody looks."""
    view = host.applied()
    heard(host.ns, host.events)
    host.ns.bridge(f"fdb replace {G1} dev up0 master static")
    host.ns.bridge(f"fdb del {G1} dev up0 master")
    assert f"the entry of {G1} on up0 is gone" in view.news_among(heard(host.ns, host.events))


@pytest.mark.parametrize(("command", "words"), DRIFT.items(), ids=DRIFT.keys())
def test_drift_is_news(host: Host, command: str, words: str) -> None:
    view = host.applied()
    assert host.news(view) == []
    carry_out(host.ns, command)
    assert words in host.news(view)


@pytest.mark.parametrize(
    "command",
    [
        "bridge link set dev tap1 learning off",  # as it is
        f"bridge fdb replace {G1} dev tap1 master static sticky",
        f"bridge fdb add {STRANGER} dev up0 master static",
        f"bridge fdb add {STRANGER} dev plain master static",
        f"bridge fdb add {G1} dev tap1 self",
        "ip link set tap1 mtu 1400",
        "ip link set tap1 promisc on",
        "ip tuntap add nobodys mode tap",
        "ip link add br1 type bridge",
    ],
)
def test_what_does_not_concern_a_managed_bridge_is_none(host: Host, command: str) -> None:
    view = host.applied()
    assert host.news(view) == []
    carry_out(host.ns, command)
    assert host.news(view) == []


def test_an_address_learned_on_the_uplink_is_none(host: Host) -> None:
    view = host.applied()
    assert host.news(view) == []
    host.ns.send_frame("up0-far", STRANGER)
    eventually(lambda: host.ns.port_of(STRANGER) == "up0", "the address is learned")
    assert host.news(view) == []


def test_a_bridge_and_its_ports_made_again(host: Host) -> None:
    view = host.applied()
    host.ns.ip("link del br0")
    host.ns.add_bridge()
    host.ns.ip("link set tap1 master br0")
    news = view.news_among(heard(host.ns, host.events))
    assert {"br0 was made again", "tap1 left br0"} <= set(news)


@pytest.mark.full_kernel
def test_vids_and_vlan_filtering(ns: Namespace, host: Host) -> None:
    require("bridge VLAN filtering", ns.accepts("link set br0 type bridge vlan_filtering 1"))
    ns.bridge("vlan add dev tap1 vid 10-12")
    heard(ns, host.events)
    view = host.applied()
    assert host.news(view) == []
    for command, words in (
        ("bridge vlan add dev tap1 vid 20", "the VIDs of tap1 changed"),
        ("bridge vlan del dev up0 vid 1", "the VIDs of up0 changed"),
        ("bridge vlan add dev br0 vid 30 self", "the VIDs of br0 itself changed"),
        ("ip link set br0 type bridge vlan_filtering 0", "VLAN filtering of br0 is off"),
        (f"bridge fdb del {G1} dev tap1 vlan 10 master", f"the entry of {G1} in VID 10 on tap1 is gone"),
    ):
        carry_out(ns, command)
        assert words in host.news(view)
    view = host.applied()
    assert view.news_among(heard(ns, host.events)) == []


def carry_out(ns: Namespace, command: str) -> None:
    tools: dict[str, Callable[[str], None]] = {"ip": ns.ip, "bridge": ns.bridge}
    tool, _, words = command.partition(" ")
    tools[tool](words)
