"""A fight is told, left alone for longer and longer, and forgotten when it is over."""

from __future__ import annotations

import pytest

from macmgr.model.changes import Change, SetEntries, SetFlags
from macmgr.model.findings import Code
from macmgr.model.snapshot import Entry, PortFlags
from macmgr.watch.hysteresis import Hysteresis

OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
MAC = "52:54:00:00:00:01"
CLOSE = SetFlags("vnet0", OPEN, CLOSED, "br0", "g1", Code.LEARNING_ON)
PUT = SetEntries(MAC, (), (Entry(MAC, 0, "vnet0"),), "br0", "g1", Code.MISSING_ENTRY)
REOPEN = SetFlags("vnet0", CLOSED, OPEN, "br0", "g1", Code.CLOSED_WITHOUT_ENTRY)
DROP = SetEntries(MAC, (Entry(MAC, 0, "up0"),), (), "br0", "g1", Code.STALE_ENTRY)
OTHER = SetEntries(MAC[:-1] + "2", (Entry(MAC[:-1] + "2", 0, "up0"),), (), "br0", "g2", Code.STALE_ENTRY)


def test_up_to_the_limit_nothing_is_skipped() -> None:
    hysteresis = Hysteresis(3)
    for second in range(3):
        assert hysteresis.note([CLOSE], second) == []
    assert not hysteresis.skips(2)(CLOSE)
    assert hysteresis.next_end(2) is None


def test_one_more_is_a_fight_and_the_port_is_left_open() -> None:
    hysteresis = Hysteresis(3)
    for second in range(3):
        hysteresis.note([CLOSE], second)
    (fight,) = hysteresis.note([CLOSE], 3)
    assert (fight.port, fight.times, fight.pause) == ("vnet0", 4, 1.0)
    skips = hysteresis.skips(3.9)
    assert skips(CLOSE)
    assert not skips(PUT)  # a port with its entry and open is slow; closed and without it, it is cut off
    assert not skips(REOPEN)
    assert not skips(DROP)
    assert hysteresis.held(3.9) == ["vnet0"]
    assert hysteresis.next_end(3.9) == 4
    assert not hysteresis.skips(4)(CLOSE)


def test_the_pause_doubles_up_to_a_minute_while_the_fight_goes_on() -> None:
    hysteresis, now, pauses = Hysteresis(1), 0.0, []
    hysteresis.note([CLOSE], now)
    for _ in range(8):
        for fight in hysteresis.note([CLOSE], now):
            pauses.append(fight.pause)
            now += fight.pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60][: len(pauses)]
    assert len(pauses) >= 6


@pytest.mark.parametrize("change", [PUT, REOPEN])
def test_a_fight_over_what_a_guest_is_reached_by_is_never_long(change: Change) -> None:
    """Without its entry, or closed when it must be open, it is cut off for as long as the pause lasts."""
    hysteresis, now, pauses = Hysteresis(1), 0.0, []
    hysteresis.note([change], now)
    for _ in range(8):
        for fight in hysteresis.note([change], now):
            skips = hysteresis.skips(now)
            assert skips(change)
            assert skips(CLOSE) == (change is PUT)  # a port whose entry is skipped must not be closed
            assert not skips(REOPEN if change is PUT else PUT)
            assert hysteresis.refused(now) == ({("vnet0", MAC, 0)} if change is PUT else frozenset())
            pauses.append(fight.pause)
            now += fight.pause
    assert pauses == [0.25] * 8


def test_for_a_while_after_a_fight_over_an_entry_its_port_is_not_closed() -> None:
    """Put and closed in one go, the guest would be cut off each time the entry is taken away again."""
    hysteresis = Hysteresis(1)
    hysteresis.note([PUT, PUT], 0)
    assert hysteresis.next_end(0) == 0.25
    assert not hysteresis.skips(0.25)(PUT)
    assert hysteresis.skips(1.9)(CLOSE)
    assert hysteresis.refused(1.9) == {("vnet0", MAC, 0)}
    assert hysteresis.next_end(0.25) == 2
    assert not hysteresis.skips(2)(CLOSE)
    assert hysteresis.refused(2) == frozenset()
    assert hysteresis.next_end(2) is None


def test_a_fight_that_is_over_is_forgotten() -> None:
    hysteresis = Hysteresis(1)
    hysteresis.note([CLOSE, CLOSE], 0)
    assert hysteresis.note([CLOSE], 100) == []
    assert hysteresis.note([PUT], 200) == []
    assert len(hysteresis._records) == 1


def test_a_thousand_guests_that_start_at_once_are_no_fight() -> None:
    hysteresis = Hysteresis(1)
    changes = [SetFlags(f"vnet{number}", OPEN, CLOSED, "br0", "g", Code.LEARNING_ON) for number in range(1000)]
    assert hysteresis.note(changes, 0) == []


def test_a_router_with_many_addresses_is_no_fight_and_a_fight_over_one_of_them_is_about_that_one() -> None:
    hysteresis = Hysteresis(3)
    macs = [f"00:00:5e:00:01:{number:02x}" for number in range(1, 21)]
    puts = [SetEntries(mac, (), (Entry(mac, 0, "vnet0"),), "br0", "g1", Code.MISSING_ENTRY) for mac in macs]
    assert hysteresis.note(puts, 0) == []
    assert len(hysteresis.note(puts[:1] * 3, 1)) == 1
    skips = hysteresis.skips(1)
    assert [skips(put) for put in puts] == [True] + [False] * 19
    assert skips(CLOSE)  # one of its addresses has no entry: closed, that one would be cut off
    assert not skips(SetEntries(macs[0], (Entry(macs[0], 0, "vnet0"),), (), "br0", "g1", Code.EXTRA_ENTRY))


def test_an_entry_that_comes_back_on_the_uplink_skips_no_other_entry_there() -> None:
    hysteresis = Hysteresis(1)
    assert len(hysteresis.note([DROP, DROP], 0)) == 1
    assert hysteresis.skips(0)(DROP)
    assert not hysteresis.skips(0)(OTHER)


# VIDs: in another one it is another entry


def put(*vids: int, there: tuple[int, ...] = ()) -> SetEntries:
    """A put that names ``vids``, of which those that are ``there`` are as they are to be."""
    entries = tuple(Entry(MAC, vid, "vnet0", sticky=True) for vid in vids)
    before = tuple(entry for entry in entries if entry.vid in there)
    return SetEntries(MAC, before, entries, "br0", "g1", Code.MISSING_ENTRY)


def drop(*vids: int) -> SetEntries:
    before = tuple(Entry(MAC, vid, "vnet0", sticky=True) for vid in vids)
    return SetEntries(MAC, before, (), "br0", "g1", Code.EXTRA_ENTRY, stranded=True)


def test_vids_that_are_added_one_by_one_are_no_fight() -> None:
    hysteresis = Hysteresis(3)
    for vid in range(100, 140):
        assert hysteresis.note([put(vid)], vid * 0.15) == []
        assert hysteresis.refused(vid * 0.15) == frozenset()
        assert not hysteresis.skips(vid * 0.15)(CLOSE)


def test_what_a_put_names_and_leaves_as_it_is_does_not_count() -> None:
    """A put without a VID names every one of the port's."""
    hysteresis = Hysteresis(3)
    for vid in range(2, 40):
        have = tuple(range(1, vid))
        assert hysteresis.note([put(*have, vid, there=have)], vid) == []


def test_a_range_that_is_removed_at_once_is_no_fight() -> None:
    hysteresis = Hysteresis(10)
    assert hysteresis.note([drop(vid) for vid in range(2000, 4095)], 0) == []
    assert not hysteresis.skips(0)(drop(30))


def test_a_fight_amid_a_burst_is_seen_and_is_about_its_own_vid() -> None:
    hysteresis, fights = Hysteresis(3), []
    for step in range(8):
        fights += hysteresis.note([put(30), put(100 + step)], step / 10)
    assert [fight.times for fight in fights] == [4, 5, 6, 7, 8]
    assert hysteresis.refused(0.8) == {("vnet0", MAC, 30)}
    skips = hysteresis.skips(0.8)
    assert skips(put(30))
    assert not skips(put(108))
    assert not skips(put(30, 108))  # what is new is put, and the other one with it
    assert skips(CLOSE)


def test_a_fight_in_one_vid_leaves_what_is_dropped_in_another() -> None:
    hysteresis = Hysteresis(2)
    for second in range(3):
        hysteresis.note([drop(30)], second)
    assert hysteresis.skips(2)(drop(30))
    assert not hysteresis.skips(2)(drop(31))
    assert not hysteresis.skips(2)(drop(30, 31))


def test_a_fight_over_every_vid_is_one() -> None:
    hysteresis = Hysteresis(3)
    whole = [put(0, *range(1, 200))]
    fights = [hysteresis.note(whole, second) for second in range(4)]
    assert [len(each) for each in fights] == [0, 0, 0, 1]
    assert len(hysteresis.refused(3)) == 200


def test_the_same_entry_put_twice_in_one_round_counts_twice() -> None:
    assert len(Hysteresis(1).note([put(30), put(31), put(30)], 0)) == 1
