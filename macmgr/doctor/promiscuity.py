"""Finds what makes a device promiscuous: every visible cause by name, and the rest as unexplained.

The kernel counts the users of promiscuous mode (IFLA_PROMISCUITY). The bridge is at most one of them. It holds a port
while VLAN filtering is off, while the bridge device itself is promiscuous, while another port learns or floods, or
where the device cannot filter (net/bridge/br_if.c, br_manage_promisc). The other users are packet sockets,
administrators, and devices stacked on the port (net/core/dev.c). Users without a visible cause are reported as
unexplained. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from macmgr.doctor.nicfilters import Filter, filter_of
from macmgr.model.devices import Device, DeviceFacts, PacketSocket
from macmgr.model.intent import GuestPort
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Bridge, BridgePort


class Reason(StrEnum):
    """The reason why a device is promiscuous, as one word for scripts."""

    NO_VLAN_FILTERING = "kernel-without-vlan-filtering"
    VLAN_FILTERING_OFF = "vlan-filtering-off"
    BRIDGE = "bridge-promiscuous"
    AUTO_PORT = "auto-port"
    SECOND_UPLINK = "second-uplink"
    NO_UNICAST_FILTER = "no-unicast-filter"
    ADMINISTRATOR = "administrator"
    PACKET_SOCKET = "packet-socket"
    UPPER_DEVICE = "upper-device"
    OWN_ADDRESSES = "own-addresses"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why a device is promiscuous. ``subject`` is the port, device or program behind it.

    ``certain`` is False for a possible cause that nothing distinguishes from another one. ``pid`` is set for a program.
    """

    reason: Reason
    subject: str
    text: str
    certain: bool = True
    pid: int | None = None


@dataclass(frozen=True, slots=True)
class Member:
    port: BridgePort
    role: Role
    device: Device
    guest: GuestPort | None = None

    @property
    def name(self) -> str:
        return self.port.name

    @property
    def what(self) -> str:
        return self.device.kind or self.device.driver or "physical"

    @property
    def who(self) -> str:
        if self.guest is not None:
            policy = self.guest.policy
            return f"{self.name} of {self.guest.domain} (manager {policy.manager}; {policy.reason})"
        return f"{self.name}, {self.role.phrase} ({self.what}),"

    @property
    def auto_words(self) -> str:
        """The reasons why it is an auto port; empty if it is none."""
        flags = self.port.flags
        words = ["learns"] * flags.learning + ["floods"] * flags.unicast_flood
        down = " (it is down, but still counts)" if words and not self.port.up else ""
        return " and ".join(words) + down


def members(bridge: str, ports: Sequence[BridgePort], guests: dict[str, GuestPort], facts: DeviceFacts) -> list[Member]:
    own = sorted((port for port in ports if port.bridge == bridge), key=lambda port: port.ifindex)
    roles = roles_of(own, guests)
    found = []
    for port in own:
        device = facts.devices.get(port.name) or Device(port.name, port.ifindex, port.mac, port.kind)
        found.append(Member(port, roles[port.name], device, guests.get(port.name)))
    return sorted(found, key=lambda member: 0 if member.role.leads_out else 2 if member.role is Role.GUEST else 1)


def bridge_rule(member: Member, bridge: Bridge, all_members: Sequence[Member], facts: DeviceFacts) -> list[Cause]:
    """Returns the bridge's reasons to hold a port promiscuous, whatever the device can do; empty if it has none."""
    causes = []
    if facts.features.vlan_filtering is False:
        text = "this kernel's bridge has no VLAN filtering: every port is promiscuous, always"
        causes.append(Cause(Reason.NO_VLAN_FILTERING, bridge.name, text))
    elif not bridge.vlan_filtering:
        text = f"VLAN filtering is off on {bridge.name}: every port is promiscuous"
        causes.append(Cause(Reason.VLAN_FILTERING_OFF, bridge.name, text))
    if bridge.promiscuity:
        text = f"{bridge.name} itself is promiscuous, and so is every port then"
        causes.append(Cause(Reason.BRIDGE, bridge.name, text))
    for other in all_members:
        if other.port.auto and other.name != member.name:
            uplinks = other.role.leads_out and member.role.leads_out
            reason = Reason.SECOND_UPLINK if uplinks else Reason.AUTO_PORT
            causes.append(Cause(reason, other.name, f"{other.who} {other.auto_words}"))
    return causes


def port_causes(member: Member, rule: Sequence[Cause], facts: DeviceFacts) -> list[Cause]:
    """Returns every visible cause for one port, the bridge's own first; empty if the port is not promiscuous."""
    if not member.port.promiscuity:
        return []
    outside = outside_causes(member.device, facts)
    known = member_filter(member, rule, facts)
    causes = list(rule)
    if not rule and known.filters is False:
        causes.append(cannot_filter(member, known))
    left = member.port.promiscuity - bool(causes) - len(outside)
    causes += outside
    if left > 0:
        suspects = _suspects(member.device, facts)
        if not rule and known.filters is None:
            suspects.append(cannot_filter(member, known))
        causes += suspects or [_unseen(member.name, left)]
    return causes


def cannot_filter(member: Member, known: Filter) -> Cause:
    """A device without a unicast filter becomes promiscuous as soon as it must receive for others."""
    if known.filters is False:
        text = f"{member.name} cannot filter unicast addresses: {known.source}"
        return Cause(Reason.NO_UNICAST_FILTER, member.name, text)
    text = f"perhaps {member.name} cannot filter unicast addresses: {known.source}, and the kernel does not show it"
    return Cause(Reason.NO_UNICAST_FILTER, member.name, text, certain=False)


def member_filter(member: Member, rule: Sequence[Cause], facts: DeviceFacts) -> Filter:
    """The device filters if its state proves it; otherwise the tables decide.

    The proof: it may leave promiscuous mode, it is up, its list has addresses, and only the visible causes keep it
    promiscuous. Without a filter the kernel would have made it promiscuous itself (__dev_set_rx_mode).
    """
    device, known = member.device, filter_of(member.device)
    held = member.port.promiscuity - len(outside_causes(device, facts))
    if not rule and known.filters is not False and device.addresses and device.up and held <= 0:
        return Filter(True, "the kernel has let it leave promiscuous mode with addresses in its list")
    return known


def outside_causes(device: Device, facts: DeviceFacts) -> list[Cause]:
    """Returns every cause other than a bridge, one for each user that the kernel counts."""
    causes = []
    if device.administrator:
        text = f"an administrator set {device.name} promiscuous (its IFF_PROMISC flag)"
        causes.append(Cause(Reason.ADMINISTRATOR, device.name, text))
    for each in facts.sockets:
        for _ in [name for name in each.promiscuous or () if name == device.name]:
            text = f"a packet socket of {each.who} asks for promiscuous mode on {device.name}"
            causes.append(Cause(Reason.PACKET_SOCKET, _subject(each), text, pid=each.pid))
    causes += _upper_causes(device, facts)
    if device.up and device.addresses and filter_of(device).filters is False:
        text = (
            f"{device.name} must receive for {_addresses(device.addresses)} in addition to its own, but cannot filter"
        )
        owners = [upper.name for upper in facts.uppers(device.name) if upper.mac in device.addresses]
        text += f" (of {', '.join(owners)})" if owners else ""
        causes.append(Cause(Reason.OWN_ADDRESSES, device.name, text))
    return causes


def bridge_causes(bridge: Bridge, facts: DeviceFacts) -> list[Cause]:
    """Returns the bridge device's own causes: they make every port promiscuous (br_dev_change_rx_flags)."""
    device = facts.devices.get(bridge.name)
    if not bridge.promiscuity or device is None:
        return []
    causes = outside_causes(device, facts)
    left = bridge.promiscuity - len(causes)
    if left > 0:
        causes += _suspects(device, facts) or [_unseen(bridge.name, left)]
    return causes


def lower_causes(device: Device, facts: DeviceFacts) -> list[Cause]:
    causes = outside_causes(device, facts)
    master = facts.devices.get(device.master or "")
    if master is not None and master.promiscuity:
        text = f"{master.name} above it is promiscuous"
        causes.append(Cause(Reason.UPPER_DEVICE, master.name, text))
    left = device.promiscuity - len(causes)
    if not device.promiscuity or left <= 0:
        return causes if device.promiscuity else []
    return causes + (_suspects(device, facts) or [_unseen(device.name, left)])


def _upper_causes(device: Device, facts: DeviceFacts) -> Iterator[Cause]:
    """Stacked devices pass promiscuous mode on (vlan_dev_change_rx_flags; macvlan_open in passthru mode)."""
    for upper in facts.uppers(device.name):
        if upper.up and upper.passthru:
            text = f"{upper.name} ({upper.kind} in passthru mode) on {device.name} takes every frame"
            yield Cause(Reason.UPPER_DEVICE, upper.name, text)
        elif upper.up and upper.kind == "vlan" and upper.promiscuity:
            why = "; ".join(cause.text for cause in outside_causes(upper, facts))
            text = f"{upper.name} (VLAN {upper.vid}) on {device.name} is promiscuous and passes that on"
            yield Cause(Reason.UPPER_DEVICE, upper.name, f"{text}: {why}" if why else text)


def _suspects(device: Device, facts: DeviceFacts) -> list[Cause]:
    """Packet sockets with a request that this kernel does not show. Our own daemon's ask for nothing."""
    near = [
        each
        for each in facts.sockets
        if each.promiscuous is None and each.device in ("", device.name) and each.program != "macmgr"
    ]
    return [
        Cause(
            Reason.PACKET_SOCKET,
            _subject(each),
            f"perhaps a packet socket of {each.who}, bound to {each.device or 'every interface'}: "
            "this kernel does not show what it asks for",
            certain=False,
            pid=each.pid,
        )
        for each in near
    ]


def _unseen(name: str, count: int) -> Cause:
    users = "one more user" if count == 1 else f"{count} more users"
    text = f"{users} of promiscuous mode on {name} cannot be seen from here (a kernel module, or another namespace)"
    return Cause(Reason.UNSEEN, name, text, certain=False)


def _subject(each: PacketSocket) -> str:
    return each.who if each.pid is not None else f"socket {each.inode}"


def _addresses(addresses: frozenset[str]) -> str:
    some = ", ".join(sorted(addresses)[:3])
    return some if len(addresses) <= 3 else f"{some} and {len(addresses) - 3} more addresses"
