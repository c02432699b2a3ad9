"""XML that tenants influence, parsed so that it cannot hurt: no entities, no DTD, no network, bounded size.

libvirt never writes a DOCTYPE, so a document that has one is refused before anything in it is believed. Error
texts name a place and a kind of mistake, never the document's words: status files hold passwords.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from lxml import etree

from macmgr.errors import MacmgrError, XmlError
from macmgr.readers.aside import Metadata, set_aside
from macmgr.readers.limits import MAX_BYTES as MAX_BYTES

T = TypeVar("T")
Reader = Callable[[etree._Element, str, Metadata | None], T]
"""What makes a record of a document's root element; where it is, and what was set aside of it."""

NO_MEMORY = "there is no memory left to parse it; nothing is changed without knowing what is in it"
# The documents that macmgr understands, by their root element.
ROOTS = ("network", "domain", "domstatus", "networkstatus", "networkport", "hookData", "macTable")

# One for all documents, since it remembers the names it has seen; without a table of IDs, and without the space between
# elements: that halves the time a thousand status files take.
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
    """The root element of what libvirt wrote without its metadata, and that; otherwise as `parse_document`."""
    try:
        rest, metadata = set_aside(data[: MAX_BYTES + 1])
    except ValueError as error:
        raise XmlError(f"{where}:{error}") from None
    return parse_document(rest if metadata is not None and len(data) <= MAX_BYTES else data, where), metadata


def read_with(reader: Reader[T], data: bytes, where: str) -> T:
    """What a reader makes of a document that libvirt wrote; XmlError where it is not understood."""
    root, metadata = parse_written_by_libvirt(data, where)
    return reader(root, where, metadata)


def parse_document(data: bytes, where: str) -> etree._Element:
    """The root element of ``data``; XmlError names ``where``, the line and what is wrong.

    MacmgrError where there is no memory for it: that says nothing of the document.
    """
    if len(data) > MAX_BYTES:
        raise XmlError(f"{where}: the document has {len(data)} bytes, more than the {MAX_BYTES} macmgr reads")
    if not data.strip():
        raise XmlError(f"{where}: the document is empty")
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise XmlError(f"{where}: the document declares a DOCTYPE or entities, which libvirt never writes")
    try:
        root = etree.fromstring(data, _PARSER)
    except (etree.XMLSyntaxError, ValueError) as error:
        if _lacks_memory(error):
            raise MacmgrError(f"{where}: {NO_MEMORY}") from None
        raise XmlError(f"{where}{_mistake(error)}") from None
    except MemoryError:
        raise MacmgrError(f"{where}: {NO_MEMORY}") from None
    if root.getroottree().docinfo.internalDTD is not None:  # a DOCTYPE in an encoding the search above cannot see
        raise XmlError(f"{where}: the document declares a DOCTYPE, which libvirt never writes")
    return root


def _lacks_memory(error: Exception) -> bool:
    """Whether the parser has no room: in the machine's memory, or in its own dictionary of names."""
    entry = getattr(error, "error_log", None)
    return entry is not None and any(each.type == etree.ErrorTypes.ERR_NO_MEMORY for each in entry)


def _mistake(error: Exception) -> str:
    entry = getattr(error, "error_log", None)
    last = entry.last_error if entry else None
    if last is None:
        return ": the document is not XML"
    kind = last.type_name.removeprefix("ERR_").replace("_", " ").lower()
    return f":{last.line}: not well-formed XML at column {last.column} ({kind})"


def text_of(element: etree._Element, path: str) -> str:
    """The text of the child at ``path`` without surrounding space, or the empty string."""
    return (element.findtext(path) or "").strip()


def name_of(element: etree._Element) -> str:
    """What is in ``<name>``, every space of it, as libvirt keeps it; the empty string where it is nothing but space."""
    name = str(element.findtext("name") or "")
    return name if name.strip() else ""


def attribute(element: etree._Element, path: str, name: str) -> str:
    """An attribute of the child at ``path``, or the empty string where either is absent."""
    child = element.find(path)
    return (child.get(name) or "") if child is not None else ""


def parts_of(element: etree._Element) -> dict[str, etree._Element]:
    """The first child of each name: for an element of which many are asked, one walk instead of many searches."""
    parts: dict[str, etree._Element] = {}
    for child in element:
        parts.setdefault(child.tag, child)
    return parts


def said(parts: Mapping[str, etree._Element], part: str, name: str) -> str:
    """An attribute of one of `parts_of` an element, or the empty string where either is absent."""
    child = parts.get(part)
    return (child.get(name) or "") if child is not None else ""


def line_of(element: etree._Element) -> int | None:
    """The line of an element's start tag, where it is known."""
    return cast("int | None", element.sourceline)


def place(element: etree._Element, where: str) -> str:
    """``FILE:LINE`` of an element, as compilers and editors write it."""
    return f"{where}:{element.sourceline}" if element.sourceline else where
