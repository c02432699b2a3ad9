"""The schema of the metadata and the reader of it accept the same: an editor's green is macmgr's green.

What they differ in on purpose (two interfaces of one MAC, two portgroups of one name) is said in readers/metadata.py
and shown in tests/unit/readers/test_schemas.py; documents here have neither.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from macmgr.model.mac import parse_typed_mac
from macmgr.options import OPTIONS
from macmgr.readers.document import parse_document
from macmgr.readers.metadata import NAMESPACE, TABLE, read_domain_table, read_network_table
from macmgr.readers.problems import check_document

METADATA = (Path(__file__).parents[2] / "xml-schemas" / "macmgr-metadata.rng").as_uri()
CHILD = {"domain": ("interface", "mac"), "network": ("portgroup", "name")}


def schema(kind: str) -> etree.RelaxNG:
    """The metadata's schema with the table of a domain, or of a network, alone."""
    return etree.RelaxNG(
        etree.fromstring(
            f"""<grammar xmlns='http://relaxng.org/ns/structure/1.0'><include href='{METADATA}'>
                <start><ref name='macmgr.{kind}Table'/></start></include></grammar>"""
        )
    )


SCHEMAS = {kind: schema(kind) for kind in CHILD}

octets = st.integers(0, 255).map(lambda octet: f"{octet:02x}") | st.sampled_from(["0", "a", "F", "0A"])
first_octets = st.integers(0, 127).map(lambda octet: f"{2 * octet:02x}")
prefixes = st.tuples(first_octets, st.lists(octets, max_size=4)).map(lambda parts: ":".join([parts[0], *parts[1], "*"]))


# Made once: a strategy that is made for each draw takes longer to make than to draw from.
BETWEEN = {1: st.sampled_from(["", "-"]), 2: st.sampled_from([".", "-"]), 3: st.sampled_from(["", "-"])}
as_people_do = st.booleans()


@st.composite
def spelled(draw: st.DrawFn, addresses: st.SearchStrategy[str]) -> str:
    """An address or prefix as libvirt writes it, or as people do."""
    address = draw(addresses)
    pairs = [pair if pair == "*" else pair.zfill(2) for pair in address.split(":")]
    octets, star = [pair for pair in pairs if pair != "*"], pairs[-1] == "*"
    sizes = [size for size in (1, 2, 3) if len(octets) % size == 0 and (not star or size < 3 or len(octets) == 3)]
    size = draw(st.sampled_from(sizes))
    between = draw(BETWEEN[size])
    groups = ["".join(octets[at : at + size]) for at in range(0, len(octets), size)]
    return between.join([*groups, *["*"] * star]) if draw(as_people_do) else address


macs = spelled(st.tuples(first_octets, *[octets] * 5).map(":".join))
prefixes = spelled(prefixes)
xml_texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r")
)
values = {option.xml: st.sampled_from(sorted(option.values)) for option in OPTIONS}
options = st.fixed_dictionaries({}, optional={**values, "allow": st.just("own")})
keys = {
    "domain": st.lists(macs, max_size=3, unique_by=parse_typed_mac),
    "network": st.lists(xml_texts.filter(bool), max_size=3, unique=True),
}
allow = st.lists(macs.filter(lambda mac: mac.strip(":.-0")) | prefixes, max_size=3)


def element(parent: etree._Element, name: str, attributes: dict[str, str]) -> etree._Element:
    child = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    for key, value in attributes.items():
        child.set(key, value)
    return child


@st.composite
def tables(draw: st.DrawFn, kind: str) -> etree._Element:
    """A table as the documentation describes it."""
    table = etree.Element(TABLE, nsmap={"macmgr": NAMESPACE})
    name, key = CHILD[kind]
    if kind == "domain":
        for option, value in draw(options).items():
            table.set(option, value)
    for value in draw(keys[kind]):
        child = element(table, name, {key: value, **draw(options)})
        for pattern in draw(allow):
            element(child, "allow", {"mac": pattern})
    return table


def slips(word: str) -> st.SearchStrategy[str]:
    """One letter of a word is left out, put in, replaced or swapped with the next."""
    places = st.integers(0, max(0, len(word) - 1))
    letters = st.sampled_from("abkmsxyzA0:.-* ")
    return st.one_of(
        places.map(lambda i: word[:i] + word[i + 1 :]),
        st.builds(lambda i, c: word[:i] + c + word[i:], places, letters),
        st.builds(lambda i, c: word[:i] + c + word[i + 1 :], places, letters),
        places.map(lambda i: word[:i] + word[i + 1 : i + 2] + word[i : i + 1] + word[i + 2 :]),
    )


@st.composite
def mutated(draw: st.DrawFn, kind: str) -> etree._Element:
    """A table with one thing changed, which may make it wrong and may not."""
    table = draw(tables(kind))
    target = draw(st.sampled_from(list(table.iter())))
    attributes = sorted(str(name) for name in target.attrib)
    names = [option.xml for option in OPTIONS] + ["allow", "mac", "name", "macTableManager", f"{{{NAMESPACE}}}lock"]
    choices = ["add attribute", "text", "tail", "rename", "namespace", "child"]
    if attributes:
        choices += ["value", "slip in a value", "slip in a name", "drop"] * 2
    what = draw(st.sampled_from(choices))
    name = draw(st.sampled_from(attributes)) if attributes else ""
    if what == "add attribute":
        target.set(
            draw(st.sampled_from(names)), draw(xml_texts | macs | st.sampled_from(["yes", "libvirt", "sticky", "own"]))
        )
    elif what == "text":
        target.text = draw(xml_texts)
    elif what == "tail" and target is not table:
        target.tail = draw(xml_texts)
    elif what == "rename" and target is not table:
        target.tag = f"{{{NAMESPACE}}}{draw(st.sampled_from(['interface', 'portgroup', 'allow', 'macTable', 'alow']))}"
    elif what == "namespace" and target is not table:
        local = etree.QName(target).localname
        target.tag = draw(st.sampled_from([local, f"{{urn:other}}{local}"]))
    elif what == "child":
        element(target, draw(st.sampled_from(["interface", "portgroup", "allow", "macTable"])), {"mac": draw(macs)})
    elif what == "value":
        target.set(name, draw(xml_texts | macs | prefixes))
    elif what == "slip in a value":
        target.set(name, draw(slips(str(target.get(name, "")))))
    elif what == "slip in a name":
        changed = draw(slips(name).filter(lambda word: word.isalpha()))
        target.set(changed, target.attrib.pop(name))
    elif what == "drop":
        del target.attrib[name]
    return table


def accepted(table: etree._Element, kind: str) -> tuple[bool, bool, str]:
    """Whether the reader and the schema accept the document that ``table`` writes, and the reader's complaint."""
    document = parse_document(etree.tostring(table), "generated")
    problems = (read_domain_table if kind == "domain" else read_network_table)(document)[1]
    texts = [problem.text for problem in problems if "remove one of them" not in problem.text]
    return not texts, SCHEMAS[kind].validate(document), "; ".join(texts)


@pytest.mark.parametrize("kind", CHILD)
@given(data=st.data())
def test_both_accept_what_the_documentation_describes(kind: str, data: st.DataObject) -> None:
    reader, relax, complaint = accepted(data.draw(tables(kind)), kind)
    assert (reader, relax) == (True, True), complaint


@pytest.mark.parametrize("kind", CHILD)
@given(data=st.data())
def test_one_change_is_refused_by_both_or_by_none(kind: str, data: st.DataObject) -> None:
    table = data.draw(mutated(kind))
    reader, relax, complaint = accepted(table, kind)
    assert reader == relax, f"reader {reader}, schema {relax}: {complaint}: {etree.tostring(table)!r}"


@given(st.sampled_from(sorted(CHILD)), st.data())
def test_a_damaged_document_is_checked_without_a_traceback(kind: str, data: st.DataObject) -> None:
    table = etree.tostring(data.draw(mutated(kind)))
    nic = b"<devices><interface type='network'><mac address='52:54:00:00:00:01'/></interface></devices>"
    whole = b"<%s><name>n</name><metadata>%s</metadata>%s</%s>" % (kind.encode(), table, nic, kind.encode())
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 30)))
    noise = data.draw(st.binary(max_size=4) | st.sampled_from([b"<", b"/>", b"'", b"&", whole[start:end] * 2]))
    checked = check_document(whole[:start] + noise + whole[end:])
    assert all("\n" not in problem.text for problem in checked.problems)
