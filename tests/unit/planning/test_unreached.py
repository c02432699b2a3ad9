"""A guest that nobody reaches, though its entries and flags are as wanted, is a finding: where, why, and what helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from macmgr.forwarding.consequences import consequences
from macmgr.model.codes import Code, Consequence
from macmgr.model.findings import Finding
from macmgr.model.flags import PortFlags
from macmgr.model.intent import Intent, NicFacts, Vlan
from macmgr.model.relay import PortRelay, PortState, Tag
from macmgr.model.snapshot import BridgePort, Entry, Snapshot
from macmgr.planning.reached import judged, outages
from tests.two_guests import DB, INTENT, WEB, host

DOWN: dict[str, Any] = {"up": False, "relay": PortRelay(PortState.DISABLED, carrier=False, operational=False)}
NO_CARRIER: dict[str, Any] = {"relay": PortRelay(PortState.DISABLED, carrier=False, operational=False)}
BLOCKED: dict[str, Any] = {"relay": PortRelay(PortState.BLOCKING)}
TAGS_1_10_TO_20 = NicFacts(vlan=Vlan((1, *range(10, 21)), trunk=True, native=1), vlan_live=True)


def in_vlans(*vids: int, pvid: int | None = None) -> dict[str, Any]:
    return {"vids": vids, "pvid": pvid, "untagged": (pvid,) if pvid else ()}


WEB_IN_42 = in_vlans(42, pvid=42)
TRUNK = in_vlans(1, *range(10, 21), 30, pvid=1)


@dataclass(frozen=True)
class World:
    """What differs from a host where all is well, and what is found there: code, port, words, and the fix."""

    ports: dict[str, dict[str, Any]] = field(default_factory=dict)
    web: dict[str, Any] = field(default_factory=dict)
    bridge: dict[str, Any] = field(default_factory=dict)
    second_uplink: dict[str, Any] | None = None
    without_uplink: bool = False
    managed: bool = True
    code: Code | None = None
    port: str = "vnet1"
    words: str = ""
    fix: Sequence[str] = ()

    @property
    def snapshot(self) -> Snapshot:
        made = host(True, None, **self.ports)
        carried = {vid for port in ("vnet1", "vnet2") for vid in made.ports[port].vids}
        entries = tuple(
            Entry(mac, vid, port, sticky=True)
            for mac, port in ((WEB, "vnet1"), (DB, "vnet2"))
            for vid in carried
            if vid in made.ports[port].vids
        )
        ports = dict(made.ports)
        if self.second_uplink is not None:
            ports["eth1"] = replace(
                BridgePort("eth1", 20, "br0", "02:00:00:00:00:20", **in_vlans(1, pvid=1)), **self.second_uplink
            )
        if self.without_uplink:
            del ports["eth0"]
        bridges = {"br0": replace(made.bridges["br0"], **self.bridge)}
        return Snapshot(bridges, ports, {"br0": None, **dict.fromkeys(ports, "br0")}, entries)

    @property
    def intent(self) -> Intent:
        web, db = INTENT.ports
        return Intent((replace(web, **self.web), db), {"br0": "a test says so"} if self.managed else {})

    def found(self, explained: Sequence[str] = ()) -> list[Finding]:
        reaches = tuple(consequences(self.snapshot, self.intent))
        return [each.finding for each in outages(reaches, self.intent, self.snapshot, explained)]


NOBODY = {
    "all is well": World(),
    "another uplink carries the VLAN": World({"vnet1": WEB_IN_42}, second_uplink=in_vlans(42)),
    "the host carries the VLAN on": World({"vnet1": WEB_IN_42}, bridge={"vids": (1, 42)}),
    "a VLAN that somebody gave a port by hand": World({"vnet1": TRUNK}),
    "another uplink is up": World({"eth0": DOWN}, second_uplink={}),
    "a bridge without an uplink leads out by the host": World(without_uplink=True),
    "its link is down in its XML": World({"vnet1": DOWN}, web={"facts": NicFacts(link_down=True)}),
    "its CPUs do not run here": World({"vnet1": DOWN}, web={"running": False, "state": "paused"}),
    "nobody asks for the bridge": World({"vnet1": DOWN}, managed=False),
    "it is only allowed an address": World(web={"macs": (WEB, "52:54:00:00:00:77")}),
}
CUT_OFF = {
    "no uplink in its VLAN": World(
        {"vnet1": WEB_IN_42},
        code=Code.VLAN_WITHOUT_UPLINK,
        words="web is cut off in VID 42: vnet1 is in that VLAN, and no uplink of br0 carries it (eth0 is in others)",
        fix=("bridge vlan add dev eth0 vid 42",),
    ),
    "some VLANs of its XML on no uplink": World(
        {"vnet1": TRUNK},
        web={"facts": TAGS_1_10_TO_20},
        code=Code.VLAN_WITHOUT_UPLINK,
        words="web is cut off in VID 10-20: ",
        fix=("bridge vlan add dev eth0 vid 10-20",),
    ),
    "neither of two uplinks in its VLAN": World(
        {"vnet1": WEB_IN_42},
        second_uplink={},
        code=Code.VLAN_WITHOUT_UPLINK,
        words="(eth0, eth1 are in others)",
    ),
    "a VLAN device takes its VLAN": World(
        {"vnet1": WEB_IN_42, "eth0": in_vlans(1, 42, pvid=1) | {"relay": PortRelay(taken=(Tag(42),))}},
        code=Code.VLAN_WITHOUT_UPLINK,
        words="a VLAN device on eth0 takes the frames of that VLAN before the bridge",
    ),
    "its port is down": World(
        {"vnet1": DOWN}, code=Code.PORT_DOWN, words="web is cut off: vnet1 is down", fix=("ip link set dev vnet1 up",)
    ),
    "nobody holds its tap": World(
        {"vnet1": NO_CARRIER}, code=Code.PORT_DOWN, words="web is cut off: vnet1 has no carrier"
    ),
    "the uplink is down": World(
        {"eth0": DOWN},
        code=Code.PORT_DOWN,
        port="eth0",
        words="db, web are cut off: the uplink eth0 of br0 is down",
        fix=("ip link set dev eth0 up",),
    ),
    "the cable of the uplink is out": World(
        {"eth0": NO_CARRIER}, code=Code.PORT_DOWN, port="eth0", words="the uplink eth0 of br0 has no carrier"
    ),
    "both uplinks are down": World(
        {"eth0": DOWN},
        second_uplink=NO_CARRIER,
        code=Code.PORT_DOWN,
        port="eth0",
        words="db, web are cut off",
        fix=("ip link set dev eth0 up",),
    ),
    "the bridge is down": World(  # the kernel disables its ports then
        {name: {"relay": PortRelay(PortState.DISABLED)} for name in ("eth0", "vnet1", "vnet2")},
        bridge={"up": False},
        code=Code.PORT_DOWN,
        port="",
        words="db, web are cut off: br0 is down",
        fix=("ip link set dev br0 up",),
    ),
    "its port is blocked": World(
        {"vnet1": BLOCKED},
        code=Code.NOT_FORWARDING,
        words="web is cut off: vnet1 is blocked",
    ),
    "the uplink is blocked": World(
        {"eth0": BLOCKED}, code=Code.NOT_FORWARDING, port="eth0", words="the uplink eth0 of br0 is blocked (STP)"
    ),
    "its port listens yet": World(
        {"vnet1": {"relay": PortRelay(PortState.LISTENING)}}, code=Code.NOT_FORWARDING, words="does not forward yet"
    ),
    "its VLAN is blocked": World(
        {"vnet1": {"relay": PortRelay(vlan_states={1: PortState.BLOCKING})}},
        code=Code.NOT_FORWARDING,
        words="vnet1 does not forward (MSTP) in VID 1",
    ),
    "its port gets no broadcast": World(
        {"vnet1": {"relay": PortRelay(broadcast_flood=False)}},
        code=Code.NOT_FORWARDING,
        words="nobody finds its address",
    ),
    "it is left to the kernel": World(
        {"vnet1": DOWN | {"flags": PortFlags()}},
        code=Code.PORT_DOWN,
        words="web is cut off: vnet1 is down",
        fix=("ip link set dev vnet1 up",),
    ),
}


@pytest.mark.parametrize("name", NOBODY)
def test_nothing_is_found_where(name: str) -> None:
    assert NOBODY[name].found() == []


@pytest.mark.parametrize("name", CUT_OFF)
def test_a_guest_is_cut_off_where(name: str) -> None:
    world = CUT_OFF[name]
    (found,) = world.found()
    assert (found.code, found.port, found.consequence) == (world.code, world.port, Consequence.CUT_OFF)
    assert world.words in found.message
    assert [" ".join(mend) for mend in found.mends if isinstance(mend, tuple)] == list(world.fix)
    assert found.mends or found.note or world.words, "a finding without a fix says why"


def test_a_port_with_a_finding_of_its_own_is_explained() -> None:
    assert CUT_OFF["its port is down"].found(explained=["vnet1"]) == []
    assert CUT_OFF["the uplink is down"].found(explained=["vnet1"])[0].message.startswith("db is cut off:")


@pytest.mark.parametrize("code", [Code.SHARED_TAP, Code.UNREADABLE_XML])
def test_what_is_left_as_it_is_does_not_hide_that_its_cable_is_out(code: Code) -> None:
    world = CUT_OFF["nobody holds its tap"]
    left = Finding(code, "it is left as it is", "br0", "vnet1", "web")
    reaches = tuple(consequences(world.snapshot, world.intent))
    found = {each.code: each for each in judged([left], reaches, world.intent, world.snapshot)}
    assert found[code].consequence is not Consequence.CUT_OFF
    assert found[Code.PORT_DOWN].message == "web is cut off: vnet1 has no carrier"


def with_lost_uplinks(world: World) -> list[Finding]:
    return [*judged((), tuple(consequences(world.snapshot, world.intent)), world.intent, world.snapshot)]


@pytest.mark.parametrize(
    ("how", "words", "fix"),
    [
        (DOWN, "the uplink eth0 of br0 is down", "ip link set dev eth0 up"),
        (NO_CARRIER, "the uplink eth0 of br0 has no carrier", ""),
    ],
)
def test_an_uplink_that_is_down_is_named_though_another_one_works(how: dict[str, Any], words: str, fix: str) -> None:
    (found,) = with_lost_uplinks(World({"eth0": how}, second_uplink={}))
    assert found.message == f"{words}: nobody behind it reaches db, web, who are reached by eth1 alone"
    assert (found.code, found.port, found.consequence) == (Code.PORT_DOWN, "eth0", Consequence.AT_RISK)
    assert [" ".join(mend) for mend in found.mends if isinstance(mend, tuple)] == ([fix] if fix else [])


def test_an_uplink_that_stp_keeps_in_reserve_is_not_named() -> None:
    assert with_lost_uplinks(World({"eth0": BLOCKED}, second_uplink={})) == []


def test_an_uplink_that_is_down_is_named_once() -> None:
    (found,) = with_lost_uplinks(World({"eth0": DOWN}))
    assert found.message.startswith("db, web are cut off: the uplink eth0")
