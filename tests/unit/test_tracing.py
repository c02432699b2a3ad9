"""A trace: whose frames are looked at, which go the same way, and how one says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.forwarding import BROADCAST, Reason
from macmgr.forwarding.tracing import Owner, Sender, Trace, senders_at, senders_to, senders_with, trace
from macmgr.model.relay import PortRelay, Tag
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot, Stacked
from macmgr.planning.draft import Plan
from macmgr.report.traced import Traced
from macmgr.view import View, judged
from tests.two_guests import CLOSED, DB, INTENT, WEB, host

LAN = "00:16:3e:00:00:09"


def traced(snapshot: Snapshot, senders: list[Sender], to: str, vid: int | None = None) -> Traced:
    if vid is not None:
        senders = [sender._replace(vid=vid) for sender in senders]
    view = View(INTENT, snapshot, Plan())
    return Traced(view, to, trace(snapshot, senders, to), vid)


def places(traces: list[Trace]) -> list[list[str]]:
    return [[sender.place for sender in each.senders] for each in traces]


def test_a_guest_sends_from_its_own_address_and_the_host_from_the_bridges() -> None:
    assert senders_at(host(), INTENT, "vnet1") == [Sender("br0", "vnet1", WEB, Owner.GUEST)]
    assert senders_at(host(), INTENT, "br0") == [Sender("br0", "br0", "02:b0:00:00:00:01", Owner.HOST)]
    assert senders_at(host(), INTENT, "vnet9") == []


def test_anybody_else_sends_from_an_address_that_no_entry_has() -> None:
    first = senders_at(host(), INTENT, "eth0")[0]
    assert first.owner is Owner.NOBODY
    taken = host(entries=(Entry(first.source, 0, "vnet1"),))
    assert senders_at(taken, INTENT, "eth0")[0].source not in (first.source, WEB, DB)
    assert int(first.source[:2], 16) & 3 == 2, "locally administered, and of one station"


def test_a_station_sends_from_where_its_guest_or_its_entry_is() -> None:
    there = host(entries=(Entry(WEB, 0, "eth0"), Entry(LAN, 0, "eth0", EntryState.DYNAMIC), Entry(LAN, 7, "vnet2")))
    assert senders_with(there, INTENT, WEB) == [Sender("br0", "vnet1", WEB, Owner.GUEST)]
    assert senders_with(there, INTENT, LAN) == [Sender("br0", "eth0", LAN, Owner.GIVEN)]
    assert senders_with(there, INTENT, "02:b0:00:00:00:01") == [Sender("br0", "br0", "02:b0:00:00:00:01", Owner.HOST)]
    assert senders_with(there, INTENT, "02:00:00:00:00:99") == []


def test_a_station_in_a_vlan_sends_into_it() -> None:
    there = host(True, (Entry(LAN, 42, "eth0", EntryState.DYNAMIC),), eth0={"vids": (1, 42)}, vnet1={"vids": (42,)})
    (way,) = trace(there, senders_with(there, INTENT, LAN), WEB)
    assert (way.answer.vid, way.answer.entered.frame.tags) == (42, (Tag(42),))


def test_everybody_but_the_destination_is_asked() -> None:
    assert [sender.place for sender in senders_to(host(), INTENT, WEB)] == ["eth0", "vnet2", "br0"]
    assert [sender.place for sender in senders_to(host(), INTENT, BROADCAST)] == ["eth0", "vnet1", "vnet2", "br0"]
    assert senders_to(host(), INTENT, "02:00:00:00:00:99") == []


def test_the_frame_is_untagged_where_its_vlan_is_the_pvid() -> None:
    there = host(True, (Entry(WEB, 42, "vnet1"),), eth0={"vids": (1, 42)}, vnet1={"vids": (42,), "pvid": 42})
    frames = {
        sender.place: answer.entered.frame.tags
        for each in trace(there, senders_to(there, INTENT, WEB), WEB)
        for sender, answer in zip(each.senders, each.answers, strict=True)
    }
    assert frames == {"eth0": (Tag(42),), "vnet2": (Tag(42),), "br0": (Tag(42),)}
    (own,) = trace(there, [Sender("br0", "vnet1", WEB, Owner.GUEST, 42)], DB)
    assert own.answer.entered.frame.tags == ()


def test_a_bridge_without_vlans_does_not_read_the_tag() -> None:
    said = traced(host(), senders_at(host(), INTENT, "eth0"), WEB, vid=42)
    assert said.verdicts == [f"{WEB} of web gets it on vnet1, tagged 42."]
    assert list(said.notes()) == ["br0 does not filter VLANs: it does not read the tag of VLAN 42."]


def many(isolated: bool = False) -> Snapshot:
    """Thirty more taps, which nobody here knows."""
    there = host()
    one = BridgePort("", 0, "br0", "", replace(CLOSED, isolated=isolated), kind="tun")
    taps = {f"tap{n}": replace(one, name=f"tap{n}", ifindex=50 + n) for n in range(30)}
    return replace(there, ports={**there.ports, **taps})


def test_ports_that_get_nothing_for_one_reason_share_a_row() -> None:
    said = traced(many(), senders_at(many(), INTENT, "eth0"), WEB)
    rows = list(said.rows(said.traces[0]))
    assert [row for row in rows if row[0] in ("Gets it", "Does not", "")] == [
        ("Gets it", "vnet1 of web", "untagged: an FDB entry leads there"),
        ("Does not", "the host, vnet2 of db and 30 foreign tap ports",
         "an FDB entry leads to another port"),
    ]  # fmt: skip


def test_the_destination_is_named_among_many_that_get_nothing() -> None:
    there = replace(many(), entries=(Entry(WEB, 0, "eth0"),))
    said = traced(there, senders_at(there, INTENT, "vnet2"), WEB)
    assert ("Does not", "vnet1 of web, the host and 30 foreign tap ports", "an FDB entry leads to another port") in [
        *said.rows(said.traces[0])
    ]


def test_what_one_more_frame_would_move_is_told() -> None:
    """A static entry without sticky goes to whoever sends with its address; the guest's frames do not move it back."""
    there = host(entries=(Entry(WEB, 0, "vnet1"),))
    view = judged(View(INTENT, there, Plan()))
    said = Traced(view, WEB, trace(there, senders_at(there, INTENT, "eth0"), WEB))
    assert [*said.notes()] == [
        f"One frame from eth0 (uplink) with {WEB} as its source takes it away from vnet1, and no frame of the guest's "
        "brings it back."
    ]


@pytest.mark.parametrize("isolated", [False, True])
def test_senders_that_are_alike_share_a_way(isolated: bool) -> None:
    """Each is left out at its own frame, so no two answers are the same."""
    there = many(isolated)
    ways = places(trace(there, senders_to(there, INTENT, BROADCAST), BROADCAST))
    taps = [f"tap{n}" for n in range(30)]
    open_ports = ["eth0", "vnet1", "vnet2"]
    assert ways == ([open_ports, taps, ["br0"]] if isolated else [open_ports + taps, ["br0"]])


def test_a_way_that_is_shared_is_that_of_each_sender() -> None:
    """The model asked of each alone says the same, except about the sender itself."""
    for there in (many(), many(isolated=True), host(True), host(entries=(Entry(WEB, 0, "eth0"),))):
        for to in (WEB, BROADCAST, LAN):
            for each in trace(there, [s for n in (*there.ports, "br0") for s in senders_at(there, INTENT, n)], to):
                for sender, answer in zip(each.senders, each.answers, strict=True):
                    others = {name: fate for name, fate in answer.fates.items() if name not in (sender.place, "br0")}
                    assert others == {name: each.fates[name] for name in others}, (sender, to)


def test_a_port_that_a_frame_takes_an_address_from_is_named() -> None:
    there = host(entries=(Entry(WEB, 0, "vnet1"), Entry(LAN, 0, "vnet2", EntryState.DYNAMIC)))
    said = traced(there, [Sender("br0", "eth0", LAN, Owner.GIVEN)], WEB)
    assert [row for row in said.rows(said.traces[0]) if row[0] == "Then"] == [
        ("Then", "eth0 (uplink)", f"the entry of {LAN} moves: it led to vnet2, and now leads to eth0")
    ]


LOST = f"{WEB} of web does not get it: "


@pytest.mark.parametrize(
    ("ports", "to", "verdict"),
    [
        ({}, WEB, f"{WEB} of web gets it on vnet1, untagged."),
        ({"eth0": {"pvid": None}}, WEB, f"{LOST}the frame is untagged, and eth0 (uplink) has no PVID."),
        ({"vnet1": {"vids": (7,)}}, BROADCAST, "the host, vnet2 of db get it: broadcast is flooded."),
        ({"vnet1": {"vids": (7,)}}, WEB, f"{LOST}the frame is in VLAN 1, and vnet1 of web is not."),
        ({"vnet1": {"up": False}}, WEB, f"{LOST}vnet1 of web is down."),
        ({"eth0": {"up": False}}, WEB, f"{LOST}eth0 (uplink) is down."),
        ({}, LAN, "nobody gets it: no FDB entry knows the destination in VLAN 1, and unicast flood is off."),
        ({"vnet1": {"relay": PortRelay(mtu=40)}}, WEB, f"{LOST}the frame is longer than vnet1 of web's MTU."),
        ({"eth0": {"vids": (7,), "pvid": 7}}, LAN, "nobody gets it: the frame is in VLAN 1, and eth0 (uplink) is not."),
    ],
)
def test_the_verdict_names_the_guest_and_the_reason(ports: dict[str, Any], to: str, verdict: str) -> None:
    there = host(True, **ports)
    vid = 1 if "eth0" in ports and ports["eth0"].get("pvid") == 7 else None
    said = traced(there, senders_at(there, INTENT, "eth0"), to, vid)
    assert said.verdicts == [verdict]
    assert said.arrives is ("does not" not in verdict and "nobody" not in verdict)


def test_a_frame_to_a_station_behind_an_uplink_leaves_by_it() -> None:
    """Nobody on this host can say that it arrives there."""
    there = host(entries=(Entry(LAN, 0, "eth0", EntryState.DYNAMIC),))
    said = traced(there, senders_to(there, INTENT, LAN), LAN)
    assert said.verdicts == [
        f"a frame to {LAN} leaves by eth0 (uplink), untagged, from the host, vnet1 of web, vnet2 of db."
    ]


def test_a_guest_on_another_bridge_is_said_to_be_there() -> None:
    there = host()
    bridges = {**there.bridges, "br1": Bridge("br1", 2, "02:b1:00:00:00:01")}
    ports = {**there.ports, "eth1": BridgePort("eth1", 20, "br1", "02:00:00:00:00:20")}
    there = replace(there, bridges=bridges, ports={**ports, "eth2": replace(ports["eth1"], name="eth2", ifindex=21)})
    said = traced(there, senders_at(there, INTENT, "eth1"), WEB)
    assert said.verdicts == ["eth2 (uplink) gets it: no FDB entry knows the destination, so the frame is flooded."]
    assert list(said.notes()) == [f"{WEB} of web is on br0; this is what br1 does."]


def test_a_link_local_frame_is_the_hosts_and_not_by_way_of_the_bridge() -> None:
    said = traced(host(), senders_at(host(), INTENT, "eth0"), "01:80:c2:00:00:0e")
    assert said.verdicts == [f"nobody gets it by way of the bridge: {Reason.LINK_LOCAL.words}."]


def test_a_name_is_no_pattern() -> None:
    """The kernel allows a backslash in a name."""
    there = host()
    odd = replace(there.ports["eth0"], name="e\\1", flags=replace(CLOSED, locked=True))
    there = replace(there, ports={**there.ports, odd.name: odd})
    said = traced(there, senders_at(there, INTENT, odd.name), WEB)
    reason = "is locked, and no FDB entry leads the source MAC there"
    assert said.verdicts == [f"{WEB} of web does not get it: e\\1 (uplink) {reason}."]
    down = replace(there, ports={**there.ports, odd.name: replace(odd, up=False)})
    said = traced(down, senders_at(down, INTENT, odd.name), WEB)
    assert list(said.rows(said.traces[0]))[-1] == ("Stopped", "br0", "e\\1 is down")


def test_a_backup_port_that_is_gone_is_no_target() -> None:
    there = host(vnet1={"relay": PortRelay(carrier=False, backup="gone")})
    said = traced(there, senders_at(there, INTENT, "eth0"), WEB)
    assert said.verdicts == [f"{WEB} of web does not get it: an FDB entry leads to another port."]


def test_a_frame_of_a_device_on_the_bridge_is_the_hosts_in_its_vlan() -> None:
    """br0.20 tags its frames with VLAN 20; a macvlan's are untagged."""
    bridge = Bridge("br0", 1, "02:00:00:00:00:b0", True, vids=(1, 20), pvid=1, untagged=(1,))
    on_it = (
        Stacked("br0", "br0.20", bridge.mac, (20,), "vlan"),
        Stacked("br0", "mv0", "02:00:00:00:00:f0", (1,), "macvlan"),
    )
    there = replace(host(), bridges={"br0": bridge}, stacked=on_it)
    assert senders_at(there, INTENT, "br0.20") == [Sender("br0", "br0", bridge.mac, Owner.HOST, 20)]
    assert senders_at(there, INTENT, "mv0") == [Sender("br0", "br0", "02:00:00:00:00:f0", Owner.HOST)]
    assert senders_at(there, INTENT, "mv1") == []
