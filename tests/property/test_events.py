"""The decoder of events against pyroute2's own decoding, and bytes that are no event."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from macmgr.kernel.events import decode_events, is_strange
from macmgr.kernel.wire import WireError
from macmgr.model.kernelevents import EntryEvent, Event, LinkEvent
from macmgr.model.snapshot import EntryState
from tests.property.test_wire import (
    AF_BRIDGE,
    PORT_ATTRIBUTES,
    encoded,
    ifindexes,
    neighbour,
    port_flags,
    port_of,
    pyroute2_link,
    shuffled_rows,
    unknown_attributes,
    vids,
    vlan_infos,
    with_attributes,
)

interfaces = st.fixed_dictionaries(
    {
        "index": ifindexes,
        "flags": st.integers(0, 2**32 - 1),
        "IFLA_IFNAME": st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=15),
        "IFLA_MASTER": st.none() | ifindexes,
        "kind": st.sampled_from(["", "bridge", "veth", "tun"]),
        "switch": st.none() | st.integers(0, 1),  # number 7 of both kinds
        "port_kind": st.sampled_from(["", "bridge", "bond"]),
        "port": port_flags,
    }
)
extra = st.lists(unknown_attributes, max_size=2)


def said_of_an_entry(message: bytes) -> list[Event]:
    decoded = ndmsg(message)
    decoded.decode()
    mac, master = decoded.get_attr("NDA_LLADDR"), decoded.get_attr("NDA_MASTER")
    if mac is None or master is None:
        return []
    state = EntryState.STATIC if decoded["state"] & 0x40 else EntryState.DYNAMIC
    state = EntryState.LOCAL if decoded["state"] & 0x80 else state
    sticky, extern_learn = bool(decoded["flags"] & 0x40), bool(decoded["flags"] & 0x10)
    gone = decoded["header"]["type"] == 29
    return [
        EntryEvent(
            decoded["ifindex"], master, mac, decoded.get_attr("NDA_VLAN") or 0, gone, state, sticky, extern_learn
        )
    ]


@given(st.lists(st.tuples(shuffled_rows, st.sampled_from([28, 29]), extra), max_size=4))
def test_entries_read_as_pyroute2_reads_them(rows: list[tuple[dict[str, Any], int, list[tuple[int, bytes]]]]) -> None:
    messages = [with_attributes(neighbour(row, kind, 0), attributes) for row, kind, attributes in rows]
    assert decode_events(b"".join(messages)) == [event for each in messages for event in said_of_an_entry(each)]


@given(
    st.lists(st.tuples(shuffled_rows, st.sampled_from([28, 29]), extra), max_size=2),
    st.frozensets(st.integers(0, 3), max_size=3),
    st.binary(max_size=60),
)
def test_no_event_of_a_bridge_that_is_heeded_is_left_out(
    rows: list[tuple[dict[str, Any], int, list[tuple[int, bytes]]]], heeded: frozenset[int], rest: bytes
) -> None:
    datagram = b"".join(with_attributes(neighbour(row, kind, 0), attributes) for row, kind, attributes in rows)
    if is_strange(datagram, heeded):
        assert not [
            event for event in decode_events(datagram) if isinstance(event, EntryEvent) and event.bridge in heeded
        ]
    assert not is_strange(rest[:47], heeded)


def test_an_entry_of_another_bridge_is_left_out_and_one_of_ours_is_not() -> None:
    row = {"ifindex": 5, "state": 2, "flags": 0, "NDA_LLADDR": "02:00:00:00:00:01", "NDA_MASTER": 9}
    datagram = neighbour(row, 28, 0)
    assert is_strange(datagram, {8})
    assert not is_strange(datagram, {9})
    assert not is_strange(datagram + datagram, {8})


@given(st.lists(st.tuples(interfaces, st.booleans(), extra), max_size=4))
def test_interfaces_read_as_pyroute2_wrote_them(
    written: list[tuple[dict[str, Any], bool, list[tuple[int, bytes]]]],
) -> None:
    datagram, said = b"", []
    for link, gone, attributes in written:
        datagram += with_attributes(encoded(pyroute2_link(link), 17 if gone else 16, 0), attributes)
        master = link["IFLA_MASTER"] if link["IFLA_MASTER"] != link["index"] else None
        filtering = link["switch"] if link["kind"] == "bridge" else None
        said.append(
            LinkEvent(
                ifindex=link["index"],
                name=link["IFLA_IFNAME"],
                gone=gone,
                master=master,
                kind=link["kind"],
                up=bool(link["flags"] & 1),
                flags=port_of(link),
                vlan_filtering=None if filtering is None else bool(filtering),
                vids=None,
                bridge_message=False,
                operational=bool(link["flags"] & 0x40),
            )
        )
    events = decode_events(datagram)
    assert [event._replace(relay=None) for event in events if isinstance(event, LinkEvent)] == said
    for event, (link, _, _) in zip(events, written, strict=True):
        assert isinstance(event, LinkEvent)
        assert (event.relay is None) == (event.flags is None)
        if event.relay is not None:
            assert event.relay.carrier == bool(link["flags"] & 0x10000)


@given(interfaces, st.none() | st.sets(vids), st.booleans(), extra)
def test_a_bridges_message_reads_as_pyroute2_wrote_it(
    link: dict[str, Any], carried: set[int] | None, gone: bool, attributes: list[tuple[int, bytes]]
) -> None:
    link = {**link, "port_kind": "bridge"}
    ordered = tuple(sorted(carried or ()))
    message = ifinfmsg()
    message["family"], message["index"], message["flags"] = AF_BRIDGE, link["index"], link["flags"]
    pairs = [pair for pair in zip(PORT_ATTRIBUTES, link["port"], strict=True) if pair[1] is not None]
    message["attrs"] = [(name, link[name]) for name in ("IFLA_IFNAME", "IFLA_MASTER") if link[name] is not None]
    message["attrs"].append(("IFLA_PROTINFO", {"attrs": pairs}))
    if carried is not None:
        infos = [("IFLA_BRIDGE_VLAN_INFO", info) for info in vlan_infos(ordered, None, compressed=True)]
        message["attrs"].append(("IFLA_AF_SPEC", {"attrs": infos}))
    (event,) = decode_events(with_attributes(encoded(message, 17 if gone else 16, 0), attributes))
    assert isinstance(event, LinkEvent)
    assert (event.ifindex, event.name, event.gone) == (link["index"], link["IFLA_IFNAME"], gone)
    assert (event.kind, event.vlan_filtering, event.bridge_message) == ("", None, True)
    assert event.up == bool(link["flags"] & 1)
    own = link["IFLA_MASTER"] == link["index"]  # the bridge speaks of itself
    assert event.master == (None if own else link["IFLA_MASTER"])
    speaks = not gone and link["IFLA_MASTER"] is not None
    assert event.flags == (port_of(link) if speaks and not own else None)
    assert event.vids == (ordered if speaks else None)


def test_what_a_network_card_says_of_its_own_switch_is_left_out() -> None:
    message = ifinfmsg()
    message["family"], message["index"] = AF_BRIDGE, 3
    message["attrs"] = [
        ("IFLA_IFNAME", "eth0"),
        ("IFLA_MASTER", 2),
        ("IFLA_AF_SPEC", {"attrs": [("IFLA_BRIDGE_FLAGS", 2), ("IFLA_BRIDGE_VLAN_INFO", {"flags": 0, "vid": 7})]}),
    ]
    assert decode_events(encoded(message, 16, 0)) == []


@pytest.mark.parametrize("family", [2, 10])
def test_an_ip_neighbour_is_left_out(family: int) -> None:
    message = ndmsg()
    message["family"], message["ifindex"] = family, 3
    message["attrs"] = [("NDA_LLADDR", "52:54:00:00:00:01"), ("NDA_MASTER", 2)]
    assert decode_events(encoded(message, 28, 0)) == []


@given(st.binary(max_size=200))
def test_any_bytes_are_events_or_an_error(data: bytes) -> None:
    with suppress(WireError):
        assert all(isinstance(event, (LinkEvent, EntryEvent)) for event in decode_events(data))


@given(interfaces, st.data())
def test_a_message_with_a_wrong_byte_is_an_event_or_an_error(link: dict[str, Any], data: st.DataObject) -> None:
    message = bytearray(encoded(pyroute2_link(link), 16, 0))
    place = data.draw(st.integers(0, len(message) - 1))
    message[place] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        decode_events(bytes(message))


def test_a_datagram_that_fills_the_buffer_has_lost_its_end() -> None:
    with pytest.raises(WireError, match="its end is lost"):
        decode_events(bytes(64 * 1024))
