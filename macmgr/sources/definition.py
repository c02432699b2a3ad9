"""Changes one attribute of a network's definition and keeps every other byte.

Parsing and writing anew would change what is not ours: quotes, comments, the order of attributes, namespace prefixes in
other programs' metadata. A parser finds the start tag of ``<bridge>``, so comments and CDATA cannot mislead the search.
Only the tag's text is edited. libvirt reads the same element, ``./bridge[1]`` (virNetworkDefParseXML in
src/conf/network_conf.c).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.parsers import expat

from macmgr.errors import XmlError
from macmgr.model.intent import Manager
from macmgr.options import MAC_TABLE_MANAGER

_SPACE = r"[ \t\r\n]"
# The parser has accepted the tag. These patterns only find where each attribute begins and ends.
_TAG = re.compile(rf"<bridge(?P<attributes>(?:{_SPACE}+[^\s=/>]+{_SPACE}*={_SPACE}*(?:\"[^\"]*\"|'[^']*'))*)")
_OURS = re.compile(rf"{_SPACE}+([^\s=/>]+){_SPACE}*={_SPACE}*(?:\"([^\"]*)\"|'([^']*)')")


@dataclass(frozen=True, slots=True)
class _Attribute:
    """The place of macTableManager in the text, from the space before it to its closing quote, and its value."""

    start: int
    end: int
    value_start: int
    value_end: int


def has_bridge(text: str) -> bool:
    """The definition has a ``<bridge>`` of its own."""
    return _find_bridge(text) is not None


def with_manager(text: str, manager: Manager) -> str:
    """Returns the definition with ``macTableManager`` set on its bridge. XmlError if it has no bridge."""
    attribute = _find_attribute(text)
    if attribute is not None:
        return text[: attribute.value_start] + str(manager) + text[attribute.value_end :]
    tag = _find_bridge(text)
    if tag is None:
        raise XmlError("the network's definition has no <bridge>")
    # libvirt itself writes the attribute last (virNetworkDefFormatBuf).
    return f"{text[: tag.end()]} {MAC_TABLE_MANAGER}='{manager}'{text[tag.end() :]}"


def without_manager(text: str) -> str:
    """Returns the definition without the attribute. Two definitions that differ in nothing else become equal."""
    attribute = _find_attribute(text)
    return text if attribute is None else text[: attribute.start] + text[attribute.end :]


def _find_attribute(text: str) -> _Attribute | None:
    tag = _find_bridge(text)
    if tag is None:
        return None
    for match in _OURS.finditer(text, *tag.span("attributes")):
        if match[1] == MAC_TABLE_MANAGER:
            value = 2 if match[2] is not None else 3
            return _Attribute(match.start(), match.end(), match.start(value), match.end(value))
    return None


def _find_bridge(text: str) -> re.Match[str] | None:
    """Returns the start tag of the first ``<bridge>`` child of ``<network>``, up to its last attribute."""
    data = text.encode()
    # The text is already decoded: these bytes are UTF-8, even if the XML declaration names another encoding.
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    path: list[str] = []
    found: list[int] = []

    def start(name: str, _attributes: object) -> None:
        if path == ["network"] and name == "bridge":
            found.append(parser.CurrentByteIndex)
        path.append(name)

    def end(_name: str) -> None:
        path.pop()

    parser.StartElementHandler, parser.EndElementHandler = start, end
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise XmlError(f"the network's definition is not well-formed XML: {expat.ErrorString(error.code)}") from None
    return _TAG.match(text, len(data[: found[0]].decode())) if found else None
