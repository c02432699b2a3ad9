"""One attribute of a definition is changed, and every other byte stays: whatever the document looks like."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from macmgr.errors import XmlError
from macmgr.model.intent import Manager
from macmgr.sources.definition import has_bridge, with_manager, without_manager


@dataclass(frozen=True)
class Written:
    """A definition in pieces: what stands before, in and after the value of the attribute, if it is there.

    ``before`` ends where the attribute would be put; ``space`` is what stands between it and the attribute.
    """

    before: str
    attribute: tuple[str, str, str] | None  # with the space before its name, up to its quote; value; closing quote
    after: str

    @property
    def text(self) -> str:
        return self.before + "".join(self.attribute or ()) + self.after


# What looks like the tag, and is none: in a comment, in CDATA, in a value, deeper, in another namespace.
DECOYS = (
    "<!-- <bridge name='no'/> -->",
    "<!-- ' \" <bridge -->",
    "<description><![CDATA[<bridge macTableManager='kernel'/>]]></description>",
    "<metadata><bridge macTableManager='kernel' name='deeper'/></metadata>",
    "<metadata xmlns:x='urn:x'><x:bridge x:macTableManager='libvirt'/></metadata>",
    "<bridge xmlns='urn:other' name='foreign'/>",
    "<portgroup name=\"&lt;bridge name='br1'/>\"/>",
    '<dns><txt name="/>&lt;bridge" value=\'"&gt;\'/></dns>',
    "<bridges macTableManager='kernel'/>",
    "<?bridge macTableManager='kernel'?>",
    "<title>Größe 🌉 \u2028</title>",
)
spaces = st.text(" \t\n\r", min_size=1, max_size=3)
maybe_spaces = st.text(" \t\n\r", max_size=2)
texts = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="<&\ufffe\uffff"), max_size=12)
values = texts | st.sampled_from(["br0", "a>b", "/>", " macTableManager=", "&lt;bridge/&gt;", "&#10;"])
names = st.sampled_from(
    ["name", "stp", "delay", "zone", "xmacTableManager", "mactablemanager", "macTableManagers", "b.c"]
)


@st.composite
def attributes(draw: st.DrawFn, name: str, value: st.SearchStrategy[str]) -> tuple[str, str, str]:
    quote = draw(st.sampled_from("'\""))
    start = f"{draw(spaces)}{name}{draw(maybe_spaces)}={draw(maybe_spaces)}{quote}"
    return start, draw(value).replace(quote, ""), quote


@st.composite
def definitions(draw: st.DrawFn) -> Written:
    decoys = st.lists(st.sampled_from(DECOYS), max_size=4).map("".join)
    some = [draw(attributes(name, values)) for name in draw(st.lists(names, unique=True, max_size=4))]
    ours = draw(st.none() | attributes("macTableManager", st.sampled_from(["kernel", "libvirt", ""]) | texts))
    at = draw(st.integers(0, len(some))) if ours else len(some)
    prolog = draw(
        st.sampled_from(["", "<?xml version='1.0' encoding='ISO-8859-1'?>\n", "<!-- <network><bridge/> -->\n"])
    )
    before = f"{prolog}<network connections='1'>{draw(decoys)}{draw(maybe_spaces)}<bridge"
    end = draw(st.sampled_from(["/>", ">", "></bridge><bridge name='second' macTableManager='kernel'/>"]))
    inside = f"{draw(decoys)}</bridge>" if end == ">" else ""
    return Written(
        before + "".join("".join(each) for each in some[:at]),
        ours,
        f"{''.join(''.join(each) for each in some[at:])}{draw(maybe_spaces)}{end}{inside}{draw(decoys)}</network>\n",
    )


@given(definitions(), st.sampled_from(Manager))
def test_only_the_value_changes(written: Written, manager: Manager) -> None:
    if written.attribute is not None:
        start, _, quote = written.attribute
        expected = f"{written.before}{start}{manager}{quote}{written.after}"
    else:
        expected = f"{written.before} macTableManager='{manager}'{written.after}"
    assert with_manager(written.text, manager) == expected


@given(definitions(), st.sampled_from(Manager))
def test_another_parser_sees_only_the_attribute_change(written: Written, manager: Manager) -> None:
    before, after = _tree(written.text), _tree(with_manager(written.text, manager))
    _bridge(before).set("macTableManager", manager)
    assert _canonical(after) == _canonical(before)


@given(definitions(), st.sampled_from(Manager))
def test_without_the_attribute_the_definitions_are_equal(written: Written, manager: Manager) -> None:
    rest = written.before + written.after
    assert without_manager(written.text) == without_manager(with_manager(written.text, manager)) == rest
    assert without_manager(rest) == rest


@given(st.lists(st.sampled_from(DECOYS), max_size=6).map("".join))
def test_what_only_looks_like_a_bridge_is_none(decoys: str) -> None:
    text = f"<network><name>n</name>{decoys}</network>"
    assert not has_bridge(text)
    assert without_manager(text) == text
    with pytest.raises(XmlError, match="no <bridge>"):
        with_manager(text, Manager.LIBVIRT)


def _tree(text: str) -> etree._Element:
    return etree.fromstring(text.encode(), etree.XMLParser(encoding="utf-8", strip_cdata=False))


def _bridge(tree: etree._Element) -> etree._Element:
    bridge = tree.find("bridge")
    assert bridge is not None
    return bridge


def _canonical(tree: etree._Element) -> bytes:
    """With comments and white space; attributes in alphabetical order."""
    return bytes(etree.tostring(tree, method="c14n", with_comments=True))
