"""Asks what the other end of a cable is plugged into in another network namespace, where only that tells an uplink.

On a host that is a container itself, the cable to its network and those to its own containers look the same. The kernel
answers about another namespace if one may change its network (rtnl_get_net_ns_capable, since 4.15): it is one's own
container's. A namespace that one may not look into is that of the host outside.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping, Sequence

from macmgr.kernel import wire
from macmgr.kernel.attributes import IFLA_INFO_SLAVE_KIND, IFLA_LINKINFO, read_text
from macmgr.kernel.links import Link
from macmgr.kernel.netlink import Connection
from macmgr.kernel.wire import HEADER, LINK

IFLA_TARGET_NETNSID = 46
_NETNSID = struct.Struct("=I")
_BODY = HEADER.size + LINK.size
_SWITCHES = ("bridge", "openvswitch")
_NOT_ALLOWED = (errno.EPERM, errno.EACCES)


def leading_out(connection: Connection, cables: Sequence[Link]) -> frozenset[str]:
    """Returns the names of those ``cables`` whose other end is on a bridge, or where one may not look.

    One who may look nowhere learns nothing.
    """
    answers = connection.transact([_request(link) for link in cables], "looking at the other ends of cables")
    hidden = {place for place, (code, _) in answers.failures.items() if code in _NOT_ALLOWED}
    if len(hidden) == len(cables):
        return frozenset()
    found = hidden | {place for place, message in answers.replies.items() if _is_on_a_switch(message)}
    return frozenset(cables[place].name for place in found)


def _request(link: Link) -> wire.Message:
    payload = LINK.pack(wire.AF_UNSPEC, 0, link.lower or 0, 0, 0)
    there = wire.attribute(IFLA_TARGET_NETNSID, _NETNSID.pack(link.netnsid or 0))
    return (wire.RTM_GETLINK, wire.NLM_F_REQUEST, payload + there)


def _is_on_a_switch(message: bytes) -> bool:
    """An older kernel does not know the attribute, does not repeat it, and answers about an interface here."""
    found = _attributes(message, _BODY)
    info = _attributes(found.get(IFLA_LINKINFO, b""))
    kind = read_text(info.get(IFLA_INFO_SLAVE_KIND, b""))
    return IFLA_TARGET_NETNSID in found and wire.IFLA_MASTER in found and kind in _SWITCHES


def _attributes(data: bytes, position: int = 0) -> Mapping[int, bytes]:
    return {kind: data[start:stop] for kind, start, stop in wire.attributes(data, position, len(data))}
