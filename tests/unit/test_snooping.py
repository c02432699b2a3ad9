"""Multicast snooping in the forwarding model, by rules. tests/netns/test_forwarding.py proves them on the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.forwarding import Answer, Fate, Frame, Reason, forward
from macmgr.model.multicast import Mdb, Member, mac_of, parse_group
from macmgr.model.relay import RouterMode, Tag
from macmgr.model.snapshot import Snapshot
from tests.unit.test_forwarding import ROUTER, filtering, reached, world

GROUP, SAME_MAC, IPV6_GROUP = "225.2.3.4", "226.130.3.4", "ff05::77"
JOINED = Member(GROUP, 0, "vnet1")
ALL = {"vnet1", "vnet2", "br0"}


def snooping(*members: Member, routers: str = "", relay: dict[str, Any] | None = None, **ports: Any) -> Snapshot:
    """The bridge snoops and has a querier. ``routers`` are ports, for both kinds of IP."""
    given = {"querier": True, "querier_ipv6": True} | (relay or {})
    lists = Mdb(members, frozenset(routers.split()), frozenset(routers.split()))
    return replace(world(relay=given, **ports), mdb={"br0": lists})


def sent(snapshot: Snapshot, group: str = GROUP, *tags: Tag, ingress: str = "eth0", source: str = "10.0.0.1") -> Answer:
    return forward(snapshot, ingress, Frame(ROUTER, mac_of(group), tags, group=group, ip_source=source))


def by_mac(snapshot: Snapshot, group: str = GROUP) -> Answer:
    return forward(snapshot, "eth0", Frame(ROUTER, mac_of(group)))


def test_a_group_goes_to_its_members_and_to_routers() -> None:
    answer = sent(snooping(JOINED, routers="vnet2"))
    assert answer.at("vnet1") == Fate(True, Reason.MEMBER)
    assert answer.at("vnet2") == Fate(True, Reason.ROUTER)
    assert answer.at("br0") == Fate(False, Reason.NO_MEMBER)


def test_a_group_that_nobody_asked_for_goes_to_routers_only() -> None:
    assert reached(sent(snooping(routers="vnet2"))) == {"vnet2"}
    assert sent(snooping()).at("vnet1") == Fate(False, Reason.NO_MEMBER)


def test_without_a_querier_all_is_flooded() -> None:
    assert reached(sent(snooping(JOINED, relay={"querier": False}))) == ALL
    assert reached(sent(snooping(JOINED, relay={"snooping": False}))) == ALL
    assert reached(sent(snooping(relay={"querier_ipv6": False}), IPV6_GROUP)) == ALL
    assert reached(sent(snooping(relay={"querier": False}), IPV6_GROUP)) == set()


def test_no_flood_flag_holds_back_what_a_member_gets() -> None:
    snapshot = snooping(JOINED, routers="vnet2", vnet1={"multicast_flood": False}, vnet2={"proxy_arp": True})
    assert reached(sent(snapshot)) == {"vnet1", "vnet2"}


def test_isolation_and_state_hold_back_a_member() -> None:
    assert (
        sent(snooping(JOINED, eth0={"isolated": True}, vnet1={"isolated": True})).at("vnet1").reason is Reason.ISOLATED
    )
    assert sent(snooping(JOINED, vnet1={"up": False, "carrier": False})).at("vnet1").reason is Reason.PORT_DOWN


@pytest.mark.parametrize("group", ["224.0.0.251", "ff02::1"])
def test_what_is_link_local_is_always_flooded(group: str) -> None:
    assert reached(sent(snooping(vnet2={"multicast_flood": False}), group)) == {"vnet1", "br0"}


def test_other_link_local_groups_of_ipv6_are_not() -> None:
    assert reached(sent(snooping(), "ff02::fb")) == set()


def test_the_host_gets_what_it_joined_and_all_as_a_router() -> None:
    assert reached(sent(snooping(Member(GROUP, 0, "br0")))) == {"br0"}
    assert sent(snooping(relay={"router": RouterMode.ALWAYS})).at("br0") == Fate(True, Reason.ROUTER)
    assert sent(snooping(relay={"all_multicast": True})).at("br0") == Fate(None, Reason.ALL_MULTICAST)
    assert reached(sent(snooping(JOINED), ingress="br0")) == {"vnet1"}


def test_a_capture_sees_all() -> None:
    snapshot = snooping()
    bridge = replace(snapshot.bridges["br0"], promiscuity=1)
    assert sent(replace(snapshot, bridges={"br0": bridge})).at("br0") == Fate(True, Reason.PROMISCUOUS)


def test_a_list_is_of_one_vlan() -> None:
    snapshot = world(**filtering(relay={"querier": True}))
    in_vlan = replace(snapshot, mdb={"br0": Mdb((Member(GROUP, 1, "vnet1"), Member(GROUP, 7, "vnet2")))})
    assert reached(sent(in_vlan)) == {"vnet1"}


def test_entries_for_single_sources_count_with_igmpv3() -> None:
    members = (JOINED, Member(GROUP, 0, "vnet2", "10.0.0.1"))
    assert reached(sent(snooping(*members, relay={"sources_ipv4": True}))) == {"vnet2"}
    assert reached(sent(snooping(*members, relay={"sources_ipv4": True}), source="10.0.0.2")) == {"vnet1"}
    assert reached(sent(snooping(*members))) == {"vnet1"}
    vague = sent(snooping(*members, relay={"sources_ipv4": True}), source="")
    assert vague.at("vnet1") == vague.at("vnet2") == Fate(None, Reason.PACKET)
    assert vague.at("br0").reached is False


def test_a_port_that_asked_for_single_sources_does_not_get_the_others() -> None:
    members = (JOINED._replace(include=True), Member(GROUP, 0, "vnet2", blocked=True))
    assert reached(sent(snooping(*members, relay={"sources_ipv4": True}))) == set()
    assert reached(sent(snooping(*members))) == {"vnet1"}
    all_unicast: dict[str, Any] = {"vnet1": {"to_unicast": True}, "vnet2": {"to_unicast": True}}
    assert reached(sent(snooping(*members, relay={"sources_ipv4": True}, **all_unicast))) == {"vnet1", "vnet2"}


def test_groups_that_share_a_mac() -> None:
    """A MAC alone says too little, as soon as one of its groups goes another way than the others."""
    assert mac_of(GROUP) == mac_of(SAME_MAC) == "01:00:5e:02:03:04"
    assert mac_of(IPV6_GROUP) == "33:33:00:00:00:77"
    assert by_mac(snooping(JOINED, routers="vnet2")).at("vnet1") == Fate(None, Reason.PACKET)
    assert by_mac(snooping(JOINED, routers="vnet2")).at("vnet2") == Fate(True, Reason.ROUTER)
    assert reached(by_mac(snooping(routers="vnet2"))) == {"vnet2"}
    assert by_mac(snooping(), "224.0.0.251").at("vnet1") == Fate(None, Reason.PACKET)
    assert reached(sent(snooping(JOINED), SAME_MAC)) == set()


def test_a_station_is_no_group() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.1 is the address of a station"):
        parse_group("10.0.0.1")
    assert [parse_group(text) for text in (" FF05::0:77", GROUP, "52:54:00:00:00:01")] == [IPV6_GROUP, GROUP, ""]


def test_what_is_not_ip_goes_by_a_list_of_macs_or_is_flooded() -> None:
    frame = Frame(ROUTER, "01:00:0c:cc:cc:cc")
    listed = snooping(Member(frame.destination, 0, "vnet1"), routers="vnet2", relay={"querier": False})
    assert reached(forward(listed, "eth0", frame)) == {"vnet1", "vnet2"}
    assert reached(forward(snooping(), "eth0", frame)) == ALL


def test_behind_a_second_tag_no_bridge_looks_for_ip() -> None:
    assert reached(sent(snooping(JOINED), GROUP, Tag(5))) == {"vnet1"}
    assert reached(sent(snooping(JOINED), GROUP, Tag(5), Tag(6))) == ALL
    by_host = sent(snooping(JOINED), GROUP, Tag(5), ingress="br0")
    assert (by_host.at("vnet1").reached, by_host.at("vnet2")) == (True, Fate(None, Reason.PACKET, (Tag(5),)))


@pytest.mark.parametrize(
    ("relay", "reason"),
    [({"querier": None}, Reason.QUERIER), ({"router": RouterMode.NEVER}, Reason.ROUTER_UNLISTED)],
)
def test_what_the_kernel_does_not_say_is_unknown(relay: dict[str, Any], reason: Reason) -> None:
    snapshot = snooping(JOINED, relay=relay, vnet2={"multicast_flood": reason is Reason.QUERIER})
    assert sent(snapshot).at("vnet1") == Fate(True, Reason.MEMBER)
    assert sent(snapshot).at("vnet2") == Fate(None, reason)


def test_routers_that_are_set_are_known_though_the_bridge_lists_none() -> None:
    ports: dict[str, Any] = {"vnet1": {"router": RouterMode.ALWAYS}, "vnet2": {"router": RouterMode.NEVER}}
    answer = sent(snooping(relay={"router": RouterMode.NEVER}, **ports))
    assert (answer.at("vnet1").reached, answer.at("vnet2").reached) == (True, False)


def test_lists_that_were_not_read_make_all_unknown_that_may_leave() -> None:
    unread = replace(snooping(vnet2={"up": False, "carrier": False}), mdb={})
    assert sent(unread).at("vnet1") == sent(unread).at("br0") == Fate(None, Reason.SNOOPING)
    assert sent(unread).at("vnet2").reason is Reason.PORT_DOWN
    by_vlan = world(**filtering(relay={"snooping_by_vlan": True}))
    assert sent(by_vlan).at("vnet1") == Fate(None, Reason.SNOOPING_BY_VLAN)
