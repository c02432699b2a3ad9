"""Guests whose network is not active: whatever its metadata says, nothing that happens meanwhile cuts one off."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from macmgr.model.intent import GuestPort
from macmgr.model.snapshot import EntryState, PortFlags
from macmgr.planning.planner import plan
from tests.property.strategies import STRANGERS, World, worlds
from tests.property.test_laws import (
    applied,
    assert_nobody_is_cut_off,
    is_static,
    prefixes,
    rightful,
    state_of,
    unshared,
)


@st.composite
def frozen_worlds(draw: st.DrawFn) -> World:
    """Worlds in which networks were stopped, under some guests or all; many a port is as the kernel made it."""
    world = draw(worlds())
    taps = [name for name in world.start.ports if name.startswith("vnet")]
    unlocked = [name for name in taps if world.start.ports[name].flags.locked is not None and draw(st.booleans())]
    fresh = {name: replace(world.start.ports[name], flags=PortFlags()) for name in unlocked}

    def frozen(guest: GuestPort) -> GuestPort:
        return replace(guest, policy=replace(guest.policy, incomplete=draw(st.sampled_from([True, True, False]))))

    start = replace(world.start, ports={**world.start.ports, **fresh})
    return World(replace(world.intent, ports=tuple(map(frozen, world.intent.ports))), start, world.known)


def frozen(world: World) -> list[GuestPort]:
    return [guest for guest in world.there if guest.policy.incomplete]


@given(frozen_worlds())
def test_no_port_is_closed_or_locked_and_none_loses_its_lock(world: World) -> None:
    for kernel in prefixes(world, plan(world.intent, world.start, world.known)):
        for guest in frozen(world):
            was, now = world.start.ports[guest.port].flags, kernel.ports[guest.port].flags
            assert now.learning >= was.learning
            assert now.unicast_flood >= was.unicast_flood
            assert now.locked == was.locked


@given(frozen_worlds())
def test_who_was_reachable_stays_reachable_after_every_request(world: World) -> None:
    """Whoever has the port, and whatever its network allows beside what is known."""
    macs = [*unshared(world), *((guest, mac) for guest in frozen(world) for mac in STRANGERS)]
    assert_nobody_is_cut_off(world, [each for each in macs if each[1] not in world.gone])


@given(frozen_worlds())
def test_no_entry_on_the_port_is_dropped_or_pinned_otherwise(world: World) -> None:
    kernel = world.kernel()
    mine = {(guest.port, mac) for guest, mac in unshared(world) if guest.policy.incomplete}
    mine |= {(guest.port, mac) for guest in frozen(world) for mac in STRANGERS}
    before = {key: entry for key, entry in kernel.fdb.items() if (entry.port, entry.mac) in mine}
    applied(world, kernel)
    for key, entry in before.items():
        if entry.state is EntryState.STATIC and entry.mac not in world.gone:
            assert kernel.fdb[key] == entry


@given(frozen_worlds())
def test_an_open_port_gets_nothing_and_a_closed_one_what_its_guest_is_reached_by(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    alone = rightful(world)
    for guest in frozen(world):
        flags = world.start.ports[guest.port].flags
        if flags.open or not guest.running:
            assert all(entry in world.start.entries for entry in kernel.fdb.values() if entry.port == guest.port)
        elif guest in alone:
            vids = world.start.deciding_vids(guest.port)
            assert all(is_static(kernel, guest, mac, vid) for mac in guest.macs for vid in vids)


@given(frozen_worlds())
def test_what_was_applied_needs_nothing_more(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    once = state_of(kernel)
    assert plan(world.intent, kernel.read_snapshot(), world.known).changes == ()
    applied(world, kernel)
    assert state_of(kernel) == once


@given(worlds())
def test_a_network_that_is_stopped_after_an_apply_changes_nothing(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    once = state_of(kernel)
    stopped = tuple(replace(each, policy=replace(each.policy, incomplete=True)) for each in world.intent.ports)
    applied(replace(world, intent=replace(world.intent, ports=stopped)), kernel)
    assert state_of(kernel) == once
