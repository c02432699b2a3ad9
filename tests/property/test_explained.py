"""Laws about what `explain` answers: it agrees with the audit, whatever the host is like, and has no second opinion."""

from __future__ import annotations

from hypothesis import given

from macmgr.report.explain import explain
from tests.golden.case import explained
from tests.property.strategies import World, worlds
from tests.property.test_reached import looked_at

_COPIED = ("    fix: ", "    would run: ")


@given(worlds())
def test_it_calls_those_guests_cut_off_that_the_audit_does(world: World) -> None:
    view = looked_at(world)
    managed = view.intent.managed_bridges
    for domain in {guest.domain for guest in view.intent.ports}:
        cut = [each for each in explain(view, domain) if each.cut_off]
        if domain in view.cut_off:
            assert cut
            assert " cut off" in cut[0].answer
        elif all(each.bridge in managed for each in view.intent.ports if each.domain == domain):
            assert not cut  # an audit does not judge guests on bridges that are not managed


@given(worlds())
def test_it_has_an_answer_to_each_name_and_address_and_only_commands_are_long(world: World) -> None:
    view = looked_at(world)
    names = {*view.snapshot.bridges, *view.snapshot.ports, *(entry.mac for entry in view.snapshot.entries)}
    for name in sorted(names):
        lines = explained(view, name, 60).splitlines()
        assert lines[0]
        assert [line for line in lines if len(line) > 60 and not line.startswith(_COPIED)] == []
