"""The laws of the planner and of reconciling (DESIGN, section 2), on worlds that have drifted in every way we know of.

What the laws say is asserted of the fake kernel's state and of where its frames go, never of the planner's own words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TypeGuard

from hypothesis import given
from hypothesis import strategies as st

from macmgr.execution import execute
from macmgr.model.changes import Change, SetEntries, SetFlags, requests
from macmgr.model.findings import Code
from macmgr.model.intent import GuestMac, GuestPort, Intent, Pin, Scope
from macmgr.model.mac import Patterns
from macmgr.model.snapshot import Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.announcements import announcements
from macmgr.planning.draft import Pins, Plan
from macmgr.planning.planner import plan
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome
from tests.fake_kernel import FakeKernel, Key
from tests.notebook import Notebook
from tests.property.strategies import DOMAINS, VIRTUAL, World, worlds

LOCK = WriterLock()
EVERYTHING = Scope()
FRAME_VIDS = (None, 1, 10)


def applied(world: World, kernel: FakeKernel, scope: Scope = EVERYTHING) -> Outcome:
    notes = Notebook(world.known.memory)
    return apply(LOCK, lambda: world.intent, kernel, scope, notes=notes, known=world.known)


def carry_out(kernel: FakeKernel, steps: Plan) -> None:
    snapshot = kernel.read_snapshot()
    for change in steps.changes:
        kernel.send(list(requests(change)), snapshot)


def prefixes(world: World, steps: Plan) -> Iterator[FakeKernel]:
    """The kernel after every single request."""
    kernel = world.kernel()
    snapshot = kernel.read_snapshot()
    for change in steps.changes:
        for request in requests(change):
            kernel.send([request], snapshot)
            yield kernel


def device_addresses(world: World) -> set[tuple[str, str]]:
    """The addresses of the bridges and their ports, which the host has in every VID."""
    bridges = {(bridge.name, bridge.mac) for bridge in world.start.bridges.values()}
    return bridges | {(port.bridge, port.mac) for port in world.start.ports.values()}


def own_addresses(world: World) -> set[tuple[str, str]]:
    """The addresses of the bridges and their ports, and those that the host has in some VID beside them."""
    return device_addresses(world) | {key[:2] for key in (*the_hosts(world), *world.start.stacked_addresses())}


def the_hosts(world: World) -> dict[Key, Entry]:
    """The local entries that are the host's: on a guest's tap they are a slip, unless the address is the tap's own."""
    taps = {guest.port: guest.bridge for guest in world.intent.ports}
    return {
        key: entry
        for key, entry in world.kernel().fdb.items()
        if entry.state is EntryState.LOCAL
        and (entry.port not in taps or entry.mac == world.start.ports[entry.port].mac)
    }


def unshared(world: World) -> list[tuple[GuestPort, str]]:
    """Running guests' MACs that no other NIC of the bridge has, and that are not the host's."""
    users = Counter((guest.bridge, mac) for guest in world.intent.ports for mac in guest.macs)
    own = own_addresses(world)
    return [
        (guest, mac)
        for guest in world.there
        for mac in guest.macs
        if guest.running and users[guest.bridge, mac] == 1 and (guest.bridge, mac) not in own
    ]


def rightful(world: World) -> list[GuestPort]:
    """Running managed guests that nobody contests: none of their MACs is shared, or the host's."""
    fine = Counter(guest.port for guest, _ in unshared(world))
    return [guest for guest in world.there if guest.managed and fine[guest.port] == len(guest.macs)]


def by_its_own(world: World) -> list[GuestPort]:
    """Managed guests whose own address is no other NIC's own, and not the host's; whatever anybody is allowed."""
    users = Counter((guest.bridge, guest.macs[0]) for guest in world.intent.ports)
    host = own_addresses(world)
    return [
        guest
        for guest in world.there
        if guest.managed
        and users[guest.bridge, guest.macs[0]] == 1
        and (guest.bridge, guest.macs[0]) not in host
        and guest.facts.configured_mac in ("", guest.macs[0])
    ]


def reachable(kernel: FakeKernel, guest: GuestPort, mac: str) -> set[tuple[str, int | None]]:
    """From which ports, and in which VID, a frame for the guest's MAC arrives at the guest's port."""
    return {
        (port.name, vid)
        for port in kernel.ports.values()
        if port.bridge == guest.bridge
        for vid in FRAME_VIDS
        if guest.port in kernel.deliver(guest.bridge, port.name, mac, vid)
    }


def heard(kernel: FakeKernel, guest: GuestPort, mac: str) -> set[int | None]:
    """In which VIDs the bridge takes the guest's own frames."""
    return {vid for vid in FRAME_VIDS if kernel.takes(guest.port, mac, vid)}


def state_of(kernel: FakeKernel) -> tuple[dict[str, PortFlags], dict[Key, Entry]]:
    return {port.name: port.flags for port in kernel.ports.values()}, dict(kernel.fdb)


def is_static(kernel: FakeKernel, guest: GuestPort, mac: str, vid: int) -> bool:
    entry = kernel.fdb.get((guest.bridge, mac, vid))
    return entry is not None and entry.port == guest.port and entry.state is EntryState.STATIC


def is_hosts(kernel: FakeKernel, guest: GuestPort, mac: str, vid: int) -> bool:
    """The host has the address there, and an open port would not get its frames either."""
    entry = kernel.fdb.get((guest.bridge, mac, vid))
    return entry is not None and entry.port != guest.port and entry.state is EntryState.LOCAL


def is_stranded(change: Change) -> TypeGuard[SetEntries]:
    return isinstance(change, SetEntries) and change.stranded


# 1 idempotence


@given(worlds())
def test_what_was_applied_needs_nothing_more(world: World) -> None:
    kernel = world.kernel()
    outcome = applied(world, kernel)
    assert outcome.complete or outcome.failures
    if not outcome.failures:
        assert plan(world.intent, kernel.read_snapshot(), world.known).changes == ()


@given(worlds())
def test_one_round_is_enough(world: World) -> None:
    """But for the port of a waiting guest whose stale entry goes: until it is gone, libvirt's own cannot come."""
    if any(guest.entry_comes and not guest.running for guest in world.intent.ports):
        return
    kernel = world.kernel()
    _, failures = execute(LOCK, plan(world.intent, world.start, world.known).changes, kernel, world.start)
    if not failures:
        assert plan(world.intent, kernel.read_snapshot(), world.known).changes == ()


@given(worlds())
def test_applying_twice_is_applying_once(world: World) -> None:
    """Nothing flaps: neither between two NICs with one MAC, nor where the kernel refuses."""
    kernel = world.kernel()
    applied(world, kernel)
    once = state_of(kernel)
    applied(world, kernel)
    assert state_of(kernel) == once


@given(worlds())
def test_planning_asks_nothing_of_the_order_in_which_the_guests_are_read(world: World) -> None:
    backwards = replace(world.intent, ports=world.intent.ports[::-1])
    one, two = world.kernel(), world.kernel()
    applied(world, one)
    applied(replace(world, intent=backwards), two)
    assert state_of(one) == state_of(two)


# What it is all for


@given(worlds())
def test_a_frame_for_a_managed_guest_reaches_it_and_nobody_else(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    for guest in rightful(world):
        port = kernel.ports[guest.port]
        assert (port.flags.learning, port.flags.unicast_flood) == (False, False)
        for mac in guest.macs:
            for sender in kernel.ports.values():
                if sender.bridge == guest.bridge and sender is not port and port.up and sender.up:
                    arrivals = kernel.deliver(guest.bridge, sender.name, mac)
                    assert arrivals == {port.name} or not _share_a_vid(kernel, sender.name, port.name)
            if guest.policy.lock and port.flags.locked is not None:
                assert port.flags.locked
            if port.up and port.pvid:
                assert kernel.takes(guest.port, mac)


@given(worlds())
def test_only_where_no_control_plane_puts_addresses_is_an_entry_sticky_by_itself(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    for guest in rightful(world):
        fed = any(port.bridge == guest.bridge and port.tunnel_learning is False for port in kernel.ports.values())
        sticky = {Pin.AUTO: not fed, Pin.STICKY: True, Pin.STATIC: False}[guest.policy.pin]
        for mac in guest.macs:
            for vid in world.start.deciding_vids(guest.port):
                assert kernel.fdb[guest.bridge, mac, vid].sticky == sticky


@given(worlds())
def test_no_allowance_takes_from_a_guest_its_own_address(world: World) -> None:
    """Nor does one that comes to nothing leave a guest without the rest: its port is closed, its address its own."""
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    for guest in by_its_own(world):
        if not guest.running:
            continue
        port = kernel.ports[guest.port]
        assert (port.flags.learning, port.flags.unicast_flood) == (False, False)
        for sender in kernel.ports.values():
            if sender.bridge == guest.bridge and sender is not port and port.up and sender.up:
                arrivals = kernel.deliver(guest.bridge, sender.name, guest.macs[0])
                assert arrivals == {port.name} or not _share_a_vid(kernel, sender.name, port.name)


@given(worlds())
def test_what_several_are_allowed_is_with_one_of_them_who_had_it_before(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    running = [guest for guest in by_its_own(world) if guest.running and VIRTUAL in guest.macs]
    strangers = {guest.bridge for guest in world.there if VIRTUAL in guest.macs and guest not in by_its_own(world)}
    strangers |= {bridge for bridge, mac in own_addresses(world) if mac == VIRTUAL}
    for bridge in {guest.bridge for guest in running} - strangers:
        allowed = {guest for guest in running if guest.bridge == bridge}
        for vid in {vid for guest in allowed for vid in world.start.deciding_vids(guest.port)}:
            here = {guest.port for guest in allowed if vid in world.start.deciding_vids(guest.port)}
            entry = kernel.fdb[bridge, VIRTUAL, vid]
            was = world.kernel().fdb.get((bridge, VIRTUAL, vid))
            assert entry.state is EntryState.STATIC
            assert entry.port in here
            if was is not None and was.state is EntryState.STATIC and was.port in here:
                assert entry.port == was.port


def _share_a_vid(kernel: FakeKernel, sender: str, receiver: str) -> bool:
    vid = kernel.ports[sender].pvid
    filtering = kernel.bridges[kernel.ports[sender].bridge].vlan_filtering
    return not filtering or vid in kernel.ports[receiver].vids


@given(worlds())
def test_the_frames_of_a_guest_that_does_not_run_here_are_not_swallowed(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    host = own_addresses(world)
    for guest in world.there:
        if guest.managed and not guest.running and (guest.bridge, guest.macs[0]) not in host:
            for mac in guest.macs:
                if (guest.bridge, mac) in host:
                    continue  # what it is allowed may be the host's too, and then nothing of it is touched
                on_port = [each for each in kernel.fdb.values() if (each.port, each.mac) == (guest.port, mac)]
                # VID 0 cannot go without the port's other VIDs, and there a copy may be somebody else's
                not_ours = any(each.state is not EntryState.STATIC for each in on_port)
                static = [each for each in on_port if each.state is EntryState.STATIC and (each.vid or not not_ours)]
                # a flush by VID leaves what a control plane has put its mark on
                vids = (0, *kernel.ports[guest.port].vids)
                assert all(each.extern_learn and each.vid not in vids for each in static)


@given(worlds(), st.booleans())
def test_announcing_changes_nothing(world: World, settled: bool) -> None:
    kernel = world.kernel()
    if settled:
        applied(world, kernel)
    before = state_of(kernel)
    snapshot = kernel.read_snapshot()
    again = announcements(world.intent, snapshot)
    execute(LOCK, list(again.values()), kernel, snapshot)
    assert state_of(kernel) == before
    waiting = {guest.port for guest in world.intent.ports if not guest.running or not guest.managed}
    assert waiting.isdisjoint(entry.port for change in again.values() for entry in change.after)


# 2 scope


@given(worlds())
def test_what_is_not_managed_is_not_touched(world: World) -> None:
    kernel = world.kernel()
    applied(world, kernel)
    managed_taps = {guest.port for guest in world.there if guest.managed}
    for name, port in world.start.ports.items():
        assert kernel.ports[name].flags == port.flags or name in managed_taps
    # a local entry on a guest's tap is a slip, also where the host has the address in another VID
    devices, host = device_addresses(world), the_hosts(world)
    here = {(guest.bridge, mac) for guest in world.there if guest.managed and guest.running for mac in guest.macs}
    theirs = {(guest.port, mac) for guest in world.there if not guest.managed for mac in guest.macs}
    on_own_tap = {(guest.port, mac) for guest in world.there if guest.managed for mac in guest.macs}
    for key, entry in world.kernel().fdb.items():
        bridge, mac, _ = key
        pinned = entry.state is EntryState.STATIC and (entry.port, mac) in on_own_tap  # ours, whatever flag it kept
        untouchable = (
            bridge not in world.intent.managed_bridges
            or (entry.state is EntryState.LOCAL and (key in host or (bridge, mac) in devices))
            or (
                ((world.start.by_control_plane(entry) and not pinned) or entry.state is EntryState.LOCAL)
                and (bridge, mac) not in here
            )
            or ((entry.port, mac) in theirs and (bridge, mac) not in here)
        )
        assert kernel.fdb.get(key) == entry or not untouchable
    for key, entry in kernel.fdb.items():
        assert entry.port in managed_taps or entry == world.kernel().fdb.get(key)


@given(worlds())
def test_what_is_left_alone_is_left_alone_in_every_flag(world: World) -> None:
    """A guest whose own MAC is the host's, or another NIC's that holds the entry, keeps its port as it is.

    One whose MAC is the host's in some of its VIDs has it in the others, and is managed there.
    """
    kernel = world.kernel()
    outcome = applied(world, kernel)
    devices, host = device_addresses(world), {*the_hosts(world), *world.start.stacked_addresses()}

    def is_all_the_hosts(guest: GuestPort, mac: str) -> bool:
        vids = {vid for bridge, each, vid in host if (bridge, each) == (guest.bridge, mac)}
        return (guest.bridge, mac) in devices or vids | ({0} if vids else set()) >= {
            *world.start.deciding_vids(guest.port)
        }

    partly = {guest.port for guest in world.there if not is_all_the_hosts(guest, guest.macs[0])}
    own = {(guest.port, guest.macs[0]) for guest in world.intent.ports}
    for finding in outcome.view.plan.findings:
        left_alone = finding.code is Code.DUPLICATE_MAC or (
            finding.code is Code.MAC_COLLISION and finding.port not in partly
        )
        if left_alone and (finding.port, finding.mac) in own:
            assert kernel.ports[finding.port].flags == world.start.ports[finding.port].flags


@given(worlds(), st.sampled_from(DOMAINS))
def test_applying_to_one_domain_touches_only_that_domain(world: World, domain: str) -> None:
    kernel = world.kernel()
    applied(world, kernel, Scope(domain=domain))
    its_ports = {guest.port for guest in world.intent.ports if guest.domain == domain}
    its_guests = [guest for guest in world.intent.ports if guest.domain == domain]
    its_macs = Patterns(mac for guest in its_guests for mac in (*guest.macs, *guest.policy.allow))
    for name, port in world.start.ports.items():
        assert kernel.ports[name].flags == port.flags or name in its_ports
    before = world.kernel().fdb
    for key in before.keys() | kernel.fdb.keys():
        was, is_now = before.get(key), kernel.fdb.get(key)
        ports = {entry.port for entry in (was, is_now) if entry is not None}
        assert was == is_now or its_macs.matches(key[1]) or ports <= its_ports


@given(worlds(), st.sampled_from(["br0", "br1"]))
def test_applying_to_one_bridge_touches_only_that_bridge(world: World, bridge: str) -> None:
    kernel = world.kernel()
    applied(world, kernel, Scope(bridges=frozenset({bridge})))
    untouched = world.kernel()
    assert {k: e for k, e in kernel.fdb.items() if k[0] != bridge} == {
        k: e for k, e in untouched.fdb.items() if k[0] != bridge
    }
    assert {n: p for n, p in kernel.ports.items() if p.bridge != bridge} == {
        n: p for n, p in untouched.ports.items() if p.bridge != bridge
    }


@given(worlds())
def test_no_local_entry_of_the_hosts_is_touched(world: World) -> None:
    """Not in any step, whoever names its address."""
    for kernel in prefixes(world, plan(world.intent, world.start, world.known)):
        for key, entry in the_hosts(world).items():
            assert kernel.fdb.get(key) == entry


@given(worlds())
def test_no_entry_is_put_for_an_address_of_what_is_stacked_on_a_bridge(world: World) -> None:
    """But for the moment in which a copy in a VID that its port has lost is moved to where it can be deleted."""
    before = world.kernel().fdb
    steps = plan(world.intent, world.start, world.known)
    moved = {(change.bridge, *each.key) for change in steps.changes if is_stranded(change) for each in change.before}
    for kernel in prefixes(world, steps):
        for key in world.start.stacked_addresses():
            entry = kernel.fdb.get(key)
            assert entry in (None, before.get(key)) or (key in moved and entry.state is EntryState.DYNAMIC)


@given(worlds())
def test_an_address_that_the_host_has_in_one_vid_is_its_guests_in_the_others(world: World) -> None:
    kernel = world.kernel()
    if applied(world, kernel).failures:
        return
    users = Counter((guest.bridge, mac) for guest in world.intent.ports for mac in guest.macs)
    for guest in world.there:
        mac, port = guest.macs[0], world.start.ports[guest.port]
        devices = {world.start.bridges[guest.bridge].mac, *(each.mac for each in world.start.ports.values())}
        fine = guest.managed and guest.running and users[guest.bridge, mac] == 1 and mac not in devices
        if fine and world.start.bridges[guest.bridge].vlan_filtering:
            places = (*the_hosts(world), *world.start.stacked_addresses())
            hosts = {vid for bridge, each, vid in places if (bridge, each) == (guest.bridge, mac)}
            assert all(is_static(kernel, guest, mac, vid) for vid in set(port.vids) - hosts)


# 3 undo is proven on release: test_release.py
# 4 no black hole


def assert_nobody_is_cut_off(world: World, macs: Collection[tuple[GuestPort, str]]) -> None:
    """After every request, each MAC is reached from where it was reached, and heard in the VIDs it was heard in."""
    start = world.kernel()
    before = {each: (reachable(start, *each), heard(start, *each)) for each in macs}
    for kernel in prefixes(world, plan(world.intent, world.start, world.known)):
        for guest, mac in macs:
            arrives, leaves = before[guest, mac]
            assert reachable(kernel, guest, mac) >= arrives
            assert heard(kernel, guest, mac) >= leaves


@given(worlds())
def test_a_mac_that_was_reachable_stays_reachable_after_every_request(world: World) -> None:
    assert_nobody_is_cut_off(world, unshared(world))


@given(worlds())
def test_a_waiting_guest_is_not_left_closed_unless_its_entry_comes(world: World) -> None:
    """Its entry would be missing when the CPUs start, and nobody would put it."""
    kernel = world.kernel()
    host = own_addresses(world)
    applied(world, kernel)
    for guest in world.there:
        if guest.managed and not guest.running and (guest.bridge, guest.macs[0]) not in host:
            flags = kernel.ports[guest.port].flags
            if not guest.may_wait_closed:
                assert (flags.learning, flags.unicast_flood, bool(flags.locked)) == (True, True, False)


@given(worlds())
def test_no_entry_is_ever_put_for_a_guest_that_does_not_run_here(world: World) -> None:
    waiting = {guest.port for guest in world.intent.ports if not guest.running}
    before = world.kernel().fdb
    for kernel in prefixes(world, plan(world.intent, world.start, world.known)):
        for key, entry in kernel.fdb.items():
            assert entry == before.get(key) or entry.port not in waiting


# 6 no harm


@given(worlds())
def test_what_is_in_use_behind_a_port_stays_reached_unless_somebody_consents(world: World) -> None:
    """After every request. What a lock is asked for is consent; so is what the guest itself is given.

    An entry in a VID in which the bridge looks nothing up is a rest of another time: no frame is led or learned there.
    """
    careful = replace(world, known=replace(world.known, cut=False))
    start = world.kernel()
    contested = {(guest.bridge, mac) for guest in world.intent.ports for mac in (*guest.macs, *guest.moved)}
    contested |= {(bridge, mac) for bridge in world.start.bridges for mac in world.gone}
    used = [
        (guest, entry.mac)
        for guest in world.there
        if guest.managed and not guest.policy.lock and world.start.ports[guest.port].auto
        for entry in start.fdb.values()
        if entry.port == guest.port and entry.state is EntryState.DYNAMIC and not entry.extern_learn
        if entry.vid in world.start.deciding_vids(guest.port)
        if (guest.bridge, entry.mac) not in contested
    ]
    before = {each: reachable(start, *each) for each in used}
    for kernel in prefixes(careful, plan(careful.intent, world.start, careful.known)):
        for each in used:
            assert reachable(kernel, *each) >= before[each]


@given(worlds())
def test_where_something_is_in_use_one_round_is_enough_too(world: World) -> None:
    careful = replace(world, known=replace(world.known, cut=False))
    kernel = world.kernel()
    if not applied(careful, kernel).failures:
        assert plan(careful.intent, kernel.read_snapshot(), careful.known).changes == ()


@given(worlds())
def test_who_is_alive_on_an_uplink_loses_no_entry_to_a_guest_that_is_only_allowed_its_address(world: World) -> None:
    careful = replace(world, known=replace(world.known, cut=False))
    taps = {guest.port for guest in world.intent.ports}
    own = {(guest.bridge, mac) for guest in world.intent.ports for mac in (guest.macs[0], guest.facts.configured_mac)}
    alive = {
        key: entry
        for key, entry in world.kernel().fdb.items()
        if entry.state is EntryState.DYNAMIC and entry.port not in taps and key[:2] not in own
        if not world.start.bridges[key[0]].vlan_filtering or key[2]
    }
    vids = {guest.bridge: {0} for guest in world.there}
    for guest in world.there:
        vids[guest.bridge].update(world.start.deciding_vids(guest.port))
    for kernel in prefixes(careful, plan(careful.intent, world.start, careful.known)):
        for key, entry in alive.items():
            deciding = world.start.bridges[key[0]].vlan_filtering or key[2] == 0
            assert kernel.fdb.get(key) == entry or not deciding


# 5 interlock


@given(worlds(), st.data())
def test_no_port_is_closed_without_its_entries(world: World, data: st.DataObject) -> None:
    kernel = world.kernel()
    taps = sorted(name for name in world.start.ports if name.startswith("vnet"))
    kernel.refuses_puts = data.draw(st.sets(st.sampled_from(taps))) if taps else set()
    kernel.forgets_puts = data.draw(st.sets(st.sampled_from(taps))) if taps else set()
    steps = plan(world.intent, world.start, world.known)
    done, failures = execute(LOCK, steps.changes, kernel, world.start)
    told = {failure.change for failure in failures}
    alone = unshared(world)
    for guest in world.there:
        was, is_now = world.start.ports[guest.port].flags, kernel.ports[guest.port].flags
        closed = SetFlags(guest.port, was, is_now).closes
        if closed and guest.running:
            vids = (0, *world.start.ports[guest.port].vids)
            deciding = [vid for vid in vids if vid or not world.start.bridges[guest.bridge].vlan_filtering]
            macs = {guest.macs[0]} | {mac for each, mac in alone if each is guest}
            assert all(
                is_static(kernel, guest, mac, vid) or is_hosts(kernel, guest, mac, vid)
                for mac in macs
                for vid in deciding
            )
    assert {*done} | told == {*steps.changes}
    for change in done:
        if isinstance(change, SetEntries):
            assert all(
                kernel.fdb.get((change.bridge, each.mac, each.vid), each)[:4] == each[:4] for each in change.after
            )


@given(worlds(), st.data())
def test_no_port_stays_closed_without_an_entry_that_was_put_in_vain(world: World, data: st.DataObject) -> None:
    """The kernel refuses some, of some it shows nothing, and some are skipped: somebody takes them away each time."""
    kernel = world.kernel()
    taps = sorted(name for name in world.start.ports if name.startswith("vnet"))
    some = st.sets(st.sampled_from(taps)) if taps else st.just(set[str]())
    kernel.refuses_puts, kernel.forgets_puts, fought = data.draw(some), data.draw(some), data.draw(some)
    ports = [guest for guest in world.intent.ports if guest.port in fought and guest.port in world.start.ports]
    lost = frozenset(
        (guest.port, mac, vid)
        for guest in ports
        for mac in guest.macs
        for vid in (0, *world.start.ports[guest.port].vids)
    )

    def skips(change: Change) -> bool:
        if isinstance(change, SetFlags):
            return change.closes and change.port in fought
        assert isinstance(change, SetEntries)
        return any((entry.port, change.mac, entry.vid) in lost for entry in change.after)

    known = replace(world.known, refused=lost)
    applied(replace(world, known=known), kernel, Scope(skips=skips))
    fine = rightful(world)
    for guest, mac in unshared(world):
        locked = guest.policy.lock or world.start.ports[guest.port].flags.locked
        sticky = Pins(world.start).of(guest.policy.pin, guest.bridge) is Pin.STICKY
        if guest not in fine or locked or not sticky or guest.policy.guest_mac is GuestMac.FOLLOW:
            continue
        there = all(is_static(kernel, guest, mac, vid) for vid in world.start.deciding_vids(guest.port))
        flags = kernel.ports[guest.port].flags
        assert there or flags.open


@given(worlds(), st.data())
def test_entries_that_a_dump_leaves_out_are_not_missed(world: World, data: st.DataObject) -> None:
    """An FDB dump is no snapshot: what it skips is looked up before it is believed to be missing."""
    kernel = world.kernel()
    applied(world, kernel)
    settled = state_of(kernel)
    # a copy in a VID that its port lost is in the way of no request, and so nobody looks for it; nor for one of the
    # host's where no entry is put for a guest with that address: in a VID in which its port is not, or while its CPUs
    # do not run
    vids = {name: (0, *port.vids) for name, port in kernel.ports.items()} | dict.fromkeys(kernel.bridges, (0,))
    claims = [
        (guest.bridge, mac, vids.get(guest.port, ()) if guest.running else ())
        for guest in world.intent.ports
        for mac in guest.macs
    ]
    live = sorted(
        key
        for key, entry in kernel.fdb.items()
        if entry.vid in vids[entry.port]
        if entry.state is not EntryState.LOCAL or all(key[2] in on for *each, on in claims if (*each,) == key[:2])
    )
    kernel.skipped_by_dumps = data.draw(st.sets(st.sampled_from(live)))
    kernel.sent.clear()
    outcome = applied(world, kernel)
    assert state_of(kernel) == settled
    if outcome.complete:
        assert not kernel.sent


# The same, while somebody else meddles


@given(worlds(), st.data())
def test_ports_that_vanish_leave_the_others_as_they_should_be(world: World, data: st.DataObject) -> None:
    taps = sorted(name for name in world.start.ports if name.startswith("vnet"))
    if not taps:
        return
    going = data.draw(st.sampled_from(taps))
    again = data.draw(st.booleans())

    kernel = world.kernel()

    def meddle() -> None:
        if going in kernel.ports and kernel.ports[going].ifindex == world.start.ports[going].ifindex:
            kernel.make_port_again(going) if again else kernel.remove_port(going)

    kernel.before_each_send = meddle
    outcome = applied(world, kernel)
    assert outcome.complete or outcome.failures
    if going not in kernel.ports or outcome.failures:
        return
    assert plan(world.intent, kernel.read_snapshot(), world.known).changes == ()


def test_an_empty_world_needs_nothing() -> None:
    needed = plan(Intent(), Snapshot())
    assert needed.changes == ()
    assert {finding.code for finding in needed.findings} == {Code.NOTHING_MANAGED}
