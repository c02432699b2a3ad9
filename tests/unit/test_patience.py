"""An early entry is left alone for a moment, and no longer."""

from __future__ import annotations

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code
from macmgr.model.snapshot import Entry
from macmgr.watch.patience import Patience

MAC = "52:54:00:00:00:01"
EARLY = SetEntries(MAC, (Entry(MAC, 0, "vnet0"),), (), "br0", "g1", Code.EARLY_ENTRY)
STALE = SetEntries(MAC, (Entry(MAC, 0, "up0"),), (), "br0", "g1", Code.STALE_ENTRY)


def test_an_early_entry_is_spared_for_a_moment_and_nothing_else_is() -> None:
    patience = Patience()
    assert patience.next_end(0) is None
    assert patience.spares(0)(EARLY)
    assert not patience.spares(0)(STALE)
    assert patience.spares(0.9)(EARLY)
    assert patience.next_end(0.9) == 1.0
    assert not patience.spares(1.0)(EARLY)
    assert patience.next_end(1.0) is None


def test_each_round_sees_one_entry_several_times() -> None:
    spares = Patience().spares(0)
    assert [spares(EARLY) for _ in range(3)] == [True] * 3


def test_the_next_time_the_guest_goes_on_it_has_its_moment_again() -> None:
    patience = Patience()
    assert patience.spares(0)(EARLY)
    assert patience.spares(100)(EARLY)
