"""Laws about pictures: whatever the host is like, nobody is left out, and each line joins two boxes that are there."""

from __future__ import annotations

import re

from hypothesis import given

from macmgr.report.dotpicture import dot_of
from macmgr.report.mermaidpicture import mermaid_of
from macmgr.report.painter import picture_of
from macmgr.report.picture import Look
from tests.property.strategies import World, worlds
from tests.property.test_reached import looked_at


@given(worlds())
def test_each_port_and_guest_has_a_box_and_each_line_two(world: World) -> None:
    view = looked_at(world)
    for each in (False, True):
        picture = picture_of(view, each=each)
        boxes = [box for yard in picture.yards for box in yard.boxes]
        keys = {box.key for box in boxes}
        assert len(keys) == len(boxes)
        assert {line.tail for line in picture.lines} | {line.head for line in picture.lines} <= keys
        if each:
            assert set(view.snapshot.ports) <= {part for key in keys for part in key.split()}
        shown = " ".join(line for box in boxes for line in box.lines)
        assert all(guest.domain in shown for guest in view.intent.ports)
        dot, mermaid = dot_of(picture), mermaid_of(picture)
        assert dot.count("{") == dot.count("}")
        assert len(re.findall(r" -> ", dot)) == len(picture.lines)
        assert mermaid.count(":::") == len(boxes) + 1


@given(worlds())
def test_those_are_drawn_as_cut_off_that_the_audit_names(world: World) -> None:
    view = looked_at(world)
    picture = picture_of(view, each=True)
    cut = [box for yard in picture.yards for box in yard.boxes if box.look is Look.CUT_OFF]
    drawn = " ".join(line for box in cut for line in box.lines)
    for domain in view.cut_off:
        assert domain in drawn
    for box in cut:
        assert re.search("CUT OFF|CUTS OFF", " ".join(box.lines)), "the word says what the colour says"
