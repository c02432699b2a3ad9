"""The laws on entryvids, on kernels that lack something without saying so, and on ports whose driver refuses a flag."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from macmgr.model.changes import SetFlags
from macmgr.model.flags import FLAGS
from macmgr.model.snapshot import Entry, EntryState
from macmgr.planning import draft
from macmgr.planning.planner import plan
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, Key
from tests.notebook import Notebook
from tests.property.strategies import World, worlds
from tests.property.test_laws import applied, heard, prefixes, reachable, rightful, state_of, unshared

LOCK = WriterLock()


@contextmanager
def two_vids_are_a_trunk() -> Iterator[None]:
    with patch.object(draft, "MANY_VIDS", 1):
        yield


@given(worlds())
def test_a_trunk_is_settled_and_stays_so(world: World) -> None:
    with two_vids_are_a_trunk():
        kernel = world.kernel()
        outcome = applied(world, kernel)
        assert outcome.complete or outcome.failures
        once = state_of(kernel)
        applied(world, kernel)
        assert state_of(kernel) == once


@given(worlds())
def test_a_frame_that_can_come_reaches_the_guest_on_a_trunk(world: World) -> None:
    with two_vids_are_a_trunk():
        kernel = world.kernel()
        if applied(world, kernel).failures:
            return
    for guest in rightful(world):
        port = kernel.ports[guest.port]
        for sender in kernel.ports.values():
            for vid in sender.vids if kernel.bridges[guest.bridge].vlan_filtering else (None,):
                shared = sender.bridge == guest.bridge and sender is not port and (vid is None or vid in port.vids)
                if shared and port.up and sender.up and not (sender.isolated and port.isolated):
                    for mac in guest.macs:
                        assert kernel.deliver(guest.bridge, sender.name, mac, vid) == {port.name}


@given(worlds())
def test_no_guest_on_a_trunk_is_cut_off_by_any_request(world: World) -> None:
    """What it sends counts where another port can get it."""
    macs = unshared(world)
    start = world.kernel()

    def heard_by_others(kernel: FakeKernel, port: str, vids: set[int | None]) -> set[int | None]:
        bridge = kernel.bridges[kernel.ports[port].bridge]
        others = {
            vid
            for each in kernel.ports.values()
            if each.bridge == bridge.name and each.name != port
            for vid in each.vids
        }
        pvid = kernel.ports[port].pvid
        return {vid for vid in vids if not bridge.vlan_filtering or (pvid if vid is None else vid) in others}

    with two_vids_are_a_trunk():
        steps = plan(world.intent, world.start, world.known)
    before = {each: (reachable(start, *each), heard(start, *each)) for each in macs}
    for kernel in prefixes(world, steps):
        for guest, mac in macs:
            arrives, leaves = before[guest, mac]
            assert reachable(kernel, guest, mac) >= arrives
            assert heard(kernel, guest, mac) >= heard_by_others(kernel, guest.port, leaves)


@given(worlds(), st.data())
def test_on_any_kernel_an_apply_ends_and_the_next_one_changes_nothing(world: World, data: st.DataObject) -> None:
    kernel, notes = _some_kernel(world, data), Notebook()
    outcome = apply(LOCK, lambda: world.intent, kernel, notes=notes, known=world.known)
    assert outcome.complete or outcome.failures
    once = state_of(kernel)
    apply(LOCK, lambda: world.intent, kernel, notes=notes, known=world.known)
    assert state_of(kernel) == once


@given(worlds(), st.data())
def test_on_any_kernel_no_port_is_closed_without_its_entries(world: World, data: st.DataObject) -> None:
    kernel = _some_kernel(world, data)
    apply(LOCK, lambda: world.intent, kernel, notes=Notebook(), known=world.known)
    for guest in world.there:
        was, is_now = world.start.ports[guest.port].flags, kernel.ports[guest.port].flags
        if guest.running and SetFlags(guest.port, was, is_now).closes:
            vids = (0, *world.start.ports[guest.port].vids)
            deciding = [vid for vid in vids if vid or not world.start.bridges[guest.bridge].vlan_filtering]
            macs = {guest.macs[0]} | {mac for each, mac in unshared(world) if each is guest}
            for key in [(guest.bridge, mac, vid) for mac in macs for vid in deciding]:
                assert _is_static(kernel.fdb, key, guest.port) or _is_hosts(kernel.fdb, key, guest.port)


@given(worlds(), st.data())
def test_on_any_kernel_an_uplink_is_quiet_only_where_nothing_else_floods(world: World, data: st.DataObject) -> None:
    kernel = _some_kernel(world, data)
    apply(LOCK, lambda: world.intent, kernel, notes=Notebook(), known=world.known)
    for bridge in world.start.bridges:
        flooding = {port.name for port in kernel.ports.values() if port.bridge == bridge and port.flags.unicast_flood}
        for uplink in world.uplinks(bridge):
            if world.start.ports[uplink].flags != kernel.ports[uplink].flags:
                assert not kernel.knows_sticky
                assert flooding == {uplink}


def _some_kernel(world: World, data: st.DataObject) -> FakeKernel:
    kernel = world.kernel()
    kernel.knows_sticky, kernel.flushes = data.draw(st.booleans()), data.draw(st.booleans())
    if not kernel.knows_sticky:
        kernel.fdb = {key: entry._replace(sticky=False) for key, entry in kernel.fdb.items()}
    taps = sorted(name for name in world.start.ports if name.startswith("vnet"))
    if taps:
        refused = st.tuples(st.sampled_from(taps), st.sampled_from([flag.field for flag in FLAGS]))
        kernel.refuses_flags = data.draw(st.sets(refused, max_size=2))
    return kernel


def _is_static(fdb: dict[Key, Entry], key: Key, port: str) -> bool:
    entry = fdb.get(key)
    return entry is not None and entry.port == port and entry.state is EntryState.STATIC


def _is_hosts(fdb: dict[Key, Entry], key: Key, port: str) -> bool:
    """The host has the address there, and an open port would not get its frames either."""
    entry = fdb.get(key)
    return entry is not None and entry.port != port and entry.state is EntryState.LOCAL
