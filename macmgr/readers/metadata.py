"""Reads macmgr's own element in libvirt's ``<metadata>``: policy that travels with the guest, or lives in its network.

In a domain, ``<macmgr:macTable>`` sets options for all NICs and its ``<macmgr:interface mac='..'>`` for one. In a
network, its ``<macmgr:portgroup name='..'>`` sets them for the NICs of that portgroup. libvirt keeps the element in
definitions, status files and hook input, and takes it along in a migration.

The schema, xml-schemas/macmgr-metadata.rng, accepts what this reader accepts, except three rules that RELAX NG cannot
express: no two interfaces of one MAC (in any spelling), no two portgroups of one name, and no more of
anything than the limits in readers/document.py. The reader also refuses a misspelt namespace or name of the element.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from lxml import etree

from macmgr.errors import Problem
from macmgr.model.intent import OWN, Settings
from macmgr.model.mac import parse_mac_pattern, parse_typed_mac
from macmgr.options import ELEMENTS, OPTIONS, nearest, quoted, read_options, unknown_name, wrong_word
from macmgr.readers.document import MAX_ALLOWED, MAX_ELEMENTS, Metadata, line_of

NAMESPACE = "urn:macmgr:mactable:1"
TABLE = f"{{{NAMESPACE}}}macTable"
_SPACE = " \t\r\n"
# A writer of metadata must not use up a hook's time, which all guests share. More mistakes, attributes or neighbours of
# ours than this would add nothing new.
_MANY = 50
_HOMES = {
    "interface": "a domain's macTable",
    "portgroup": "a network's macTable",
    "allow": "an interface or a portgroup",
}


SettingsOf = dict[str, Settings]
"""A domain's by the MAC of a NIC, and for all of them under an empty one; a network's by portgroup."""


def read_metadata(
    owner: etree._Element,
    where: str,
    aside: Metadata | None,
    read: Callable[[etree._Element], tuple[SettingsOf, list[Problem]]],
) -> tuple[SettingsOf, str]:
    """Reads the metadata of a ``<domain>`` or ``<network>``; on a mistake no settings, and the first mistake.

    ``aside`` holds the metadata if it was set aside from the document.
    """
    if aside is not None and aside.problem is not None:
        return {}, Problem(*aside.problem).at(where)
    table, problems = find_table(aside.element if aside is not None else owner.find("metadata"))
    found, more = ({}, []) if table is None else read(table)
    problem = next((problem.at(where) for problem in (*problems, *more)), "")
    return {} if problem else found, problem


def read_domain_table(table: etree._Element) -> tuple[SettingsOf, list[Problem]]:
    if problems := _too_many(table):
        return {}, problems
    whole = _settings(table, problems, children=("interface",))
    interfaces: dict[str, Settings] = {}
    for child, mac, settings in _each(table, "interface", "mac", parse_typed_mac, problems):
        if mac in interfaces:
            problems.append(_at(child, f"a second <macmgr:interface mac='{mac}'>; remove one of them"))
        interfaces[mac] = settings
    return {"": whole, **interfaces}, _in_order(problems)


def read_network_table(table: etree._Element) -> tuple[SettingsOf, list[Problem]]:
    if problems := _too_many(table):
        return {}, problems
    _settings(table, problems, children=("portgroup",), options=False)
    groups: dict[str, Settings] = {}
    for child, name, settings in _each(table, "portgroup", "name", str, problems):
        if name in groups:
            problems.append(_at(child, "a second <macmgr:portgroup> of that name; remove one of them"))
        groups[name] = settings
    return groups, _in_order(problems)


def _each(
    table: etree._Element, kind: str, key: str, parse: Callable[[str], str], problems: list[Problem]
) -> Iterator[tuple[etree._Element, str, Settings]]:
    """Yields the children of one kind that their ``key`` names; the others are problems."""
    for child in _ours(table, kind):
        if len(problems) > _MANY:
            break
        settings = _settings(child, problems, children=("allow",), key=key)
        try:
            named = parse(_key(child, key))
        except ValueError as error:
            problems.append(_at(child, str(error)))
        else:
            yield child, named, settings


def _too_many(table: etree._Element) -> list[Problem]:
    if sum(1 for _ in islice(table.iter(), MAX_ELEMENTS + 2)) <= MAX_ELEMENTS + 1:
        return []
    return [_at(table, f"more than {MAX_ELEMENTS} elements in <macmgr:macTable>")]


def find_table(metadata: etree._Element | None) -> tuple[etree._Element | None, list[Problem]]:
    """Returns our element in the ``<metadata>`` of a domain or network, and the elements that only look like it.

    libvirt silently drops every further child of a namespace after the first, and every child without a namespace
    (virXMLNodeSanitizeNamespaces).
    """
    problems: list[Problem] = []
    if metadata is None:
        return None, problems
    found = metadata.find(TABLE)
    for child in islice(metadata, _MANY):
        if child.tag == TABLE and child is not found:
            problems.append(_at(child, "a second <macmgr:macTable>, which libvirt drops; put both into one"))
        elif child.tag != TABLE:
            problems += [_at(child, text) for text in almost_ours(child)]
    return found, problems


def almost_ours(child: etree._Element) -> Iterator[str]:
    """Explains why another element may be a misspelt one of ours. Policy that is silently not read is an outage."""
    namespace, name = split_tag(child)
    if namespace == NAMESPACE:
        yield unknown_name(name, ("macTable",), xml=True, what="element in macmgr's namespace")
    elif namespace.lower().startswith("urn:macmgr:") or nearest(namespace, [NAMESPACE]):
        yield f"an unknown namespace of macmgr's; allowed: {NAMESPACE}; did you mean {NAMESPACE!r}?"
    elif not namespace and nearest(name, ["macTable"]):
        yield f"<{name[:20]}> without a namespace, which libvirt drops; write xmlns='{NAMESPACE}'"


def _settings(
    element: etree._Element,
    problems: list[Problem],
    *,
    children: tuple[str, ...],
    key: str = "",
    options: bool = True,
) -> Settings:
    """Reads the options on one element of ours. It checks the names of the children, and reads only ``allow``.

    The attribute of that name is for the one word that is no address.
    """
    problems += [_at(element, text) for text in _strange_text(element)]
    for child in element:
        if len(problems) > _MANY:
            break
        namespace, name = split_tag(child)
        if namespace != NAMESPACE and name in children:
            problems.append(_at(child, f"<{name}> is not in macmgr's namespace, {NAMESPACE}"))
        elif namespace != NAMESPACE or name not in children:
            problems.append(_at(child, _unknown_element(name, children)))
    values = {str(name): str(element.get(name)) for name in islice(element.attrib, _MANY)}
    if not options:
        for name in values:
            shown = quoted(name, [option.xml for option in OPTIONS], other="")
            text = f"unknown name {shown}".rstrip()
            problems.append(_at(element, f"{text}; in a network the options stand on its portgroups"))
        return Settings()
    found, mistakes = read_options(values, xml=True, others=(key, "allow") if key else ("allow",))
    problems += [_at(element, text) for _, text in mistakes]
    own = values.get("allow")
    if own is not None and (text := wrong_word("allow", own, (OWN,), xml=True)):
        problems.append(_at(element, f"{text}; an address stands in an element, <macmgr:allow mac='…'/>"))
    return Settings(**found, allow=(*([OWN] if own == OWN else []), *_allow(element, problems)))


def _unknown_element(name: str, children: Iterable[str]) -> str:
    text = unknown_name(name, children, xml=True, what="element")
    home = _HOMES.get(name)
    return f"{text}; {name} stands in {home}" if home else text


def _allow(element: etree._Element, problems: list[Problem]) -> Iterator[str]:
    for number, child in enumerate(_ours(element, "allow")):
        if number == MAX_ALLOWED:
            text = f"more than {MAX_ALLOWED} <macmgr:allow>; a prefix that ends in :* stands for many addresses"
            problems.append(_at(child, text))
        if len(problems) > _MANY or number == MAX_ALLOWED:
            break
        problems += [_at(child, text) for text in _strange_text(child)]
        names = (str(name) for name in islice(child.attrib, _MANY) if name != "mac")
        problems += [_at(child, unknown_name(name, ("mac",), xml=True)) for name in names]
        if len(child):
            problems.append(_at(child[0], "<macmgr:allow> has no children"))
        if child.get("mac") == OWN:
            problems.append(_at(child, "own is no address; write allow='own' on the element around it"))
            continue
        try:
            yield parse_mac_pattern(_key(child, "mac"))
        except ValueError as error:
            problems.append(_at(child, str(error)))


def _ours(element: etree._Element, name: str) -> Iterator[etree._Element]:
    return element.iterfind(f"{{{NAMESPACE}}}{name}")


def _strange_text(element: etree._Element) -> Iterator[str]:
    texts = [element.text, *(child.tail for child in element)]
    if any((text or "").strip(_SPACE) for text in texts):
        local = split_tag(element)[1]
        yield f"text in <macmgr:{local if local in ELEMENTS else '…'}>, which has attributes and elements only"


def split_tag(element: etree._Element) -> tuple[str, str]:
    """Returns namespace and name of an element from either parser."""
    namespace, _, name = str(element.tag).rpartition("}")
    return namespace[1:], name


def _key(element: etree._Element, name: str) -> str:
    value = element.get(name)
    if not value:
        raise ValueError(f"<macmgr:{split_tag(element)[1]}> needs the attribute {name}")
    return str(value)


def _at(element: etree._Element, text: str) -> Problem:
    return Problem(line_of(element), text)


def _in_order(problems: Iterable[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: problem.line or 0)
