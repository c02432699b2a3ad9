"""The records of what is neither wanted nor read: memory, sightings, refusals.

Plain records, which the planner gets as its third argument. What is remembered, and how a restarted macmgr recognises
it: docs/adr/0004. What is seen behind guests' ports: docs/adr/0009.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from macmgr.model.snapshot import BridgePort, Entry, EntryState, Feature, Key, PortFlags, Snapshot

Refused = frozenset[tuple[str, str, int]]
"""(port, MAC, VID) of entries that were just put in vain: the kernel refused them, or somebody takes them away."""


@dataclass(frozen=True, slots=True)
class Held:
    """The VIDs in which a MAC had a static entry that led to a port, sticky or not."""

    mac: str
    sticky: bool
    vids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PortBefore:
    """A bridge port as it was before macmgr first changed it. An uplink is no domain's: ``domain`` is empty.

    A name alone says nothing: taps and bridges are made again under the same one, and a port that changes its bridge
    loses its entries and gets the flags of a new port (br_if.c, del_nbp).
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
        """The static entries that led to the port."""
        for held in self.held:
            for vid in held.vids:
                yield Entry(held.mac, vid, self.port, EntryState.STATIC, held.sticky)


@dataclass(frozen=True, slots=True, order=True)
class KeptMac:
    """A MAC that macmgr keeps an entry for, and the port that it leads to."""

    mac: str
    bridge: str
    domain: str
    port: str
    ifindex: int


@dataclass(frozen=True, slots=True, order=True)
class Taken:
    """An entry that was put on a guest's ``port`` while its address was learned on ``uplink``; put not after ``at``."""

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
    """All that is remembered of one network namespace.

    ``released`` are the ports, by name and ifindex, that were released and not touched since: what an administrator
    left there is not taken for macmgr's own work. ``lacks`` is what the kernel of this boot was found to be without.
    ``closed`` are the guests' ports, by name and ifindex, that were closed once: no address was learned there before.
    ``taken`` are the entries whose address was in use on an uplink when they were put.
    ``watched``: `macmgr watch` has written down what it saw behind guest ports, in this boot.

    ``lost``: there was more in this boot, and it could not be read or written. Then a guest's port of which nothing is
    remembered may be as macmgr made it, and how it was is the default (`default_flags`).
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
        """The MACs that have entries on a port by macmgr's doing."""
        return tuple(sorted({e.mac for e in self.macs if (e.port, e.ifindex) == (port.port, port.ifindex)}))


NOTHING = Memory()


@dataclass(frozen=True, slots=True)
class SeenMacs:
    """The addresses that the daemon has seen behind a guest port.

    It is about the interface ``ifindex`` with the name ``port``, and the NIC of the domain ``uuid`` whose XML gives it
    ``nic_mac``; about any other it says nothing. ``current`` is the address that the NIC was seen to use instead of its
    own, ``macs`` are those that it was seen to use in addition, the latest last. ``fresh`` are the ones among them that
    were seen since their entries were last put: they are here, wherever the FDB has them. ``moved`` have turned up
    elsewhere, or had to make room, and no entry of theirs may stay. ``full`` says that some had to make room.

    ``file_said`` is the ``currentAddress`` that libvirt's file had after ``current`` was seen: as long as it stands
    there it is older. None until a look has read the file. ``event_said`` is what libvirt's connection last said.

    ``previous`` is what the NIC used before, ``returned`` says that it had used the present one before that, and ``at``
    when it changed, or was last seen where nothing follows it (a monotonic clock's seconds): only for the daemon's own
    memory.
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
    previous: str = field(default="", compare=False)
    returned: bool = field(default=False, compare=False)
    at: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Known:
    """All that the planner gets in addition to what is wanted and what was read.

    ``seen`` is what was seen behind guest ports; what it means is decided once the kernel was read
    (`macmgr.planning.seen`). ``seen_lost``: there was more, which cannot be read any more. ``cut``: somebody
    consents to cutting off the addresses that are in use behind a port.
    """

    memory: Memory = NOTHING
    seen: tuple[SeenMacs, ...] = ()
    seen_lost: bool = False
    refused: Refused = frozenset()
    cut: bool = False

    @property
    def lacks(self) -> frozenset[Feature]:
        """The features that the kernel of this boot was found to be without."""
        return self.memory.lacks


NOTHING_KNOWN = Known()
