"""Decodes FDB entries from an RTM_GETNEIGH dump, in bulk.

A host has tens of thousands of entries, all laid out alike (br_fdb.c, fdb_fill_info). So the layout is worked out
once from a first message, checked for all messages of the same length at once, and then whole columns of
MAC addresses, VIDs and so on are read. Messages that differ take the general way, one by one.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import compress, repeat
from typing import Any, TypeVar

from macmgr.kernel.wire import (
    AF_BRIDGE,
    HEADER,
    NDA_CACHEINFO,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_VLAN,
    NEIGHBOUR,
    NTF_EXT_LEARNED,
    NTF_STICKY,
    NUD_NOARP,
    NUD_PERMANENT,
    RTM_NEWNEIGH,
    WireError,
    attributes,
)
from macmgr.model.snapshot import Entry, EntryState

_BODY = HEADER.size + NEIGHBOUR.size
_AT_ONCE = 512  # messages: a block of them and what is made of them stay in the processor's cache
_VID = struct.Struct("=H")
_CACHE_INFO = struct.Struct("=IIII")  # struct nda_cacheinfo: since confirmed, used and updated; references
_TICKS = os.sysconf("SC_CLK_TCK")

_T = TypeVar("_T")

# What Entry._make() calls, and 50 ns an entry less than calling that: a tenth of a big decode.
_MAKE: Callable[[type[Entry], tuple[Any, ...]], Entry] = tuple.__new__

_Layout = tuple[tuple[int, int, int], ...]  # type, start and stop of each attribute of the first message
_Row = tuple[int, int, int, bytes, int]  # ifindex, state, flags, MAC address, VID
_Columns = tuple[Sequence[int], Sequence[int], Sequence[int], Sequence[bytes], Iterable[int]]


def decode_entries(groups: Mapping[bytes, Sequence[bytes]], names: Mapping[int, str]) -> list[Entry]:
    """The entries of bridges' FDBs in a dump, as `wire.group` sorted it; in no particular order.

    An entry of a bridge's FDB carries NDA_MASTER, which separates ``master`` from ``self`` for bridge(8); the
    devices' own lists are left out. So are entries of an interface that is not in ``names``.
    """
    entries: list[Entry] = []
    for header, blocks in groups.items():
        length, kind, *_ = HEADER.unpack(header)
        if kind == RTM_NEWNEIGH:
            stride = length + -length % 4
            for data in _sizable(blocks, _AT_ONCE * stride):
                entries += _decode(data, length, stride, names)
    return entries


def decode_replies(messages: Iterable[bytes], names: Mapping[int, str]) -> list[Entry]:
    """The entries in answers to RTM_GETNEIGH, each a message of its own; otherwise as `decode_entries`."""
    groups: dict[bytes, list[bytes]] = {}
    for message in messages:
        header = HEADER.pack(len(message), RTM_NEWNEIGH, 0, 0, 0)  # each answer has another sequence number
        groups.setdefault(header, []).append(message + bytes(-len(message) % 4))
    return decode_entries(groups, names)


def decode_age(message: bytes) -> float | None:
    """Seconds since the entry of an answer was last changed or seen; None where the answer is about something else.

    The kernel counts them in clock ticks as user space knows them (br_fdb.c, fdb_fill_info: jiffies_to_clock_t).
    """
    if len(message) < _BODY or message[HEADER.size] != AF_BRIDGE:
        return None
    for kind, start, stop in attributes(message, _BODY, len(message)):
        if kind == NDA_CACHEINFO and stop - start >= _CACHE_INFO.size:
            return float(_CACHE_INFO.unpack_from(message, start)[2]) / _TICKS
    return None


def _sizable(blocks: Sequence[bytes], size: int) -> Iterator[bytes]:
    """The blocks, the large ones as they are (a datagram is one: 32 KiB at most), the small ones put together."""
    small: list[bytes] = []
    for block in blocks:
        if len(block) * 4 > size:
            yield block
        else:
            small.append(block)
    data = b"".join(small)
    for position in range(0, len(data), size):
        yield data[position : position + size]


def _decode(data: bytes, length: int, stride: int, names: Mapping[int, str]) -> list[Entry]:
    if length < _BODY:
        raise WireError(f"neighbour message of {length} bytes")
    layout = tuple(attributes(data, _BODY, length))
    parser = _parser(stride, layout, len(data) // stride) if data[HEADER.size] == AF_BRIDGE else None
    if parser is None or not _all_alike(data, stride, layout):
        return _entries(_transposed(_general(data, length, stride)), names)
    values = parser.unpack(data)
    width = len(values) * stride // len(data)
    columns = [values[place::width] for place in range(width)]
    return _entries(columns if width == 5 else (*columns, repeat(0)), names)  # type: ignore[arg-type]


def _all_alike(data: bytes, stride: int, layout: _Layout) -> bool:
    """Every message has its attributes where the first one has them. Compared byte column by byte column."""
    count = len(data) // stride
    fixed = [HEADER.size, *(start - 4 + byte for _, start, _ in layout for byte in range(4))]
    return all(data[offset::stride] == data[offset : offset + 1] * count for offset in fixed)


@lru_cache(maxsize=64)
def _parser(stride: int, layout: _Layout, count: int) -> struct.Struct | None:
    """The reader of ``count`` rows of `_Row`, VID only where there is one; None for a layout that no bridge sends."""
    places = {kind: (start, stop - start) for kind, start, stop in layout}
    mac, vid = places.get(NDA_LLADDR, (0, 0)), places.get(NDA_VLAN)
    if NDA_MASTER not in places or mac[1] != 6 or (vid and (vid[1] != 2 or vid[0] < mac[0])):
        return None
    row = f"20xiHB{mac[0] - 27}x6s"
    row += f"{stride - mac[0] - 6}x" if vid is None else f"{vid[0] - mac[0] - 6}xH{stride - vid[0] - 2}x"
    return struct.Struct("=" + row * count)


def _general(data: bytes, length: int, stride: int) -> list[_Row]:
    """The rows of messages whose attributes are not all in the same places."""
    rows = []
    for position in range(0, len(data), stride):
        end = position + length
        if length < _BODY:
            raise WireError(f"neighbour message of {length} bytes")
        family, ifindex, state, flags, _ = NEIGHBOUR.unpack_from(data, position + HEADER.size)
        found = {kind: data[start:stop] for kind, start, stop in attributes(data, position + _BODY, end)}
        mac, vid = found.get(NDA_LLADDR, b""), found.get(NDA_VLAN, b"\0\0")
        if family == AF_BRIDGE and NDA_MASTER in found and len(mac) == 6 and len(vid) == 2:
            rows.append((ifindex, state, flags, mac, _VID.unpack(vid)[0]))
    return rows


def _transposed(rows: list[_Row]) -> _Columns:
    return tuple(zip(*rows, strict=True)) if rows else ((), (), (), (), ())  # type: ignore[return-value]


def _entries(columns: _Columns, names: Mapping[int, str]) -> list[Entry]:
    ports, states, flags, macs, vids = columns
    if not names.keys() >= set(ports):
        known = [port in names for port in ports]
        ports, states, flags, macs, vids = (list(compress(column, known)) for column in columns)  # type: ignore
    rows = zip(
        map(bytes.hex, macs, repeat(":")),
        vids,
        _translated(ports, names.__getitem__),
        _translated(states, entry_state),
        _translated(flags, lambda value: bool(value & NTF_STICKY)),
        _translated(flags, lambda value: bool(value & NTF_EXT_LEARNED)),
        strict=False,  # a column of equal values is endless
    )
    return list(map(_MAKE, repeat(Entry), rows))


def _translated(column: Sequence[int], meaning: Callable[[int], _T]) -> Iterable[_T]:
    """The meaning of each number of a column that holds few different ones."""
    meanings = {number: meaning(number) for number in set(column)}
    return repeat(next(iter(meanings.values()))) if len(meanings) == 1 else map(meanings.__getitem__, column)


def entry_state(state: int) -> EntryState:
    """In the order of br_fdb.c, fdb_to_nud: local, else static, else learned."""
    if state & NUD_PERMANENT:
        return EntryState.LOCAL
    return EntryState.STATIC if state & NUD_NOARP else EntryState.DYNAMIC
