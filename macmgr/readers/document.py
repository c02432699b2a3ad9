"""Parses XML that tenants influence, safely: no entities, no DTD, no network, bounded size.

libvirt never writes a DOCTYPE, so a document with one is refused before anything in it is believed. Error texts name a
place and a kind of mistake, never the document's words: status files hold passwords.

Valid documents are bounded too: a guest's owner writes its metadata, and every look at the host reads it. Content
beyond a limit is a mistake in that one document, reported with its line. docs/metadata.rst lists the limits; RELAX NG
cannot express them.

A second parser, expat, reads the ``<metadata>`` of a document.

Outside ``<metadata>``, libvirt writes only its own names. Inside, a guest's owner chooses them. lxml keeps each name
for as long as its thread lives, in a dictionary that libxml2 limits. Once that is full, no document with a new name can
be read. And libxml2 before 2.11 needs time by the square of the attributes of an element. expat has neither fault. So
lxml gets the document without its metadata, and expat gets the metadata.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar, cast
from xml.etree.ElementTree import Element  # the record alone: nothing is parsed with it
from xml.parsers import expat

from lxml import etree

from macmgr.errors import MacmgrError, XmlError

# A domain with 26 disks and 8 NICs is some 20 KB; QEMU capabilities make a status file 60 KB. libvirt's own limit for
# one document is 16 MiB, of which almost all would be metadata.
MAX_BYTES = 8 * 1024 * 1024
# The size of <metadata>, if anything in it is meant for macmgr. Large ones of other programs have 50 KB.
MAX_METADATA = 256 * 1024
# In <macmgr:macTable>.
MAX_ELEMENTS = 1500
# For one NIC. Each address is an entry in each VID of the guest's port: a tenant must not fill the bridge's table.
MAX_ALLOWED = 1000
# A bridge has at most 1023 ports (BR_MAX_PORTS), and QEMU's guests have room for some hundreds of devices.
MAX_NICS = 1024
# In one <vlan>: the number of VIDs.
MAX_TAGS = 4096
# Of one element. libxml2 before 2.11 takes time by the square of them; libvirt writes some ten.
MAX_ATTRIBUTES = 1000
# Letters of a name, of whatever: libvirt makes files of those of domains and networks, which have at most 255 bytes.
MAX_NAME = 1024
# Of a network.
MAX_PORTGROUPS = 1024


_SHORTEST = 5 * MAX_ATTRIBUTES  # bytes of as many attributes: a space, a letter, an equals sign, two quotes
_START = re.compile(rb"<metadata[\s>]")
_END = b"</metadata>"
_OURS = re.compile(rb"macmgr|mactable", re.IGNORECASE)
_OURS_TAG = re.compile(r"macmgr|mactable", re.IGNORECASE)
_MOST = MAX_ELEMENTS + 2  # the table, its allowed elements, and one too many, which is reported
_NEIGHBOURS = 50  # children of <metadata> that a reader checks for a misspelt name of ours


class _Node(Element):
    """An element with its line, as lxml gives it to the readers of metadata."""

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        super().__init__(tag, attributes)
        self.sourceline = line


@dataclass(frozen=True, slots=True)
class Metadata:
    """The ``<metadata>`` element: ours whole, of others only the names. ``problem``: line, and why it was not read."""

    element: etree._Element | None = None
    problem: tuple[int, str] | None = None


def set_aside(data: bytes) -> tuple[bytes, Metadata | None]:
    """Returns the document without its metadata, with as many lines, and the metadata; None if there is none.

    ValueError, which begins with the line, if the metadata is not XML.
    """
    place = _find(data)
    if place is None:
        return data, None
    first, end, line = place
    piece = data[first:end]
    rest = b"".join((data[:first], b"<metadata/>", b"\n" * piece.count(b"\n"), data[end:]))
    if len(piece) > MAX_METADATA:
        return rest, Metadata(problem=too_large(data))
    return rest, Metadata(_parse(piece, line))


def too_large(data: bytes) -> tuple[int, str] | None:
    """Returns the line and the problem if the metadata is too large; None if nothing in it can be meant for macmgr."""
    place = _find(data)
    if place is None:
        return None
    first, end, line = place
    if end - first <= MAX_METADATA or not _OURS.search(data, first, end):
        return None
    return line, f"<metadata> has {end - first} bytes; macmgr looks for its own in no more than {MAX_METADATA}"


def _find(data: bytes) -> tuple[int, int, int] | None:
    """Returns the begin, end and line of the metadata.

    libvirt writes everything else itself and escapes text from people. So the first start tag opens the metadata and
    the last end tag closes it, whatever is in between.
    """
    start, end = _START.search(data), data.rfind(_END)
    if start is None or end < start.start():
        return None
    return start.start(), end + len(_END), data.count(b"\n", 0, start.start()) + 1


def _parse(piece: bytes, line: int) -> etree._Element:
    """Keeps the part of the metadata that can be meant for macmgr; of the rest, the first names."""
    parser = expat.ParserCreate("utf-8", namespace_separator="}")
    parser.buffer_text = True
    root = _Node("metadata", {}, line)
    path: list[_Node | None] = []  # None: inside an element of another program
    inside = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal inside
        if not path:
            path.append(root)
            return
        above = path[-1]
        ours = above is not None and (above is not root or _OURS_TAG.search(name) is not None)
        inside += ours
        if above is None or ((inside > _MOST) if ours else (len(root) >= _NEIGHBOURS)):
            path.append(None)
            return
        values = {_tag(key): value for key, value in attributes.items()}
        node = _Node(_tag(name), values, line + parser.CurrentLineNumber - 1)
        above.append(node)
        path.append(node if ours else None)

    def end(_name: str) -> None:
        path.pop()

    def text(data: str) -> None:
        if len(path) > 1 and (node := path[-1]) is not None and data.strip(" \t\r\n"):
            node.text = "…"  # some text there is a mistake; nobody needs its words

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(piece, True)
    except expat.ExpatError as error:
        raise ValueError(f"{line + error.lineno - 1}: not well-formed XML in <metadata>") from None
    return cast("etree._Element", root)


def _tag(name: str) -> str:
    """Returns expat's ``NAMESPACE}NAME`` as lxml writes it."""
    return f"{{{name}" if "}" in name else name


T = TypeVar("T")
Reader = Callable[[etree._Element, str, Metadata | None], T]
"""Makes a record of a document's root element, its place, and the metadata that was set aside."""

NO_MEMORY = "there is no memory left to parse it; nothing is changed without knowing what is in it"
# The documents that macmgr understands, by their root element.
ROOTS = ("network", "domain", "domstatus", "networkstatus", "networkport", "hookData", "macTable")

# One parser for all documents, since it remembers the names it has seen. It keeps no table of IDs and no space between
# elements: that halves the time for a thousand status files.
_PARSER = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    dtd_validation=False,
    huge_tree=False,
    remove_comments=True,
    remove_pis=True,
    remove_blank_text=True,
    collect_ids=False,
)


def parse_written_by_libvirt(data: bytes, where: str) -> tuple[etree._Element, Metadata | None]:
    """Splits the metadata off libvirt's document. Returns the root element of the rest, as `parse_document`."""
    try:
        rest, metadata = set_aside(data[: MAX_BYTES + 1])
    except ValueError as error:
        raise XmlError(f"{where}:{error}") from None
    return parse_document(rest if metadata is not None and len(data) <= MAX_BYTES else data, where), metadata


def read_with(reader: Reader[T], data: bytes, where: str) -> T:
    """Returns a reader's record of a document that libvirt wrote. XmlError if it is not understood."""
    root, metadata = parse_written_by_libvirt(data, where)
    return reader(root, where, metadata)


def parse_document(data: bytes, where: str) -> etree._Element:
    """Returns the root element of ``data``. XmlError names ``where``, the line and the mistake.

    MacmgrError if memory runs out: that is no fault of the document.
    """
    if len(data) > MAX_BYTES:
        raise XmlError(f"{where}: the document has {len(data)} bytes, more than the {MAX_BYTES} macmgr reads")
    if not data.strip():
        raise XmlError(f"{where}: the document is empty")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise XmlError(f"{where}: the document declares a DOCTYPE or entities, which libvirt never writes")
    if (line := _crowded(data)) is not None:
        raise XmlError(f"{where}:{line}: an element with more than {MAX_ATTRIBUTES} attributes")
    try:
        root = etree.fromstring(data, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        if _lacks_memory(error):
            raise MacmgrError(f"{where}: {NO_MEMORY}") from None
        raise XmlError(f"{where}{_mistake()}") from None
    except MemoryError:
        raise MacmgrError(f"{where}: {NO_MEMORY}") from None
    if root.getroottree().docinfo.internalDTD is not None:  # a DOCTYPE in an encoding hidden from the search above
        raise XmlError(f"{where}: the document declares a DOCTYPE, which libvirt never writes")
    return root


def _crowded(data: bytes) -> int | None:
    """Returns the line of an element with too many attributes. Nearly always a look at the longest piece is enough."""
    if len(data) < _SHORTEST or max(map(len, data.split(b"<"))) < _SHORTEST:  # no tag has a "<" in it
        return None
    parser = expat.ParserCreate()
    lines: list[int] = []

    def start(_name: str, attributes: dict[str, str]) -> None:
        if len(attributes) > MAX_ATTRIBUTES:
            lines.append(parser.CurrentLineNumber)

    def refuse(*_: object) -> None:
        raise ValueError("a DOCTYPE")

    parser.StartElementHandler, parser.StartDoctypeDeclHandler = start, refuse
    with suppress(expat.ExpatError, LookupError, ValueError):  # what else is wrong, lxml says
        parser.Parse(data, True)
    return lines[0] if lines else None


def _lacks_memory(error: Exception) -> bool:
    """The parser lacks room: in the machine's memory, or in its own dictionary of names."""
    entry = getattr(error, "error_log", None)
    return entry is not None and any(each.type == etree.ErrorTypes.ERR_NO_MEMORY for each in entry)


def _mistake() -> str:
    """Returns the first mistake of the last document. Releases of libxml2 differ in what they report after it."""
    first = next(iter(_PARSER.error_log), None)
    if first is None:
        return ": the document is not XML"
    kind = first.type_name.removeprefix("ERR_").replace("_", " ").lower()
    return f":{first.line}: not well-formed XML at column {first.column} ({kind})"


def text_of(element: etree._Element, path: str) -> str:
    """Returns the text of the child at ``path`` without surrounding space, or the empty string."""
    return (element.findtext(path) or "").strip()


def name_of(element: etree._Element) -> str:
    """Returns the text of ``<name>`` with every space, as libvirt keeps it; empty if it is only space."""
    name = str(element.findtext("name") or "")
    return name if name.strip() else ""


def check_names(element: etree._Element, where: str, *names: str) -> None:
    """XmlError for a name that is too long: it would go into each message and each metric."""
    if max(map(len, names)) > MAX_NAME:
        raise XmlError(f"{place(element, where)}: a name has more than {MAX_NAME} letters")


def attribute(element: etree._Element, path: str, name: str) -> str:
    """Returns an attribute of the child at ``path``; empty if either is absent."""
    child = element.find(path)
    return (child.get(name) or "") if child is not None else ""


def parts_of(element: etree._Element) -> dict[str, etree._Element]:
    """Returns the first child of each name: one walk instead of a search for each."""
    parts: dict[str, etree._Element] = {}
    for child in element:
        parts.setdefault(child.tag, child)
    return parts


def said(parts: Mapping[str, etree._Element], part: str, name: str) -> str:
    """Returns an attribute of one of `parts_of` an element; empty if either is absent."""
    child = parts.get(part)
    return (child.get(name) or "") if child is not None else ""


def line_of(element: etree._Element) -> int | None:
    return cast("int | None", element.sourceline)


def place(element: etree._Element, where: str) -> str:
    return f"{where}:{element.sourceline}" if element.sourceline else where
