"""Changes an input and keeps its form most of the time, so that a change gets past the parser and to what is behind it.

Each format has its own way. An input that has lost the form is changed byte by byte, and so is every fourth one.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any
from xml.etree import ElementTree

Mutation = Callable[[bytes, Random], bytes]

_NUMBERS = (0, 1, 2, 4, 7, 127, 128, 255, 256, 4093, 4094, 4095, 4096, 32767, 65535, 65536, 2**31, 2**32 - 1, 2**63)
_WORDS = (
    *("", "yes", "no", "own", "kernel", "libvirt", "auto", "sticky", "static", "follow", "alert", "ignore", "tell"),
    *("repair", "manage", "observe", "br0", "br-*", "vnet0", "vnet1", "eth0", "br0.10", "running", "paused", "bridge"),
    *("network", "lan", "nat", "g1", "52:54:00:aa:00:01", "52:54:00:aa:00:02", "00:00:5e:00:01:*", "ff:ff:ff:ff:ff:ff"),
    *("00:00:00:00:00:00", "01:00:5e:00:00:01", "-1", "9" * 30, "\x1b[2J", "\u202e", "\ud7ff", "é", "a" * 300, "\n"),
)
_TOKENS = tuple(word.encode() for word in _WORDS)
_NAMESPACE = "{urn:macmgr:mactable:1}"
_TAGS = (
    *("domain", "devices", "interface", "mac", "source", "target", "actual", "vlan", "tag", "port", "alias", "link"),
    *("metadata", "network", "bridge", "forward", "portgroup", "networkport", "plug", "rxfilters", "virtualport"),
    *(f"{_NAMESPACE}{name}" for name in ("macTable", "interface", "portgroup", "allow")),
)
_NAMES = (
    *("type", "address", "currentAddress", "bridge", "network", "portgroup", "portid", "dev", "name", "id", "trunk"),
    *("nativeMode", "isolated", "trustGuestRxFilters", "state", "reason", "pid", "macTableManager", "mode", "default"),
    *("manager", "pin", "lock", "guestMac", "vlans", "allow", "mac"),
)
_TEXT = re.compile(rb"[\w.:-]+|\s+|[^\w\s]")
_LENGTH, _ATTRIBUTE = struct.Struct("=I"), struct.Struct("=HH")
_BODIES = {16: 16, 17: 16, 28: 12, 29: 12, 84: 8, 85: 8, 112: 8, 113: 8}  # bytes before the attributes, by kind
_BLOCK = 512


def bytewise(data: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 5))):
        place, size = random.randint(0, len(changed)), random.choice((1, 1, 2, 4, 16))
        match random.randrange(5):
            case 0:
                del changed[place : place + size]
            case 1:
                changed[place:place] = random.randbytes(size)
            case 2:
                changed[place : place + size] = changed[place : place + size] * 2
            case 3:
                changed[place : place + 4] = (random.choice(_NUMBERS) & 0xFFFFFFFF).to_bytes(4, "little")
            case _ if place < len(changed):
                changed[place] ^= 1 << random.randrange(8)
    return bytes(changed)


def of_text(data: bytes, random: Random) -> bytes:
    """Words, numbers and signs: of TOML, and of the hooks' socket."""
    pieces = _TEXT.findall(data) or [b"x"]
    for _ in range(random.choice((1, 1, 2, 4))):
        place = random.randrange(len(pieces))
        match random.randrange(4):
            case 0:
                pieces[place] = random.choice(random.choice((pieces, _TOKENS)))
            case 1:
                pieces.insert(place, random.choice(pieces))
            case 2:
                end = place + random.randint(1, 12)
                pieces[place:place] = pieces[place:end] * random.choice((1, 1, 3, 40))
            case _:
                del pieces[place : place + random.randint(1, 6)]
                pieces = pieces or [b"x"]
    return b"".join(pieces)


def of_xml(data: bytes, random: Random) -> bytes:
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - a test's own input
    except (ElementTree.ParseError, ValueError, LookupError):
        raise ValueError("no XML") from None
    for _ in range(random.choice((1, 1, 2, 4))):
        elements = list(root.iter())
        element, other = random.choice(elements), random.choice(elements)
        match random.randrange(7):
            case 0:
                element.set(random.choice((*_NAMES, *other.attrib)), random.choice((*_WORDS, *other.attrib.values())))
            case 1 if element.attrib:
                del element.attrib[random.choice(list(element.attrib))]
            case 2:
                element.tag = random.choice((*_TAGS, other.tag))
            case 3:
                element.text = random.choice((*_WORDS, other.text))
            case 4 if len(element):
                del element[random.randrange(len(element))]
            case 5 if len(element):
                place = random.randrange(len(element))
                element[place:place] = [element[place]] * random.choice((1, 1, 2, 60))
            case _ if len(elements) < 500:
                element.append(deepcopy(other))
    written: bytes = ElementTree.tostring(root)
    return written


def of_json(data: bytes, random: Random) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("no JSON") from None
    for _ in range(random.choice((1, 1, 2, 4))):
        document = _changed(document, random)
    return json.dumps(document).encode()


def _changed(document: Any, random: Random) -> Any:
    """Walks down to some part of the document, and changes that."""
    if isinstance(document, dict | list) and document and random.random() < 0.8:
        key = random.choice(list(document)) if isinstance(document, dict) else random.randrange(len(document))
        match random.randrange(6):
            case 0:
                del document[key]
            case 1 if isinstance(document, list):
                document[key:key] = [document[key]] * random.choice((1, 2, 100))
            case 2 if isinstance(document, dict):
                document[random.choice(_WORDS)] = document[key]
            case _:
                document[key] = _changed(document[key], random)
        return document
    return random.choice((None, True, False, 1.5, {}, [], [document], *_NUMBERS, *_WORDS, 10**40, -1))


def of_netlink(data: bytes, random: Random) -> bytes:
    """Messages and their attributes; lengths are right afterwards."""
    messages = _messages(data)
    place = random.randrange(len(messages))
    head, body = messages[place]
    if random.randrange(4) == 0:
        match random.randrange(3):
            case 0:
                messages[place:place] = [messages[place]] * random.choice((1, 3, 9))
            case 1 if len(messages) > 1:
                del messages[place]
            case _:
                messages.insert(place, random.choice(messages))
    else:
        kind = int.from_bytes(head[4:6], "little")
        fixed = _BODIES.get(kind, 12)
        start, rest = body[:fixed], body[fixed:]
        if random.randrange(8) == 0:
            head = bytewise(head, random)[:16].ljust(16, b"\0")
        elif random.randrange(6) == 0:
            start = bytewise(start, random)[:fixed].ljust(fixed, b"\0")
        else:
            rest = _attributes(rest, random)
        messages[place] = head, start + rest
    return b"".join(_LENGTH.pack(16 + len(body)) + head[4:16] + body + bytes(-len(body) % 4) for head, body in messages)


def _messages(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 0
    while place + 16 <= len(data):
        length = _LENGTH.unpack_from(data, place)[0]
        if not 16 <= length <= len(data) - place:
            raise ValueError("no netlink messages")
        found.append((data[place : place + 16], data[place + 16 : place + length]))
        place += length + -length % 4
    if not found:
        raise ValueError("no netlink messages")
    return found


def _attributes(data: bytes, random: Random, depth: int = 0) -> bytes:
    """A run of attributes with one of them changed; or inside of one, where that holds attributes itself."""
    found, place = [], 0
    while place + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, place)
        if not 4 <= length <= len(data) - place:
            raise ValueError("no attributes")
        found.append((kind, data[place + 4 : place + length]))
        place += length + -length % 4
    if not found:
        found.append((random.randrange(64), random.randbytes(random.choice((0, 1, 2, 4, 6, 8)))))
    place = random.randrange(len(found))
    kind, value = found[place]
    match random.randrange(7):
        case 0:
            found[place] = random.choice((random.randrange(64), kind ^ 0x8000)), value
        case 1:
            del found[place]
        case 2:
            found[place:place] = [found[place]] * random.choice((1, 2, 30))
        case 3:
            number, size = random.choice(_NUMBERS), random.choice((0, 1, 2, 4, 8))
            found[place] = kind, (number & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        case 4:
            found.insert(random.randrange(len(found)), found.pop(place))
        case _:
            try:
                inside = _attributes(value, random, depth + 1) if depth < 4 and len(value) >= 4 else None
            except ValueError:
                inside = None
            found[place] = kind, bytewise(value, random) if inside is None else inside
    return b"".join(_ATTRIBUTE.pack(4 + len(each), kind) + each + bytes(-len(each) % 4) for kind, each in found)


def of_tar(data: bytes, random: Random) -> bytes:
    """One file of the archive, in its own form; or the header of one, with the right checksum."""
    members = _members(data)
    place = random.randrange(len(members))
    header, content = members[place]
    match random.randrange(8):
        case 0:
            del members[place]
        case 1:
            members.insert(place, random.choice(members))
        case 2:
            members[place] = bytewise(header, random)[:_BLOCK].ljust(_BLOCK, b"\0"), content
        case 3:
            kind = random.choice((b"0", b"2", b"5", b"L", b"x", b"g", b"S"))
            members[place] = header[:156] + kind + header[157:], content
        case _:
            form = of_json if content[:1] in b"{[" else of_xml
            members[place] = header, _within(form, content, random)
    return b"".join(_packed(*member) for member in members) + bytes(2 * _BLOCK)


def _members(data: bytes) -> list[tuple[bytes, bytes]]:
    found, place = [], 0
    while (header := data[place : place + _BLOCK]).strip(b"\0"):
        size = int(header[124:136].strip(b" \0") or b"0", 8)
        content = data[place + _BLOCK : place + _BLOCK + size]
        if len(header) != _BLOCK or len(content) != size:
            raise ValueError("no tar file")
        found.append((header, content))
        place += _BLOCK + size + -size % _BLOCK
    if not found:
        raise ValueError("no tar file")
    return found


def _packed(header: bytes, content: bytes) -> bytes:
    header = header[:124] + b"%011o\0" % len(content) + header[136:148] + b" " * 8 + header[156:]
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    return header + content + bytes(-len(content) % _BLOCK)


def _within(form: Mutation, data: bytes, random: Random) -> bytes:
    try:
        return form(data, random)
    except ValueError:
        return bytewise(data, random)


def mutated(form: Mutation, data: bytes, random: Random, others: Sequence[bytes] = ()) -> bytes:
    if others and random.randrange(20) == 0:
        cut, other = random.randint(0, len(data)), random.choice(others)
        return data[:cut] + other[random.randint(0, len(other)) :]
    return bytewise(data, random) if random.randrange(4) == 0 else _within(form, data, random)
