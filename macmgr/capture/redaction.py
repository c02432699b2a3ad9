"""Rewrites libvirt's XML with what macmgr reads of it, each on its line, and nothing else. Pure.

A status file holds passwords, and other programs' metadata whatever they like. So this is a list of what is kept, not
of what is left out: `tests/unit/capture/test_redaction.py` holds it against the readers. A word that macmgr does not
know in a place of its own words becomes ``?``: somebody may have put a secret there.

What is left keeps its line, for messages name lines. ``renamed`` is asked for the present form of each name, address
and uuid, so that a capture can be anonymous.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from lxml import etree

from macmgr.model.intent import OWN, Manager
from macmgr.model.mac import parse_mac, parse_mac_pattern
from macmgr.options import ELEMENTS, OPTIONS, quoted
from macmgr.readers.document import MAX_BYTES, Metadata, line_of, set_aside, too_large
from macmgr.readers.domain import STATES
from macmgr.readers.metadata import NAMESPACE, TABLE, almost_ours, split_tag

Renamed = Callable[[str, str], str]
"""Takes the kind of a value (domain, network, portgroup, uuid, mac, alias) and the value."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of an element: its attributes with the kind of each value, its children, the kind of its text."""

    attributes: Mapping[str, str] = field(default_factory=dict)
    children: Mapping[str, Kept] = field(default_factory=dict)
    text: str = ""


_VLAN = Kept({"trunk": "word"}, {"tag": Kept({"id": "number", "nativeMode": "word"})})
_PORT, _TYPE = Kept({"isolated": "word"}), Kept({"type": "word"})
_SOURCE = Kept(
    {
        "bridge": "interface",
        "network": "network",
        "portid": "uuid",
        "portgroup": "portgroup",
        "dev": "interface",
        "macTableManager": "manager",
    }
)
_NIC = {"type": "word", "trustGuestRxFilters": "word"}
_ACTUAL = {"source": _SOURCE, "virtualport": _TYPE, "vlan": _VLAN, "port": _PORT}
_INTERFACE = Kept(
    _NIC,
    {
        **_ACTUAL,
        "mac": Kept({"address": "mac", "currentAddress": "mac"}),
        "target": Kept({"dev": "interface"}),
        "alias": Kept({"name": "alias"}),
        "filterref": Kept({"filter": "filter"}),
        "teaming": _TYPE,
        "link": Kept({"state": "word"}),
        "actual": Kept(_NIC, _ACTUAL),
    },
)
_DOMAIN = Kept(
    {"type": "word"},
    {"name": Kept(text="domain"), "uuid": Kept(text="uuid"), "devices": Kept({}, {"interface": _INTERFACE})},
)
_INHERITED = {"vlan": _VLAN, "port": _PORT, "virtualport": _TYPE}
_NETWORK = Kept(
    {"trustGuestRxFilters": "word"},
    {
        **_INHERITED,
        "name": Kept(text="network"),
        "uuid": Kept(text="uuid"),
        "bridge": Kept({"name": "interface", "macTableManager": "manager"}),
        "forward": Kept({"mode": "word"}),
        "portgroup": Kept({"name": "portgroup", "default": "word", "trustGuestRxFilters": "word"}, _INHERITED),
    },
)
_NETWORK_PORT = Kept(
    {},
    {
        "uuid": Kept(text="uuid"),
        "mac": Kept({"address": "mac"}),
        "plug": Kept({"bridge": "interface", "macTableManager": "manager"}),
        "vlan": _VLAN,
        "port": _PORT,
        "rxfilters": Kept({"trustGuest": "word"}),
    },
)
ROOTS = {
    "domstatus": Kept({"state": "word", "reason": "reason", "pid": "number"}, {"domain": _DOMAIN}),
    "networkstatus": Kept({}, {"network": _NETWORK}),
    "network": _NETWORK,
    "networkport": _NETWORK_PORT,
}
# libvirt's words, where a reader looks for some of them
_WORDS = (
    *("", "yes", "no", "up", "down", "tagged", "untagged", "persistent", "transient", "kvm", "qemu", "lxc", "xen"),
    *("network", "bridge", "ethernet", "direct", "hostdev", "vhostuser", "user", "vdpa", "server", "client", "mcast"),
    *("udp", "internal", "null", "vds", "nat", "route", "open", "private", "vepa", "passthrough", "openvswitch"),
    *("midonet", "802.1Qbg", "802.1Qbh", *STATES),
)
_REASON = re.compile("[a-z -]{0,32}")
_NUMBER = re.compile("[0-9]*")
_UUID = re.compile("[0-9a-fA-F-]{0,36}")
_OTHERS = "left:out"  # stands for the namespace of other programs' metadata
_ALMOST_OURS = "urn:macmgr:unknown"
_FRAME = len("<metadata><!--macmgr--></metadata>")
_HAVE_METADATA = (_DOMAIN, _NETWORK)
_TAG = re.compile(rb"<[^<>\s/]+(?:\s+[^\s=<>]+\s*=\s*(?:\"[^\"<]*\"|'[^'<]*'))*\s*/?>")


def unchanged(_kind: str, value: str) -> str:
    return value


def redacted(data: bytes, renamed: Renamed = unchanged) -> bytes:
    """Returns the document with what is kept. ValueError if it is not well-formed, or declares what libvirt does not.

    A document that macmgr refuses for its root element is empty but for that element, under another name.
    """
    if not data.strip():
        return b""
    if len(data) > MAX_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise ValueError("not a document of libvirt's")
    rest, metadata = set_aside(data)
    writer = _Writer(rest, metadata, _padding(data), renamed)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    writer.parser = parser
    parser.StartElementHandler, parser.EndElementHandler = writer.start, writer.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = writer.text, _refuse
    try:
        parser.Parse(rest, True)
    except (expat.ExpatError, LookupError):  # an encoding that nobody knows
        raise ValueError("not well-formed XML") from None
    return "".join(writer.written).encode() + b"\n"


def _padding(data: bytes) -> int:
    """Metadata that is too large for macmgr stays as large: the message names its size."""
    problem = too_large(data)
    return int(problem[1].split()[2]) if problem is not None else 0


def _refuse(*_: object) -> None:
    raise ValueError("a DOCTYPE")


class _Writer:
    """Writes while expat reads. ``_path`` has what is kept of each open element; None where nothing is."""

    parser: expat.XMLParserType

    def __init__(self, data: bytes, metadata: Metadata | None, padding: int, renamed: Renamed) -> None:
        self._data, self._metadata, self._padding, self._renamed = data, metadata, padding, renamed
        self.written: list[str] = []
        self._line = 1
        self._path: list[Kept | None] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        above = self._path[-1] if self._path else None
        if not self._path:
            kept = ROOTS.get(name)
            if kept is None:
                name, kept = "left-out", Kept()
        elif above in _HAVE_METADATA and name == "metadata" and self._metadata is not None:
            self._write_metadata(self._metadata)
            self._path.append(None)
            return
        else:
            kept = None if above is None else above.children.get(name)
        self._path.append(kept)
        if kept is None:
            return
        found = _TAG.match(self._data, self.parser.CurrentByteIndex)
        self._go_to(self.parser.CurrentLineNumber)
        breaks = found[0].count(b"\n") if found else 0
        said = (
            f" {key}={quoteattr(self._value(kept.attributes[key], value))}"
            for key, value in attributes.items()
            if key in kept.attributes
        )
        self._write("\n" * breaks + "".join(said), before=f"<{name}", after=">")

    def end(self, name: str) -> None:
        kept = self._path.pop()
        if kept is None:
            return
        self._go_to(self.parser.CurrentLineNumber)
        self._write(f"</{name if self._path or name in ROOTS else 'left-out'}>")

    def text(self, text: str) -> None:
        kept = self._path[-1]
        if kept is not None and kept.text:
            breaks = text.count("\n")
            value = self._value(kept.text, text if kept.text != "uuid" else text.strip())
            self._write(escape(value) + "\n" * (breaks - value.count("\n")))

    def _value(self, kind: str, value: str) -> str:
        match kind:
            case "word":
                return _known(value, _WORDS)
            case "reason" | "number":
                return value if (_REASON if kind == "reason" else _NUMBER).fullmatch(value) else "?"
            case "manager":
                return _known(value, [str(each) for each in Manager])
            case "mac":
                return self._address(value, parse_mac)
            case "alias":
                return self._renamed(kind, value) if value.startswith("ua-") else value
            case "interface" | "filter":
                return value
            case "uuid" if not _UUID.fullmatch(value):
                return "?"
        return self._renamed(kind, value)

    def _address(self, value: str, parse: Callable[[str], str]) -> str:
        try:
            mac = parse(value)
        except ValueError as error:
            shown = {repr(value), repr(value.lower()), value.strip().lower()}
            return value if shown.intersection(str(error).split()) else f"?{':*' * value.endswith(':*')}"
        renamed = self._renamed("mac", mac)
        return value if renamed == mac else renamed

    def _write_metadata(self, metadata: Metadata) -> None:
        self._go_to(self.parser.CurrentLineNumber)
        self._write("<metadata>")
        if metadata.element is not None:
            for child in metadata.element:
                self._write_child(child)
        if self._padding:
            self._write(f"<!--macmgr{' ' * (self._padding - _FRAME)}-->")
        self._write("</metadata>")

    def _write_child(self, child: etree._Element) -> None:
        if child.tag == TABLE:
            self._write_ours(child)
        elif any(almost_ours(child)):
            self._element(child, {})
        else:
            self._write(f"<other xmlns='{_OTHERS}'/>")

    def _write_ours(self, element: etree._Element) -> None:
        """Writes an element of macmgr's. Of what may not stand in it, the message names at most a near word."""
        names = [*(option.xml for option in OPTIONS), "mac", "name", "allow"]
        values: dict[str, str] = {}
        for name, value in cast("Mapping[str, str]", element.attrib).items():
            known = quoted(name, names, other="") and name
            values[known or f"unknown{len(values)}"] = self._our_value(name, value) if known else ""
        self._element(element, values, children=True)

    def _our_value(self, name: str, value: str) -> str:
        if name == "mac":
            return value if value == OWN else self._address(value, parse_mac_pattern)
        if name == "name":
            return self._renamed("portgroup", value)
        if name == "allow":
            return _known(value, [OWN])
        words = next((option.values for option in OPTIONS if option.xml == name), {})
        return _known(value, [*words])

    def _element(self, element: etree._Element, values: Mapping[str, str], *, children: bool = False) -> None:
        namespace, name = split_tag(element)
        if not quoted(name, ELEMENTS, other=""):
            name = "unknown"
        if namespace not in ("", NAMESPACE):
            namespace = _ALMOST_OURS
        self._go_to(line_of(element) or 0)
        said = "".join(f" {key}={quoteattr(value)}" for key, value in values.items())
        self._write(f"<{name} xmlns={quoteattr(namespace)}{said}>{'…' if children and element.text else ''}")
        for child in element if children else ():
            self._write_ours(child)
        self._write(f"</{name}>")

    def _go_to(self, line: int) -> None:
        if line > self._line:
            self._write("\n" * (line - self._line))

    def _write(self, text: str, before: str = "", after: str = "") -> None:
        self.written.append(f"{before}{text}{after}")
        self._line += text.count("\n")


def _known(value: str, words: Sequence[str]) -> str:
    """Keeps a word that a message may repeat."""
    return value if value in words or repr(value[:40]) == quoted(value, words) or not value else "?"
