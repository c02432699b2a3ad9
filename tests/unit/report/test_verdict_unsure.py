"""A verdict does not say that nobody is cut off where the model cannot say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.intent import Intent, Manager, Policy, Scope
from macmgr.planning.planner import plan
from macmgr.report.verdict import verdict_of
from macmgr.view import View, judged
from tests.two_guests import INTENT, PINNED, host

MANAGED = Intent(
    tuple(replace(guest, policy=Policy(Manager.LIBVIRT)) for guest in INTENT.ports), {"br0": "a test says so"}
)


@pytest.mark.parametrize("observed", [False, True])
def test_of_a_guest_without_its_entry_where_the_table_was_not_read_to_its_end(observed: bool) -> None:
    """Its port is closed. Anybody who can send frames makes a table that long."""
    half_read = replace(host(entries=PINNED[:1]), listed=frozenset())
    scope = Scope(observes=lambda _: observed)
    look = judged(View(MANAGED, half_read, plan(MANAGED, half_read), scope=scope))
    assert look.cut_off == ()
    assert "obody is cut off" not in verdict_of(look).text
