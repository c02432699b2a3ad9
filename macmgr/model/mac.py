"""MAC addresses as macmgr writes them: six lower-case hex pairs joined by colons."""

from __future__ import annotations

import re
from collections.abc import Iterable

ZERO = "00:00:00:00:00:00"
# Addresses that move between hosts: those of VRRP for IPv4, which CARP uses too, and for IPv6 (RFC 9568).
_VIRTUAL_ROUTERS = ("00:00:5e:00:01:*", "00:00:5e:00:02:*")
# The address of a cluster of Microsoft's Network Load Balancing in unicast mode. Each node must get each frame for it,
# and none sends from it: the nodes' frames carry other addresses, so that no switch learns this one.
_CLUSTERS = "02:bf:*"
_FORM = re.compile(r"(?:[0-9a-f]{1,2}:){5}[0-9a-f]{1,2}", re.ASCII | re.IGNORECASE)
# The spellings of Windows and IEEE, of Cisco, and the digits alone; then their prefixes.
_SPELLINGS = re.compile(
    r"[0-9a-f]{2}(?:-[0-9a-f]{2}){5}|[0-9a-f]{6}-?[0-9a-f]{6}|[0-9a-f]{4}(?:[.-][0-9a-f]{4}){2}"
    r"|(?:[0-9a-f]{2}-){1,5}\*|(?:[0-9a-f]{2}){1,5}\*|[0-9a-f]{6}-\*|(?:[0-9a-f]{4}[.-]){1,2}\*",
    re.ASCII | re.IGNORECASE,
)
_SLIPS = 2  # wrong digits of an address that was probably meant
_SPACE = " \t\r\n"  # XML's white space
_ALMOST = re.compile(r"(?:\w{0,4}[:.-]){2,7}(?:\w{0,4}|\*)", re.ASCII)


def parse_mac(text: str) -> str:
    """Returns a unicast MAC address in its one written form. ValueError names the mistake in ``text``.

    Accepts the input of libvirt's virMacAddrParse (one or two hex digits a group, either case). A guest NIC cannot have
    a group address (virDomainNetDefParseXML refuses it). libvirt allows the zero address.
    """
    mac = _parse_any(text)
    if int(mac[1], 16) & 1:
        raise ValueError(f"{text.strip(_SPACE)} is a group (multicast) address, a NIC needs a unicast one")
    return mac


def parse_typed_destination(text: str) -> str:
    """Reads the address of a station or of a group as people write and paste it, with a comma or quotes too."""
    return _parse_any(_with_colons(text.strip(" ,;\"'")))


def _parse_any(text: str) -> str:
    text = text.strip(_SPACE)
    if not _FORM.fullmatch(text):
        raise ValueError(f"{_shown(text)} is not a MAC address (six hex pairs joined by colons){_meant(text)}")
    return ":".join(f"{int(pair, 16):02x}" for pair in text.split(":"))


def parse_typed_mac(text: str) -> str:
    """Reads a MAC address as people write it: with colons, with dashes, with dots, bare, in upper case."""
    return parse_mac(_with_colons(text))


def parse_mac_pattern(text: str) -> str:
    """Reads a MAC address as people write it, or a prefix of whole octets with ``*`` (``00:00:5e:00:01:*``)."""
    text = _with_colons(text).lower()
    if not text.endswith(":*"):
        if (mac := parse_mac(text)) == ZERO:
            raise ValueError(f"{ZERO} is not the address of a NIC")
        return mac
    octets = text[:-2].split(":")
    filled = ":".join([*octets, *["1"] * (6 - len(octets))])  # the filling cannot make it zero
    if not 1 <= len(octets) <= 5 or not _FORM.fullmatch(filled):
        raise ValueError(f"{_shown(text)} is not a MAC prefix: one to five hex pairs, then :*")
    if int(octets[0], 16) & 1:
        raise ValueError(f"{text} holds group (multicast) addresses, a NIC needs a unicast one")
    return ":".join([*(f"{int(octet, 16):02x}" for octet in octets), "*"])


def matches(pattern: str, mac: str) -> bool:
    return mac.startswith(pattern[:-1]) if pattern.endswith("*") else mac == pattern


def near_mac(mac: str, known: Iterable[str]) -> str:
    """Returns the end of a message about an unknown address: a known one that differs in a digit, or in two."""
    alike = (each for each in known if len(each) == len(mac))
    wrong = [(sum(one != other for one, other in zip(mac, each, strict=True)), each) for each in alike]
    digits, near = min(wrong, default=(0, ""))
    return f"; did you mean {near!r}?" if near and digits <= _SLIPS else ""


def virtual_router(mac: str) -> str:
    """Returns the virtual routers' prefix of a MAC address; empty if it has none."""
    return next((prefix for prefix in _VIRTUAL_ROUTERS if matches(prefix, mac)), "")


def is_of_cluster(pattern: str) -> bool:
    """True for a MAC address or prefix of Network Load Balancing in unicast mode."""
    return matches(_CLUSTERS, pattern)


class Patterns:
    """MAC addresses and prefixes, indexed for many lookups."""

    def __init__(self, patterns: Iterable[str]) -> None:
        patterns = tuple(patterns)
        self._exact = frozenset(pattern for pattern in patterns if not pattern.endswith("*"))
        self._prefixes = frozenset(pattern[:-1] for pattern in patterns if pattern.endswith("*"))
        self._lengths = frozenset(map(len, self._prefixes))

    def matches(self, mac: str) -> bool:
        return mac in self._exact or any(mac[:length] in self._prefixes for length in self._lengths)


def _with_colons(text: str) -> str:
    text = text.strip(_SPACE)
    return ":".join(re.findall("[0-9A-Fa-f]{2}|[*]", re.sub("[.-]", "", text))) if _SPELLINGS.fullmatch(text) else text


def _shown(text: str) -> str:
    """Quotes the text if it is almost an address (one or two wrong letters), and so never repeats a password."""
    strange = sum(letter not in "0123456789abcdef:.-*" for letter in text.lower())
    return repr(text) if len(text) <= 23 and strange <= 2 and _ALMOST.fullmatch(text) else "this"


def _meant(text: str) -> str:
    """Suggests libvirt's form of an address that is written with dashes or with dots."""
    digits = re.sub("[.-]", "", text.lower())
    if text == digits or not re.fullmatch("[0-9a-f]{12}", digits):
        return ""
    mac = ":".join(digits[index : index + 2] for index in range(0, 12, 2))
    return f"; did you mean {mac!r}?"
