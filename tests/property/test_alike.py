"""What is judged once for many VIDs and many ports is so for each of them."""

from __future__ import annotations

from hypothesis import given

from macmgr.forwarding import BROADCAST, Frame, forward
from macmgr.forwarding.consequences import SOMEBODY, Reach, Way, consequences
from macmgr.model.relay import Tag
from macmgr.model.snapshot import Snapshot
from tests.property.strategies import World, worlds


@given(worlds())
def test_each_vid_and_each_port_is_as_the_one_that_was_judged(world: World) -> None:
    start = world.start
    macs = {guest.port: guest.macs[0] for guest in world.intent.ports}
    for reach in consequences(start, world.intent):
        for way in reach.ways:
            for other in way.others:
                for vid in reach.vids or (0,):
                    source = start.bridges[other].mac if way.role is None else macs.get(other, SOMEBODY)
                    assert fates(start, reach, other, vid, source) == as_judged(way)


def fates(start: Snapshot, reach: Reach, other: str, vid: int, source: str) -> list[bool | None]:
    port, protocol = reach.port, start.bridges[reach.guest.bridge].relay.protocol

    def sent(place: str, source: str, destination: str) -> Frame:
        pvid = start.bridges[place].pvid if place in start.bridges else start.ports[place].pvid
        return Frame(source, destination, (Tag(vid, protocol),) if vid not in (0, pvid) else ())

    return [
        forward(start, other, sent(other, source, reach.mac)).at(port).reached,
        forward(start, other, sent(other, source, BROADCAST)).at(port).reached,
        forward(start, port, sent(port, reach.mac, BROADCAST)).at(other).reached,
    ]


def as_judged(way: Way) -> list[bool | None]:
    return [way.there.reached, way.broadcast.reached, way.back.reached]
