"""The ``<metadata>`` of a document that libvirt wrote, read apart from the rest and by another parser.

All that libvirt writes has libvirt's own names; only in ``<metadata>`` they are whoever's who owns the guest. lxml
keeps each name that it has met for as long as its thread lives, in a dictionary that libxml2 limits: when it is full,
no document with a new name can be read any more. And libxml2 before 2.11 takes time by the square of the attributes of
an element. expat does neither. So lxml gets the document without its metadata, and that goes to expat.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import cast
from xml.etree.ElementTree import Element  # the record alone: nothing is parsed with it
from xml.parsers import expat

from lxml import etree

from macmgr.readers.limits import MAX_ELEMENTS, MAX_METADATA

_START = re.compile(rb"<metadata[\s>]")
_END = b"</metadata>"
_OURS = re.compile(rb"macmgr|mactable", re.IGNORECASE)
_OURS_TAG = re.compile(r"macmgr|mactable", re.IGNORECASE)
_MOST = MAX_ELEMENTS + 2  # the table, what may be in it, and one too many, which is told
_NEIGHBOURS = 50  # of which a reader asks whether they were meant to be ours


class _Node(Element):
    """An element as the readers of metadata know it from lxml: with its line."""

    def __init__(self, tag: str, attributes: dict[str, str], line: int) -> None:
        super().__init__(tag, attributes)
        self.sourceline = line


@dataclass(frozen=True, slots=True)
class Metadata:
    """The ``<metadata>`` element: ours whole, of others' only the names. ``problem``: line, and why it was not read."""

    element: etree._Element | None = None
    problem: tuple[int, str] | None = None


def set_aside(data: bytes) -> tuple[bytes, Metadata | None]:
    """The document without its metadata and with as many lines, and the metadata; None where nothing was set aside.

    ValueError, which begins with the line, where the metadata is not XML.
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
    """The line, and what is wrong with so much metadata; None where nothing in it can be meant for macmgr."""
    place = _find(data)
    if place is None:
        return None
    first, end, line = place
    if end - first <= MAX_METADATA or not _OURS.search(data, first, end):
        return None
    return line, f"<metadata> has {end - first} bytes; macmgr looks for its own in no more than {MAX_METADATA}"


def _find(data: bytes) -> tuple[int, int, int] | None:
    """Where the metadata begins and ends, and its line.

    libvirt writes everything else itself and escapes what people wrote into it: so the first start tag is that of the
    metadata, and the last end tag is its end, whatever is in between.
    """
    start, end = _START.search(data), data.rfind(_END)
    if start is None or end < start.start():
        return None
    return start.start(), end + len(_END), data.count(b"\n", 0, start.start()) + 1


def _parse(piece: bytes, line: int) -> etree._Element:
    """What of the metadata can be meant for macmgr, and of the rest the names of what comes first."""
    parser = expat.ParserCreate("utf-8", namespace_separator="}")
    parser.buffer_text = True
    root = _Node("metadata", {}, line)
    path: list[_Node | None] = []  # None for what is in somebody else's element
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
            node.text = "…"  # that there is some is a mistake, and what it is nobody asks

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    try:
        parser.Parse(piece, True)
    except expat.ExpatError as error:
        raise ValueError(f"{line + error.lineno - 1}: not well-formed XML in <metadata>") from None
    return cast("etree._Element", root)


def _tag(name: str) -> str:
    """expat's ``NAMESPACE}NAME`` as lxml writes it."""
    return f"{{{name}" if "}" in name else name
