"""A fight is told, left alone for longer and longer, and forgotten when it is over."""

from __future__ import annotations

import pytest

from macmgr.model.changes import Change, SetEntries, SetFlags
from macmgr.model.findings import Code
from macmgr.model.snapshot import Entry, PortFlags
from macmgr.watch.backoff import Backoff

OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
MAC = "52:54:00:00:00:01"
CLOSE = SetFlags("vnet0", OPEN, CLOSED, "br0", "g1", Code.LEARNING_ON)
PUT = SetEntries(MAC, (), (Entry(MAC, 0, "vnet0"),), "br0", "g1", Code.MISSING_ENTRY)
REOPEN = SetFlags("vnet0", CLOSED, OPEN, "br0", "g1", Code.CLOSED_WITHOUT_ENTRY)
DROP = SetEntries(MAC, (Entry(MAC, 0, "up0"),), (), "br0", "g1", Code.STALE_ENTRY)
OTHER = SetEntries(MAC[:-1] + "2", (Entry(MAC[:-1] + "2", 0, "up0"),), (), "br0", "g2", Code.STALE_ENTRY)


def test_up_to_the_limit_nothing_is_skipped() -> None:
    backoff = Backoff(3)
    for second in range(3):
        assert backoff.note([CLOSE], second) == []
    assert not backoff.skips(2)(CLOSE)
    assert backoff.next_end(2) is None


def test_one_more_is_a_fight_and_the_port_is_left_open() -> None:
    backoff = Backoff(3)
    for second in range(3):
        backoff.note([CLOSE], second)
    (fight,) = backoff.note([CLOSE], 3)
    assert (fight.port, fight.times, fight.pause) == ("vnet0", 4, 1.0)
    skips = backoff.skips(3.9)
    assert skips(CLOSE)
    assert not skips(PUT)  # a port with its entry and open is slow; closed and without it, it is cut off
    assert not skips(REOPEN)
    assert not skips(DROP)
    assert backoff.held(3.9) == ["vnet0"]
    assert backoff.next_end(3.9) == 4
    assert not backoff.skips(4)(CLOSE)


def test_the_pause_doubles_up_to_a_minute_while_the_fight_goes_on() -> None:
    backoff, now, pauses = Backoff(1), 0.0, []
    backoff.note([CLOSE], now)
    for _ in range(8):
        for fight in backoff.note([CLOSE], now):
            pauses.append(fight.pause)
            now += fight.pause
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60][: len(pauses)]
    assert len(pauses) >= 6


@pytest.mark.parametrize("change", [PUT, REOPEN])
def test_a_fight_over_what_a_guest_is_reached_by_is_never_long(change: Change) -> None:
    """Without its entry, or closed when it must be open, it is cut off for as long as the pause lasts."""
    backoff, now, pauses = Backoff(1), 0.0, []
    backoff.note([change], now)
    for _ in range(8):
        for fight in backoff.note([change], now):
            skips = backoff.skips(now)
            assert skips(change)
            assert skips(CLOSE) == (change is PUT)  # a port whose entry is skipped must not be closed
            assert not skips(REOPEN if change is PUT else PUT)
            assert backoff.refused(now) == ({("vnet0", MAC, 0)} if change is PUT else frozenset())
            pauses.append(fight.pause)
            now += fight.pause
    assert pauses == [0.25] * 8


def test_for_a_while_after_a_fight_over_an_entry_its_port_is_not_closed() -> None:
    """Put and closed in one go, the guest would be cut off each time the entry is taken away again."""
    backoff = Backoff(1)
    backoff.note([PUT, PUT], 0)
    assert backoff.next_end(0) == 0.25
    assert not backoff.skips(0.25)(PUT)
    assert backoff.skips(1.9)(CLOSE)
    assert backoff.refused(1.9) == {("vnet0", MAC, 0)}
    assert backoff.next_end(0.25) == 2
    assert not backoff.skips(2)(CLOSE)
    assert backoff.refused(2) == frozenset()
    assert backoff.next_end(2) is None


def test_a_fight_that_is_over_is_forgotten() -> None:
    backoff = Backoff(1)
    backoff.note([CLOSE, CLOSE], 0)
    assert backoff.note([CLOSE], 100) == []
    assert backoff.note([PUT], 200) == []
    assert len(backoff._records) == 1


def test_a_thousand_guests_that_start_at_once_are_no_fight() -> None:
    backoff = Backoff(1)
    changes = [SetFlags(f"vnet{number}", OPEN, CLOSED, "br0", "g", Code.LEARNING_ON) for number in range(1000)]
    assert backoff.note(changes, 0) == []


def test_a_router_with_many_addresses_is_no_fight_and_a_fight_over_one_of_them_is_about_that_one() -> None:
    backoff = Backoff(3)
    macs = [f"00:00:5e:00:01:{number:02x}" for number in range(1, 21)]
    puts = [SetEntries(mac, (), (Entry(mac, 0, "vnet0"),), "br0", "g1", Code.MISSING_ENTRY) for mac in macs]
    assert backoff.note(puts, 0) == []
    assert len(backoff.note(puts[:1] * 3, 1)) == 1
    skips = backoff.skips(1)
    assert [skips(put) for put in puts] == [True] + [False] * 19
    assert skips(CLOSE)  # one of its addresses has no entry: closed, that one would be cut off
    assert not skips(SetEntries(macs[0], (Entry(macs[0], 0, "vnet0"),), (), "br0", "g1", Code.EXTRA_ENTRY))


def test_an_entry_that_comes_back_on_the_uplink_skips_no_other_entry_there() -> None:
    backoff = Backoff(1)
    assert len(backoff.note([DROP, DROP], 0)) == 1
    assert backoff.skips(0)(DROP)
    assert not backoff.skips(0)(OTHER)


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
    backoff = Backoff(3)
    for vid in range(100, 140):
        assert backoff.note([put(vid)], vid * 0.15) == []
        assert backoff.refused(vid * 0.15) == frozenset()
        assert not backoff.skips(vid * 0.15)(CLOSE)


def test_what_a_put_names_and_leaves_as_it_is_does_not_count() -> None:
    """A put without a VID names every one of the port's."""
    backoff = Backoff(3)
    for vid in range(2, 40):
        have = tuple(range(1, vid))
        assert backoff.note([put(*have, vid, there=have)], vid) == []


def test_a_range_that_is_removed_at_once_is_no_fight() -> None:
    backoff = Backoff(10)
    assert backoff.note([drop(vid) for vid in range(2000, 4095)], 0) == []
    assert not backoff.skips(0)(drop(30))


def test_a_fight_amid_a_burst_is_seen_and_is_about_its_own_vid() -> None:
    backoff, fights = Backoff(3), []
    for step in range(8):
        fights += backoff.note([put(30), put(100 + step)], step / 10)
    assert [fight.times for fight in fights] == [4, 5, 6, 7, 8]
    assert backoff.refused(0.8) == {("vnet0", MAC, 30)}
    skips = backoff.skips(0.8)
    assert skips(put(30))
    assert not skips(put(108))
    assert not skips(put(30, 108))  # what is new is put, and the other one with it
    assert skips(CLOSE)


def test_a_fight_in_one_vid_leaves_what_is_dropped_in_another() -> None:
    backoff = Backoff(2)
    for second in range(3):
        backoff.note([drop(30)], second)
    assert backoff.skips(2)(drop(30))
    assert not backoff.skips(2)(drop(31))
    assert not backoff.skips(2)(drop(30, 31))


def test_a_fight_over_every_vid_is_one() -> None:
    backoff = Backoff(3)
    whole = [put(0, *range(1, 200))]
    fights = [backoff.note(whole, second) for second in range(4)]
    assert [len(each) for each in fights] == [0, 0, 0, 1]
    assert len(backoff.refused(3)) == 200


def test_the_same_entry_put_twice_in_one_round_counts_twice() -> None:
    assert len(Backoff(1).note([put(30), put(31), put(30)], 0)) == 1
