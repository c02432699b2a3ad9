"""A frame, as far as a bridge looks into it."""

from __future__ import annotations

from dataclasses import dataclass

from macmgr.model.mac import ZERO
from macmgr.model.relay import Tag

BROADCAST = "ff:ff:ff:ff:ff:ff"
_LINK_LOCAL = "01:80:c2:00:00:0"  # 802.1D, table 7-10: never forwarded by a bridge, unless a mask says so
_IP_GROUPS = ("01:00:5e:", "33:33:")
PAUSE = 1  # the last digit of the link-local address of pause frames


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame with its VLAN tags, the outermost first.

    ``length`` is the number of bytes behind the Ethernet header, without the tags. Of a packet of IP for a group,
    ``group`` and ``ip_source`` are its addresses; empty if nobody said them.
    """

    source: str
    destination: str
    tags: tuple[Tag, ...] = ()
    length: int = 46
    group: str = ""
    ip_source: str = ""

    @property
    def for_group(self) -> bool:
        """A group of stations may get it: multicast or broadcast."""
        return is_group(self.destination)

    @property
    def for_ip_group(self) -> bool:
        """Its destination is the MAC of an IPv4 or IPv6 group."""
        return self.destination.startswith(_IP_GROUPS)

    @property
    def link_local(self) -> int | None:
        """The last hex digit of a link-local destination (01:80:c2:00:00:0X); None for any other destination."""
        return int(self.destination[-1], 16) if self.destination.startswith(_LINK_LOCAL) else None

    @property
    def valid(self) -> bool:
        """Its source is the address of one station. The kernel drops any other frame."""
        return not is_group(self.source) and self.source != ZERO


def is_group(mac: str) -> bool:
    """The MAC is a multicast or the broadcast address."""
    return bool(int(mac[1], 16) & 1)
