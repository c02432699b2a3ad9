"""A change that would cut off a guest which is reached, or let it be heard, is left out with all that depends on it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.forwarding import Answer, consequences, forward
from macmgr.hook.work import in_words
from macmgr.model.changes import SetEntries, SetFlags
from macmgr.model.findings import Code, Fixes
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import Intent, Manager, Pin, Policy, Scope
from macmgr.model.known import Known
from macmgr.model.snapshot import BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.view import Outcome, View
from tests.two_guests import CLOSED, DB, INTENT, PINNED, WEB, host

MANAGED = Policy(manager=Manager.LIBVIRT)
VRRP = "00:00:5e:00:01:0a"
OPEN: dict[str, Any] = {"flags": PortFlags()}


def guests(web: dict[str, Any] | None = None, db: dict[str, Any] | None = None) -> Intent:
    """Both are managed."""
    ports = (
        replace(guest, **{"policy": MANAGED, **(more or {})})
        for guest, more in zip(INTENT.ports, (web, db), strict=True)
    )
    return Intent(tuple(ports), {"br0": "a test says so"})


def learned(mac: str, port: str) -> Entry:
    return Entry(mac, 0, port, EntryState.DYNAMIC)


def told(steps: Plan) -> list[str]:
    return [finding.message for finding in steps.findings if finding.code is Code.WOULD_HARM]


def puts(steps: Plan) -> set[Entry]:
    return {entry for change in steps.changes if isinstance(change, SetEntries) for entry in change.after}


TWINS = guests(db={"macs": (WEB,)})
ONE_IS_DOWN = host(entries=(learned(WEB, "vnet1"),), vnet1=OPEN, vnet2={**OPEN, "up": False})


def test_of_two_guests_with_one_address_the_one_that_is_reached_keeps_it() -> None:
    """The other one comes first by its name, and nobody reaches it: its port is down."""
    steps = plan(TWINS, ONE_IS_DOWN)
    assert steps.changes == ()
    (message,) = told(steps)
    assert message == (
        f"{WEB} of web (vnet1) would no longer be reached from the host, the uplink eth0: changes on br0 are left out"
    )
    assert Code.DUPLICATE_MAC in {finding.code for finding in steps.findings}


def test_an_address_that_was_learned_elsewhere_is_judged_as_if_the_guest_had_sent_since() -> None:
    """web takes the entry back by its next frame; from a static one on the port of db, which is down, it does not."""
    ports = {**ONE_IS_DOWN.ports, "vnet3": replace(ONE_IS_DOWN.ports["vnet1"], name="vnet3", ifindex=13)}
    masters = {**ONE_IS_DOWN.masters, "vnet3": "br0"}
    steps = plan(TWINS, replace(ONE_IS_DOWN, ports=ports, masters=masters, entries=(learned(WEB, "vnet3"),)))
    assert not any(entry.port == "vnet2" for entry in puts(steps))


def test_of_two_guests_with_one_address_none_gets_it_by_whom_a_neighbour_would_reach_neither() -> None:
    """db sent last, and gets no broadcast; web takes the entry back by its next frame, and by nothing else."""
    without_flood = {"flags": replace(PortFlags(), unicast_flood=False)}
    no_broadcast = {**OPEN, "relay": replace(ONE_IS_DOWN.ports["vnet2"].relay, proxy_arp=True)}
    steps = plan(TWINS, host(entries=(learned(WEB, "vnet2"),), vnet1=without_flood, vnet2=no_broadcast))
    assert puts(steps) == set()
    assert told(steps)


def test_an_entry_that_a_frame_moves_is_judged_as_if_the_guest_had_sent_since_though_it_is_static() -> None:
    """Both are allowed the address. It is pinned for db, not sticky; db is isolated, and so is the other port."""
    apart = {"flags": replace(CLOSED, isolated=True)}
    entries = (PINNED[0], *(Entry(mac, 0, "vnet2") for mac in (DB, VRRP)))
    there = host(entries=entries, eth0={"flags": PortFlags(isolated=True)}, vnet1=OPEN, vnet2=apart)
    static = replace(MANAGED, pin=Pin.STATIC)
    intent = guests({"macs": (WEB, VRRP)}, {"macs": (DB, VRRP), "policy": static})
    assert not any(isinstance(change, SetFlags) for change in plan(intent, there).changes)


def test_a_guest_on_another_bridge_than_its_own_keeps_its_address_there() -> None:
    """db is on br0 by mistake, and reached there; web is allowed its address, and its port is down."""
    strays = guests(web={"macs": (WEB, DB)}, db={"bridge": "br1"})
    steps = plan(strays, host(entries=(Entry(DB, 0, "vnet2"),), vnet1={**OPEN, "up": False}, vnet2=OPEN))
    assert not any(entry.mac == DB for entry in puts(steps))
    assert told(steps) == [
        f"{DB} of db (vnet2) would no longer be reached from the host, the uplink eth0: changes on br0 are left out"
    ]


def test_a_part_of_a_plan_harms_nobody_by_itself() -> None:
    """Both are allowed the address, and the plan gives it to db. Until then it is flooded, and reached on vnet1."""
    flooding = host(vnet1={"flags": replace(CLOSED, unicast_flood=True)})
    intent = guests({"macs": (WEB, VRRP)}, {"macs": (DB, VRRP)})
    assert {change.domain for change in plan(intent, flooding).changes} == {"web", "db"}
    alone = plan(intent, flooding, scope=Scope("web"))
    assert alone.changes == ()
    (finding,) = (each for each in alone.findings if each.code is Code.WOULD_HARM)
    assert finding.note == "'macmgr apply --bridge br0' makes them after those of other guests"


def test_no_fix_says_what_is_left_out() -> None:
    fixes = Fixes()
    for finding in plan(TWINS, ONE_IS_DOWN).findings:
        if finding.code in (Code.STOLEN_ENTRY, Code.LEARNING_ON, Code.FLOOD_ON):
            assert fixes.of(finding).text == "left out: it would harm web (vnet1)"


def test_consent_makes_the_changes() -> None:
    steps = plan(TWINS, ONE_IS_DOWN, Known(cut=True))
    assert len(steps.changes) == 2
    assert told(steps) == []


def in_use_elsewhere(**web: Any) -> tuple[Intent, Snapshot]:
    """db is allowed an address that web uses, which is left to the kernel."""
    wanted = guests(web, {"macs": (DB, VRRP)})
    return wanted, host(entries=(learned(VRRP, "vnet1"),), vnet1=OPEN, vnet2=OPEN)


def test_an_address_in_use_behind_a_guest_that_is_left_to_the_kernel_is_not_taken_from_it() -> None:
    steps = plan(*in_use_elsewhere(policy=Policy()))
    assert puts(steps) == {Entry(DB, 0, "vnet2", sticky=True)}
    assert len(steps.changes) == 1, "without all of its entries, its port stays open"
    (message,) = told(steps)
    assert message.startswith(f"{VRRP} of web (vnet1) would no longer be reached from the host, the uplink eth0, vnet2")


def test_who_asks_about_one_guest_reads_and_its_hook_says_whom_a_change_would_harm() -> None:
    """The finding about the other guest is not in scope there."""
    wanted, start = in_use_elsewhere(policy=Policy())
    scope = Scope("db")
    look = View(wanted, start, replace(plan(wanted, start).only(scope), changes=()), scope=scope)
    assert told(look.plan) == []
    line = in_words(HookCall("qemu", "db", "started"), Outcome((), (), look))
    assert line == "vnet2: left out: it would harm web (vnet1)"


def test_of_two_that_are_allowed_an_address_the_one_that_uses_it_has_it() -> None:
    """The other one comes first by its name."""
    steps = plan(*in_use_elsewhere(macs=(WEB, VRRP)))
    assert told(steps) == []
    assert puts(steps) == {
        Entry(mac, 0, port, sticky=True) for mac, port in ((WEB, "vnet1"), (VRRP, "vnet1"), (DB, "vnet2"))
    }


@pytest.mark.parametrize("state", ["paused", "incoming"])
def test_nothing_is_asked_of_a_guest_that_does_not_run_here(state: str) -> None:
    wanted = guests({"running": False, "state": state})
    early = host(vnet1={"flags": CLOSED})
    assert told(plan(wanted, early)) == []


def test_a_change_of_one_guest_costs_the_frames_of_one_guest(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many others there are, as long as their ports are alike."""
    sent = 0

    def counted(*args: Any) -> Answer:
        nonlocal sent
        sent += 1
        return forward(*args)

    def frames(others: int) -> int:
        nonlocal sent
        db, port = INTENT.ports[1], host().ports["vnet2"]
        names = [f"vnet{number + 10}" for number in range(others)]
        macs = {name: f"52:54:00:01:00:{number:02x}" for number, name in enumerate(names)}
        more = tuple(replace(db, port=name, domain=name, macs=(macs[name],), policy=MANAGED) for name in names)
        wanted = guests()
        snapshot = host(vnet1=OPEN)
        ports = {**snapshot.ports, **{name: replace(port, name=name) for name in names}}
        entries = (*snapshot.entries, *(Entry(macs[name], 0, name, sticky=True) for name in names))
        sent = 0
        steps = plan(
            replace(wanted, ports=(*wanted.ports, *more)),
            replace(snapshot, ports=ports, masters=dict.fromkeys(ports, "br0"), entries=entries),
        )
        assert len(steps.changes) == 1
        return sent

    monkeypatch.setattr(consequences, "forward", counted)
    assert frames(100) == frames(5) <= 20


def test_how_many_have_an_address_does_not_decide_how_often_it_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A default ``allow`` is every guest's: a hook has two seconds for all of it."""
    judged: list[int] = []
    really = consequences.consequences

    def counting(*words: Any, **more: Any) -> Any:
        judged.append(1)
        return really(*words, **more)

    monkeypatch.setattr("macmgr.forwarding.harm.consequences", counting)
    numbers = []
    for many in (20, 60):
        ports = {
            f"vnet{number}": BridgePort(f"vnet{number}", 20 + number, "br0", f"fe:54:00:00:01:{number:02x}", kind="tun")
            for number in range(many)
        }
        start = host(entries=())
        start = replace(start, ports={**start.ports, **ports}, masters={**start.masters, **dict.fromkeys(ports, "br0")})
        web = INTENT.ports[0]
        crowd = tuple(
            replace(web, port=port, domain=port, uuid=port, macs=(f"52:54:00:00:01:{number:02x}", VRRP), policy=MANAGED)
            for number, port in enumerate(ports)
        )
        assert plan(Intent(crowd, {"br0": "a test says so"}), start).changes
        numbers.append(len(judged))
        judged.clear()
    assert numbers[0] == numbers[1]
