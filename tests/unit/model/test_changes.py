"""What a change becomes: netlink requests in their order, and the commands a person could type instead."""

from __future__ import annotations

import pytest

from macmgr.model.changes import (
    DeleteEntry,
    FlushEntries,
    Request,
    SetEntries,
    SetFlags,
    bridge_command,
    one_flag_each,
    requests,
)
from macmgr.model.flags import LEARNING, LOCKED, UNICAST_FLOOD
from macmgr.model.snapshot import Entry, EntryState, PortFlags
from tests.fake_kernel import put_entry, set_port

MAC = "52:54:00:00:00:01"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)


def entry(vid: int, port: str = "vnet0", *, sticky: bool = True) -> Entry:
    return Entry(MAC, vid, port, EntryState.STATIC, sticky)


def put(vid: int | None, port: str = "vnet0", *, sticky: bool = True) -> Entry:
    return put_entry(port, MAC, vid, EntryState.STATIC, sticky)


CASES: dict[str, tuple[SetEntries, list[Request]]] = {
    "all VIDs are one request": (
        SetEntries(MAC, (), (entry(0), entry(1), entry(10))),
        [put(None)],
    ),
    "one VID": (SetEntries(MAC, (), (entry(10),)), [put(10)]),
    "a VID that differs from the others": (
        SetEntries(MAC, (), (entry(0), entry(10, sticky=False))),
        [put(None), put(10, sticky=False)],
    ),
    "moved from another port, never deleted": (
        SetEntries(MAC, (entry(0, "eth0"), entry(1, "eth0")), (entry(0), entry(1))),
        [put(None)],
    ),
    "put before dropped": (
        SetEntries(MAC, (entry(20),), (entry(10),)),
        [put(10), DeleteEntry("vnet0", MAC, 20)],
    ),
    "dropped, copies by name before the rest": (
        SetEntries(MAC, (entry(0), entry(10)), ()),
        [DeleteEntry("vnet0", MAC, 10), DeleteEntry("vnet0", MAC, None)],
    ),
    "VID 0 dropped, and what is to stay put back": (
        SetEntries(MAC, (entry(0), entry(10)), (entry(10),)),
        [DeleteEntry("vnet0", MAC, None), put(10)],
    ),
    "what the guest's VID 0 does not say of another VID comes after it": (
        SetEntries(MAC, (), (entry(0), entry(1, "eth0"), entry(10))),
        [put(None), put(1, "eth0")],
    ),
    "stranded: a flush in each VID": (
        SetEntries(MAC, (entry(10), entry(20)), (), stranded=True),
        [FlushEntries("vnet0", 10), FlushEntries("vnet0", 20)],
    ),
    "dropped from two ports": (
        SetEntries(MAC, (entry(10), entry(20, "eth0")), ()),
        [DeleteEntry("vnet0", MAC, 10), DeleteEntry("eth0", MAC, 20)],
    ),
}


@pytest.mark.parametrize("what", CASES)
def test_entries_become_requests(what: str) -> None:
    change, wanted = CASES[what]
    assert list(requests(change)) == wanted


def test_flags_become_one_request_that_names_what_changes() -> None:
    change = SetFlags("vnet0", OPEN, PortFlags(learning=False, unicast_flood=True))
    assert list(requests(change)) == [change]
    assert change.named() == [(LEARNING, False)]


def test_flags_can_be_asked_for_one_by_one() -> None:
    change = SetFlags("vnet0", OPEN, PortFlags(learning=False, unicast_flood=False, locked=True))
    asked = [request for part in one_flag_each(change) for request in requests(part)]
    assert [request.named() for request in asked if isinstance(request, SetFlags)] == [
        [(LEARNING, False)],
        [(UNICAST_FLOOD, False)],
        [(LOCKED, True)],
    ]


@pytest.mark.parametrize(
    ("before", "after", "closes"),
    [
        (OPEN, CLOSED, True),
        (OPEN, PortFlags(learning=False), True),
        (OPEN, PortFlags(unicast_flood=False), True),
        (CLOSED, PortFlags(learning=False, unicast_flood=False, locked=True), True),
        (CLOSED, OPEN, False),
        (PortFlags(learning=False, locked=True), OPEN, False),
        (PortFlags(locked=None), PortFlags(learning=False, locked=None), True),
        (PortFlags(learning=False), PortFlags(unicast_flood=False), True),  # opens one way and closes another
    ],
)
def test_a_port_closes_in_any_of_three_ways(before: PortFlags, after: PortFlags, closes: bool) -> None:
    assert SetFlags("vnet0", before, after).closes is closes


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (put(None), f"bridge fdb replace {MAC} dev vnet0 master static sticky"),
        (put(10, sticky=False), f"bridge fdb replace {MAC} dev vnet0 vlan 10 master static"),
        (
            put_entry("eth0", MAC, 1, EntryState.DYNAMIC, extern_learn=True),
            f"bridge fdb replace {MAC} dev eth0 vlan 1 master dynamic extern_learn",
        ),
        (DeleteEntry("eth0", MAC, None), f"bridge fdb del {MAC} dev eth0 master"),
        (DeleteEntry("eth0", MAC, 4094), f"bridge fdb del {MAC} dev eth0 vlan 4094 master"),
        (FlushEntries("vnet0", 10), "bridge fdb flush dev vnet0 vlan 10 master static noextern_learn"),
        (set_port("vnet0", learning=False), "bridge link set dev vnet0 learning off"),
        (
            set_port("vnet0", learning=True, unicast_flood=False, locked=True),
            "bridge link set dev vnet0 learning on flood off locked on",
        ),
    ],
    ids=str,
)
def test_the_command_that_does_the_same(asked: Request, command: str) -> None:
    """`master` is always said: bridge(8) means `self` where nothing is said, which is the device's own list."""
    assert " ".join(bridge_command(asked)) == command
