"""The law of no harm: no change, and no fix that is printed, cuts off an address that was reached.

Nor does one put a guest into another VLAN, or let isolated guests hear each other; after each single request, and after
each command of a fix. Frames decide (tests/earshot.py); tests/harmjudge.py says what takes and harms nobody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from hypothesis import example, given
from hypothesis import strategies as st

from macmgr.forwarding.requested import requested
from macmgr.forwarding.typed import typed
from macmgr.model.changes import Change, SetEntries, SetVids, requests
from macmgr.model.findings import Code, Finding, fix_of
from macmgr.model.intent import Scope, Vlan, Vlans
from macmgr.model.snapshot import Snapshot
from macmgr.planning.planner import plan
from macmgr.planning.release import plan_release
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from macmgr.view import View, judged
from macmgr.vlanfiltering import turn_on
from tests.fake_kernel import FakeKernel
from tests.harmjudge import Judge
from tests.notebook import Notebook
from tests.property.strategies import CHOICES, DOMAINS, Choices, World, _world, worlds


def hosts() -> st.SearchStrategy[World]:
    """Worlds whose XML asks for VLANs and isolation, which their ports have or lack. Nobody consents to anything."""
    return st.tuples(worlds(), st.binary(min_size=CHOICES, max_size=CHOICES)).map(_host)


def _host(drawn: tuple[World, bytes]) -> World:
    world, choose = drawn[0], Choices(drawn[1])
    bridges = {
        name: replace(bridge, default_pvid=choose.one((1, 1, 0)), vids=(1,), pvid=1, untagged=(1,))
        for name, bridge in world.start.bridges.items()
    }
    ports = dict(world.start.ports)
    for name, port in ports.items():
        isolated = choose.seldom(3) and port.flags.locked is not None
        flags = replace(port.flags, isolated=isolated if port.flags.locked is not None else None)
        vids = tuple(sorted({*port.vids, *choose.one(((), (), (42,), (1, 42)))}))
        ports[name] = replace(port, flags=flags, vids=vids, untagged=port.untagged or vids[:1], pvid=port.pvid)
    guests = []
    for guest in world.intent.ports:
        vlan = choose.one([None, None, None, Vlan((42,)), Vlan((1,)), Vlan((1, 42), trunk=True)])
        isolated = choose.seldom(3)
        facts = replace(guest.facts, vlan=vlan, vlan_live=vlan is not None, isolated=isolated, isolated_live=isolated)
        policy = replace(guest.policy, vlans=choose.one((Vlans.TELL, Vlans.REPAIR)))
        guests.append(replace(guest, facts=facts, policy=policy))
    return World(
        replace(world.intent, ports=tuple(guests)),
        replace(world.start, bridges=bridges, ports=ports),
        replace(world.known, cut=False),
    )


def run(world: World, snapshot: Snapshot, command: Sequence[str]) -> Snapshot:
    """``macmgr`` itself, as a fix names it."""
    words = [word for word in command[2:] if word != "--vlans"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    known = replace(world.known, vlans="--vlans" in command)
    bridge = options.get("--bridge")
    scope = Scope(options.get("--domain"), frozenset({bridge}) if bridge else None)
    kernel = FakeKernel(snapshot)
    name = options.get("--vlan-filtering")
    if name and turn_on(WriterLock(), name, lambda: world.intent, kernel).cut:
        return snapshot
    notes = Notebook(world.known.memory)
    if command[1] == "release":
        release(WriterLock(), lambda: world.intent, kernel, scope, notes, known)
    else:
        apply(WriterLock(), lambda: world.intent, kernel, scope, notes=notes, known=known)
    return kernel.read_snapshot()


def after_each_command(world: World, finding: Finding) -> Iterator[tuple[str, Snapshot]]:
    snapshot = world.start
    for command in fix_of(finding).commands:
        snapshot = run(world, snapshot, command) if command[0] == "macmgr" else typed(snapshot, command)
        yield " ".join(command), snapshot


@given(hosts())
def test_no_request_of_a_plan_harms_anybody(world: World) -> None:
    judge, snapshot = Judge(world.intent, world.start), world.start
    changes = plan(world.intent, world.start, world.known).changes
    for number, change in enumerate(changes):
        for request in requests(change):
            snapshot = requested(snapshot, [request])
            found = judge.harm(snapshot, under_way=between_vlans(changes, number))
            assert found == [], request


def between_vlans(changes: Sequence[Change], number: int) -> set[str]:
    """The ports that have left their VLANs for those of their XML, and wait for their entries in these."""
    moving = {change.port for change in changes[: number + 1] if isinstance(change, SetVids)}
    puts = (change for change in changes[number:] if isinstance(change, SetEntries))
    waiting = {entry.port for put in puts for entry in put.after}
    return {port for port in moving if port in waiting}


@given(hosts(), st.sampled_from(DOMAINS))
def test_no_apply_harms_anybody(world: World, domain: str) -> None:
    judge = Judge(world.intent, world.start)
    for options in ((), ("--domain", domain), ("--bridge", "br0", "--vlans")):
        assert judge.harm(run(world, world.start, ("macmgr", "apply", *options))) == [], options


def sparse(**choices: int) -> bytes:
    """The choices of a host that was found: at ``_7`` the eighth, and 0 elsewhere."""
    return bytes(choices.get(f"_{number}", 0) for number in range(CHOICES))


_ITS_TABLE = {"_76": 1, "_79": 7, "_80": 4, "_81": 1, "_90": 9, "_91": 4, "_117": 1}
# A NIC that is down left its VLANs, and its entry in VID 0 comes back with copies in them: a fourth round ends it.
_COPIES_ON_A_PORT_THAT_IS_DOWN = _host(
    (
        _world(Choices(sparse(_1=1, _6=4, _7=1, _21=3, _22=1, _34=3, _35=1, _58=1, **_ITS_TABLE))),
        sparse(_11=2, _14=3, _17=4),
    )
)


@given(hosts())
@example(_COPIES_ON_A_PORT_THAT_IS_DOWN)
def test_no_release_harms_anybody(world: World) -> None:
    """Somebody has consented to what macmgr did before, and to nothing that the release does.

    Guests may hear each other between two of its requests: no more than that, and nobody is lost meanwhile.
    """
    kernel, notes = world.kernel(), Notebook(world.known.memory)
    apply(WriterLock(), lambda: world.intent, kernel, notes=notes, known=replace(world.known, cut=True, vlans=True))
    managed = kernel.read_snapshot()
    judge, snapshot = Judge(world.intent, managed), managed
    changes = plan_release(world.intent, managed, replace(world.known, memory=notes.memory)).changes
    for number, change in enumerate(changes):
        for request in requests(change):
            snapshot = requested(snapshot, [request])
            found = judge.harm(snapshot, under_way=between_vlans(changes, number))
            lost = [each for each in found if each.endswith("is lost")]
            assert lost == [], request
    left = release(WriterLock(), lambda: world.intent, kernel, Scope(), notes, world.known)
    assert judge.harm(kernel.read_snapshot()) == []
    stay = {each.port for each in left.outcome.view.plan.findings if each.code is Code.NOT_GIVEN_BACK}
    assert stay.isdisjoint(each.port for each in left.ports)
    assert not notes.memory.ports or not left.complete
    ended = release(WriterLock(), lambda: world.intent, kernel, Scope(), notes, replace(world.known, cut=True))
    by_hand = {each.port for each in ended.outcome.view.plan.findings if each.mac}
    assert by_hand.issuperset(each.port for each in notes.memory.ports), "with consent, it ends"


@given(hosts())
def test_no_fix_harms_anybody(world: World) -> None:
    judge = Judge(world.intent, world.start)
    look = View(world.intent, world.start, plan(world.intent, world.start, world.known), known=world.known)
    for finding in {*judged(look).plan.findings}:
        done = []
        commands = list(after_each_command(world, finding))
        for number, (command, snapshot) in enumerate(commands, 1):
            done.append(command)
            under_way = {finding.port} if number < len(commands) else ()
            found = judge.harm(snapshot, under_way=under_way)
            assert found == [], (finding.code, finding.message, done)
