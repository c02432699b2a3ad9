"""A bridge with an uplink and a guest as records, for the doctor's unit tests; each test spoils what it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, fields, is_dataclass, replace
from typing import Any, TypeVar

from macmgr.doctor.diagnose import BridgeDiagnosis, PortDiagnosis, diagnose
from macmgr.doctor.promiscuity import Reason
from macmgr.model.devices import Device, DeviceFacts, Features, PacketSocket
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags, Snapshot
from macmgr.model.vids import PortVids

T = TypeVar("T", Bridge, BridgePort)
CLOSED = PortFlags(learning=False, unicast_flood=False)
OPEN = PortFlags()
MODERN = Features(vlan_filtering=True, ring_state=True, locked=True, learned_limit=True)
WEB = "52:54:00:00:00:01"
CAPTURE = PacketSocket(77, "up0", ("up0",), "tcpdump", 123)


def tap(name: str = "vnet0", flags: PortFlags = CLOSED, **more: object) -> BridgePort:
    number = int(name.removeprefix("vnet"))
    port = BridgePort(name, 10 + number, "br0", f"fe:54:00:00:00:{number:02x}", flags, (1,), 1, 1, kind="tun")
    return replace(port, **more)  # type: ignore[arg-type]


def guest(port: str = "vnet0", manager: Manager = Manager.LIBVIRT, mac: str = WEB, **more: object) -> GuestPort:
    policy = Policy(manager) if manager is Manager.KERNEL else Policy(manager, "network lan: macTableManager")
    made = GuestPort(port, "br0", f"guest-{port}", "", (mac,), "net0", policy=policy)
    return replace(made, **more)  # type: ignore[arg-type]


def uplink(name: str = "up0", promiscuity: int = 0, flags: PortFlags = OPEN, **more: object) -> BridgePort:
    port = BridgePort(name, 3, "br0", "02:00:00:00:00:03", flags, (1,), 1, promiscuity)
    return replace(port, **more)  # type: ignore[arg-type]


def device(port: BridgePort, driver: str = "", **more: object) -> Device:
    made = Device(port.name, port.ifindex, port.mac, port.kind, driver, port.bridge, promiscuity=port.promiscuity)
    return replace(made, **more)  # type: ignore[arg-type]


class World:
    """br0 with VLAN filtering, the uplink up0 (e1000e) at rest, and vnet0 of a guest, closed; tests change it."""

    def __init__(self) -> None:
        self.vlans: dict[str, PortVids] = {}  # instead of those that a port or bridge has
        self.bridge = Bridge("br0", 2, "02:00:00:00:00:02", vlan_filtering=True)
        self.ports = [uplink(), tap()]
        self.guests = [guest()]
        self.entries = [Entry(WEB, vid, "vnet0", sticky=True) for vid in (0, 1)]
        self.devices: dict[str, Device] = {}
        self.sockets: list[PacketSocket] = []
        self.features = MODERN
        self.managed = {"br0": "network lan"}

    @property
    def snapshot(self) -> Snapshot:
        masters: dict[str, str | None] = {port.name: port.bridge for port in self.ports}
        ports = {port.name: self._in_its_vlans(port) for port in self.ports}
        return Snapshot({"br0": self._in_its_vlans(self.bridge)}, ports, masters | {"br0": None}, tuple(self.entries))

    def _in_its_vlans(self, there: T) -> T:
        if there.name not in self.vlans:
            return there
        vids, pvid, untagged = astuple(self.vlans[there.name])
        return replace(there, vids=tuple(vids), pvid=pvid, untagged=tuple(untagged))

    @property
    def facts(self) -> DeviceFacts:
        devices = {port.name: device(port, "" if port.kind else "e1000e") for port in self.ports}
        devices["br0"] = Device("br0", 2, self.bridge.mac, "bridge", promiscuity=self.bridge.promiscuity)
        return DeviceFacts(devices | self.devices, tuple(self.sockets), self.features)

    def diagnose(self) -> BridgeDiagnosis:
        intent = Intent(tuple(self.guests), self.managed)
        return diagnose(intent, self.snapshot, self.facts, [], "br0").bridges[0]

    def port(self, name: str = "up0") -> PortDiagnosis:
        return next(port for port in self.diagnose().ports if port.member.name == name)

    def causes(self, name: str = "up0") -> list[tuple[Reason, str]]:
        return [(cause.reason, cause.subject) for cause in self.port(name).causes]

    def text(self, name: str = "up0") -> str:
        return " | ".join(cause.text for cause in self.port(name).causes)


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same records, where what has a name in ``names`` is called otherwise."""
    if isinstance(value, str):
        return names.get(value, value) if type(value) is str else value
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{field.name: renamed(getattr(value, field.name), names) for field in fields(value)})
    if isinstance(value, Mapping):
        return {renamed(key, names): renamed(each, names) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(renamed(each, names) for each in value))
    if isinstance(value, tuple | list | frozenset):
        return type(value)(renamed(each, names) for each in value)
    return value
