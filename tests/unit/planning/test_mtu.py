"""A guest's port whose MTU is above its uplink's: its longer packets are lost, and somebody says so."""

from __future__ import annotations

from dataclasses import replace

from macmgr.model.codes import Code
from macmgr.model.findings import Finding
from macmgr.model.intent import Intent
from macmgr.model.relay import PortRelay
from macmgr.model.snapshot import Snapshot
from macmgr.planning.planner import plan
from tests.doctorworld import World


def world(uplink: int = 1450, tap: int = 1500) -> World:
    made = World()
    mtus = zip(made.ports, (uplink, tap), strict=True)
    made.ports = [replace(port, relay=replace(PortRelay(), mtu=mtu)) for port, mtu in mtus]
    return made


def found(made: World) -> list[Finding]:
    snapshot: Snapshot = made.snapshot
    findings = plan(Intent(tuple(made.guests), made.managed), snapshot).findings
    return [finding for finding in findings if finding.code is Code.MTU]


def test_it_is_said_with_both_and_what_to_do() -> None:
    (finding,) = found(world())
    assert (finding.bridge, finding.port) == ("br0", "up0")
    assert finding.message == (
        "packets of more than 1450 bytes are lost at the uplink up0, whose MTU that is: vnet0 of guest-vnet0 has 1500"
    )
    assert "<mtu size='1450'/>" in finding.note


def test_who_sends_no_longer_ones_is_not_named() -> None:
    assert not found(world(1500, 1500))
    assert not found(world(9000, 1500))
    assert not found(world(1500, 1504)), "the kernel grants four bytes for a tag (is_skb_forwardable)"
    assert found(world(1500, 1505))


def test_a_guest_that_does_not_run_sends_nothing() -> None:
    made = world()
    made.guests = [replace(guest, running=False, state="paused") for guest in made.guests]
    assert not found(made)


def test_an_uplink_that_is_down_has_findings_of_its_own() -> None:
    made = world()
    made.ports = [replace(port, up=port.name != "up0") for port in made.ports]
    assert not found(made)


def test_a_bridge_that_nobody_manages_is_left_out() -> None:
    made = world()
    made.managed = {}
    assert not found(made)
