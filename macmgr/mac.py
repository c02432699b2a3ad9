"""MAC addresses as macmgr writes them: six lower-case hex pairs joined by colons."""

from __future__ import annotations

import re

ZERO = "00:00:00:00:00:00"
_FORM = re.compile(r"(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}", re.ASCII | re.IGNORECASE)


def parse_mac(text: str) -> str:
    """A unicast MAC address in its one written form; ValueError says what is wrong with ``text``.

    Accepts what libvirt's virMacAddrParse accepts (one or two hex digits a group, either case). A guest
    NIC cannot have a group address (virDomainNetDefParseXML refuses it); the zero address libvirt lets pass.
    """
    text = text.strip()
    if not _FORM.fullmatch(text):
        raise ValueError(f"{text[:40]!r} is not a MAC address (six hex pairs joined by colons)")
    octets = [int(pair, 16) for pair in text.split(":")]
    if octets[0] & 1:
        raise ValueError(f"{text} is a group (multicast) address, a NIC needs a unicast one")
    return ":".join(f"{octet:02x}" for octet in octets)


def parse_mac_pattern(text: str) -> str:
    """A unicast MAC address, or a prefix of whole octets that ends in ``*`` (``00:00:5e:00:01:*``); else ValueError."""
    text = text.strip().lower()
    if not text.endswith(":*"):
        if (mac := parse_mac(text)) == ZERO:
            raise ValueError(f"{ZERO} is not the address of a NIC")
        return mac
    octets = text[:-2].split(":")
    if not 1 <= len(octets) <= 5:
        raise ValueError(f"{text[:40]!r} is not a MAC prefix: one to five hex pairs, then :*")
    filled = parse_mac(":".join([*octets, *["1"] * (6 - len(octets))]))  # the rest cannot make it zero
    return ":".join([*filled.split(":")[: len(octets)], "*"])


def matches(pattern: str, mac: str) -> bool:
    """Whether a MAC address is the pattern, or begins with its prefix."""
    return mac.startswith(pattern[:-1]) if pattern.endswith("*") else mac == pattern
