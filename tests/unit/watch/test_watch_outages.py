"""What a person hears of guests that nobody reaches, and how often."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.reached import Outage
from macmgr.view import View
from macmgr.watch.outages import EVERY, LASTING, Outages, Time
from macmgr.watch.reachwatch import judge
from tests.two_guests import INTENT, host

MANAGED = replace(INTENT, managed_bridges={"br0": "a test says so"})
LISTENS: dict[str, Any] = {"eth0": {"relay": PortRelay(PortState.LISTENING)}}
NOON = 1000.0


class Watch:
    """The outages of a host, at times in seconds after noon."""

    def __init__(self) -> None:
        self.outages = Outages(lambda clock: f"noon+{clock - NOON:g}")

    def look(self, at: float, snapshot: Snapshot, intent: Intent = MANAGED, said: tuple[str, ...] = ()) -> list[str]:
        lines, self.wait = self.at(at, judge(View(intent, snapshot, Plan())).outages, said, intent)
        return lines

    def at(
        self, at: float, found: tuple[Outage, ...], said: tuple[str, ...], intent: Intent
    ) -> tuple[list[str], float | None]:
        running = {guest.domain for guest in intent.ports if guest.running}
        lines, wait = self.outages.look(found, said, running, Time(at, NOON + at))
        return [line.message for line in lines], wait

    @property
    def cut(self) -> list[tuple[str, ...]]:
        return [tuple(guest.domain for guest in each.outage.guests) for each in self.outages.standing]


@pytest.fixture
def watch() -> Watch:
    return Watch()


def test_it_is_known_at_once_and_said_when_it_lasts_and_when_it_is_over(watch: Watch) -> None:
    assert watch.look(0, host()) == []
    assert watch.look(1, host(**LISTENS)) == []
    assert (watch.cut, watch.wait) == ([("web", "db")], LASTING)
    (line,) = watch.look(3, host(**LISTENS))
    assert line.startswith("db, web are cut off: the uplink eth0 of br0 is listening (STP)")
    assert "since noon+1" in line
    assert watch.look(60, host(**LISTENS)) == []
    assert watch.look(61, host()) == ["db, web are reached again by way of eth0, after 60 s"]
    assert watch.cut == []
    assert watch.look(62, host()) == []


def test_what_is_soon_over_is_not_said(watch: Watch) -> None:
    assert watch.look(0, host(**LISTENS)) == []
    assert watch.look(1, host()) == []
    assert watch.look(10, host()) == []


def test_a_port_that_flaps_costs_two_lines_a_minute(watch: Watch) -> None:
    lines = []
    for second in range(0, 600, 6):
        lines += watch.look(second, host(**LISTENS))
        lines += watch.look(second + 3, host(**LISTENS))
        lines += watch.look(second + 5, host())
    assert len(lines) <= 2 * (600 / EVERY + 1)
    assert any("times since the last line of it" in line for line in lines)


def test_a_guest_that_starts_behind_the_uplink_is_said(watch: Watch) -> None:
    alone = replace(MANAGED, ports=MANAGED.ports[:1])
    watch.look(0, host(**LISTENS), alone)
    assert watch.look(2, host(**LISTENS), alone)
    assert watch.look(30, host(**LISTENS)) == []
    assert watch.wait == EVERY - 28
    (line,) = watch.look(62, host(**LISTENS))
    assert line.startswith("db, web are cut off: ")


def test_a_guest_that_is_paused_or_whose_link_is_down_is_to_get_nothing(watch: Watch) -> None:
    web, db = MANAGED.ports
    paused = replace(web, running=False, state="paused")
    unplugged = replace(db, facts=replace(db.facts, link_down=True))
    watch.look(0, host(**LISTENS), replace(MANAGED, ports=(paused, unplugged)))
    assert watch.look(9, host(**LISTENS), replace(MANAGED, ports=(paused, unplugged))) == []
    assert watch.cut == []


def test_of_a_guest_that_has_stopped_it_goes_without_saying_that_it_is_over(watch: Watch) -> None:
    watch.look(0, host(**LISTENS))
    assert watch.look(2, host(**LISTENS))
    assert watch.look(5, host(**LISTENS), replace(MANAGED, ports=MANAGED.ports[1:])) == []
    assert watch.look(9, host()) == ["db is reached again by way of eth0, after 9 s"]


def test_what_another_finding_says_is_only_in_the_status(watch: Watch) -> None:
    """The journal has a line of a stolen entry already."""
    stolen = host(entries=tuple(entry._replace(port="eth0") for entry in host().entries[:1]) + host().entries[1:])
    watch.look(0, stolen, said=("vnet1",))
    assert watch.look(9, stolen, said=("vnet1",)) == []
    assert watch.cut == [("web",)]


def test_a_bridge_that_is_left_to_the_kernel_is_nobodys_business(watch: Watch) -> None:
    watch.look(0, host(**LISTENS), INTENT)
    assert watch.cut == []


def test_another_reason_at_the_same_place_is_no_other_outage(watch: Watch) -> None:
    watch.look(0, host(**LISTENS))
    assert watch.look(2, host(**LISTENS))
    pulled: dict[str, Any] = {"eth0": {"relay": PortRelay(PortState.DISABLED, carrier=False, operational=False)}}
    assert watch.look(5, host(**pulled)) == []
    (standing,) = watch.outages.standing
    assert standing.since == Time(0, NOON)
    assert "no carrier" in standing.outage.finding.message


def test_each_guest_with_a_port_of_its_own_that_is_down(watch: Watch) -> None:
    down: dict[str, Any] = {"up": False, "relay": PortRelay(PortState.DISABLED, carrier=False, operational=False)}
    watch.look(0, host(vnet1=down, vnet2=down))
    lines = watch.look(2, host(vnet1=down, vnet2=down))
    assert len(lines) == 2
    assert "fix: ip link set dev vnet1 up" in lines[0]


def test_a_guest_in_two_of_whose_vlans_other_things_are_wrong_is_one(watch: Watch) -> None:
    guest: GuestPort = MANAGED.ports[0]
    vids: dict[str, Any] = {"vids": (1, 7), "pvid": 1, "untagged": (1,)}
    blocked: dict[str, Any] = {"relay": PortRelay(vlan_states={1: PortState.BLOCKING, 7: PortState.LISTENING})}
    snapshot = host(True, eth0=vids, vnet1=vids | blocked)
    watch.look(0, snapshot, replace(MANAGED, ports=(guest,)))
    assert watch.cut == [("web",)]


def test_each_nic_is_reached_or_not_also_one_without_a_port() -> None:
    """The rounds' findings are not judged: what says that a NIC has no port is enough."""
    snapshot = host()
    first = MANAGED.ports[0]
    gone = replace(first, port="vnet99", domain="gone")
    asleep = replace(first, port="vnet98", domain="asleep", running=False)
    unsaid = replace(first, port="vnet97", domain="unsaid")
    intent = replace(MANAGED, ports=(*MANAGED.ports, gone, asleep, unsaid))
    missing = tuple(
        Finding(Code.MISSING_PORT, "no port", each.bridge, each.port, each.domain) for each in (gone, asleep)
    )
    found = judge(View(intent, snapshot, Plan((), missing))).reached
    values = {domain: value for (domain, _, _), value in found.items()}
    assert values["gone"] == 0
    assert all(math.isnan(values[domain]) for domain in ("asleep", "unsaid"))
    assert {values[guest.domain] for guest in MANAGED.ports} == {1}
    cut = judge(View(MANAGED, host(**LISTENS), Plan())).reached
    assert set(cut.values()) == {0}
