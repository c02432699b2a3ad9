"""What requests make of a snapshot; tests/netns/test_forwarding.py proves it on the kernel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.forwarding.requested import refuses, requested
from macmgr.model.changes import AddVids, DeleteEntry, DeleteVids, FlushEntries, Request, SetFlags
from macmgr.model.flags import PortFlags
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
CLOSED = PortFlags(learning=False, unicast_flood=False)
PORT = BridgePort("vnet1", 3, "br0", "fe:54:00:00:00:01", vids=(1, 42))


def start(*entries: Entry, port: BridgePort = PORT) -> Snapshot:
    eth0 = BridgePort("eth0", 2, "br0", "02:00:00:00:00:10", vids=(1,))
    bridges = {"br0": Bridge("br0", 1, "02:b0:00:00:00:01", True)}
    return Snapshot(bridges, {"eth0": eth0, "vnet1": port}, entries=entries)


def entries(*asked: Request, there: tuple[Entry, ...] = (), port: BridgePort = PORT) -> set[Entry]:
    return {*requested(start(*there, port=port), asked).entries}


def test_a_put_is_for_one_vid_or_for_vid_0_and_all_of_the_ports() -> None:
    assert entries(Entry(MAC, 42, "vnet1")) == {Entry(MAC, 42, "vnet1")}
    assert entries(Entry(MAC, 0, "vnet1")) == {Entry(MAC, vid, "vnet1") for vid in (0, 1, 42)}


def test_a_put_moves_an_entry_and_says_anew_whether_it_is_sticky() -> None:
    there = (Entry(MAC, 1, "eth0", EntryState.LOCAL), Entry(OTHER, 1, "eth0", sticky=True, extern_learn=True))
    assert entries(Entry(MAC, 1, "vnet1"), Entry(OTHER, 1, "vnet1"), there=there) == {
        Entry(MAC, 1, "vnet1"),
        Entry(OTHER, 1, "vnet1", extern_learn=True),
    }


def test_a_put_of_a_control_plane_leaves_state_and_sticky() -> None:
    asked = Entry(MAC, 1, "vnet1", extern_learn=True)
    there = Entry(MAC, 1, "eth0", sticky=True)
    assert entries(asked, there=(there,)) == {there._replace(port="vnet1", extern_learn=True)}
    assert entries(asked) == {Entry(MAC, 1, "vnet1", EntryState.DYNAMIC, extern_learn=True)}


def test_a_deletion_takes_what_is_on_the_port() -> None:
    there = (Entry(MAC, 0, "vnet1"), Entry(MAC, 1, "eth0"), Entry(MAC, 42, "vnet1"), Entry(OTHER, 0, "vnet1"))
    assert entries(DeleteEntry("vnet1", MAC, None), there=there) == {there[1], there[3]}
    assert entries(DeleteEntry("vnet1", MAC, 42), there=there) == {*there[:2], there[3]}


def test_a_flush_takes_the_static_entries_of_a_port_and_vid() -> None:
    there = (
        Entry(MAC, 7, "vnet1"),
        Entry(OTHER, 7, "vnet1", EntryState.DYNAMIC),
        Entry("02:00:00:00:00:03", 7, "vnet1", EntryState.LOCAL),
        Entry("02:00:00:00:00:04", 7, "vnet1", extern_learn=True),
        Entry("02:00:00:00:00:05", 7, "eth0"),
    )
    assert entries(FlushEntries("vnet1", 7), there=there) == {*there[1:]}


def test_only_the_flags_named_are_set_and_unknown_ones_are_ignored() -> None:
    old = replace(PORT, flags=PortFlags(locked=None))
    after = requested(start(port=old), [SetFlags("vnet1", PortFlags(), replace(CLOSED, locked=True))])
    assert after.ports["vnet1"].flags == replace(CLOSED, locked=None)


BLOCKED = replace(PORT, relay=PortRelay(PortState.BLOCKING))
MAB = replace(PORT, flags=PortFlags(locked=True), relay=PortRelay(mab=True))


@pytest.mark.parametrize(
    ("request_", "port"),
    [
        (Entry(MAC, 7, "vnet1"), PORT),
        (DeleteEntry("vnet1", MAC, 7), PORT),
        (Entry(MAC, 1, "vnet1", EntryState.DYNAMIC), BLOCKED),
        (SetFlags("vnet1", PortFlags(locked=True), replace(CLOSED, locked=True)), MAB),
        (SetFlags("vnet1", PortFlags(locked=True), PortFlags()), MAB),
    ],
)
def test_what_the_kernel_refuses_changes_nothing(request_: Request, port: BridgePort) -> None:
    there = start(Entry(MAC, 7, "vnet1"), port=port)
    assert refuses(request_, port, port.vids)
    assert requested(there, [request_]) == there


def test_a_request_for_a_port_that_is_gone_changes_nothing() -> None:
    assert entries(Entry(MAC, 0, "vnet9")) == set()


def test_vids_come_and_go_with_what_is_learned_there_and_the_ports_own_address() -> None:
    own = PORT.mac
    there = (
        Entry(MAC, 1, "vnet1", EntryState.DYNAMIC),
        Entry(OTHER, 1, "vnet1", sticky=True),
        Entry(own, 1, "vnet1", EntryState.LOCAL),
        Entry(MAC, 42, "vnet1", EntryState.DYNAMIC),
    )
    moved = requested(start(*there), [DeleteVids("vnet1", 1, 1), AddVids("vnet1", 50, 52, untagged=True)])
    assert (moved.ports["vnet1"].vids, moved.ports["vnet1"].untagged) == ((42, 50, 51, 52), (50, 51, 52))
    added = {Entry(own, vid, "vnet1", EntryState.LOCAL) for vid in (50, 51, 52)}
    assert {*moved.entries} == {there[1], there[3], *added}, "a static entry stays behind, and leads nowhere"
    put = requested(moved, [Entry(MAC, 50, "vnet1"), Entry(MAC, 1, "vnet1")])
    assert {*put.entries} - {*moved.entries} == {Entry(MAC, 50, "vnet1")}, "what it carries is known at once"


def test_a_port_has_one_pvid() -> None:
    first = requested(start(), [AddVids("vnet1", 42, 42, pvid=True, untagged=True)]).ports["vnet1"]
    assert (first.pvid, first.untagged) == (42, (42,))
    second = requested(start(port=first), [AddVids("vnet1", 1, 1, pvid=True)]).ports["vnet1"]
    assert (second.pvid, second.untagged) == (1, (42,))
    plain = requested(start(port=second), [AddVids("vnet1", 1, 42)]).ports["vnet1"]
    assert (plain.pvid, plain.untagged, len(plain.vids)) == (None, (), 42)
    assert requested(start(port=first), [DeleteVids("vnet1", 2, 4094)]).ports["vnet1"].pvid is None
