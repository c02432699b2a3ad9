"""Laws about the judgement of a look by frames: what it calls reached is reached, and nobody is left out."""

from __future__ import annotations

from hypothesis import given

from macmgr.forwarding.consequences import consequences
from macmgr.model.codes import Consequence
from macmgr.planning.planner import plan
from macmgr.planning.reached import unreached
from macmgr.view import View, judged
from tests.property.strategies import World, worlds


def looked_at(world: World) -> View:
    return judged(View(world.intent, world.start, plan(world.intent, world.start, world.known), known=world.known))


@given(worlds())
def test_each_guest_that_is_not_reached_is_named_with_a_consequence(world: World) -> None:
    """On managed bridges: "in sync" is never said of a guest that no frame reaches."""
    view = looked_at(world)
    named = " ".join(f.message for f in view.plan.findings if f.consequence is Consequence.CUT_OFF)
    for reach, _ in unreached(consequences(view.snapshot, view.intent)):
        if reach.guest.bridge in view.intent.managed_bridges:
            assert reach.guest.domain in view.cut_off
            assert reach.guest.domain in named or reach.guest.port in named or _more(named)


def _more(named: str) -> bool:
    """A message names the first few guests only."""
    return " more" in named


@given(worlds())
def test_no_finding_is_lost_and_none_is_said_to_cut_off_a_guest_that_is_reached(world: World) -> None:
    view = looked_at(world)
    planned = plan(world.intent, world.start, world.known).findings
    told = {(f.code, f.port, f.mac, vid) for f in view.plan.findings for vid in f.vids or (None,)}
    assert {(f.code, f.port, f.mac, f.vid) for f in planned} <= told
    for finding in view.plan.findings:
        assert not (finding.reached is True and finding.consequence is Consequence.CUT_OFF)
