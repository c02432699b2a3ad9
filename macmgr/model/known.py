"""The planner's knowledge that is neither wanted nor read: memory, sightings, refusals.

Plain records, the planner's third argument. The memory, and how a restarted macmgr recognises it: docs/adr/0004.
Addresses seen behind guests' ports: docs/adr/0009.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from macmgr.model.snapshot import BridgePort, Entry, EntryState, Feature, Key, PortFlags, Snapshot
from macmgr.model.vids import PortVids

Refused = frozenset[tuple[str, str, int]]
"""(port, MAC, VID) of entries that were just put in vain: the kernel refused them, or another program removes them.

Without a MAC it is about the VIDs of the port: they were just set in vain.
"""


@dataclass(frozen=True, slots=True)
class Held:
    """The VIDs in which a MAC had a static entry that led to a port, sticky or not."""

    mac: str
    sticky: bool
    vids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PortBefore:
    """A bridge port before macmgr first changed it. ``domain`` is empty for an uplink.

    A name alone proves nothing: taps and bridges are created again under the same name, and a port that changes its
    bridge loses its entries and gets the flags of a new port (br_if.c, del_nbp).

    ``vids`` are None if its guest has no ``<vlan>``. ``vids_set`` are those that macmgr set instead; None
    if it set none, or if somebody had changed them by then.
    """

    port: str
    ifindex: int
    mac: str
    bridge: str
    bridge_ifindex: int
    domain: str
    uuid: str
    flags: PortFlags
    held: tuple[Held, ...] = ()
    vids: PortVids | None = None
    vids_set: PortVids | None = None

    def is_still(self, port: BridgePort | None, snapshot: Snapshot) -> bool:
        """The record is about the interface that has the name now."""
        bridge = snapshot.bridges.get(self.bridge)
        return (
            port is not None
            and bridge is not None
            and (port.ifindex, port.mac, port.bridge) == (self.ifindex, self.mac, self.bridge)
            and bridge.ifindex == self.bridge_ifindex
        )

    def entries(self) -> Iterator[Entry]:
        for held in self.held:
            for vid in held.vids:
                yield Entry(held.mac, vid, self.port, EntryState.STATIC, held.sticky)


@dataclass(frozen=True, slots=True, order=True)
class KeptMac:
    """A MAC that macmgr keeps an entry for, and the port of the entry."""

    mac: str
    bridge: str
    domain: str
    port: str
    ifindex: int


@dataclass(frozen=True, slots=True, order=True)
class Taken:
    """An entry put on a guest's ``port`` while ``uplink`` had learned its address. It was put no later than ``at``."""

    bridge: str
    mac: str
    vid: int
    port: str
    ifindex: int
    uplink: str
    at: float

    @property
    def key(self) -> Key:
        return self.bridge, self.mac, self.vid


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of one network namespace.

    ``released`` are ports, by name and ifindex, that were released and not touched since: an administrator's settings
    there are not taken for macmgr's work. ``lacks`` are features that this boot's kernel turned out to lack. ``closed``
    are guests' ports, by name and ifindex, that were closed once: no address was learned there before. ``taken`` are
    entries whose address was in use on an uplink when they were put. ``watched``: `macmgr watch` has recorded addresses
    seen behind guest ports, in this boot.

    ``lost``: this boot's memory held more, and it could not be read or written. Then a guest's port without a record
    may still be as macmgr made it, and its former state counts as the default (`default_flags`).
    """

    ports: tuple[PortBefore, ...] = ()
    macs: tuple[KeptMac, ...] = ()
    released: tuple[tuple[str, int], ...] = ()
    lacks: frozenset[Feature] = frozenset()
    watched: bool = False
    lost: bool = False
    closed: tuple[tuple[str, int], ...] = ()
    taken: tuple[Taken, ...] = ()

    def macs_put_on(self, port: PortBefore) -> tuple[str, ...]:
        return tuple(sorted({e.mac for e in self.macs if (e.port, e.ifindex) == (port.port, port.ifindex)}))


NOTHING = Memory()


class Sighting(NamedTuple):
    """A guest sent a frame from this address. ``vid`` is the tag of the frame, None if it had none."""

    port: str
    ifindex: int
    mac: str
    vid: int | None


class NicAddress(NamedTuple):
    """A NIC's address as libvirt reports it. ``changed``: it has just changed. Otherwise libvirt was asked for it."""

    uuid: str
    alias: str
    mac: str
    changed: bool


@dataclass(frozen=True, slots=True)
class SeenMacs:
    """The addresses that the daemon has seen behind a guest port.

    The record holds for the interface ``ifindex`` with the name ``port``, and for the NIC of the domain ``uuid`` whose
    XML has ``nic_mac``; for no other. ``current`` is the address that the NIC used instead of its own. ``macs`` are the
    addresses that it used in addition, the latest last. ``fresh`` are those of them that were seen since their entries
    were last put: they are here, wherever the FDB has them. ``moved`` addresses have turned up elsewhere, or had to
    make room, and may keep no entry. ``full``: some had to make room. ``unlisted`` ones were used in addition to
    ``current``, and no policy lets them in: they are reported, and no more.

    ``file_said`` is the ``currentAddress`` in libvirt's file after ``current`` was seen: while it stands there, it is
    the older one. It is None until a look has read the file. ``event_said`` is the last report over libvirt's
    connection.

    ``previous`` is the address before the present one. ``returned``: the NIC had used the present one before that.
    ``at`` is the time of the change, or of the last sighting if nothing follows it (a monotonic clock's seconds). These
    three serve only the daemon's own memory.
    """

    port: str
    ifindex: int
    uuid: str
    nic_mac: str
    current: str = ""
    macs: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()
    full: bool = False
    file_said: str | None = ""
    event_said: str = ""
    unlisted: tuple[str, ...] = ()
    previous: str = field(default="", compare=False)
    returned: bool = field(default=False, compare=False)
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Known:
    """The planner's knowledge besides the wanted and the read state.

    ``seen`` are the sightings behind guest ports. Their meaning is decided after the kernel is read
    (`macmgr.planning.seen`). ``seen_lost``: there were more, which cannot be read. ``cut``: a person consents to
    cutting off the addresses in use behind a port. ``vlans``: a person asks for ports to be put into the VLANs of their
    XML.
    """

    memory: Memory = NOTHING
    seen: tuple[SeenMacs, ...] = ()
    seen_lost: bool = False
    refused: Refused = frozenset()
    cut: bool = False
    vlans: bool = False

    @property
    def lacks(self) -> frozenset[Feature]:
        return self.memory.lacks


NOTHING_KNOWN = Known()
