"""macmgr's own element in libvirt's ``<metadata>``: policy that travels with the guest, or lives in its network.

``<macmgr:macTable>`` in a domain speaks for all its NICs, its ``<macmgr:interface mac='..'>`` for one; in a network its
``<macmgr:portgroup name='..'>`` for the NICs of that portgroup. Schema: xml-schemas/macmgr-metadata.rng.
libvirt keeps the element in definitions, status files and hook input, and takes it along in a migration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from lxml import etree

from macmgr.errors import XmlError
from macmgr.intent import Settings
from macmgr.mac import parse_mac
from macmgr.options import allowed, settings
from macmgr.readers.document import place

NAMESPACE = "urn:macmgr:mactable:1"
_TABLE = f"{{{NAMESPACE}}}macTable"


@dataclass(frozen=True, slots=True)
class DomainMetadata:
    """What a domain's metadata says: of all its NICs, and of single ones by MAC."""

    domain: Settings = field(default_factory=Settings)
    interfaces: Mapping[str, Settings] = field(default_factory=dict)


def read_domain_metadata(domain: etree._Element, where: str) -> DomainMetadata:
    """The metadata of a ``<domain>``; XmlError where ours says something that is not in the schema."""
    table = domain.find(f"metadata/{_TABLE}")
    if table is None:
        return DomainMetadata()
    whole = _settings(table, where, children=("interface",))
    interfaces: dict[str, Settings] = {}
    for child in _children(table, "interface", where):
        mac = _key(child, "mac", where)
        try:
            mac = parse_mac(mac)
        except ValueError as error:
            raise XmlError(_at(child, where, str(error))) from None
        if mac in interfaces:
            raise XmlError(_at(child, where, f"a second <macmgr:interface mac='{mac}'>; one of them has to go"))
        interfaces[mac] = _settings(child, where, children=("allow",), key="mac")
    return DomainMetadata(whole, interfaces)


def read_network_metadata(network: etree._Element, where: str) -> dict[str, Settings]:
    """The settings by portgroup in a ``<network>``'s metadata; XmlError where ours is not in the schema."""
    table = network.find(f"metadata/{_TABLE}")
    if table is None:
        return {}
    _settings(table, where, children=("portgroup",), options=False)
    groups: dict[str, Settings] = {}
    for child in _children(table, "portgroup", where):
        name = _key(child, "name", where)
        if name in groups:
            raise XmlError(_at(child, where, "a second <macmgr:portgroup> of that name; one of them has to go"))
        groups[name] = _settings(child, where, children=("allow",), key="name")
    return groups


def _settings(
    element: etree._Element, where: str, *, children: tuple[str, ...], key: str = "", options: bool = True
) -> Settings:
    """The options on one element of ours; its children are only checked for their names."""
    for child in element:
        qualified = etree.QName(child)
        name = qualified.localname if qualified.namespace == NAMESPACE else child.tag
        if name not in children:
            raise XmlError(_at(child, where, f"unknown element <{str(name)[:40]}>; {allowed(str(name), children)}"))
    patterns = [_key(child, "mac", where) for child in _children(element, "allow", where)]
    values = {str(name): str(value) for name, value in element.attrib.items()}
    if not options and values:
        name = next(iter(values))[:40]
        raise XmlError(_at(element, where, f"unknown name {name!r}; in a network the options stand on its portgroups"))
    try:
        return settings(values, patterns, xml=True, others=(key,) if key else ())
    except ValueError as error:
        raise XmlError(_at(element, where, str(error))) from None


def _children(element: etree._Element, name: str, where: str) -> Iterator[etree._Element]:
    for child in element.iterfind(f"{{{NAMESPACE}}}{name}"):
        if name == "allow" and (len(child) or set(child.attrib) - {"mac"}):
            raise XmlError(_at(child, where, "<macmgr:allow> has one attribute, mac, and no children"))
        yield child


def _key(element: etree._Element, name: str, where: str) -> str:
    value = element.get(name)
    if not value:
        local = etree.QName(element).localname
        raise XmlError(_at(element, where, f"<macmgr:{local}> needs the attribute {name}"))
    return value


def _at(element: etree._Element, where: str, text: str) -> str:
    return f"{place(element, where)}: {text}"
