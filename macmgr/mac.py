"""MAC addresses as macmgr writes them: six lower-case hex pairs joined by colons."""

from __future__ import annotations

import re

_FORM = re.compile(r"(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}", re.ASCII | re.IGNORECASE)


def parse_mac(text: str) -> str:
    """A unicast MAC address in its one written form; ValueError says what is wrong with ``text``.

    Accepts what libvirt's virMacAddrParse accepts (one or two hex digits a group, either case). A guest
    NIC cannot have a group address or the zero address: the bridge would refuse an FDB entry for it.
    """
    text = text.strip()
    if not _FORM.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a MAC address (six hex pairs joined by colons)")
    octets = [int(pair, 16) for pair in text.split(":")]
    if octets[0] & 1:
        raise ValueError(f"{text} is a group (multicast) address, a NIC needs a unicast one")
    if not any(octets):
        raise ValueError("00:00:00:00:00:00 is not the address of a NIC")
    return ":".join(f"{octet:02x}" for octet in octets)
