"""The rules of the forwarding model, one by one. tests/netns/test_forwarding.py proves them on the kernel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.forwarding import BROADCAST, Answer, Fate, Frame, Learned, Move, Reason, after, forward
from macmgr.model.flags import PortFlags
from macmgr.model.relay import BridgeRelay, PortRelay, PortState, Tag, VlanProtocol
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot

ROUTER, GUEST, STRANGER = "02:00:00:00:00:fe", "52:54:00:00:00:01", "52:54:00:00:00:99"
HOST = "02:b0:00:00:00:01"
GROUP, IP_GROUP, LLDP = "01:00:0c:cc:cc:cc", "01:00:5e:02:03:04", "01:80:c2:00:00:0e"
AD = VlanProtocol.DOT1AD


def world(
    bridge: dict[str, Any] | None = None,
    relay: dict[str, Any] | None = None,
    entries: tuple[Entry, ...] = (),
    **ports: Any,
) -> Snapshot:
    """br0 with eth0, vnet1 and vnet2. A port, by its name, is given fields of its own, of its flags or its relay."""
    made = {}
    for number, name in enumerate(("eth0", "vnet1", "vnet2"), 10):
        said = ports.get(name, {})
        flags = {key: said.pop(key) for key in ("learning", "unicast_flood", "locked", "isolated") if key in said}
        facts = {key: said.pop(key) for key in list(said) if key in PortRelay.__slots__}
        made[name] = replace(
            BridgePort(name, number, "br0", f"fe:00:00:00:00:{number}", PortFlags(**flags), relay=PortRelay(**facts)),
            **said,
        )
    br0 = Bridge("br0", 1, HOST, relay=BridgeRelay(**(relay or {})), **(bridge or {}))
    own = Entry(HOST, 0, "br0", EntryState.LOCAL)
    return Snapshot({"br0": br0}, made, entries=(own, *entries))


def vlans(*vids: int, pvid: int | None = None) -> dict[str, Any]:
    return {"vids": vids, "pvid": pvid, "untagged": (pvid,) if pvid else ()}


def filtering(**ports: Any) -> dict[str, Any]:
    """For `world`: a bridge that filters VLANs; it and its ports are in VLAN 1, untagged, unless said otherwise."""
    usual = vlans(1, pvid=1)
    places = {name: usual | ports.pop(name, {}) for name in ("eth0", "vnet1", "vnet2")}
    return {"bridge": {"vlan_filtering": True} | usual | ports.pop("bridge", {}), **places, **ports}


def sent(snapshot: Snapshot, ingress: str = "eth0", to: str = GUEST, *tags: Tag, source: str = ROUTER) -> Answer:
    return forward(snapshot, ingress, Frame(source, to, tags))


def reached(answer: Answer) -> set[str]:
    return set(answer.reached)


def only(reason: Reason, answer: Answer) -> bool:
    """Nobody gets the frame, and all for one reason."""
    return {fate[:2] for fate in answer.fates.values()} == {(False, reason)} and answer.stopped is reason


# Where a frame goes


def test_an_entry_leads_to_one_port() -> None:
    answer = sent(world(entries=(Entry(GUEST, 0, "vnet1"),)))
    assert reached(answer) == {"vnet1"}
    assert answer.at("vnet1") == Fate(True, Reason.ENTRY)
    assert answer.at("vnet2").reason is answer.at("br0").reason is Reason.OTHER_PORT
    assert answer.at("eth0").reason is Reason.SENDER
    assert answer.entry == Entry(GUEST, 0, "vnet1")


def test_an_unknown_destination_is_flooded_but_not_to_the_host() -> None:
    answer = sent(world(vnet2={"unicast_flood": False}))
    assert reached(answer) == {"vnet1"}
    assert answer.at("vnet1").reason is Reason.UNKNOWN
    assert answer.at("vnet2").reason is Reason.NOT_FLOODED
    assert answer.at("br0").reason is Reason.NOT_FOR_HOST


def test_a_local_entry_leads_to_the_host() -> None:
    answer = sent(world(), to=HOST)
    assert reached(answer) == {"br0"}
    assert {answer.at("br0").reason, answer.at("vnet1").reason} == {Reason.LOCAL, Reason.HOST_ONLY}


def test_the_host_itself_sends_to_a_local_entry_of_a_port_by_that_port() -> None:
    local = Entry(GUEST, 0, "vnet1", EntryState.LOCAL)
    assert reached(sent(world(entries=(local,)), "br0")) == {"vnet1"}
    assert reached(sent(world(), "br0", HOST)) == set()


def test_a_promiscuous_bridge_shows_the_host_all_frames() -> None:
    answer = sent(world({"promiscuity": 1}, entries=(Entry(GUEST, 0, "vnet1"),)))
    assert reached(answer) == {"vnet1", "br0"}
    assert answer.at("br0").reason is Reason.PROMISCUOUS


def test_broadcast_goes_to_all_and_the_flag_holds_it_back() -> None:
    snapshot = world(vnet1={"broadcast_flood": False})
    assert reached(sent(snapshot, to=BROADCAST)) == {"vnet2", "br0"}
    assert sent(snapshot, to=BROADCAST).at("vnet1").reason is Reason.NO_BROADCAST


def test_multicast_goes_to_all_and_the_flag_holds_it_back() -> None:
    snapshot = world(relay={"snooping": False}, vnet1={"multicast_flood": False})
    assert reached(sent(snapshot, to=GROUP)) == {"vnet2", "br0"}
    assert sent(snapshot, to=GROUP).at("vnet1").reason is Reason.NO_MULTICAST


def test_no_flag_holds_back_the_hosts_own_broadcast_and_multicast() -> None:
    snapshot = world(relay={"snooping": False}, vnet1={"multicast_flood": False, "broadcast_flood": False})
    for to in (BROADCAST, GROUP):
        assert reached(sent(snapshot, "br0", to)) == {"eth0", "vnet1", "vnet2"}


def test_a_port_with_proxy_arp_gets_nothing_that_is_flooded() -> None:
    snapshot = world(vnet1={"proxy_arp": True})
    assert sent(snapshot, to=BROADCAST).at("vnet1").reason is Reason.PROXY_ARP
    assert reached(sent(replace(snapshot, entries=(Entry(GUEST, 0, "vnet1"),)))) == {"vnet1"}


def test_a_frame_does_not_go_back_but_by_a_hairpin() -> None:
    entries = (Entry(GUEST, 0, "eth0"),)
    assert reached(sent(world(entries=entries))) == set()
    assert reached(sent(world(entries=entries, eth0={"hairpin": True}))) == {"eth0"}


def test_isolated_ports_do_not_hear_each_other_but_the_host_and_the_others() -> None:
    snapshot = world(vnet1={"isolated": True}, vnet2={"isolated": True})
    answer = sent(snapshot, "vnet1", BROADCAST)
    assert reached(answer) == {"eth0", "br0"}
    assert answer.at("vnet2").reason is Reason.ISOLATED
    assert reached(sent(snapshot, "br0", BROADCAST)) == {"eth0", "vnet1", "vnet2"}


def test_a_backup_port_gets_the_frames_of_a_port_without_a_carrier() -> None:
    gone = {"carrier": False, "operational": False, "state": PortState.DISABLED, "backup": "vnet2"}
    answer = sent(world(entries=(Entry(GUEST, 0, "vnet1"),), vnet1=gone))
    assert answer.at("vnet2") == Fate(True, Reason.BACKUP)
    assert reached(answer) == {"vnet2"}


def test_a_frame_longer_than_the_mtu_is_lost() -> None:
    snapshot = world(vnet1={"mtu": 1000})
    fits, too_long = (forward(snapshot, "eth0", Frame(ROUTER, GUEST, length=length)) for length in (1004, 1005))
    assert (fits.at("vnet1").reached, too_long.at("vnet1")) == (True, Fate(False, Reason.TOO_LONG))
    inner = Frame(ROUTER, GUEST, (Tag(7), Tag(8)), 1004)
    assert forward(snapshot, "eth0", inner).at("vnet1").reason is Reason.TOO_LONG


# States


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"up": False, "carrier": False, "state": PortState.DISABLED}, Reason.PORT_DOWN),
        ({"carrier": False, "state": PortState.DISABLED}, Reason.NO_CARRIER),
        ({"operational": False, "state": PortState.DISABLED}, Reason.NOT_OPERATIONAL),
        ({"state": PortState.DISABLED}, Reason.DISABLED),
        ({"state": PortState.LISTENING}, Reason.LISTENING),
        ({"state": PortState.BLOCKING}, Reason.BLOCKING),
        ({"carrier": False}, Reason.NO_CARRIER),  # a moment later the kernel disables it
    ],
)
def test_a_port_that_cannot_work_neither_takes_nor_gets_a_frame(facts: dict[str, Any], reason: Reason) -> None:
    assert sent(world(vnet1=dict(facts))).at("vnet1") == Fate(False, reason)
    assert only(reason, sent(world(vnet1=dict(facts)), "vnet1", ROUTER, source=GUEST))


def test_a_port_that_learns_forwards_nothing_and_is_learned_from() -> None:
    snapshot = world(vnet1={"state": PortState.LEARNING})
    answer = sent(snapshot, "vnet1", ROUTER, source=GUEST)
    assert only(Reason.LEARNING_ONLY, answer)
    assert answer.move.learned is Learned.NEW
    assert sent(snapshot).at("vnet1") == Fate(False, Reason.LEARNING)


def test_a_bridge_that_is_down_has_no_port_that_forwards() -> None:
    down = {"state": PortState.DISABLED}
    snapshot = world({"up": False}, eth0=dict(down), vnet1=dict(down))
    assert only(Reason.BRIDGE_DOWN, sent(snapshot))
    assert only(Reason.BRIDGE_DOWN, sent(snapshot, "br0"))
    forced = sent(world({"up": False}), to=BROADCAST)
    assert reached(forced) == {"vnet1", "vnet2"}, "a port may be made to forward all the same"
    assert forced.at("br0").reason is Reason.BRIDGE_DOWN


def test_the_host_sends_nothing_while_no_port_forwards() -> None:
    assert only(Reason.NO_PORT_FORWARDS, sent(world(relay={"operational": False}), "br0"))


# Link-local groups


def test_link_local_frames_go_to_the_host_by_the_port_and_are_learned_from() -> None:
    answer = sent(world(), to=LLDP)
    assert only(Reason.LINK_LOCAL, answer)
    assert answer.move.learned is Learned.NEW
    assert sent(world(relay={"link_local_learning": False}), to=LLDP).move.learned is Learned.NOTHING
    assert only(Reason.PAUSE, sent(world(), to="01:80:c2:00:00:01"))


@pytest.mark.parametrize(("place", "mask"), [("bridge", 1 << 14), ("port", 1 << 14)])
def test_a_mask_lets_link_local_frames_through(place: str, mask: int) -> None:
    relay = {"snooping": False} | ({"group_forward": mask} if place == "bridge" else {})
    snapshot = world(relay=relay, eth0={"group_forward": mask} if place == "port" else {})
    assert reached(sent(snapshot, to=LLDP)) == {"vnet1", "vnet2", "br0"}
    assert only(Reason.LINK_LOCAL, sent(snapshot, to="01:80:c2:00:00:03"))


def test_bpdus_pass_a_bridge_without_stp_and_a_provider_bridge_passes_those_of_its_customers() -> None:
    bpdu = "01:80:c2:00:00:00"
    assert reached(sent(world(relay={"snooping": False}), to=bpdu)) == {"vnet1", "vnet2", "br0"}
    assert only(Reason.LINK_LOCAL, sent(world(relay={"stp": True}), to=bpdu))
    provider = world(**filtering(relay={"stp": True, "protocol": AD, "snooping": False}))
    assert reached(sent(provider, to=bpdu)) == {"vnet1", "vnet2", "br0"}


# VLANs


def test_without_vlan_filtering_tags_are_payload() -> None:
    answer = sent(world(vnet1=vlans(1, pvid=1)), "eth0", GUEST, Tag(42))
    assert (answer.vid, answer.at("vnet1")) == (0, Fate(True, Reason.UNKNOWN, (Tag(42),)))


def test_untagged_and_priority_tagged_frames_are_in_the_vlan_of_the_pvid() -> None:
    snapshot = world(**filtering(eth0=vlans(1, 42, pvid=42), vnet1=vlans(42), vnet2=vlans(42, pvid=42)))
    for tags in ((), (Tag(0),)):
        answer = sent(snapshot, "eth0", GUEST, *tags)
        assert answer.vid == 42
        assert answer.at("vnet1") == Fate(True, Reason.UNKNOWN, (Tag(42),))
        assert answer.at("vnet2") == Fate(True, Reason.UNKNOWN)
    assert only(Reason.NO_PVID, sent(world(**filtering(eth0=vlans(1) | {"untagged": ()} | {"pvid": None}))))


def test_a_tagged_frame_needs_its_vlan_on_both_ports_and_at_the_host() -> None:
    snapshot = world(**filtering(eth0=vlans(1, 42, pvid=1), vnet1=vlans(42)))
    answer = sent(snapshot, "eth0", BROADCAST, Tag(42))
    assert reached(answer) == {"vnet1"}
    assert {answer.at("vnet2").reason, answer.at("br0").reason} == {Reason.NOT_IN_VLAN}
    assert only(Reason.NOT_IN_VLAN_IN, sent(snapshot, "vnet2", GUEST, Tag(42)))
    capture = world(**filtering(eth0=vlans(42), bridge={"promiscuity": 1}))
    assert sent(capture, "eth0", BROADCAST, Tag(42)).at("br0") == Fate(True, Reason.BROADCAST, (Tag(42),))


def test_the_fdb_is_asked_in_the_vlan_of_the_frame() -> None:
    trunk = vlans(1, 42, pvid=1)
    entries = (Entry(GUEST, 1, "vnet1"), Entry(GUEST, 42, "vnet2"))
    snapshot = world(**filtering(eth0=trunk, vnet1=trunk, vnet2=trunk, entries=entries))
    assert reached(sent(snapshot)) == {"vnet1"}
    assert reached(sent(snapshot, "eth0", GUEST, Tag(42))) == {"vnet2"}


def test_a_tag_of_the_other_protocol_is_payload_of_an_untagged_frame() -> None:
    snapshot = world(**filtering(relay={"protocol": AD}, vnet1=vlans(1)))
    answer = sent(snapshot, "eth0", GUEST, Tag(42))
    assert answer.at("vnet1") == Fate(True, Reason.UNKNOWN, (Tag(1, AD), Tag(42)))
    assert answer.at("vnet2") == Fate(True, Reason.UNKNOWN, (Tag(42),))
    assert only(Reason.NOT_IN_VLAN_IN, sent(snapshot, "eth0", GUEST, Tag(42, AD)))


def test_a_vlan_device_on_the_port_takes_its_frames() -> None:
    snapshot = world(**filtering(eth0=vlans(1, 42, pvid=1) | {"taken": (Tag(42),)}))
    assert only(Reason.VLAN_DEVICE, sent(snapshot, "eth0", GUEST, Tag(42)))
    assert sent(snapshot).stopped is None


def test_a_vlan_may_be_blocked_by_itself() -> None:
    trunk = vlans(1, 42, pvid=1)
    blocked = {"vlan_states": {42: PortState.BLOCKING}}
    snapshot = world(
        **filtering(eth0=trunk, vnet1=trunk | blocked, vnet2=trunk | {"vlan_states": {42: PortState.LEARNING}})
    )
    answer = sent(snapshot, "eth0", GUEST, Tag(42))
    assert {answer.at("vnet1"), answer.at("vnet2")} == {Fate(False, Reason.VLAN_STATE)}
    assert reached(sent(snapshot)) == {"vnet1", "vnet2"}
    assert only(Reason.VLAN_STATE_IN, sent(snapshot, "vnet1", ROUTER, Tag(42), source=GUEST))
    learns = sent(snapshot, "vnet2", ROUTER, Tag(42), source=GUEST)
    assert (learns.stopped, learns.move.learned) == (Reason.LEARNING_ONLY, Learned.NEW)
    host = world(**filtering(bridge=trunk, relay={"vlan_states": {1: PortState.LEARNING}}))
    assert reached(sent(host, "br0", BROADCAST)) == {"eth0", "vnet1", "vnet2"}
    assert sent(host, to=BROADCAST).at("br0").reason is Reason.VLAN_STATE


def test_with_mst_only_the_states_of_vlans_count() -> None:
    blocking = {"state": PortState.BLOCKING}
    snapshot = world(**filtering(relay={"mst": True}, eth0=dict(blocking), vnet1=dict(blocking)))
    assert reached(sent(snapshot)) == {"vnet1", "vnet2"}


# Locks and learning


def test_a_locked_port_lets_in_only_sources_with_an_entry_there() -> None:
    def locked(*entries: Entry, **facts: Any) -> Answer:
        return sent(world(entries=entries, vnet1={"locked": True} | facts), "vnet1", ROUTER, source=GUEST)

    assert only(Reason.LOCKED, locked())
    assert only(Reason.LOCKED, locked(Entry(GUEST, 0, "vnet2")))
    assert only(Reason.LOCKED, locked(Entry(GUEST, 0, "vnet1", EntryState.LOCAL)))
    assert reached(locked(Entry(GUEST, 0, "vnet1"))) == {"eth0", "vnet2"}
    assert locked().move.learned is locked(Entry(GUEST, 0, "vnet2")).move.learned is Learned.NOTHING
    assert locked(mab=True).move.learned is Learned.NEW, "an entry that is locked itself"
    assert locked(Entry(GUEST, 0, "vnet1", EntryState.DYNAMIC), mab=True).at("eth0") == Fate(None, Reason.MAB)


@pytest.mark.parametrize(
    ("entry", "learned"),
    [
        (None, Learned.NEW),
        (Entry(GUEST, 0, "eth0", EntryState.DYNAMIC), Learned.KNOWN),
        (Entry(GUEST, 0, "vnet1", EntryState.DYNAMIC), Learned.MOVED),
        (Entry(GUEST, 0, "vnet1"), Learned.MOVED),
        (Entry(GUEST, 0, "vnet1", sticky=True), Learned.STICKY),
        (Entry(GUEST, 0, "vnet1", EntryState.LOCAL), Learned.LOCAL),
    ],
)
def test_a_frame_moves_the_entry_of_its_source_unless_that_is_sticky_or_local(
    entry: Entry | None, learned: Learned
) -> None:
    snapshot = world(entries=(entry,) if entry else ())
    answer = sent(snapshot, to=ROUTER, source=GUEST)
    moved = (entry or Entry(GUEST, 0, "eth0", EntryState.DYNAMIC))._replace(port="eth0")
    expected = moved if learned.changes else entry
    assert answer.move == Move(learned, entry, expected)
    assert after(answer).fdb.at("br0", GUEST, 0) == expected
    assert len(after(answer).entries) == len(snapshot.entries) + (entry is None)


def test_a_frame_takes_an_entry_from_a_control_plane() -> None:
    answer = sent(world(entries=(Entry(GUEST, 0, "vnet1", extern_learn=True),)), to=ROUTER, source=GUEST)
    assert answer.move.after == Entry(GUEST, 0, "eth0")


@pytest.mark.parametrize(
    ("facts", "learned"),
    [
        ({"eth0": {"learning": False}}, Learned.NOTHING),
        ({"relay": {"ages": False}}, Learned.NOTHING),
        ({"relay": {"room": 0}}, Learned.FULL),
    ],
)
def test_what_keeps_a_bridge_from_learning(facts: dict[str, Any], learned: Learned) -> None:
    answer = sent(world(**facts))
    assert answer.move.learned is learned
    assert after(answer) is answer.snapshot


def test_the_room_for_learned_entries_gets_less() -> None:
    first = sent(world(relay={"room": 1}))
    assert after(first).bridges["br0"].relay.room == 0
    assert sent(after(first), source=STRANGER).move.learned is Learned.FULL


def test_a_source_is_learned_before_the_destination_is_looked_up() -> None:
    assert reached(sent(world(), to=GUEST, source=GUEST)) == set()


@pytest.mark.parametrize("source", ["00:00:00:00:00:00", "01:00:5e:00:00:01"])
def test_a_source_must_be_the_address_of_a_station(source: str) -> None:
    assert only(Reason.INVALID_SOURCE, sent(world(), source=source))


def test_the_host_is_not_learned() -> None:
    assert sent(world(), "br0", source=HOST).move.learned is Learned.NOTHING


# What nobody can say


def test_what_was_not_read_is_unknown_and_not_guessed() -> None:
    snapshot = replace(world(vnet2={"up": False}), listed=())
    answer = sent(snapshot)
    assert answer.at("vnet1") == Fate(None, Reason.NOT_READ)
    assert answer.at("br0").reached is None
    assert answer.at("vnet2").reached is False
    assert answer.move.learned is Learned.NOT_READ
    locked = replace(world(vnet1={"locked": True}), listed=())
    assert sent(locked, "vnet1", BROADCAST).at("eth0").reached is None
    assert only(Reason.LOCKED, sent(replace(locked, listed_ports=("vnet1",)), "vnet1", BROADCAST))


def test_a_local_entry_of_vid_0_may_count_in_all_vlans() -> None:
    facts = filtering(relay={"local_in_vid_0": True})
    assert sent(world(**facts), to=HOST).at("br0") == Fate(None, Reason.LOCAL_IN_VID_0)


def test_each_reason_has_words() -> None:
    assert all(reason.words and not reason.words.endswith(".") for reason in Reason)
    assert len({reason.words for reason in Reason}) == len(Reason)
