"""Which NICs have no port on a Linux bridge of this host, and why."""

from __future__ import annotations

from macmgr.model.mac import ZERO
from macmgr.options import quoted
from macmgr.policy.policysources import PolicySources
from macmgr.readers.domain import Nic

# Why a NIC of a type has no port on a Linux bridge.
_PORTLESS = {
    "ethernet": "libvirt does not say which bridge its tap is on: somebody else's script decides",
    "direct": "a macvtap: its address is in the own list of the device below it",
    "hostdev": "a PCI device passed to the guest: it has no tap",
    "vdpa": "a vDPA device: its frames do not pass a bridge of this host",
    "vhostuser": "a vhost-user socket: the switch behind it has a MAC table of its own",
    "user": "user-mode networking: its frames do not pass a bridge",
    "server": "a socket between QEMU processes",
    "client": "a socket between QEMU processes",
    "mcast": "a socket between QEMU processes",
    "udp": "a socket between QEMU processes",
    "internal": "a network inside another hypervisor",
    "null": "not connected to anything",
    "vds": "a VMware distributed switch",
}
# libvirt's other types of <virtualport> (virNetDevVPort in src/util/virnetdevvportprofile.c)
_VIRTUALPORTS = ("802.1Qbg", "802.1Qbh", "midonet")


def why_portless(nic: Nic, sources: PolicySources) -> str:
    """Why a NIC has no port on a Linux bridge; empty where it has one."""
    virtualport = sources.inherit(nic, "virtualport")
    if nic.mac == ZERO:
        return "its address is zero, for which a bridge can have no entry"
    if nic.kind in _PORTLESS:
        return _PORTLESS[nic.kind]
    if nic.kind not in ("bridge", "network"):
        return "an interface type that macmgr does not know to have a port on a Linux bridge"
    if virtualport == "openvswitch":
        return "an Open vSwitch port: Open vSwitch has a MAC table of its own"
    if virtualport:
        what = quoted(virtualport, _VIRTUALPORTS, other="unknown")
        return f"a virtual port of type {what}, which is not a Linux bridge's"
    if not sources.bridge(nic):
        return "no bridge is known for it: its network is not active, or has none"
    return "" if nic.tap else "it has no tap yet"


def kind_of(nic: Nic) -> str:
    """The interface type as it may be shown: libvirt's word, and not whatever stands in its place."""
    return nic.kind if nic.kind in ("bridge", "network", *_PORTLESS) else "unknown"
