"""What the real kernel tells of each kind of change, and what is left when it told more than fits."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator
from itertools import chain, repeat

import pytest

from macmgr.errors import NotThere
from macmgr.kernel import events as module
from macmgr.kernel.events import EventSocket
from macmgr.model.kernelevents import LOST, EntryEvent, Event, VlanEvent
from macmgr.model.relay import PortState
from macmgr.model.snapshot import EntryState
from tests.netns.conftest import Namespace, eventually, require
from tests.netns.hearing import heard, links

pytestmark = pytest.mark.full_kernel

GUEST = "52:54:00:00:00:01"


@pytest.fixture
def events(ns: Namespace) -> Iterator[EventSocket]:
    """A bridge with the tap tap1, and nothing told so far."""
    ns.add_bridge()
    ns.add_tap("tap1")
    opened = EventSocket(ns.name)
    yield opened
    opened.close()


@pytest.fixture
def told(ns: Namespace, events: EventSocket) -> Callable[[str], list[Event]]:
    """What a command causes."""

    def after(line: str) -> list[Event]:
        heard(ns, events)
        tool, _, words = line.partition(" ")
        (ns.ip if tool == "ip" else ns.bridge)(words)
        return heard(ns, events)

    return after


def drained(events: EventSocket) -> None:
    """Until it is silent: a port without carrier is told up to a second after it was made."""
    while select.select([events], [], [], 0.2)[0]:
        events.read()


def entries(read: list[Event]) -> list[EntryEvent]:
    return [event for event in read if isinstance(event, EntryEvent) and event.mac == GUEST and event.vid == 0]


def index(ns: Namespace, name: str) -> int:
    return int(ns.links()[name]["ifindex"])


def test_nothing_happened_is_nothing_read(events: EventSocket) -> None:
    drained(events)
    assert events.read() == []


def test_a_port_flag_comes_in_the_bridges_message(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    event = links(told("bridge link set dev tap1 learning off flood off"), "tap1", bridge_message=True)[-1]
    assert (event.ifindex, event.name, event.master) == (index(ns, "tap1"), "tap1", index(ns, "br0"))
    assert (event.gone, event.up, event.bridge_message) == (False, True, True)
    assert event.flags is not None
    assert (event.flags.learning, event.flags.unicast_flood) == (False, False)


def test_a_ports_state_and_its_carrier(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    ns.add_cable("eth1")
    ns.settle()
    listening = links(told("bridge link set dev eth1 state 1"), "eth1", bridge_message=True)[-1]
    assert listening.relay is not None
    assert listening.relay.state is PortState.LISTENING
    told("bridge link set dev eth1 state 3")
    for bridge_message in (True, False):
        down = links(told("ip link set eth1 down"), "eth1", bridge_message)[-1]
        assert down.relay is not None
        assert (down.relay.carrier, down.up) == (False, False)
        if bridge_message:  # the other comes before the bridge has heard of it (dev_close_many)
            assert down.relay.state is PortState.DISABLED
        told("ip link set eth1 up")


def test_a_flag_that_is_as_it_was_is_told_too(told: Callable[[str], list[Event]]) -> None:
    told("bridge link set dev tap1 learning off")
    assert links(told("bridge link set dev tap1 learning off"), "tap1", bridge_message=True)


def test_flags_set_through_the_interface_come_in_both_messages(told: Callable[[str], list[Event]]) -> None:
    read = told("ip link set tap1 type bridge_slave learning off")
    for bridge_message in (True, False):
        event = links(read, "tap1", bridge_message)[-1]
        assert event.flags is not None
        assert not event.flags.learning


def test_a_port_that_leaves_and_comes_back(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    ns.bridge(f"fdb add {GUEST} dev tap1 master static sticky")
    left = told("ip link set tap1 nomaster")
    last = links(left, "tap1", bridge_message=True)[-1]
    assert (last.gone, last.master, last.flags, last.vids) == (True, index(ns, "br0"), None, None)
    last = links(left, "tap1", bridge_message=False)[-1]
    assert (last.gone, last.master, last.flags) == (False, None, None)
    assert [event.gone for event in entries(left)] == [True]
    back = told("ip link set tap1 master br0")
    for bridge_message in (True, False):
        last = links(back, "tap1", bridge_message)[-1]
        assert (last.gone, last.master) == (False, index(ns, "br0"))
        assert last.flags is not None
        assert last.flags.learning


def test_a_tap_that_is_deleted_is_told_twice(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    """Once as a port and once as an interface."""
    ifindex = index(ns, "tap1")
    read = told("ip link del tap1")
    assert [event.ifindex for event in links(read, "tap1", bridge_message=True) if event.gone] == [ifindex]
    last = links(read, "tap1", bridge_message=False)[-1]
    assert (last.ifindex, last.gone, last.master) == (ifindex, True, None)


def test_a_tap_that_is_new(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    (event,) = links(told("ip tuntap add tap2 mode tap"), "tap2", bridge_message=False)
    assert (event.ifindex, event.gone, event.master, event.kind) == (index(ns, "tap2"), False, None, "tun")
    assert (event.up, event.flags, event.vlan_filtering, event.vids) == (False, None, None, None)


def test_a_new_name_comes_with_the_old_ifindex(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    ns.ip("link set tap1 down")
    ifindex = index(ns, "tap1")
    read = told("ip link set tap1 name tap9")
    assert [event.ifindex for event in links(read, "tap9", bridge_message=False)] == [ifindex]


def test_a_bridge_that_is_deleted(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    ifindex = index(ns, "br0")
    last = links(told("ip link del br0"), "br0", bridge_message=False)[-1]
    assert (last.ifindex, last.gone, last.kind, last.vlan_filtering) == (ifindex, True, "bridge", False)


@pytest.mark.parametrize(
    ("words", "state", "sticky", "extern_learn"),
    [
        ("static", EntryState.STATIC, False, False),
        ("static sticky", EntryState.STATIC, True, False),
        ("permanent", EntryState.LOCAL, False, False),
        ("static extern_learn", EntryState.DYNAMIC, False, True),
    ],
)
def test_entries(
    ns: Namespace,
    told: Callable[[str], list[Event]],
    words: str,
    state: EntryState,
    sticky: bool,
    extern_learn: bool,
) -> None:
    (event,) = entries(told(f"bridge fdb add {GUEST} dev tap1 master {words}"))
    wanted = EntryEvent(index(ns, "tap1"), index(ns, "br0"), GUEST, 0, False, state, sticky, extern_learn)
    assert event == wanted
    assert entries(told(f"bridge fdb del {GUEST} dev tap1 master")) == [wanted._replace(gone=True)]


def test_an_entry_that_moves_is_told_once_with_its_new_port(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    ns.add_tap("tap2")
    ns.bridge(f"fdb add {GUEST} dev tap1 master static sticky")
    (event,) = entries(told(f"bridge fdb replace {GUEST} dev tap2 master static"))
    assert (event.ifindex, event.gone, event.sticky) == (index(ns, "tap2"), False, False)


def test_a_learned_entry(ns: Namespace, events: EventSocket) -> None:
    ns.add_cable("eth1")
    drained(events)
    ns.send_frame("eth1-far", GUEST)
    read: list[Event] = []

    def learned() -> bool:
        read.extend(events.read())
        return bool(entries(read))

    eventually(learned, "the learned address is told")
    (event,) = entries(read)
    assert (event.ifindex, event.state) == (index(ns, "eth1"), EntryState.DYNAMIC)


def test_a_devices_own_list_and_ip_neighbours_are_left_out(ns: Namespace, told: Callable[[str], list[Event]]) -> None:
    assert entries(told(f"bridge fdb add {GUEST} dev tap1 self")) == []
    assert entries(told(f"ip neigh add 192.0.2.1 lladdr {GUEST} dev br0")) == []


def test_vids_and_vlan_filtering(ns: Namespace, events: EventSocket, told: Callable[[str], list[Event]]) -> None:
    ns.ip("link del br0")
    require("bridge VLAN filtering", ns.accepts("link add br0 type bridge vlan_filtering 1"))
    ns.ip("link set br0 up")
    ns.ip("link set tap1 master br0")
    vids = [event.vids for event in links(told("bridge vlan add dev tap1 vid 10-12"), "tap1", bridge_message=True)]
    assert vids[-1] == (1, 10, 11, 12)
    vids = [event.vids for event in links(told("bridge vlan del dev tap1 vid 1"), "tap1", bridge_message=True)]
    assert vids[-1] == (10, 11, 12)
    vids = [event.vids for event in links(told("bridge vlan del dev tap1 vid 10-12"), "tap1", bridge_message=True)]
    assert vids[-1] == ()
    own = links(told("bridge vlan add dev br0 vid 20 self"), "br0", bridge_message=True)
    assert [(event.master, event.flags, event.vids) for event in own] == [(None, None, (1, 20))]
    last = links(told("ip link set br0 type bridge vlan_filtering 0"), "br0", bridge_message=False)[-1]
    assert (last.kind, last.vlan_filtering) == ("bridge", False)


def test_the_group_of_vids(ns: Namespace, events: EventSocket, told: Callable[[str], list[Event]]) -> None:
    """What the default PVID does to ports is told there; that the former one goes, Linux 6.1 forgets to say."""
    ns.ip("link del br0")
    require("bridge VLAN filtering", ns.accepts("link add br0 type bridge vlan_filtering 1"))
    ns.ip("link set br0 up")
    ns.ip("link set tap1 master br0")
    br0, tap1 = index(ns, "br0"), index(ns, "tap1")

    def vids_in(read: list[Event]) -> set[tuple[int, int, bool]]:
        """Which has got, or lost, which VID; a kernel may tell a range as one, or one by one."""
        ours = [each for each in vlans(read) if each.ifindex in (br0, tap1)]  # the mark has VIDs too
        return {(each.ifindex, vid, each.gone) for each in ours for vid in range(each.first, each.last + 1)}

    assert vids_in(told("bridge vlan add dev tap1 vid 10-12")) == {(tap1, vid, False) for vid in (10, 11, 12)}
    assert vids_in(told("bridge vlan del dev tap1 vid 11")) == {(tap1, 11, True)}
    assert vids_in(told("bridge vlan add dev br0 vid 20 self")) == {(br0, 20, False)}
    read = told("ip link set br0 type bridge vlan_default_pvid 100")
    came = {(port, 100, False) for port in (br0, tap1)}
    assert came <= vids_in(read) <= came | {(port, 1, True) for port in (br0, tap1)}
    assert all(each.pvid for each in vlans(read) if not each.gone)
    assert links(read, "tap1", bridge_message=True) == []
    assert links(read, "br0", bridge_message=False)[-1].default_pvid == 100


def vlans(read: list[Event]) -> list[VlanEvent]:
    return [event for event in read if isinstance(event, VlanEvent)]


def test_an_overflow_is_told_once_and_everything_after_it_is_heard(ns: Namespace, events: EventSocket) -> None:
    """The kernel drops all until the queue is empty, also what would fit again: so the queue is empty after LOST."""
    drained(events)
    with socket.socket(fileno=os.dup(events.fileno())) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    for number in range(30):
        ns.bridge(f"fdb replace 02:00:00:00:01:{number:02x} dev tap1 master static")
    assert events.read() == [LOST]
    ns.bridge(f"fdb replace {GUEST} dev tap1 master static sticky")
    assert [event.sticky for event in entries(events.read())] == [True]


def test_a_call_reads_a_bounded_number(ns: Namespace, events: EventSocket, monkeypatch: pytest.MonkeyPatch) -> None:
    drained(events)
    monkeypatch.setattr(module, "_AT_ONCE", 2)
    for number in range(3):
        ns.bridge(f"fdb replace 02:00:00:00:01:{number:02x} dev tap1 master static")
    assert len(events.read()) == 2
    assert events.read()


def test_bytes_that_make_no_sense_are_lost_events(
    ns: Namespace, events: EventSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the datagrams behind them are read all the same."""
    drained(events)
    whole = module.decode_events
    said = chain([lambda data: whole(data[:-3])], repeat(whole))
    monkeypatch.setattr(module, "decode_events", lambda data: next(said)(data))
    ns.bridge(f"fdb replace {GUEST} dev tap1 master static")
    ns.bridge(f"fdb replace {GUEST} dev tap1 master static sticky")
    lost, *_, event = events.read()
    assert lost is LOST
    assert isinstance(event, EntryEvent)
    assert event.sticky


def test_another_namespace_is_not_heard(twin: Namespace, events: EventSocket) -> None:
    twin.add_bridge("br9")
    read = events.read()  # a busy kernel may still tell of what this namespace is made of
    assert links(read, "br9", bridge_message=False) == []


def test_a_namespace_that_is_not_there(ns: Namespace) -> None:
    with pytest.raises(NotThere, match="does not exist"):
        EventSocket(ns.name + "-not")
