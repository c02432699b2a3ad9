"""An early entry is left alone for a moment, and no longer."""

from __future__ import annotations

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code
from macmgr.model.snapshot import Entry
from macmgr.watch.grace import Grace

MAC = "52:54:00:00:00:01"
EARLY = SetEntries(MAC, (Entry(MAC, 0, "vnet0"),), (), "br0", "g1", Code.EARLY_ENTRY)
STALE = SetEntries(MAC, (Entry(MAC, 0, "up0"),), (), "br0", "g1", Code.STALE_ENTRY)


def looked(grace: Grace, now: float, *, had: bool = False) -> bool:
    """A round at which an early entry is there: whether it is left alone. It is looked at several times."""
    skips = grace.skips(now, lambda _: had)
    assert not skips(STALE)
    skipped = skips(EARLY)
    assert skips(EARLY) is skipped
    grace.note([EARLY, STALE] if skipped else [STALE], now)
    return skipped


def test_an_early_entry_is_left_alone_for_a_moment() -> None:
    grace = Grace()
    assert grace.next_end(0) is None
    assert looked(grace, 0)
    assert looked(grace, 0.9, had=True)
    assert grace.next_end(0.9) == 1.0
    assert not looked(grace, 1.0, had=True)
    assert grace.next_end(1.0) is None


def test_the_entry_of_a_guest_that_moved_away_goes_at_once() -> None:
    """It was there while the guest ran here; now it would keep the neighbours' frames from where the guest is."""
    grace = Grace()
    assert not looked(grace, 0, had=True)
    assert grace.next_end(0) is None


def test_a_round_that_takes_longer_than_the_moment_is_followed_by_one_that_acts() -> None:
    grace = Grace()
    skips = grace.skips(0, lambda _: False)
    assert skips(EARLY)
    grace.note([EARLY], 4.0)
    assert grace.next_end(0) == 5.0
    assert not looked(grace, 5.0)


def test_an_entry_on_a_bridge_that_is_only_observed_wakes_nobody_again_and_again() -> None:
    grace = Grace()
    grace.note([EARLY], 0)
    grace.note([EARLY], 1.0)
    assert grace.next_end(1.0) is None


def test_a_guest_that_goes_on_again_a_second_later_has_its_moment_again() -> None:
    grace = Grace()
    assert looked(grace, 0)
    assert not looked(grace, 1.0)  # that one is dropped
    assert looked(grace, 1.5)
