"""Decodes devices for the doctor: stacking, promiscuity, XDP programs, and `self` lists.

The doctor reads them rarely, so each message is walked attribute by attribute. Sources: net/core/rtnetlink.c
(rtnl_fill_ifinfo, rtnl_xdp_fill, ndo_dflt_fdb_dump), net/bridge/br_netlink.c, drivers/net/macvlan.c, net/8021q.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import ip_address

from macmgr.kernel import wire
from macmgr.kernel.attributes import (
    IFF_UP,
    IFLA_ADDRESS,
    IFLA_BR_VLAN_DEFAULT_PVID,
    IFLA_BR_VLAN_FILTERING,
    IFLA_IFNAME,
    IFLA_INFO_DATA,
    IFLA_INFO_KIND,
    IFLA_INFO_SLAVE_DATA,
    IFLA_INFO_SLAVE_KIND,
    IFLA_LINK,
    IFLA_LINK_NETNSID,
    IFLA_LINKINFO,
    IFLA_PROMISCUITY,
    IFLA_VLAN_ID,
    read_number,
    read_text,
)
from macmgr.kernel.netlink import Connection
from macmgr.kernel.sockets import read_drivers, read_packet_sockets
from macmgr.kernel.wire import HEADER, IFLA_MASTER, LINK, NEIGHBOUR
from macmgr.model.devices import STACKED, Device, DeviceFacts, Features, Xdp
from macmgr.model.flags import LOCKED

IFF_PROMISC = 0x100
IFLA_XDP = 43
IFLA_MACVLAN_MODE, IFLA_MACVLAN_FLAGS = 1, 2
MACVLAN_MODE_PASSTHRU, MACVLAN_FLAG_NOPROMISC = 8, 1
IFLA_XDP_PROG_ID = 4
XDP_MODES = {5: "xdpdrv", 6: "xdpgeneric", 7: "xdpoffload"}  # IFLA_XDP_DRV_PROG_ID and so on
IFLA_BR_FDB_MAX_LEARNED = 49
IFLA_BRPORT_MRP_RING_OPEN = 35

# What an address in a `self` list carries that is none of the device's own
_NOT_ITS_OWN = frozenset({wire.NDA_MASTER, wire.NDA_DST, wire.NDA_NH_ID})

_LINK_BODY = HEADER.size + LINK.size
_NEIGHBOUR_BODY = HEADER.size + NEIGHBOUR.size
_Attributes = dict[int, bytes]


def read_devices(connection: Connection, netns: str | None) -> DeviceFacts:
    """Reads all devices and changes nothing. ``netns`` is the namespace that ``connection`` belongs to.

    The `self` lists of taps are not read: taps filter nothing, and there may be a thousand.
    """
    links = list(
        wire.grouped_messages(
            connection.dump(wire.link_dump(), "reading the interfaces"), (wire.RTM_NEWLINK,), _LINK_BODY
        )
    )
    names = {LINK.unpack_from(message, HEADER.size)[2]: _name(message) for message in links}
    devices = {device.name: device for device in (_device(message, names) for message in links)}
    bridge_ports = {name for name, device in devices.items() if _is_bridge(devices.get(device.master or ""))}
    facts = DeviceFacts(devices)
    wanted = {port for port in bridge_ports if devices[port].kind != "tun"}
    wanted |= {lower.name for port in wanted for lower in facts.below(port)}
    wanted |= {name for name, device in devices.items() if _is_bridge(device)}
    for name in wanted:
        addresses, behind = _self_list(connection, devices[name])
        devices[name] = replace(devices[name], addresses=addresses, behind=behind)
    for name, driver in read_drivers([name for name in wanted if not devices[name].kind], netns).items():
        devices[name] = replace(devices[name], driver=driver)
    return DeviceFacts(devices, tuple(read_packet_sockets(names, netns)), _features(links))


def set_vlan_filtering(ifindex: int) -> wire.Message:
    """Returns the RTM_NEWLINK that turns VLAN filtering on for a bridge, and sets nothing else (br_changelink)."""
    data = wire.attribute(IFLA_INFO_DATA | wire.NLA_F_NESTED, wire.attribute(IFLA_BR_VLAN_FILTERING, b"\1"))
    info = wire.attribute(IFLA_LINKINFO | wire.NLA_F_NESTED, wire.attribute(IFLA_INFO_KIND, b"bridge\0") + data)
    return (wire.RTM_NEWLINK, wire.NLM_F_REQUEST, LINK.pack(wire.AF_UNSPEC, 0, ifindex, 0, 0) + info)


def _device(message: bytes, names: Mapping[int, str]) -> Device:
    _, _, ifindex, flags, _ = LINK.unpack_from(message, HEADER.size)
    found = _attributes(message, _LINK_BODY)
    info = _attributes(found.get(IFLA_LINKINFO, b""))
    data = _attributes(info.get(IFLA_INFO_DATA, b""))
    kind = read_text(info.get(IFLA_INFO_KIND, b""))
    elsewhere = IFLA_LINK_NETNSID in found
    lower = read_number(found.get(IFLA_LINK, b""))
    if lower == ifindex:  # some kernels say of a device that is stacked on nothing that it is stacked on itself
        lower = 0
    return Device(
        name=names[ifindex],
        ifindex=ifindex,
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        kind=kind,
        master=names.get(read_number(found.get(IFLA_MASTER, b""))),
        lower=names.get(lower) if not elsewhere else None,
        lower_elsewhere=elsewhere and kind in STACKED,
        up=bool(flags & IFF_UP),
        promiscuity=read_number(found.get(IFLA_PROMISCUITY, b"")),
        administrator=bool(flags & IFF_PROMISC),
        vid=read_number(data.get(IFLA_VLAN_ID, b"")) if kind == "vlan" else None,
        passthru=kind in ("macvlan", "macvtap")
        and read_number(data.get(IFLA_MACVLAN_MODE, b"")) == MACVLAN_MODE_PASSTHRU
        and not read_number(data.get(IFLA_MACVLAN_FLAGS, b"")) & MACVLAN_FLAG_NOPROMISC,
        xdp=_xdp(_attributes(found.get(IFLA_XDP, b""))),
    )


def _xdp(found: _Attributes) -> tuple[Xdp, ...]:
    """The program of each mode. A kernel before 4.20 names one program without its mode."""
    by_mode = [Xdp(mode, read_number(found[kind])) for kind, mode in XDP_MODES.items() if kind in found]
    alone = [Xdp("xdp", read_number(found[IFLA_XDP_PROG_ID]))] if IFLA_XDP_PROG_ID in found else []
    return tuple(by_mode or alone)


def _features(links: Iterable[bytes]) -> Features:
    """The features of the kernel: it does not know an attribute that no bridge and no bridge port reports."""
    bridge: set[int] = set()
    port: set[int] = set()
    for message in links:
        info = _attributes(_attributes(message, _LINK_BODY).get(IFLA_LINKINFO, b""))
        if read_text(info.get(IFLA_INFO_KIND, b"")) == "bridge":
            bridge |= _attributes(info.get(IFLA_INFO_DATA, b"")).keys()
        if read_text(info.get(IFLA_INFO_SLAVE_KIND, b"")) == "bridge":
            port |= _attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")).keys()
    return Features(
        vlan_filtering=IFLA_BR_VLAN_DEFAULT_PVID in bridge if bridge else None,
        ring_state=IFLA_BRPORT_MRP_RING_OPEN in port if port else None,
        locked=LOCKED.number in port if port else None,
        learned_limit=IFLA_BR_FDB_MAX_LEARNED in bridge if bridge else None,
    )


def _self_list(connection: Connection, device: Device) -> tuple[frozenset[str], dict[str, tuple[str, ...]]]:
    """The device's own unicast addresses (dev->uc), and those that it leads to on other hosts.

    Entries of its bridge's FDB carry NDA_MASTER and are left out. So are those of a vxlan: they are other hosts'
    addresses, each with its host (NDA_DST) or nexthop (NDA_NH_ID), and the vxlan receives for none of them.
    """
    operation = f"reading the addresses of {device.name}"
    found: set[str] = set()
    behind: dict[str, tuple[str, ...]] = {}
    groups = connection.dump(wire.fdb_dump(port=device.ifindex), operation)
    for message in wire.grouped_messages(groups, (wire.RTM_NEWNEIGH,), _NEIGHBOUR_BODY):
        attributes = _attributes(message, _NEIGHBOUR_BODY)
        mac = attributes.get(wire.NDA_LLADDR, b"")
        if attributes.keys().isdisjoint(_NOT_ITS_OWN) and len(mac) == 6 and not mac[0] & 1:
            found.add(mac.hex(":"))
        far = attributes.get(wire.NDA_DST, b"")
        if wire.NDA_MASTER not in attributes and len(far) in (4, 16) and len(mac) == 6 and any(mac) and not mac[0] & 1:
            behind[mac.hex(":")] = (*behind.get(mac.hex(":"), ()), str(ip_address(far)))
    return frozenset(found), behind


def _attributes(data: bytes, position: int = 0) -> _Attributes:
    return {kind: data[start:stop] for kind, start, stop in wire.attributes(data, position, len(data))}


def _is_bridge(device: Device | None) -> bool:
    return device is not None and device.kind == "bridge"


def _name(message: bytes) -> str:
    return read_text(_attributes(message, _LINK_BODY).get(IFLA_IFNAME, b""))
