from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Fdb, Snapshot

A, B = "52:54:00:aa:00:01", "52:54:00:aa:00:02"
ENTRIES = (
    Entry(A, 0, "vnet0", sticky=True),
    Entry(A, 1, "vnet0", sticky=True),
    Entry(B, 1, "eth0", EntryState.DYNAMIC),
    Entry(A, 1, "vnet9"),
    Entry(B, 0, "br1", EntryState.LOCAL),
    Entry(B, 1, "gone"),
)
SNAPSHOT = Snapshot(
    bridges={"br0": Bridge("br0", 1, "02:00:00:00:00:01"), "br1": Bridge("br1", 2, "02:00:00:00:00:02")},
    ports={
        name: BridgePort(name, ifindex, bridge, f"fe:00:00:00:00:0{ifindex}")
        for name, ifindex, bridge in (("vnet0", 3, "br0"), ("eth0", 4, "br0"), ("vnet9", 5, "br1"))
    },
    entries=ENTRIES,
)
FDB = SNAPSHOT.fdb


def test_one_address_has_an_entry_of_its_own_on_each_bridge() -> None:
    assert FDB.at("br0", A, 1) == Entry(A, 1, "vnet0", sticky=True)
    assert FDB.at("br1", A, 1) == Entry(A, 1, "vnet9")
    assert FDB.at("br0", A, 2) is FDB.at("br9", A, 1) is None
    assert {vid: entry.port for vid, entry in FDB.of_mac("br0", A).items()} == {0: "vnet0", 1: "vnet0"}


def test_a_bridges_own_addresses_belong_to_it() -> None:
    assert FDB.at("br1", B, 0) == Entry(B, 0, "br1", EntryState.LOCAL)
    assert [entry.mac for entry in FDB.of_bridge("br1")] == [A, B]


def test_what_leads_to_an_interface_that_is_no_port_belongs_to_no_bridge() -> None:
    assert FDB.at("br0", B, 1) == Entry(B, 1, "eth0", EntryState.DYNAMIC)
    assert FDB.of_port("gone") == [Entry(B, 1, "gone")]
    assert FDB.of_port("vnet0") == list(ENTRIES[:2])
    assert not FDB.of_port("nowhere")


def test_what_a_frame_moves_is_not_static_on_a_port() -> None:
    assert FDB.static_on("vnet0", "br0", A).keys() == {0, 1}
    assert not FDB.static_on("eth0", "br0", B)
    assert not FDB.static_on("vnet0", "br1", A)


def test_what_was_looked_up_by_name_takes_the_place_of_what_was_dumped() -> None:
    moved, new = Entry(A, 1, "eth0"), Entry(B, 5, "vnet0")
    found = FDB.with_found({("br0", A, 1): moved, ("br0", A, 0): None, ("br0", B, 5): new, ("br0", B, 6): None})
    assert set(found) == {*ENTRIES[2:], moved, new}
    assert FDB.at_all([("br0", A, 1), ("br0", B, 6)]) == {("br0", A, 1): ENTRIES[1], ("br0", B, 6): None}


def test_a_port_is_on_its_own_bridge_only() -> None:
    assert SNAPSHOT.port_on("br0", "vnet0") is SNAPSHOT.ports["vnet0"]
    assert SNAPSHOT.port_on("br1", "vnet0") is None
    assert SNAPSHOT.port_on("br0", "nowhere") is None


class CountedEntries(tuple[Entry, ...]):
    """Entries that count how often they are walked."""

    walks = 0

    def __iter__(self) -> Iterator[Entry]:
        type(self).walks += 1
        return super().__iter__()


def test_entries_are_indexed_once_for_a_snapshot_and_each_index_only_when_it_is_asked_for() -> None:
    counted = replace(SNAPSHOT, entries=CountedEntries(ENTRIES))
    assert isinstance(counted.fdb, Fdb)
    assert CountedEntries.walks == 0
    for _ in range(3):
        counted.fdb.at("br0", A, 1)
        counted.fdb.static_on("vnet0", "br0", A)
    assert CountedEntries.walks == 1
    for _ in range(3):
        counted.fdb.of_port("vnet0")
    assert CountedEntries.walks == 2
