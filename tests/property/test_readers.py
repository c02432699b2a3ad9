"""The XML readers on documents that libvirt could write, and on documents that nobody should.

A generated NIC is written in both of libvirt's forms, the live one and that of the status files, by this file's own
writer. What is read must be what was written: a NIC's MAC address above all. Whatever else comes in is understood or
refused with one line; it is never a traceback.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from hypothesis import given
from hypothesis import strategies as st

from macmgr.errors import XmlError
from macmgr.model.hookcall import OPERATIONS
from macmgr.model.intent import Vlan
from macmgr.readers.document import parse_document
from macmgr.readers.domain import STATES, Domain, Nic, read_domain, read_domain_status
from macmgr.readers.hookdata import read_hook_input
from macmgr.readers.network import Network, read_network, read_network_port
from macmgr.readers.problems import check_document

SECRET = "hunter2hunter2"  # noqa: S105 - in every document, in no message

octets = st.tuples(st.integers(0, 127).map(lambda half: 2 * half), *[st.integers(0, 255)] * 5).filter(any)
# XML cannot hold the other control characters; libvirt takes a space anywhere in a name, and keeps it
_core = st.text(
    st.characters(min_codepoint=0x20, exclude_categories=["Cs"], exclude_characters="\x7f\ufffe\uffff"),
    min_size=1,
    max_size=12,
)
_pad = st.sampled_from(("", "", "", " "))
names = st.tuples(_pad, _core, _pad).map("".join).filter(lambda name: name.strip() != "")
words = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=10)
managers = st.sampled_from(("", "kernel", "libvirt"))


@dataclass(frozen=True)
class Written:
    """A NIC as a test wants it: what it is, and how its address is spelt."""

    mac: str
    spelt: str
    kind: str
    network: str
    bridge: str
    manager: str
    tap: str
    alias: str
    vlan: Vlan | None


@st.composite
def macs(draw: st.DrawFn) -> tuple[str, str]:
    """A MAC address in its one form, and in one that libvirt also takes (virMacAddrParse)."""
    each = draw(octets)
    form = draw(st.sampled_from(("{:02x}", "{:02X}", "{:x}", "{:X}")))
    return ":".join(f"{octet:02x}" for octet in each), ":".join(form.format(octet) for octet in each)


vlans = st.one_of(
    st.none(),
    st.integers(1, 4094).map(lambda vid: Vlan((vid,))),
    st.lists(st.integers(1, 4094), min_size=2, max_size=4, unique=True).map(lambda vids: Vlan(tuple(vids), None, True)),
    st.lists(st.integers(1, 4094), min_size=2, max_size=4, unique=True).map(
        lambda vids: Vlan(tuple(vids), vids[0], True)
    ),
)


@st.composite
def written_nics(draw: st.DrawFn) -> Written:
    """A NIC of a network's bridge, of a bridge without a network, or of something that has no port."""
    mac, spelt = draw(macs())
    kind = draw(st.sampled_from(("bridge", "bridge", "network", "direct", "user", "vhostuser", "hostdev")))
    network = draw(names) if kind == "network" or draw(st.booleans()) else ""
    bridged = kind in ("bridge", "network")
    return Written(
        mac=mac,
        spelt=spelt,
        kind=kind,
        network=network,
        bridge=draw(words) if bridged else "",
        manager=draw(managers) if bridged and network else "",
        tap=draw(words),
        alias=draw(words),
        vlan=draw(vlans),
    )


def attributes(**values: str) -> str:
    return "".join(f" {name}={quoteattr(value)}" for name, value in values.items() if value)


def vlan_xml(vlan: Vlan | None) -> str:
    if vlan is None:
        return ""
    tags = "".join(
        f"<tag id='{vid}'{attributes(nativeMode='untagged' if vid == vlan.native else '')}/>" for vid in vlan.vids
    )
    return f"<vlan{attributes(trunk='yes' if vlan.trunk else '')}>{tags}</vlan>"


def live(nic: Written) -> str:
    """As `virsh dumpxml` and hooks show it: what became of it, with the network in its source."""
    source = attributes(network=nic.network, bridge=nic.bridge, macTableManager=nic.manager)
    return (
        f"<interface type='{nic.kind}'><mac address='{nic.spelt}'/><source{source}/>{vlan_xml(nic.vlan)}"
        f"<target{attributes(dev=nic.tap)}/><alias{attributes(name=nic.alias)}/></interface>"
    )


def status(nic: Written) -> str:
    """As a status file keeps it: as configured, and in <actual> what became of it."""
    if not nic.network:
        return live(nic)
    source = attributes(bridge=nic.bridge, macTableManager=nic.manager)
    return (
        f"<interface type='network'><mac address='{nic.spelt}'/><source{attributes(network=nic.network)}/>"
        f"<actual type='{nic.kind}'><source{source}/>{vlan_xml(nic.vlan)}</actual>"
        f"<target{attributes(dev=nic.tap)}/><alias{attributes(name=nic.alias)}/></interface>"
    )


def domain_xml(name: str, nics: list[str]) -> str:
    return (
        f"<domain type='kvm'><name>{escape(name)}</name><uuid>u</uuid><devices>"
        f"<graphics type='vnc' passwd='{SECRET}'/>{''.join(nics)}</devices></domain>"
    )


def network_xml(name: str, bridge: str, manager: str) -> str:
    source = attributes(name=bridge, macTableManager=manager)
    return f"<network><name>{escape(name)}</name><uuid>u</uuid><forward mode='bridge'/><bridge{source}/></network>"


def status_xml(name: str, nics: list[str], state: str) -> str:
    return (
        f"<!-- WARNING: THIS IS AN AUTO-GENERATED FILE. -->\n<domstatus state='{state}' reason='booted' pid='7'>"
        f"<monitor path='/{SECRET}'/>{domain_xml(name, nics)}</domstatus>"
    )


def the_nic(domain: Domain) -> Nic:
    (nic,) = domain.nics
    return nic


def as_read(nic: Written, *, configured: str) -> Nic:
    return Nic(
        mac=nic.mac,
        kind=nic.kind,
        configured=configured,
        bridge=nic.bridge,
        network=nic.network,
        tap=nic.tap,
        alias=nic.alias,
        manager=nic.manager,
        vlan=nic.vlan,
    )


@given(written_nics(), names)
def test_a_nic_is_read_as_it_was_written_in_the_live_form(nic: Written, name: str) -> None:
    domain = read_domain(parse_document(domain_xml(name, [live(nic)]).encode(), "test"), "test")
    assert domain.name == name
    assert the_nic(domain) == as_read(nic, configured=nic.kind)


@given(written_nics(), st.sampled_from(STATES))
def test_a_nic_is_read_as_it_was_written_in_a_status_file(nic: Written, state: str) -> None:
    found = read_domain_status(parse_document(status_xml("g1", [status(nic)], state).encode(), "test"), "test")
    assert the_nic(found) == as_read(nic, configured="network" if nic.network else nic.kind)
    assert (found.state, found.running) == (state, state == "running")


@given(st.lists(written_nics(), max_size=6), st.booleans())
def test_every_nic_keeps_its_own_address(nics: list[Written], in_a_file: bool) -> None:
    form = status if in_a_file else live
    domain = read_domain(parse_document(domain_xml("g1", [form(nic) for nic in nics]).encode(), "test"), "test")
    assert [nic.mac for nic in domain.nics] == [nic.mac for nic in nics]
    assert [nic.tap for nic in domain.nics] == [nic.tap for nic in nics]


@given(st.lists(written_nics(), max_size=3), st.sampled_from(("utf-8", "utf-16", "iso-8859-1")))
def test_the_encoding_is_no_matter(nics: list[Written], encoding: str) -> None:
    plain = domain_xml("g1", [live(nic) for nic in nics])
    text = f"<?xml version='1.0' encoding='{encoding}'?>{plain}".encode(encoding, "xmlcharrefreplace")
    assert read_domain(parse_document(text, "a"), "a") == read_domain(parse_document(plain.encode(), "a"), "a")


@given(names, words, managers)
def test_a_network_is_read_as_it_was_written(name: str, bridge: str, manager: str) -> None:
    plain = network_xml(name, bridge, manager)
    wanted = Network(name, "u", bridge, "bridge", manager)
    for text in (plain, f"<networkstatus><class_id bitmap='0-2'/>{plain}</networkstatus>"):
        assert read_network(parse_document(text.encode(), "test"), "test") == wanted
    given_to_hook = read_hook_input("network", f"<hookData>{plain}</hookData>".encode())
    assert given_to_hook.network == wanted


# What nobody should write

Damage = tuple[str, float, bytes]
"""What was done, where in the document (0 to 1), and with which bytes."""

damages = st.one_of(
    st.tuples(st.just("cut"), st.floats(0, 1), st.just(b"")),
    st.tuples(st.just("put in"), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("written over"), st.floats(0, 1), st.binary(min_size=1, max_size=6)),
    st.tuples(st.just("left out"), st.floats(0, 1), st.binary(min_size=1, max_size=12)),
    st.tuples(
        st.just("put in"),
        st.floats(0, 1),
        st.sampled_from(
            (b"<!DOCTYPE x>", b"<!ENTITY x 'y'>", b"&x;", b"<![CDATA[", b"<a b='", b"</domain>", b"\0", b"]]>")
        ),
    ),
)


def damaged(document: bytes, damage: Damage) -> bytes:
    how, where, what = damage
    place = int(where * len(document))
    if how == "cut":
        return document[:place]
    behind = document[place:] if how == "put in" else document[place + len(what) :]
    return document[:place] + (b"" if how == "left out" else what) + behind


def documents(nics: list[Written]) -> list[bytes]:
    forms = [status(nic) for nic in nics]
    network = network_xml("lan", "br0", "libvirt")
    port = "<networkport><uuid>u</uuid><mac address='52:54:00:00:00:01'/><plug bridge='br0'/></networkport>"
    return [
        status_xml("g1", forms, "running").encode(),
        domain_xml("g1", [live(nic) for nic in nics]).encode(),
        network.encode(),
        f"<hookData>{network}{port}{''.join(forms[:1])}</hookData>".encode(),
        port.encode(),
    ]


def read_anything(data: bytes) -> list[Domain]:
    """Give ``data`` to every reader, whose refusals are one line each; the domain's status, if it is read as one."""
    found: list[Domain] = []
    for driver in OPERATIONS:
        try:
            read_hook_input(driver, data)
        except XmlError as error:
            assert_one_line(error)
    for reader in (read_domain_status, read_network, read_network_port):
        try:
            read = reader(parse_document(data, "file"), "file")
        except XmlError as error:
            assert_one_line(error)
        else:
            found += [read] if isinstance(read, Domain) else []
    for problem in check_document(data).problems:
        assert_one_line(problem.at("file"))
    return found


def assert_one_line(told: object) -> None:
    assert re.fullmatch(r"[^\n\r]{5,400}", str(told))
    assert SECRET not in str(told)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_with_one_line(data: bytes) -> None:
    assert read_anything(data) == []


@given(st.lists(written_nics(), max_size=2), st.integers(0, 4), st.lists(damages, min_size=1, max_size=3))
def test_a_damaged_document_is_understood_or_refused(nics: list[Written], which: int, blows: list[Damage]) -> None:
    data = documents(nics)[which]
    for damage in blows:
        data = damaged(data, damage)
    for found in read_anything(data):
        for nic in found.nics:  # what comes through is a MAC address, whatever was done to it
            assert re.fullmatch("[0-9a-f][02468ace](:[0-9a-f]{2}){5}", nic.mac)


@given(st.lists(written_nics(), min_size=1, max_size=2), damages)
def test_a_truncated_file_is_never_half_believed(nics: list[Written], damage: Damage) -> None:
    """A file that was not written to its end could lack a NIC, and its entry would be called stale."""
    whole = documents(nics)[0]
    assert read_anything(damaged(whole, ("cut", min(damage[1], 1 - 2 / len(whole)), b""))) == []
