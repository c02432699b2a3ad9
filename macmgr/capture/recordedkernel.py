"""The kernel of a capture: it answers as the one that was captured would have, and takes no changes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from types import TracebackType

from macmgr.errors import CaptureError, MacmgrError
from macmgr.execution import Refusal
from macmgr.model.changes import Request
from macmgr.model.devices import DeviceFacts
from macmgr.model.roles import unsure_cables
from macmgr.model.snapshot import MOST_LISTED, Bridge, Entry, Key, Snapshot

_NO_HOST = "a capture is no host: nothing can be changed in it"
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class RecordedKernel:
    """``whole`` is all that was read of bridges: each FDB to its end, the groups, and the times of refreshed entries.

    ``devices`` are the doctor's facts, or the error that was met when they were read.
    """

    whole: Snapshot
    devices: DeviceFacts | MacmgrError = DeviceFacts()  # noqa: RUF009 - frozen

    def __enter__(self) -> RecordedKernel:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def read_snapshot(
        self,
        bridges: Collection[str] | None = None,
        ports: Collection[str] = (),
        *,
        whole: bool = False,
        if_open: Collection[str] | None = None,
    ) -> Snapshot:
        """As `macmgr.kernel.edge.Kernel.read_snapshot`: a table that is too long is not read to its end there.

        Nobody is in a hurry here, so open and closed ports are alike.
        """
        ports = {*ports, *(if_open or ())}
        there = self.whole
        asked = there.bridges.keys() if bridges is None else there.bridges.keys() & {*bridges}
        unlimited = whole or bridges is None
        places = {**{name: name for name in there.bridges}, **{name: port.bridge for name, port in there.ports.items()}}
        lengths = Counter(places.get(entry.port, "") for entry in there.entries)
        listed = frozenset(name for name in asked if unlimited or lengths[name] <= MOST_LISTED)
        wanted = {name for name, bridge in places.items() if bridge in listed}
        wanted |= {name for name, bridge in places.items() if bridge in asked and (name in ports or name == bridge)}
        entries = tuple(entry for entry in there.entries if entry.port in wanted)
        unasked = {name: replace(port, outward=False) for name, port in there.ports.items() if port.outward}
        if unasked:  # the other ends of cables are looked at where they tell an uplink
            sure = there.ports.keys() - unsure_cables({**there.ports, **unasked}.values(), bridges)
            unasked = {name: port for name, port in unasked.items() if name in sure}
        snapshot = replace(there, ports={**there.ports, **unasked}, entries=entries, refreshed={}, mdb={})
        if listed == there.bridges.keys():
            return snapshot
        listed_ports = {port.name for port in there.ports.values() if port.bridge in asked}.intersection(ports)
        return replace(snapshot, listed=listed, listed_ports=frozenset(listed_ports))

    def look_up(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, Entry | None]:
        return self.whole.fdb.at_all(keys)

    def refreshed(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, tuple[float, float]]:
        return {key: self.whole.refreshed[key] for key in keys if key in self.whole.refreshed}

    def read_groups(self, snapshot: Snapshot) -> Snapshot:
        return replace(snapshot, mdb=self.whole.mdb)

    def read_devices(self) -> DeviceFacts:
        if isinstance(self.devices, MacmgrError):
            raise self.devices
        return self.devices

    def send(self, requests: Sequence[Request], snapshot: Snapshot) -> Sequence[Refusal | None]:
        raise CaptureError(_NO_HOST)

    def turn_vlan_filtering_on(self, bridge: Bridge) -> None:
        raise CaptureError(_NO_HOST)


def check_snapshot(snapshot: Snapshot) -> None:
    """ValueError for what the netlink edge never makes: a stranger's file must not lead the rest astray."""
    bridges, ports = snapshot.bridges, snapshot.ports
    if any(name != each.name for records in (bridges, ports) for name, each in records.items()):
        raise ValueError("an interface under another's name")
    if strange := {port.bridge for port in ports.values()} - bridges.keys():
        raise ValueError(f"a port of {min(strange)[:20]!r}, which is no bridge")
    if strange := {each.bridge for each in snapshot.stacked} - bridges.keys() | snapshot.mdb.keys() - bridges.keys():
        raise ValueError(f"{min(strange)[:20]!r} is no bridge")
    if strange := {entry.port for entry in snapshot.entries} - bridges.keys() - ports.keys():
        raise ValueError(f"an FDB entry on {min(strange)[:20]!r}, which is no bridge port")
    macs = {entry.mac for entry in snapshot.entries}
    macs |= {each.mac for records in (bridges, ports) for each in records.values()} - {""}
    if wrong := [mac for mac in macs if not _MAC.fullmatch(mac)]:
        raise ValueError(f"{wrong[0][:20]!r} is no MAC address")
