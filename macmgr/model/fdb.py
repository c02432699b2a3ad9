"""The FDB entries that were read, and the index over them that answers every question about them.

Names and states are those of bridge(8); sources: net/bridge/br_fdb.c, include/uapi/linux/neighbour.h.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

Key = tuple[str, str, int]
"""Bridge, MAC address, VID: the kernel keeps one entry for each."""


class EntryState(StrEnum):
    """The origin of an FDB entry, in bridge(8)'s words."""

    STATIC = "static"  # set by an administrator, NUD_NOARP: the only state a guest's entry may have
    LOCAL = "permanent"  # the bridge's own address, NUD_PERMANENT: frames go to the host
    DYNAMIC = "dynamic"  # learned, ages


class Entry(NamedTuple):
    """An FDB entry: (MAC, VID) leads to a port.

    ``port`` is an interface name; for the bridge's own addresses it is the bridge. VID 0 is the copy the
    kernel looks up while VLAN filtering is off. A tuple, for there may be a hundred thousand: a frozen dataclass
    takes four times as long to make, and to hash.
    """

    mac: str
    vid: int
    port: str
    state: EntryState = EntryState.STATIC
    sticky: bool = False
    extern_learn: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return self.mac, self.vid

    @property
    def in_words(self) -> str:
        """The state and flags, in bridge(8)'s words."""
        return " ".join([str(self.state)] + ["sticky"] * self.sticky + ["extern_learn"] * self.extern_learn)


class Fdb:
    """The entries of all bridges of a snapshot, by bridge, MAC and VID, and by port.

    Each index is made when it is first asked for: there may be a hundred thousand entries. ``bridges`` maps each
    interface to the bridge whose FDB its entries belong to; an entry on any other interface is in no index but that by
    port.
    """

    def __init__(self, entries: Sequence[Entry], bridges: Mapping[str, str]) -> None:
        self._entries, self._bridges = entries, bridges

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def at(self, bridge: str, mac: str, vid: int) -> Entry | None:
        """The entry that a bridge has for a MAC in one VID."""
        return self.of_mac(bridge, mac).get(vid)

    def of_mac(self, bridge: str, mac: str) -> Mapping[int, Entry]:
        """The entries that a bridge has for one MAC, by VID."""
        return self._by_mac.get((bridge, mac), {})

    def of_port(self, port: str) -> list[Entry]:
        """All entries that lead to one port."""
        return self._by_port.get(port, [])

    def of_bridge(self, bridge: str) -> Iterator[Entry]:
        """All entries of one bridge, in the order in which they were read."""
        return (entry for entry in self._entries if self._bridges.get(entry.port) == bridge)

    def static_on(self, port: str, bridge: str, mac: str) -> dict[int, Entry]:
        """The static entries by which a bridge leads a MAC to a port, by VID."""
        there = self.of_mac(bridge, mac).items()
        return {vid: entry for vid, entry in there if entry.port == port and entry.state is EntryState.STATIC}

    def at_all(self, keys: Iterable[Key]) -> dict[Key, Entry | None]:
        """The entries for exactly these keys; None where there is none."""
        return {key: self.at(*key) for key in keys}

    def with_found(self, found: Mapping[Key, Entry | None]) -> tuple[Entry, ...]:
        """All entries, with what was looked up by name in the place of what was read under the same keys."""
        macs = {mac for _, mac, _ in found}
        kept = (
            entry
            for entry in self._entries
            if entry.mac not in macs or (self._bridges.get(entry.port), entry.mac, entry.vid) not in found
        )
        return (*kept, *(entry for entry in found.values() if entry is not None))

    @cached_property
    def _by_mac(self) -> dict[tuple[str, str], dict[int, Entry]]:
        index: dict[tuple[str, str], dict[int, Entry]] = {}
        for entry in self._entries:
            if (bridge := self._bridges.get(entry.port)) is not None:
                index.setdefault((bridge, entry.mac), {})[entry.vid] = entry
        return index

    @cached_property
    def _by_port(self) -> dict[str, list[Entry]]:
        index: dict[str, list[Entry]] = {}
        for entry in self._entries:
            index.setdefault(entry.port, []).append(entry)
        return index
