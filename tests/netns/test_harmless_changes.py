"""The law of no harm on the real kernel: on random bridges with guests, no change, typed fix or release cuts one off.

Nor does one let a guest be heard where it was not. Frames decide, sent before and after. The hundred hosts are the same
in each run; MACMGR_HOSTS begins elsewhere.
tests/harmjudge.py says what takes from somebody and harms nobody.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

import pytest

from macmgr.forwarding import Frame
from macmgr.model.findings import fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Pin, Policy, Scope, Vlan, Vlans
from macmgr.model.known import NOTHING_KNOWN
from macmgr.model.relay import PortState
from macmgr.model.snapshot import Snapshot
from macmgr.planning.planner import plan
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from macmgr.view import View, judged
from macmgr.vlanfiltering import turn_on
from tests.earshot import Asked, Earshot, asked, in_use, listen
from tests.harmjudge import Judge
from tests.netns.frameyard import BRIDGE, CABLES, LACED, SHORT, TAPS, Yard, open_yard
from tests.netns.randombridge import STATIONS, Made, deletion, make, requests
from tests.notebook import Notebook

pytestmark = pytest.mark.full_kernel
_RUN = os.environ.get("MACMGR_HOSTS", "host")
_HOSTS = 100
_GUESTS = tuple(name for name in (*CABLES, *TAPS) if name not in (SHORT, LACED))


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with open_yard() as opened:
        yield opened


def test_no_change_no_fix_and_no_release_harms_anybody(yard: Yard) -> None:
    given = os.environ.get("MACMGR_BRIDGE")
    seeds = [given] if given else [f"{_RUN}-{number}" for number in range(_HOSTS)]
    judged_hosts = 0
    for seed in seeds:
        harm, done = _harm(Random(seed), yard)  # noqa: S311 - no secret
        again = f"MACMGR_BRIDGE={seed} looks at this host again: {done}"
        assert harm == [], again
        judged_hosts += done != ""
    assert given or judged_hosts > _HOSTS // 4, "hardly a host needed a change"


def _harm(choose: Random, yard: Yard) -> tuple[list[str], str]:
    """Whom the changes harm, the commands of one fix, or a release; and what was done."""
    made = _plain(make(choose, yard.filters_vlans, 0), choose)
    intent, notes = _intent(choose, made), Notebook()
    act = choose.choice((_apply, _apply, _apply, _type_a_fix, _type_a_fix, _turn_filtering_on, _release, _release))
    assert 0 not in yard.requests.transact(requests(made, yard), "making a bridge").failures
    try:
        start = yard.settled()
        if act is _release:  # of what somebody has consented to
            known = replace(NOTHING_KNOWN, cut=True, vlans=True)
            apply(WriterLock(), lambda: intent, yard.kernel, notes=notes, known=known)
            start = yard.settled()
        for _ in range(2):  # what the frames themselves move has moved then
            before = _heard(start, intent, in_use(start), yard)
            start = yard.kernel.read_snapshot({BRIDGE}, whole=True)
        judge = Judge(intent, start)
        judge.before = before
        done = act(choose, View(intent, start, plan(intent, start)), yard, notes)
        after = yard.settled()
        return judge.harm(after, heard=_heard(after, intent, judge.used, yard)) if done else [], done
    finally:
        assert not yard.requests.transact([deletion()], "deleting the bridge").failures
        for name in _GUESTS:
            yard.here.ip(f"link set {name} up")


def _plain(made: Made, choose: Random) -> Made:
    """A bridge whose ports mostly forward: nobody is cut off on one that does not."""
    ports = tuple(
        replace(port, state=PortState.FORWARDING if choose.random() < 0.9 else port.state, backup="")
        for port in made.ports
    )
    return replace(
        made, ports=ports, up=True, stp=False, ages=True, mst=False, forced=False, most_learned=0, in_mdb=(), heard=()
    )


def _intent(choose: Random, made: Made) -> Intent:
    names = [port.name for port in made.ports if port.name in _GUESTS] or [_GUESTS[0]]
    guests = []
    for number, name in enumerate(choose.sample(names, min(len(names), 3))):
        macs = [STATIONS[number if choose.random() < 0.8 else 0], *choose.sample(STATIONS, choose.randint(0, 1))]
        vlan = (
            choose.choice((None, None, Vlan((1,)), Vlan((7,)), Vlan((1, 7), trunk=True)))
            if made.vlan_filtering
            else None
        )
        isolated = choose.random() < 0.3
        guests.append(
            GuestPort(
                name,
                BRIDGE,
                f"g{number}",
                f"u{number}",
                tuple(dict.fromkeys(macs)),
                policy=Policy(
                    choose.choice((Manager.LIBVIRT, Manager.LIBVIRT, Manager.KERNEL)),
                    pin=choose.choice((Pin.AUTO, Pin.STATIC)),
                    lock=choose.random() < 0.2,
                    vlans=choose.choice((Vlans.TELL, Vlans.REPAIR)),
                ),
                facts=NicFacts(vlan=vlan, vlan_live=vlan is not None, isolated=isolated, isolated_live=isolated),
            )
        )
    return Intent(tuple(guests), {BRIDGE: "a test says so"})


def _heard(snapshot: Snapshot, intent: Intent, used: dict[str, list[str]], yard: Yard) -> Earshot:
    """Who reaches whom, by frames; the reasons are the model's."""
    yard.begin()
    numbers: dict[Asked, tuple[int, int, int]] = {}
    count = 0
    for each in asked(snapshot, intent, used):
        numbers[each] = count, count + 1, count + 2
        for ingress, frame in ((each.sender, each.there), (each.sender, each.asks), (each.port, each.back)):
            yard.send(count, ingress, _sent(frame))
            count += 1
    arrived = yard.collect()

    def came(number: int, port: str) -> bool:
        return any(name == port for name, _, _ in arrived.get(number, ()))

    model = listen(snapshot, intent, used)
    reached, hears = set(), dict(model.hears)
    for each, (there, asks, back) in numbers.items():
        answered = came(back, each.sender)
        if came(there, each.port) and came(asks, each.port) and answered:
            reached.add(each.place)
        if (place := (each.sender, each.port, each.vid)) in hears:
            hears[place] = hears[place]._replace(reached=answered)
    return Earshot(frozenset(reached), hears, model.held)


def _sent(frame: Frame) -> Frame:
    return replace(frame, length=80)


def _apply(choose: Random, view: View, yard: Yard, notes: Notebook) -> str:
    scope = Scope(choose.choice((None, None, "g0", "g1")))
    outcome = apply(WriterLock(), lambda: view.intent, yard.kernel, scope, notes=notes)
    return f"{len(outcome.done)} changes: {outcome.done}" if outcome.done else ""


def _release(_choose: Random, view: View, yard: Yard, notes: Notebook) -> str:
    outcome = release(WriterLock(), lambda: view.intent, yard.kernel, Scope(), notes).outcome
    return f"{len(outcome.done)} changes of a release: {outcome.done}" if outcome.done else ""


def _turn_filtering_on(_choose: Random, view: View, yard: Yard, notes: Notebook) -> str:
    command = ("macmgr", "apply", "--vlan-filtering", BRIDGE)
    return shlex.join(command) if _run(command, view.intent, yard, notes) else ""


def _type_a_fix(choose: Random, view: View, yard: Yard, notes: Notebook) -> str:
    fixes = [(finding, fix_of(finding).commands) for finding in judged(view).plan.findings]
    fixes = [(finding, commands) for finding, commands in fixes if commands]
    if not fixes:
        return ""
    finding, commands = choose.choice(fixes)
    for command in commands:
        if command[0] == "macmgr":
            _run(command, view.intent, yard, notes)
        elif command[0] != "virsh":
            yard.here.run(*command, check=False)
    return f"{finding.code}: {' && '.join(map(' '.join, commands))}"


def _run(command: Sequence[str], intent: Intent, yard: Yard, notes: Notebook) -> bool:
    """``macmgr`` itself, as a fix names it; False if it does not turn VLAN filtering on."""
    words = [word for word in command[2:] if word != "--vlans"]
    options = dict(zip(words[::2], words[1::2], strict=True))
    name = options.get("--vlan-filtering")
    if name and not turn_on(WriterLock(), name, lambda: intent, yard.kernel).turned_on:
        return False
    known = replace(NOTHING_KNOWN, vlans="--vlans" in command)
    apply(WriterLock(), lambda: intent, yard.kernel, Scope(options.get("--domain")), notes=notes, known=known)
    return True
