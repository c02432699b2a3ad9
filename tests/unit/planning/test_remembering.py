"""What is remembered of ports and MACs, when it is about something else by now, and when it is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, PortlessNic
from macmgr.model.known import NOTHING, Held, Known, Memory, PortBefore
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.planner import plan
from macmgr.planning.remembering import gone_macs, remember, what_is_left
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC = "52:54:00:00:00:01"
TAP_MAC = "fe:54:00:00:00:01"
LOCK = WriterLock()
GUEST = GuestPort("vnet0", "br0", "web1", "u1", (MAC,), policy=Policy(Manager.LIBVIRT))
INTENT = Intent((GUEST,), {"br0": "a test says so"})


def host(*entries: Entry, ifindex: int = 7, bridge_ifindex: int = 2) -> Snapshot:
    tap = BridgePort("vnet0", ifindex, "br0", TAP_MAC, vids=(1,), pvid=1)
    uplink = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", vids=(1,), pvid=1)
    return make_snapshot([Bridge("br0", bridge_ifindex, "02:00:00:00:00:02", True)], [tap, uplink], entries)


def changes(intent: Intent, snapshot: Snapshot) -> Memory:
    return remember(NOTHING, intent, snapshot, plan(intent, snapshot).changes)


def test_a_port_is_remembered_as_it_was_before_the_first_change() -> None:
    snapshot = host(Entry(MAC, 0, "vnet0"), Entry(MAC, 1, "vnet0"), Entry("02:00:00:00:00:99", 1, "vnet0", sticky=True))
    assert changes(INTENT, snapshot).ports == (
        PortBefore(
            *("vnet0", 7, TAP_MAC, "br0", 2, "web1", "u1"),
            PortFlags(),
            (Held("02:00:00:00:00:99", True, (1,)), Held(MAC, False, (0, 1))),
        ),
    )


def test_the_first_memory_stays() -> None:
    kernel = FakeKernel(host())
    first = changes(INTENT, kernel.read_snapshot())
    apply(LOCK, lambda: INTENT, kernel, notes=Notebook())
    kernel.set_flags("vnet0", PortFlags(True, False, False))
    again = kernel.read_snapshot()
    assert remember(first, INTENT, again, plan(INTENT, again).changes) == first


@pytest.mark.parametrize(
    "then",
    [host(ifindex=8), host(bridge_ifindex=9), Snapshot({"br0": Bridge("br0", 2, "02:00:00:00:00:02")})],
    ids=["a tap made again", "a bridge made again", "no tap"],
)
def test_another_interface_under_the_name_is_not_the_old_one(then: Snapshot) -> None:
    assert what_is_left(changes(INTENT, host()), INTENT, then).ports == ()


def test_a_tap_on_another_bridge_is_not_the_old_one() -> None:
    moved = host()
    tap = replace(moved.ports["vnet0"], bridge="br1")
    bridges = {**moved.bridges, "br1": Bridge("br1", 4, "02:00:00:00:00:04")}
    then = replace(moved, bridges=bridges, ports={**moved.ports, "vnet0": tap})
    assert what_is_left(changes(INTENT, host()), INTENT, then).ports == ()


def test_another_guest_on_the_tap_is_not_the_old_one() -> None:
    other = Intent((replace(GUEST, uuid="u2"),), INTENT.managed_bridges)
    assert what_is_left(changes(INTENT, host()), other, host()).ports == ()


# Guests that have left

STALE = Entry(MAC, 1, "eth0")


def gone(*entries: Entry) -> Snapshot:
    snapshot = host(*entries)
    ports = {"eth0": snapshot.ports["eth0"]}
    own = tuple(entry for entry in snapshot.entries if entry.port != "vnet0")
    return replace(snapshot, ports=ports, masters={"br0": None, "eth0": "br0"}, entries=own)


def test_what_a_guest_left_behind_is_stale_for_a_later_audit() -> None:
    kept = changes(INTENT, host())
    nobody = Intent((), INTENT.managed_bridges)
    assert gone_macs(kept, nobody, gone(STALE)) == {("br0", MAC): "web1"}
    found = plan(nobody, gone(STALE), Known(kept)).findings
    assert [finding.code for finding in found if finding.mac] == [Code.STALE_ENTRY]


def test_it_is_forgotten_when_no_entry_is_left() -> None:
    kept = changes(INTENT, host())
    nobody = Intent((), INTENT.managed_bridges)
    assert what_is_left(kept, nobody, gone(STALE)).macs == kept.macs
    assert what_is_left(kept, nobody, gone()).macs == ()


def test_in_a_long_table_it_is_forgotten_when_it_was_asked_for_in_each_vid() -> None:
    kept, nobody = changes(INTENT, host()), Intent((), INTENT.managed_bridges)
    unread = replace(gone(), listed=frozenset())
    assert what_is_left(kept, nobody, unread).macs == ()
    trunk = replace(unread.ports["eth0"], vids=tuple(range(1, 4095)))
    assert what_is_left(kept, nobody, replace(unread, ports={"eth0": trunk})).macs == kept.macs


HERE_ALL_THE_SAME = {
    "its XML cannot be read": (Intent(findings=(Finding(Code.UNREADABLE_XML, "…", domain="web1"),)), gone(STALE)),
    "it has other NICs": (Intent(portless=(PortlessNic("web1", "02:00:00:00:00:11", "user", "…"),)), gone(STALE)),
    "another guest has its MAC": (Intent((replace(GUEST, port="vnet5", domain="web2"),)), gone(STALE)),
    "its tap is there: other status files were read": (Intent(), host(STALE)),
}


@pytest.mark.parametrize(("intent", "snapshot"), HERE_ALL_THE_SAME.values(), ids=HERE_ALL_THE_SAME)
def test_a_guest_that_may_be_here_has_not_left(intent: Intent, snapshot: Snapshot) -> None:
    assert gone_macs(changes(INTENT, host()), intent, snapshot) == {}


def test_a_guest_that_started_anew_is_remembered_once() -> None:
    first = changes(INTENT, host())
    again = host(ifindex=8)
    second = remember(first, INTENT, again, plan(INTENT, again).changes)
    assert [each.ifindex for each in second.macs] == [8]


def test_a_learned_entry_is_no_reason_to_remember() -> None:
    learned = Entry(MAC, 1, "eth0", EntryState.DYNAMIC)
    assert what_is_left(changes(INTENT, host()), Intent(), gone(learned)).macs == ()


@pytest.mark.parametrize("libvirts", [False, True])
def test_what_is_there_is_no_state_of_before_where_the_memory_is_lost(libvirts: bool) -> None:
    """The port is closed, and its entry sticky: that may be macmgr's own work. libvirt's own NICs it closes itself."""
    intent = replace(INTENT, ports=(replace(GUEST, entry_comes=libvirts),))
    kernel = FakeKernel(host(Entry(MAC, 1, "vnet0", EntryState.STATIC, sticky=True)))
    there = PortFlags(True, False, False)
    kernel.set_flags("vnet0", there)
    snapshot = kernel.read_snapshot()
    default = PortFlags(not libvirts, not libvirts, False)
    for memory, flags, held in (
        (NOTHING, there, True),
        (Memory(lost=True), default, False),
        (Memory(lost=True, released=(("vnet0", 7),)), there, True),
    ):
        kept = remember(memory, intent, snapshot, plan(intent, snapshot).changes)
        (before,) = kept.ports
        assert (before.flags, bool(before.held), kept.lost) == (flags, held, memory.lost)
