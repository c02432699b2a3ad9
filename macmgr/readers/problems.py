"""Collects all mistakes in one document for `macmgr validate`: the readers' refusals, and what libvirt drops.

The readers stay the judges: each part of a document goes to its reader, and a refusal is collected instead of raised.
This module adds what no reader can know, because libvirt drops it silently: a misspelt macTableManager on ``<bridge>``,
our element in a place where libvirt has none. It also adds parts that fit nothing else in the document: policy for a
portgroup or a NIC that is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from lxml import etree

from macmgr.errors import Problem, XmlError
from macmgr.model.intent import Manager
from macmgr.model.mac import parse_mac, parse_typed_mac
from macmgr.oneline import unbroken
from macmgr.options import MAC_TABLE_MANAGER, allowed, nearest, quoted, wrong_word
from macmgr.phrases import counted, first_few
from macmgr.readers.document import ROOTS, attribute, line_of, parse_document, text_of, too_large
from macmgr.readers.domain import read_domain, read_nic, read_vlan
from macmgr.readers.metadata import NAMESPACE, TABLE, almost_ours, find_table, read_domain_table, read_network_table
from macmgr.readers.network import NO_TABLE, read_network, read_network_port

_WHERE = "document"  # the readers put it in front, and `_problem` takes it off


@dataclass(frozen=True, slots=True)
class Checked:
    """A document's kind and name, a summary of its content, and its mistakes by line."""

    kind: str
    name: str = ""
    summary: str = ""
    problems: tuple[Problem, ...] = ()


def check_document(data: bytes) -> Checked:
    try:
        root = parse_document(data, _WHERE)
    except XmlError as error:
        return Checked("XML", problems=(_problem(error),))
    name = etree.QName(root).localname
    if name == "macTable" or _namespace(root) == NAMESPACE:
        return _check_table(root)
    if root.tag not in ROOTS:
        text = f"the root element is {quoted(name, ROOTS, other='something else')}; {allowed(name, ROOTS)}"
        return Checked("XML", problems=(Problem(line_of(root), text),))
    problems: list[Problem] = []
    if (large := too_large(data)) is not None:
        problems.append(Problem(*large))
    whole = {"domstatus": "domain", "networkstatus": "network", "hookData": "network"}.get(name)
    subject = root if whole is None else root.find(whole)
    if subject is None:
        return Checked(name, problems=(Problem(line_of(root), f"<{name}> without a <{whole}> in it"),))
    if subject.tag == "domain":
        summary = _check_domain(subject, problems)
    elif subject.tag == "network":
        summary = _check_network(subject, problems)
        for each in (*root.iterfind("networkport"), *(root.iterfind("interface") if root is not subject else ())):
            _check_part(each, problems)
    else:
        summary = ""
        _check_part(subject, problems)
    problems += _misplaced(root)
    called = text_of(subject, "owner/name" if subject.tag == "networkport" else "name")
    return Checked(name, called, "" if problems else summary, _by_line(problems))


def _check_domain(domain: etree._Element, problems: list[Problem]) -> str:
    nics = list(domain.iterfind("devices/interface"))
    macs: list[str] = []
    for nic in nics:
        _check_part(nic, problems)
        try:
            macs.append(parse_mac(attribute(nic, "mac", "address")))
        except ValueError:
            continue  # libvirt invents a missing one; a wrong one is already reported
    table, strange = find_table(domain.find("metadata"))
    problems += strange
    if table is not None:
        metadata, mistakes = read_domain_table(table)
        problems += mistakes
        for child in table.iterfind(f"{{{NAMESPACE}}}interface"):
            mac = _mac_of(child)
            if mac and mac in metadata and mac not in macs:
                problems.append(
                    Problem(line_of(child), f"no NIC of the domain has the address {mac}; {_those(mac, macs)}")
                )
    if not problems:  # the whole document, in case the parts missed something
        problems += _refusal(lambda: read_domain(domain, _WHERE))
    ours = "" if table is None else ", with policy in its metadata"
    return f"{counted(len(nics), 'NIC')}{ours}"


def _check_network(network: etree._Element, problems: list[Problem]) -> str:
    groups = [group.get("name") or "" for group in network.iterfind("portgroup")]
    problems += _near_attributes(network)
    for element in (network, *network.iterfind("portgroup")):
        _check_part(element, problems)
    bridge, forward = network.find("bridge"), attribute(network, "forward", "mode")
    manager = "" if bridge is None else bridge.get(MAC_TABLE_MANAGER, "")
    if bridge is not None and manager == Manager.LIBVIRT and forward in NO_TABLE:
        text = f"{MAC_TABLE_MANAGER}='libvirt' with forward mode {forward!r}, which has no bridge: libvirt refuses it"
        problems.append(Problem(line_of(bridge), text))
    table, strange = find_table(network.find("metadata"))
    problems += strange
    if table is not None:
        metadata, mistakes = read_network_table(table)
        problems += mistakes
        for child in table.iterfind(f"{{{NAMESPACE}}}portgroup"):
            name = child.get("name", "")
            if name in metadata and name not in groups:
                hint = _those_groups(str(name), groups) if groups else "it has none at all"
                problems.append(Problem(line_of(child), f"the network has no portgroup {str(name)[:40]!r}; {hint}"))
    if not problems:
        problems += _refusal(lambda: read_network(network, _WHERE))
    where = attribute(network, "bridge", "name")
    return f"{where or 'no bridge of its own'}, managed by {manager or Manager.KERNEL}"


def _check_table(table: etree._Element) -> Checked:
    """Checks the element alone, as `virsh metadata` takes and prints it: without its namespace, which libvirt adds."""
    if _namespace(table) is None:
        for element in table.iter():
            element.tag = f"{{{NAMESPACE}}}{element.tag}" if _namespace(element) is None else element.tag
    if table.tag != TABLE:
        text = next(almost_ours(table), f"this macTable is not in macmgr's namespace, {NAMESPACE}")
        return Checked("macTable", problems=(Problem(line_of(table), text),))
    network = table.find(f"{{{NAMESPACE}}}portgroup") is not None
    problems = (read_network_table if network else read_domain_table)(table)[1]
    return Checked("macTable", "", f"of a {'network' if network else 'domain'}", tuple(problems))


def _check_part(element: etree._Element, problems: list[Problem]) -> None:
    """Checks one ``<interface>``, ``<networkport>``, ``<portgroup>`` or ``<network>`` with its reader."""
    if element.tag == "interface":
        if attribute(element, "mac", "address"):
            problems += _refusal(lambda: read_nic(element, _WHERE))
        managers = [*element.iterfind("source"), *element.iterfind("actual/source")]
    elif element.tag == "networkport":
        problems += _refusal(lambda: read_network_port(element, _WHERE))
        problems += _mac_problem(element)
        managers = list(element.iterfind("plug"))
    else:
        problems += _refusal(lambda: read_vlan(element, _WHERE))
        managers = list(element.iterfind("bridge"))
    for each in managers:
        text = wrong_word(MAC_TABLE_MANAGER, each.get(MAC_TABLE_MANAGER, Manager.KERNEL), Manager, xml=True)
        if text:
            problems.append(Problem(line_of(each), text))


def _mac_problem(port: etree._Element) -> Iterator[Problem]:
    try:
        parse_mac(attribute(port, "mac", "address"))
    except ValueError as error:
        yield Problem(line_of(port), str(error))


def _near_attributes(network: etree._Element) -> Iterator[Problem]:
    """Reports a misspelt macTableManager on the bridge, or a correct one on another element: libvirt drops both."""
    metadata = set(network.iterfind("metadata//*"))
    for element in network.iter():
        for name in () if element in metadata else element.attrib:
            near = nearest(str(name), [MAC_TABLE_MANAGER])
            on_bridge = element.tag == "bridge" and element.getparent() is network
            if not near or (name == near and on_bridge):
                continue
            if on_bridge:
                text = f"unknown attribute {str(name)!r}, which libvirt drops without a word; did you mean {near!r}?"
            else:
                text = f"{near} stands on the network's <bridge> only; here libvirt drops it without a word"
            yield Problem(line_of(element), text)


def _misplaced(root: etree._Element) -> Iterator[Problem]:
    for element in root.iter(f"{{{NAMESPACE}}}*"):
        parent = element.getparent()
        if parent is not None and _namespace(parent) != NAMESPACE and not _is_metadata(parent):
            text = "an element of macmgr's outside of <metadata>, which nobody reads; put it directly into <metadata>"
            yield Problem(line_of(element), text)


def _is_metadata(element: etree._Element) -> bool:
    parent = element.getparent()
    return element.tag == "metadata" and parent is not None and parent.tag in ("domain", "network")


def _mac_of(element: etree._Element) -> str:
    try:
        return parse_typed_mac(str(element.get("mac")))
    except ValueError:
        return ""


def _those(mac: str, macs: list[str]) -> str:
    """Lists the first addresses of the NICs, and the one that was probably meant."""
    if not macs:
        return "it has no NIC with an address"
    there = list(dict.fromkeys(macs))
    near = nearest(mac, there)
    return f"its NICs have {first_few(there, 6)}" + (f"; did you mean {near!r}?" if near else "")


def _those_groups(name: str, groups: list[str]) -> str:
    shown = [unbroken(group[:40]) for group in groups]
    near = nearest(name, shown)
    return f"allowed: {first_few(shown, 20)}" + (f"; did you mean {near!r}?" if near else "")


def _refusal(read: Callable[[], object]) -> Iterator[Problem]:
    try:
        read()
    except XmlError as error:
        yield _problem(error)


def _problem(error: XmlError) -> Problem:
    line, colon, text = str(error).removeprefix(f"{_WHERE}:").partition(": ")
    return (
        Problem(int(line), text) if colon and line.isdigit() else Problem(None, str(error).removeprefix(f"{_WHERE}: "))
    )


def _namespace(element: etree._Element) -> str | None:
    return etree.QName(element).namespace


def _by_line(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line or 0))
