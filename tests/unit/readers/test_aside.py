"""A domain's metadata is its owner's: read apart from the rest, within limits, and told with its line."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from lxml import etree

from macmgr.errors import MacmgrError, XmlError
from macmgr.readers.document import (
    MAX_ELEMENTS,
    MAX_METADATA,
    MAX_NICS,
    MAX_TAGS,
    parse_document,
    parse_written_by_libvirt,
    read_with,
    set_aside,
)
from macmgr.readers.domain import Domain, read_domain
from macmgr.readers.metadata import NAMESPACE
from macmgr.readers.network import read_network
from macmgr.readers.problems import check_document

NIC = (
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><target dev='vnet0'/></interface>"
)
TAG = "<tag id='1'/>"
OURS = f"<m:macTable xmlns:m='{NAMESPACE}' lock='yes'><m:interface mac='52:54:00:00:00:01' pin='static'/></m:macTable>"


def domain(metadata: str, devices: str = NIC, attributes: str = "") -> bytes:
    return (
        f"<domain type='kvm'>\n<name>d</name>\n<metadata{attributes}>{metadata}</metadata>\n"
        f"<devices>{devices}</devices></domain>"
    ).encode()


def read(data: bytes) -> Domain:
    return read_with(read_domain, data, "d.xml")


ALIKE = {
    "ours": OURS,
    "nothing": "",
    "space": "\n  \n",
    "among others": f"<x:a xmlns:x='urn:x'><x:metadata/>text</x:a>{OURS}<b/>",
    "an end tag in a comment": f"<!-- </metadata> -->{OURS}",
    "an end tag in CDATA": f"<x xmlns='urn:x'><![CDATA[</metadata><metadata>]]></x>{OURS}",
    "metadata in metadata": f"<x xmlns='urn:x'><metadata>{OURS}</metadata></x>",
    "text in ours": OURS.replace("<m:interface", "text<m:interface"),
    "text behind a child": OURS.replace("</m:macTable>", "text</m:macTable>"),
    "CDATA in ours": OURS.replace("<m:interface", "<![CDATA[text]]><m:interface"),
    "two of ours": OURS + OURS,
    "misspelt attribute": OURS.replace("lock", "lokc"),
    "attribute of another namespace": OURS.replace("lock=", "xmlns:q='urn:q' q:lock="),
    "misspelt element": OURS.replace("m:interface", "m:interfaze"),
    "another namespace inside": OURS.replace("<m:interface", "<x xmlns='urn:q'/><m:interface"),
    "misspelt namespace": OURS.replace("mactable:1", "mactable:2"),
    "no namespace": "<macTable lock='yes'/>",
    "misspelt name": OURS.replace("macTable", "macTabel"),
    "value": OURS.replace("'yes'", "'maybe'"),
    "entities": OURS.replace("'yes'", "'&#121;&#x65;s'"),
    "third line": "\n\n" + OURS.replace("lock", "lokc"),
}


@pytest.mark.parametrize("what", ALIKE)
def test_it_says_what_it_says_in_the_whole_document(what: str) -> None:
    data = domain(ALIKE[what])
    whole = read_domain(parse_document(data, "d.xml"), "d.xml")
    apart = read(data)
    assert apart == whole
    assert apart.nics


def test_a_namespace_may_be_named_on_the_metadata_itself() -> None:
    found = read(domain("<m:macTable lock='yes'/>", attributes=f" xmlns:m='{NAMESPACE}'"))
    assert found.metadata[""].lock is True


def test_lines_behind_it_stay_what_they_are() -> None:
    data = domain(f"\n\n{OURS}\n\n", devices=NIC.replace("52:54:00:00:00:01", "nonsense"))
    with pytest.raises(XmlError) as caught:
        read(data)
    with pytest.raises(XmlError) as whole:
        read_domain(parse_document(data, "d.xml"), "d.xml")
    assert str(caught.value) == str(whole.value)


@pytest.mark.parametrize("metadata", ["<a>", "<a></b>", "<a b='1' b='2'/>", "<u:a/>", "&x;", "<a \x01/>"])
def test_metadata_that_is_not_xml_is_told_with_its_line(metadata: str) -> None:
    with pytest.raises(XmlError, match=r"^d\.xml:4: not well-formed XML in <metadata>$"):
        read(domain(f"\n{metadata}"))


def test_the_parser_of_the_rest_meets_no_name_of_an_owners() -> None:
    data = domain(f"<q:word xmlns:q='urn:q' q:another='1'/>{OURS.replace('lock', 'lokc')}")
    rest, _ = set_aside(data)
    names = {name for element in etree.fromstring(rest).iter() for name in (str(element.tag), *element.attrib)}
    assert not [name for name in names if re.search("word|another|lokc|macTable", str(name))]
    assert rest.count(b"\n") == data.count(b"\n")


def large(child: str) -> str:
    return child * (MAX_METADATA // len(child) + 1)


def test_large_metadata_with_ours_in_it_is_a_mistake_of_that_domain() -> None:
    found = read(domain(OURS + large("<x xmlns='urn:x'/>")))
    assert found.nics
    assert re.fullmatch(
        rf"d\.xml:3: <metadata> has \d+ bytes; macmgr looks for its own in no more than {MAX_METADATA}",
        found.problem,
    )
    texts = [problem.text for problem in check_document(domain(OURS + large("<x xmlns='urn:x'/>"))).problems]
    assert found.problem.partition(": ")[2] in texts


def test_large_metadata_of_others_is_not_read() -> None:
    data = domain(large("<x xmlns='urn:x'/>"))
    assert read(data).problem == ""
    assert check_document(data).problems == ()


def test_a_table_has_a_limit_too() -> None:
    def macs(count: int) -> str:
        nics = (f"<m:interface mac='52:54:00:00:{each >> 8:x}:{each & 255:x}'/>" for each in range(count))
        return f"<m:macTable xmlns:m='{NAMESPACE}'>{''.join(nics)}</m:macTable>"

    assert read(domain(macs(MAX_ELEMENTS))).problem == ""
    data = domain(macs(MAX_ELEMENTS + 1))
    text = f"more than {MAX_ELEMENTS} elements in <macmgr:macTable>"
    assert read(data).problem == f"d.xml:3: {text}"
    assert text in [problem.text for problem in check_document(data).problems]


def test_ours_is_found_behind_any_number_of_others() -> None:
    others = "".join(f"<a xmlns='u{number}'/>" for number in range(5000))
    assert read(domain(others + OURS)).metadata[""].lock is True


def test_a_domain_has_so_many_interfaces_and_no_more() -> None:
    assert len(read(domain("", NIC * MAX_NICS)).nics) == MAX_NICS
    with pytest.raises(XmlError, match=f"more than {MAX_NICS} interfaces"):
        read(domain("", NIC * (MAX_NICS + 1)))


def test_a_vlan_has_as_many_tags_as_there_are() -> None:
    def nic(count: int) -> str:
        return NIC.replace("</interface>", f"<vlan>{TAG * count}</vlan></interface>")

    assert read(domain("", nic(MAX_TAGS))).nics
    with pytest.raises(XmlError, match=f"more than {MAX_TAGS} VLAN tags"):
        read(domain("", nic(MAX_TAGS + 1)))


def test_a_networks_metadata_is_read_as_a_domains_is() -> None:
    data = (
        f"<networkstatus><network><name>n</name><metadata><m:macTable xmlns:m='{NAMESPACE}'>"
        "<m:portgroup name='p' lock='yes'/></m:macTable></metadata><bridge name='br0'/></network></networkstatus>"
    ).encode()
    assert read_with(read_network, data, "n.xml") == read_network(parse_document(data, "n.xml"), "n.xml")
    assert read_with(read_network, data, "n.xml").metadata["p"].lock is True


def test_a_document_without_metadata_is_left_whole() -> None:
    for data in (b"<domain><name>d</name><metadata/></domain>", b"<domain><name>d</name></domain>"):
        assert parse_written_by_libvirt(data, "d.xml")[1] is None
        assert read(data).name == "d"


class _NoRoom(ValueError):
    """As libxml2 tells it: the last thing in its log may be another."""

    error_log = tuple(SimpleNamespace(type=kind) for kind in (etree.ErrorTypes.ERR_NO_MEMORY, etree.ErrorTypes.ERR_OK))


@pytest.mark.parametrize("error", [MemoryError(), _NoRoom()])
def test_that_there_is_no_memory_says_nothing_of_a_document(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is no finding about a domain, and so its entries do not go: the whole look is given up."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("macmgr.readers.document.etree.fromstring", fail)
    with pytest.raises(MacmgrError, match="no memory left") as caught:
        parse_document(b"<d/>", "d.xml")
    assert not isinstance(caught.value, XmlError)


def test_the_captured_files_read_as_before() -> None:
    for path in Path("tests/captured/libvirt-9.0.0").rglob("*.xml"):
        data = path.read_bytes()
        if not data:
            continue
        root = parse_document(data, "w")
        if root.tag == "domstatus":
            subject = etree.tostring(root.find("domain"))  # type: ignore[arg-type]
            assert read(subject) == read_domain(parse_document(subject, "d.xml"), "d.xml")
