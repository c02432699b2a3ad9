"""The kernel's facts about network devices beyond the bridge: promiscuity and its causes, and filters.

Plain records: the netlink edge fills them, and the doctor reads them. A snapshot does not hold them, because no plan
depends on them. Sources: net/core/dev.c (__dev_set_promiscuity), net/packet/diag.c, include/uapi/linux/if_link.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

# Kinds whose frames are those of the device below, at most in a VLAN. (IFLA_LINK of a veth is its peer, and of a tunnel
# the device its packets leave by: neither passes addresses or promiscuity on.)
STACKED = frozenset({"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"})
BUNDLES = frozenset({"bond", "team"})


@dataclass(frozen=True, slots=True)
class Xdp:
    """An XDP program on a device: it sees each frame before the bridge does. ``mode`` in ip-link(8)'s words."""

    mode: str
    program: int


@dataclass(frozen=True, slots=True)
class PacketSocket:
    """An open packet socket: a capture, a DHCP client, an LLDP daemon.

    ``device`` is the interface it is bound to; empty for all. ``promiscuous`` are the interfaces it asks to be
    promiscuous; None if the kernel does not report it (no packet_diag). ``program`` and ``pid`` are those of one
    process that holds it, if visible.
    """

    inode: int
    device: str = ""
    promiscuous: tuple[str, ...] | None = None
    program: str = ""
    pid: int | None = None

    @property
    def who(self) -> str:
        return f"{self.program} (pid {self.pid})" if self.pid is not None else "a process that cannot be seen from here"


@dataclass(frozen=True, slots=True)
class Device:
    """A network device. ``lower`` is the device below it; ``lower_elsewhere``: that device is not in sight.

    ``administrator`` is the IFF_PROMISC flag, which shows only an administrator's setting (dev_get_flags).
    ``addresses`` is its ``self`` list: the unicast addresses its filter must let in besides its own; None if it was not
    read. ``behind`` are the addresses that a vxlan leads to on other hosts, each with those hosts (VTEPs).
    """

    name: str
    ifindex: int
    mac: str = ""
    kind: str = ""
    driver: str = ""
    master: str | None = None
    lower: str | None = None
    lower_elsewhere: bool = False
    up: bool = True
    promiscuity: int = 0
    administrator: bool = False
    vid: int | None = None
    passthru: bool = False
    xdp: tuple[Xdp, ...] = ()
    addresses: frozenset[str] | None = None
    behind: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Features:
    """The features that this kernel's bridges show by the attributes they report; None if nothing could show it."""

    vlan_filtering: bool | None = None  # CONFIG_BRIDGE_VLAN_FILTERING
    ring_state: bool | None = None  # IFLA_BRPORT_MRP_RING_OPEN, 5.8: macmgr does not use it; it shows the kernel's age
    locked: bool | None = None  # 5.18
    learned_limit: bool | None = None  # 6.7


@dataclass(frozen=True, slots=True)
class DeviceFacts:
    """One reading of the devices of a network namespace."""

    devices: Mapping[str, Device] = field(default_factory=dict)
    sockets: tuple[PacketSocket, ...] = ()
    features: Features = Features()

    def uppers(self, name: str) -> list[Device]:
        """Returns the devices stacked on a device (8021q, macvlan, macvtap), by name. A master is none of them."""
        found = (each for each in self.devices.values() if each.lower == name and each.kind in STACKED)
        return sorted(found, key=lambda each: each.name)

    def below(self, name: str) -> Iterator[Device]:
        """Yields the devices that carry a device's frames, from the top down: the device below, the ports of a bond."""
        device = self.devices.get(name)
        waiting = self._next(device) if device else []
        seen = {name}
        while waiting:
            device = waiting.pop(0)
            if device.name not in seen:
                seen.add(device.name)
                yield device
                waiting += self._next(device)

    def _next(self, device: Device) -> list[Device]:
        if device.kind in BUNDLES:
            return sorted((d for d in self.devices.values() if d.master == device.name), key=lambda each: each.ifindex)
        lower = self.devices.get(device.lower or "") if device.kind in STACKED else None
        return [lower] if lower else []
