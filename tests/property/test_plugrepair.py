"""Ports that have lost what libvirt gave them are put right in any world, and a release undoes it."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from macmgr.forwarding.requested import requested
from macmgr.model.changes import SetVids, requests
from macmgr.model.flags import PortFlags
from macmgr.model.intent import EVERYTHING, GuestPort, Vlan, Vlans
from macmgr.model.known import Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, Snapshot
from macmgr.model.vids import PortVids
from macmgr.planning.planner import plan
from macmgr.planning.portvlans import vlans_of
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from tests.notebook import Notebook
from tests.property.strategies import MACS, World, worlds

LOCK = WriterLock()
VLANS = (None, Vlan((1,)), Vlan((10,)), Vlan((20,)), Vlan((1, 10), 10, trunk=True), Vlan((10, 20), trunk=True))


@st.composite
def plugged(draw: st.DrawFn) -> World:
    """A world in which guests have VLANs and isolation in their XML, and policy has them repaired."""
    world = draw(worlds())
    guests = []
    for guest in world.intent.ports:
        vlan, isolated = draw(st.sampled_from(VLANS)), draw(st.booleans())
        facts = replace(guest.facts, vlan=vlan, vlan_live=vlan is not None, isolated=isolated, isolated_live=isolated)
        guests.append(replace(guest, facts=facts, policy=replace(guest.policy, vlans=Vlans.REPAIR)))
    return replace(world, intent=replace(world.intent, ports=tuple(guests)))


def repaired(world: World) -> list[GuestPort]:
    start = world.start
    return [guest for guest in world.intent.ports if guest.managed and start.port_on(guest.bridge, guest.port)]


@given(plugged())
def test_what_was_plugged_otherwise_is_put_right_once(world: World) -> None:
    kernel, notes = world.kernel(), Notebook(world.known.memory)
    outcome = apply(LOCK, lambda: world.intent, kernel, notes=notes, known=world.known)
    assert outcome.failures == ()
    for guest in repaired(world):
        port, wanted = kernel.ports[guest.port], vlans_of(guest)
        if kernel.bridges[guest.bridge].vlan_filtering and wanted is not None:
            assert port.vlans == wanted
        assert port.isolated or not guest.facts.isolated_live or port.flags.isolated is None
    again = apply(LOCK, lambda: world.intent, kernel, notes=notes, known=world.known)
    assert again.done == ()


@given(plugged())
def test_no_port_comes_into_a_vlan_that_is_not_its_own(world: World) -> None:
    snapshot, wanted = world.start, {guest.port: vlans_of(guest) for guest in repaired(world)}
    for change in plan(world.intent, snapshot, world.known).changes:
        for request in requests(change):
            before, snapshot = snapshot, requested(snapshot, [request])
            for name, port in snapshot.ports.items():
                own = wanted.get(name) or PortVids()
                assert {*port.vids} <= {*before.ports[name].vids, *own.vids}
                assert port.pvid in (None, before.ports[name].pvid, own.pvid)


@given(plugged())
def test_a_release_puts_back_what_was_there(world: World) -> None:
    kernel, notes = world.kernel(), Notebook(world.known.memory)
    apply(LOCK, lambda: world.intent, kernel, notes=notes, known=world.known)
    release(LOCK, lambda: world.intent, kernel, EVERYTHING, notes, Known(cut=True))
    for name, port in world.start.ports.items():
        assert kernel.ports[name].vlans == port.vlans
        assert kernel.ports[name].flags.isolated == port.flags.isolated


port_vids = st.builds(
    lambda vids, place, untagged: PortVids(
        tuple(sorted(vids)), sorted(vids)[place] if place < len(vids) else None, tuple(sorted(vids & untagged))
    ),
    st.sets(st.integers(1, 12)),
    st.integers(0, 12),
    st.sets(st.integers(1, 12)),
)


@given(port_vids, port_vids, st.integers(0, 30))
def test_a_change_of_vids_is_made_and_undone_from_wherever_it_stopped(
    has: PortVids, wanted: PortVids, stop: int
) -> None:
    port = BridgePort("vnet0", 3, "br0", "fe:54:00:00:00:01", PortFlags(), has.vids, has.pvid, untagged=has.untagged)
    held = {vid: Entry(MACS[0], vid, "vnet0", sticky=bool(vid % 2)) for vid in has.vids}
    bridges = {"br0": Bridge("br0", 1, "02:b0:00:00:00:01", True)}
    start = Snapshot(bridges, {"vnet0": port}, entries=tuple(held.values()))
    left = tuple(entry for vid, entry in held.items() if vid not in wanted.vids)
    change = SetVids("vnet0", has, wanted, "br0", entries=left)
    steps = list(requests(change))
    made = requested(start, steps)
    assert made.ports["vnet0"].vlans == wanted
    assert {*made.fdb.of_mac("br0", MACS[0])} == {*has.vids} & {*wanted.vids}
    undone = requested(requested(start, steps[:stop]), requests(change.undone))
    assert undone.ports["vnet0"].vlans == has
    assert undone.fdb.of_mac("br0", MACS[0]) == held
