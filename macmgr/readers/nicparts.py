"""The parts of a NIC that a domain's ``<interface>``, a network, a portgroup and a network port all write alike."""

from __future__ import annotations

from lxml import etree

from macmgr.errors import XmlError
from macmgr.model.intent import Vlan
from macmgr.readers.document import MAX_TAGS, attribute, place

MAX_VID = 4094
_DIGITS = 20


def read_vlan(element: etree._Element, where: str) -> Vlan | None:
    """The ``<vlan>`` child: one tag is access, several or ``trunk='yes'`` a trunk. XmlError for a VID that is none."""
    vlan = element.find("vlan")
    if vlan is None:
        return None
    vids: list[int] = []
    native, tagged = None, False
    for number, tag in enumerate(vlan.iterfind("tag")):
        if number == MAX_TAGS:
            raise XmlError(f"{place(tag, where)}: more than {MAX_TAGS} VLAN tags; as many VIDs there are")
        text = tag.get("id") or ""
        # VID 0 is libvirt's way to write a priority tag; libvirt allows it and 4095, a bridge port has neither
        # the length first: Python refuses to read a number of thousands of digits
        if not text.isascii() or not text.isdigit() or len(text) > _DIGITS or int(text) > MAX_VID + 1:
            shown = text[:20] if text.isascii() and text.isdigit() else "this"
            raise XmlError(f"{place(tag, where)}: {shown} is not a VLAN tag; allowed: 0 to {MAX_VID + 1}")
        vids.append(int(text))
        if tag.get("nativeMode"):
            native, tagged = int(text), tag.get("nativeMode") == "tagged"
    if not vids:
        return None
    trunk = vlan.get("trunk") == "yes" or len(vids) > 1 or native is not None
    return Vlan(tuple(vids), native, trunk, tagged)


def read_isolated(element: etree._Element) -> bool | None:
    """``<port isolated='yes'/>``; None where there is none."""
    return _yes(attribute(element, "port", "isolated"))


def read_trust(element: etree._Element) -> bool | None:
    """The attribute trustGuestRxFilters; None where there is none."""
    return _yes(element.get("trustGuestRxFilters") or "")


def _yes(text: str) -> bool | None:
    return {"yes": True, "no": False}.get(text)
