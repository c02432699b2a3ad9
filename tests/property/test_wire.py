"""The wire codec against pyroute2's own: what one writes the other reads, and bytes that lie are told apart."""

from __future__ import annotations

import struct
from contextlib import suppress
from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.rtnl import ndmsg as pyroute2_neighbour
from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg, protinfo_bridge
from pyroute2.netlink.rtnl.ndmsg import ndmsg

from macmgr.kernel import wire
from macmgr.kernel.fdbdump import decode_entries, decode_replies
from macmgr.kernel.links import decode_links, decode_vids
from macmgr.model.changes import AddVids, DeleteEntry, DeleteVids, FlushEntries
from macmgr.model.flags import FLAGS, PortFlags, flags_of
from macmgr.model.snapshot import Entry, EntryState
from macmgr.model.vids import PortVids
from tests.fake_kernel import put_entry, set_port

AF_BRIDGE = 7
# pyroute2 knows each flag by the kernel's name, so a wrong number in the table is seen; the last is no row of it
KERNEL_NAMES = {"learning": "LEARNING", "unicast_flood": "UNICAST_FLOOD", "locked": "LOCKED", "isolated": "ISOLATED"}
PORT_ATTRIBUTES = tuple(f"IFLA_BRPORT_{KERNEL_NAMES[flag.field]}" for flag in FLAGS)
# Debian 12's pyroute2 does not know "locked", nor that an entry can be sticky.
KNOWN = {flag.field: PORT_ATTRIBUTES[place] in dict(protinfo_bridge.nla_map) for place, flag in enumerate(FLAGS)}
NTF_STICKY = getattr(pyroute2_neighbour, "NTF_STICKY", 0x40)
NAMES = {number: f"port{number}" for number in range(1, 6)}

macs = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
vids = st.integers(1, 4094)
ifindexes = st.integers(1, 2**31 - 1)
sequences = st.integers(0, 2**32 - 1)
puts = st.builds(
    put_entry,
    st.just("tap1"),
    macs,
    st.none() | vids,
    st.sampled_from([EntryState.STATIC, EntryState.DYNAMIC]),
    st.booleans(),
    st.booleans(),
)
deletes = st.builds(DeleteEntry, st.just("tap1"), macs, st.none() | vids)
port_flags = st.tuples(*(st.none() | st.integers(0, 1) if known else st.none() for known in KNOWN.values()))
unknown_attributes = st.tuples(st.integers(100, 0x3FFF), st.binary(max_size=9))


def encoded(message: Any, kind: int, flags: int, sequence: int = 1) -> bytes:
    message["header"] = {"type": kind, "flags": flags, "sequence_number": sequence, "pid": 0}
    message.reset()
    message.encode()
    return bytes(message.data)


def neighbour(row: dict[str, Any], kind: int, flags: int, sequence: int = 1) -> bytes:
    message = ndmsg()
    for name in ("ifindex", "state", "flags"):
        message[name] = row.get(name, 0)
    message["family"] = AF_BRIDGE
    message["attrs"] = [(name, value) for name, value in row.items() if name.startswith("NDA_") and value is not None]
    return encoded(message, kind, flags, sequence)


def with_attributes(message: bytes, attributes: list[tuple[int, bytes]]) -> bytes:
    """The message with attributes that no one knows behind it."""
    for kind, value in attributes:
        message += struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
    return struct.pack("=I", len(message)) + message[4:]


def grouped(datagram: bytes) -> dict[bytes, list[bytes]]:
    groups: dict[bytes, list[bytes]] = {}
    wire.group(datagram, groups)
    return groups


# Requests


@given(puts, ifindexes, sequences)
def test_a_put_is_what_pyroute2_would_send(put: Entry, ifindex: int, sequence: int) -> None:
    flags = pyroute2_neighbour.NTF_MASTER
    flags |= NTF_STICKY if put.sticky else 0
    flags |= pyroute2_neighbour.NTF_EXT_LEARNED if put.extern_learn else 0
    noarp = pyroute2_neighbour.NUD_NOARP if put.state is EntryState.STATIC else 0
    row = {
        "ifindex": ifindex,
        "state": pyroute2_neighbour.NUD_REACHABLE | noarp,
        "flags": flags,
        "NDA_LLADDR": put.mac,
        "NDA_VLAN": put.vid or None,
    }
    message = wire.put_entry(put, ifindex)
    assert wire.frame(message, sequence, acknowledge=True) == neighbour(row, 28, 0x1 | 0x4 | 0x100 | 0x400, sequence)
    assert wire.frame(message, sequence) == neighbour(row, 28, 0x1 | 0x100 | 0x400, sequence)


@given(deletes, ifindexes, sequences)
def test_a_delete_is_what_pyroute2_would_send(delete: DeleteEntry, ifindex: int, sequence: int) -> None:
    row = {"ifindex": ifindex, "flags": 0x04, "NDA_LLADDR": delete.mac, "NDA_VLAN": delete.vid}
    assert wire.frame(wire.delete_entry(delete, ifindex), sequence) == neighbour(row, 29, 0x1, sequence)


@given(puts)
def test_a_local_entry_cannot_be_written(put: Entry) -> None:
    local = put_entry(put.port, put.mac, put.vid, EntryState.LOCAL, put.sticky, put.extern_learn)
    with pytest.raises(ValueError, match="never puts a local"):
        wire.put_entry(local, 1)


@given(st.integers().filter(lambda vid: not 0 < vid < 4095))
def test_a_vid_that_no_request_can_name_is_not_written(vid: int) -> None:
    with pytest.raises(ValueError, match="no request can name VID"):
        wire.delete_entry(DeleteEntry("tap1", "52:54:00:00:00:01", vid), 1)


@given(vids, ifindexes, sequences)
def test_a_flush_names_its_port_vid_and_state(vid: int, ifindex: int, sequence: int) -> None:
    """Which entries go: static ones that are not local, without extern_learn. pyroute2 knows no NLM_F_BULK."""
    message = wire.frame(wire.flush_entries(FlushEntries("tap1", vid), ifindex), sequence)
    assert struct.unpack_from("=IHHI", message) == (len(message), 29, 0x1 | 0x200, sequence)
    assert wire.NEIGHBOUR.unpack_from(message, 16) == (AF_BRIDGE, ifindex, 0x40, 0x04, 0)
    attributes = {kind: message[start:stop] for kind, start, stop in wire.attributes(message, 28, len(message))}
    assert attributes == {5: struct.pack("=H", vid), 16: struct.pack("=H", 0x40 | 0x80), 17: b"\x10"}


@pytest.mark.parametrize("vid", [0, -1, 4095])
def test_a_flush_without_a_vid_is_not_written(vid: int) -> None:
    """It would take the host's other static entries along."""
    with pytest.raises(ValueError, match="no flush without a VID"):
        wire.flush_entries(FlushEntries("tap1", vid), 7)


@given(
    st.fixed_dictionaries({field: st.none() | st.booleans() if known else st.none() for field, known in KNOWN.items()}),
    ifindexes,
)
def test_a_port_request_holds_the_flags_named_and_no_others(values: dict[str, bool | None], ifindex: int) -> None:
    request = set_port("tap1", **values)
    message = ifinfmsg(wire.frame(wire.set_port(request, ifindex), 1))
    message.decode()
    assert (message["header"]["type"], message["family"], message["index"]) == (19, AF_BRIDGE, ifindex)
    given_flags = dict(message.get_attr("IFLA_PROTINFO")["attrs"])
    named = {name: values[flag.field] for name, flag in zip(PORT_ATTRIBUTES, FLAGS, strict=True)}
    assert given_flags == {name: int(value) for name, value in named.items() if value is not None}


@given(ifindexes, vids, vids, st.booleans(), st.booleans())
def test_vid_requests_hold_a_run_and_how_it_is_carried(
    ifindex: int, one: int, other: int, pvid: bool, untagged: bool
) -> None:
    first, last = (one, one) if pvid else (min(one, other), max(one, other))
    flags = 0x02 * pvid | 0x04 * untagged
    for number, request, how in (
        (19, wire.add_vids(AddVids("tap1", first, last, pvid, untagged), ifindex), flags),
        (17, wire.delete_vids(DeleteVids("tap1", first, last), ifindex), 0),
    ):
        message = ifinfmsg(wire.frame(request, 1))
        message.decode()
        assert (message["header"]["type"], message["family"], message["index"]) == (number, AF_BRIDGE, ifindex)
        said = message.get_attr("IFLA_AF_SPEC")["attrs"]
        assert [name for name, _ in said] == ["IFLA_BRIDGE_VLAN_INFO"] * (1 + (last > first))
        ends = [(info["vid"], info["flags"]) for _, info in said]
        assert ends == ([(first, how | 0x08), (last, how | 0x10)] if last > first else [(first, how)])


@pytest.mark.parametrize(("first", "last"), [(0, 5), (5, 4), (4094, 4095)])
def test_vids_that_no_port_has_are_not_written(first: int, last: int) -> None:
    with pytest.raises(ValueError, match="no VIDs of a bridge port"):
        wire.delete_vids(DeleteVids("tap1", first, last), 7)
    with pytest.raises(ValueError, match="one PVID"):
        wire.add_vids(AddVids("tap1", 5, 6, pvid=True), 7)


@given(ifindexes, macs, st.none() | vids, sequences)
def test_lookups_and_dumps_are_what_pyroute2_would_send(ifindex: int, mac: str, vid: int | None, sequence: int) -> None:
    row = {"NDA_LLADDR": mac, "NDA_VLAN": vid, "NDA_MASTER": ifindex}
    assert wire.frame(wire.fdb_get(ifindex, mac, vid or 0), sequence) == neighbour(row, 30, 0x1, sequence)
    assert wire.frame(wire.fdb_dump(), sequence) == neighbour({}, 30, 0x301, sequence)
    assert wire.frame(wire.fdb_dump(port=ifindex), sequence) == neighbour({"ifindex": ifindex}, 30, 0x301, sequence)
    message = ifinfmsg()
    message["attrs"] = [("IFLA_EXT_MASK", 8)]
    assert wire.frame(wire.link_dump(), sequence) == encoded(message, 18, 0x301, sequence)
    message = ifinfmsg()
    message["family"] = AF_BRIDGE
    message["attrs"] = [("IFLA_EXT_MASK", 4 | 8)]
    assert wire.frame(wire.vlan_dump(), sequence) == encoded(message, 18, 0x301, sequence)


# FDB dumps

rows = st.fixed_dictionaries(
    {
        "ifindex": st.integers(1, 7),
        "state": st.sampled_from([0x02, 0x04, 0x40, 0x42, 0x80, 0xC0]),
        "flags": st.integers(0, 255),
        "NDA_LLADDR": st.none() | macs,
        "NDA_MASTER": st.none() | st.integers(1, 9),
        "NDA_FLAGS_EXT": st.none() | st.integers(0, 3),
        "NDA_CACHEINFO": st.none() | st.just({"ndm_confirmed": 1, "ndm_used": 2, "ndm_updated": 3, "ndm_refcnt": 0}),
        "NDA_VLAN": st.none() | vids,
    }
)
shuffled_rows = rows.flatmap(
    lambda row: st.permutations(sorted(row)).map(lambda names: {name: row[name] for name in names})
)


def said_by_pyroute2(message: bytes) -> Entry | None:
    decoded = ndmsg(message)
    decoded.decode()
    mac, master = decoded.get_attr("NDA_LLADDR"), decoded.get_attr("NDA_MASTER")
    if mac is None or master is None or decoded["ifindex"] not in NAMES:
        return None
    state = EntryState.STATIC if decoded["state"] & 0x40 else EntryState.DYNAMIC
    state = EntryState.LOCAL if decoded["state"] & 0x80 else state
    sticky, extern_learn = bool(decoded["flags"] & 0x40), bool(decoded["flags"] & 0x10)
    return Entry(mac, decoded.get_attr("NDA_VLAN") or 0, NAMES[decoded["ifindex"]], state, sticky, extern_learn)


@given(st.lists(st.tuples(rows | shuffled_rows, st.integers(1, 12), st.lists(unknown_attributes, max_size=2))))
def test_an_fdb_dump_reads_as_pyroute2_reads_it(
    runs: list[tuple[dict[str, Any], int, list[tuple[int, bytes]]]],
) -> None:
    """Mixed and in runs: the bulk decoder and the general one must agree with pyroute2 and so with each other."""
    datagram = []
    for row, count, attributes in runs:
        datagram += [with_attributes(neighbour(row, 28, 2), attributes)] * count
    by_pyroute2 = cache(said_by_pyroute2)  # which takes ten times as long as ours, and a run repeats a message
    said = [entry for message in datagram if (entry := by_pyroute2(message))]
    read = decode_entries(grouped(b"".join(datagram)), NAMES)
    assert sorted(read, key=repr) == sorted(said, key=repr)
    assert sorted(decode_replies(datagram, NAMES), key=repr) == sorted(said, key=repr)


@pytest.mark.parametrize("both", [False, True])
def test_a_long_dump_loses_nothing(both: bool) -> None:
    """Entries with and without a VID take turns on a bridge with one VLAN."""
    datagram, wanted = b"", []
    for number in range(1, 1500):
        mac, vid = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}", number
        row = {"ifindex": 1, "state": 0x40, "NDA_LLADDR": mac, "NDA_MASTER": 9, "NDA_VLAN": vid}
        datagram += neighbour(row, 28, 2)
        wanted.append(Entry(mac, vid, NAMES[1]))
        if both:
            datagram += neighbour({**row, "NDA_VLAN": None}, 28, 2)
            wanted.append(Entry(mac, 0, NAMES[1]))
    assert sorted(decode_entries(grouped(datagram), NAMES), key=repr) == sorted(wanted, key=repr)


def test_the_quick_constructor_fills_every_field_of_an_entry() -> None:
    row = {"ifindex": 1, "state": 0x40, "NDA_LLADDR": "52:54:00:00:00:01", "NDA_MASTER": 9}
    (entry,) = decode_entries(grouped(neighbour(row, 28, 2)), NAMES)
    assert type(entry) is Entry
    assert entry._asdict() == {
        "mac": "52:54:00:00:00:01",
        "vid": 0,
        "port": "port1",
        "state": "static",
        "sticky": False,
        "extern_learn": False,
    }
    assert hash(entry) == hash(Entry("52:54:00:00:00:01", 0, "port1"))


# Interfaces


@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "index": ifindexes,
                "flags": st.integers(0, 2**32 - 1),
                "IFLA_IFNAME": st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=15),
                "IFLA_ADDRESS": macs,
                "IFLA_MASTER": st.none() | ifindexes,
                "IFLA_PROMISCUITY": st.none() | st.integers(0, 2**32 - 1),
                "kind": st.sampled_from(["", "bridge", "veth", "tun", "vxlan"]),
                "switch": st.none() | st.integers(0, 1),  # number 7 of both kinds
                "port_kind": st.sampled_from(["", "bridge", "bond"]),
                "port": port_flags,
                "unknown": st.lists(unknown_attributes, max_size=2),
            }
        ),
        max_size=6,
    )
)
def test_interfaces_read_as_pyroute2_wrote_them(links: list[dict[str, Any]]) -> None:
    datagram = b""
    for link in links:
        datagram += with_attributes(encoded(pyroute2_link(link), 16, 2), link["unknown"])
    read = {(link.ifindex, link.name): link for link in decode_links(grouped(datagram))}
    for link in {(link["index"], link["IFLA_IFNAME"]): link for link in links}.values():
        found = read[link["index"], link["IFLA_IFNAME"]]
        if links.count(link) == 1 and sum(link["index"] == other["index"] for other in links) == 1:
            assert found.mac == link["IFLA_ADDRESS"]
            assert found.master == link["IFLA_MASTER"]
            assert found.promiscuity == (link["IFLA_PROMISCUITY"] or 0)
            assert found.kind == link["kind"]
            assert found.up == bool(link["flags"] & 1)
            assert found.vlan_filtering == (link["kind"] == "bridge" and link["switch"] == 1)
            learns = None if link["switch"] is None else link["switch"] == 1
            assert found.tunnel_learning == (learns if link["kind"] == "vxlan" else None)
            assert found.flags == port_of(link)


def test_an_interface_is_not_read_by_the_places_of_the_one_looked_at_before() -> None:
    """Equal lengths and an equal first attribute, and behind it another order."""
    start = with_attributes(struct.pack("=IHHIIBxHiII", 32, 16, 2, 1, 0, 0, 1, 7, 1, 0), [(3, b"tap1\0")])
    master, promiscuity = (10, struct.pack("=I", 3)), (30, struct.pack("=I", 2))
    for order in ([master, promiscuity], [promiscuity, master], [master, promiscuity]):
        (link,) = decode_links(grouped(with_attributes(start, order)))
        assert (link.ifindex, link.name, link.master, link.promiscuity) == (7, "tap1", 3, 2)


def pyroute2_link(link: dict[str, Any]) -> Any:
    message = ifinfmsg()
    message["index"], message["flags"] = link["index"], link["flags"]
    info: list[tuple[str, Any]] = []
    if link["kind"]:
        info.append(("IFLA_INFO_KIND", link["kind"]))
    name = {"bridge": "IFLA_BR_VLAN_FILTERING", "vxlan": "IFLA_VXLAN_LEARNING"}.get(link["kind"])
    if name and link["switch"] is not None:
        info.append(("IFLA_INFO_DATA", {"attrs": [(name, link["switch"])]}))
    if link["port_kind"]:
        info.append(("IFLA_INFO_SLAVE_KIND", link["port_kind"]))
    if link["port_kind"] == "bridge":
        flags = [pair for pair in zip(PORT_ATTRIBUTES, link["port"], strict=True) if pair[1] is not None]
        info.append(("IFLA_INFO_SLAVE_DATA", {"attrs": flags}))
    message["attrs"] = [(name, value) for name, value in link.items() if name.startswith("IFLA_") and value is not None]
    message["attrs"].append(("IFLA_LINKINFO", {"attrs": info}))
    return message


def port_of(link: dict[str, Any]) -> PortFlags | None:
    if link["port_kind"] != "bridge":
        return None
    said = {
        flag.field: (None if flag.since else True) if value is None else bool(value)
        for flag, value in zip(FLAGS, link["port"], strict=True)
    }
    return flags_of(said)


@given(st.dictionaries(ifindexes, st.tuples(st.sets(vids), st.integers(0, 40)), max_size=4), st.booleans())
def test_vids_read_as_pyroute2_wrote_them(ports: dict[int, tuple[set[int], int]], compressed: bool) -> None:
    datagram, wanted = b"", {}
    for ifindex, (carried, place) in ports.items():
        ordered = tuple(sorted(carried))
        pvid = ordered[place] if place < len(ordered) else None
        message = ifinfmsg()
        message["family"], message["index"] = AF_BRIDGE, ifindex
        message["attrs"] = [
            ("IFLA_IFNAME", "tap1"),
            ("IFLA_MASTER", 1),
            (
                "IFLA_AF_SPEC",
                {"attrs": [("IFLA_BRIDGE_VLAN_INFO", info) for info in vlan_infos(ordered, pvid, compressed)]},
            ),
        ]
        datagram += encoded(message, 16, 2)
        if ordered:
            wanted[ifindex] = PortVids(ordered, pvid, ordered)
    assert decode_vids(grouped(datagram)) == wanted


def vlan_infos(ordered: tuple[int, ...], pvid: int | None, compressed: bool) -> list[dict[str, int]]:
    """As br_fill_ifvlaninfo_compressed does: a range has two ends, and the PVID stands alone."""
    ranges: list[list[int]] = []
    for vid in ordered:
        if compressed and ranges and ranges[-1][-1] == vid - 1 and pvid not in (vid, vid - 1):
            ranges[-1].append(vid)
        else:
            ranges.append([vid])
    infos = []
    for each in ranges:
        if len(each) == 1:
            infos.append({"flags": 4 | (2 if each[0] == pvid else 0), "vid": each[0]})
        else:
            infos += [{"flags": 4 | 8, "vid": each[0]}, {"flags": 4 | 16, "vid": each[-1]}]
    return infos


# Answers, and bytes that are not what they should be


@given(st.integers(0, 133), st.text("abc ABC-.", max_size=80), st.booleans(), st.binary(max_size=40))
def test_the_kernels_words_are_found(code: int, text: str, capped: bool, request: bytes) -> None:
    original = struct.pack("=IHHII", 16 + len(request), 28, 5, 7, 0)
    words = struct.pack("=HH", 5 + len(text), 1) + text.encode() + bytes(1 + -(len(text) + 1) % 4)
    body = struct.pack("=i", -code) + original + (b"" if capped else request + bytes(-len(request) % 4))
    if text:
        body += struct.pack("=HHI", 8, 2, 16) + words  # NLMSGERR_ATTR_OFFS comes too
    flags = (0x100 if capped else 0) | (0x200 if text else 0)
    message = struct.pack("=IHHII", 16 + len(body), 2, flags, 7, 0) + body
    assert wire.parse_error(message) == (code, text)


@given(st.lists(rows, min_size=1, max_size=5), st.data())
def test_a_datagram_cut_short_is_an_error(given_rows: list[dict[str, Any]], data: st.DataObject) -> None:
    messages = [neighbour(row, 28, 2) for row in given_rows]
    whole = b"".join(messages)
    ends = {sum(map(len, messages[:count])) for count in range(len(messages) + 1)}
    cut = data.draw(st.integers(1, len(whole) - 1).filter(lambda length: length not in ends))
    with pytest.raises(wire.WireError):
        grouped(whole[:cut])
    with pytest.raises(wire.WireError):
        list(wire.messages(whole[:cut]))


@given(st.sampled_from([16, 28]), st.binary(max_size=200), st.integers(1, 3))
def test_nonsense_is_an_error_or_nothing(kind: int, body: bytes, count: int) -> None:
    """No exception but the one that is promised, whatever the attributes say of their lengths."""
    message = struct.pack("=IHHII", 16 + len(body), kind, 2, 1, 0) + body + bytes(-len(body) % 4)
    for read in (decode_links, decode_vids, lambda groups: decode_entries(groups, NAMES)):
        with suppress(wire.WireError):
            read(grouped(message * count))


@given(st.binary(max_size=200))
def test_an_answer_of_nonsense_is_an_error_or_an_errno(body: bytes) -> None:
    for flags in (0, 0x100, 0x200, 0x300):
        message = struct.pack("=IHHII", 16 + len(body), 2, flags, 1, 0) + body
        try:
            code, _ = wire.parse_error(message)
        except wire.WireError:
            continue
        assert len(body) >= 4
        assert code == -struct.unpack_from("=i", body)[0]
