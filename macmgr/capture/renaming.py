"""Gives names and addresses others, the same everywhere, so that a capture says who is cut off and not who it is. Pure.

Names of domains, networks and portgroups, uuids and hosts get numbers, in the order of the old ones, so that what was
sorted stays sorted. Of a MAC address the last three octets change, which are the device's own. The first three stay:
they are the maker's, and carry the bits and prefixes by which macmgr and the kernel judge (group, locally administered,
fe: of a tap, VRRP, CARP, Network Load Balancing). Equal octets stay equal and keep their order, so a prefix of an allow
list still holds the same addresses, and a tap's address still is its guest's with another beginning.

Names of interfaces, VLANs and groups of multicast stay: they are what a finding is about.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

_MAC = re.compile(r"(?<![0-9a-f:])(?:[0-9a-f]{2}:){5}[0-9a-f]{2}(?![0-9a-f:])")
_PREFIX = re.compile(r"(?<![0-9a-f:])(?:[0-9a-f]{2}:){4,5}\*")
# Here the last octets are no device's: all zeros, virtual routers, and macmgr's own examples.
_STAY = ("00:00:00", "00:00:5e", "02:00:5e")
# A solicited-node group has the last octets of the address of one host (RFC 4291).
_SOLICITED = "33:33:ff"
_SOLICITED_IP = re.compile(r"ff02::1:ff([0-9a-f]{2}):([0-9a-f]{1,4})")
_EXAMPLES: Mapping[int, IPv4Network | IPv6Network] = {4: IPv4Network("198.18.0.0/15"), 6: IPv6Network("2001:db8::/32")}
_UUID = 36  # letters; libvirt's port ids may be shorter
_NUMBERED = ("domain", "network", "portgroup", "alias", "host")

Octets = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Renaming:
    """``names`` has the new name by kind and old name, ``octets`` the new octet behind those before it."""

    names: Mapping[tuple[str, str], str]
    octets: Mapping[Octets, str]

    def renamed(self, kind: str, value: str) -> str:
        """The new form of a value; addresses of MACs and their prefixes have a kind, too."""
        if kind in ("mac", "text"):
            return self.in_text(value)
        return self.names.get((kind, value), value)

    def in_text(self, text: str) -> str:
        """Replaces the MAC addresses and prefixes in a text."""
        if ":" not in text:
            return text
        text = _MAC.sub(lambda found: self._mac(found[0]), text)
        text = _PREFIX.sub(lambda found: self._mac(found[0]), text)
        return _SOLICITED_IP.sub(lambda found: self._solicited(*found.groups()), text)

    def in_json(self, value: Any) -> Any:
        """Replaces them in each text of a JSON document."""
        if isinstance(value, str):
            return self.names.get(("ip", value)) or self.in_text(value)
        if isinstance(value, list):
            return [self.in_json(each) for each in value]
        if isinstance(value, dict):
            return {self.in_text(key): self.in_json(each) for key, each in value.items()}
        return value

    def in_records(self, value: Any) -> Any:
        """As `in_json`, for records that have a domain and a uuid by those names."""
        if isinstance(value, list):
            return [self.in_records(each) for each in value]
        if not isinstance(value, dict):
            return self.in_json(value)
        return {
            key: self.renamed(key, each) if key in ("domain", "uuid") else self.in_records(each)
            for key, each in value.items()
        }

    def in_sentence(self, text: str) -> str:
        """Replaces names, addresses and uuids, as far as they stand by themselves."""
        new = {old: new for (kind, old), new in self.names.items() if kind != "uuid" or len(old) == _UUID}
        if not new:
            return self.in_text(text)
        longest_first = sorted(new, key=len, reverse=True)
        pattern = rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"
        return self.in_text(re.sub(pattern, lambda found: new[found[0]], text))

    def _mac(self, text: str) -> str:
        octets = text.split(":")
        if not _changes(text):
            return text
        tail: list[str] = []
        for place in range(3, len(octets)):
            octet = octets[place]
            tail.append(octet if octet == "*" else self.octets.get((*octets[3:place], octet), octet))
        return ":".join([*octets[:3], *tail])

    def _solicited(self, first: str, rest: str) -> str:
        mac = self._mac(f"{_SOLICITED}:{first}:{rest.zfill(4)[:2]}:{rest.zfill(4)[2:]}")
        return str(ip_address(f"ff02::1:ff{mac[9:11]}:{mac[12:14]}{mac[15:]}"))


def make_renaming(values: Iterable[tuple[str, str]], texts: Iterable[Any], ips: Collection[str]) -> Renaming:
    """Makes a renaming for the ``values`` with their kinds, and for each MAC address in ``texts`` (JSON)."""
    found: dict[str, set[str]] = {}
    macs: set[str] = set()
    for kind, value in values:
        if kind == "mac":
            macs.add(value)
        elif value:
            found.setdefault(kind, set()).add(value)
    for text in texts:
        macs.update(_macs_in(text))
    names = {(kind, old): new for kind in _NUMBERED for old, new in _numbered(kind, found.get(kind, ())).items()}
    uuids = enumerate(sorted(found.get("uuid", ())), 1)
    names |= {("uuid", old): f"00000000-0000-4000-8000-{number:012d}" for number, old in uuids}
    for version, block in _EXAMPLES.items():
        of_version = sorted(address for address in map(ip_address, ips) if address.version == version)
        names |= {("ip", str(old)): str(block[number]) for number, old in enumerate(of_version, 1)}
    return Renaming(names, dict(_new_octets(macs)))


def _numbered(kind: str, names: Collection[str]) -> dict[str, str]:
    width = len(str(len(names)))
    word = {"domain": "guest", "alias": "ua-nic"}.get(kind, kind)
    return {old: f"{word}{number:0{width}d}" for number, old in enumerate(sorted(names), 1)}


def _new_octets(macs: Iterable[str]) -> Iterator[tuple[Octets, str]]:
    """The tails of all addresses share their new octets, whatever the maker."""
    behind: dict[Octets, set[str]] = {}
    for mac in filter(_changes, macs):
        tail = tuple(octet for octet in mac.split(":")[3:] if octet != "*")
        for length in range(len(tail)):
            behind.setdefault(tail[:length], set()).add(tail[length])
    for before, octets in behind.items():
        for number, octet in enumerate(sorted(octets)):
            yield (*before, octet), f"{number:02x}"


def _changes(mac: str) -> bool:
    group = int(mac[:2], 16) & 1
    return mac.startswith(_SOLICITED) if group else not mac.startswith(_STAY)


def _macs_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from _MAC.findall(value)
        yield from _PREFIX.findall(value)
        for first, rest in _SOLICITED_IP.findall(value):
            yield f"{_SOLICITED}:{first}:{rest.zfill(4)[:2]}:{rest.zfill(4)[2:]}"
    elif isinstance(value, list):
        for each in value:
            yield from _macs_in(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            yield from _macs_in(key)
            yield from _macs_in(each)


def stations_in(members: Iterable[str]) -> frozenset[str]:
    """The IP addresses of stations among ``members`` of groups."""
    return frozenset(each for each in members if each and not ip_address(each).is_multicast)
