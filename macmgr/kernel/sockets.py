"""Reads what rtnetlink does not have of devices: the packet sockets that want them promiscuous, and their drivers.

Packet sockets come from /proc/net/packet, and what they ask for from sock_diag(7) (net/packet/diag.c,
PACKET_DIAG_MCLIST); their owners from /proc/PID/fd; drivers from ETHTOOL_GDRVINFO (net/ethtool/ioctl.c). All of it is
read only. Any of it may be missing; the answer is then shorter.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import threading
from array import array
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from pyroute2 import netns as namespaces

from macmgr.errors import KernelError, NoPermission, NotThere
from macmgr.kernel import wire
from macmgr.model.devices import PacketSocket

SIOCETHTOOL, ETHTOOL_GDRVINFO = 0x8946, 3
_NAME_SIZE, _DRVINFO_SIZE = 16, 196  # IFNAMSIZ, struct ethtool_drvinfo
NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, AF_PACKET = 4, 20, 17
PACKET_SHOW_MCLIST, PACKET_DIAG_MCLIST, PACKET_MR_PROMISC = 2, 1, 1

_REQUEST = struct.Struct("=BBHIIII")  # struct packet_diag_req
_SOCKET = struct.Struct("=BBHIII")  # struct packet_diag_msg: family, type, protocol, inode, cookie
_MEMBERSHIP = struct.Struct("=IIHH32s")  # struct packet_diag_mclist: ifindex, count, type, address
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class _Seen:
    """The packet sockets of a namespace by inode, from one pass; ``memberships`` is None without packet_diag."""

    bound: Mapping[int, int] = field(default_factory=dict)
    memberships: Mapping[int, tuple[int, ...]] | None = None


def read_packet_sockets(names: Mapping[int, str], netns: str | None) -> list[PacketSocket]:
    """The packet sockets of a namespace, with one owner each where that can be seen."""
    seen = in_namespace(netns, _look_at_sockets)
    found = []
    for inode, ifindex in sorted(seen.bound.items()):
        promiscuous = None
        if seen.memberships is not None:
            promiscuous = tuple(names[each] for each in seen.memberships.get(inode, ()) if each in names)
        found.append(PacketSocket(inode, names.get(ifindex, ""), promiscuous))
    owners = _owners({each.inode for each in found})
    return [
        replace(each, program=owners[each.inode][0], pid=owners[each.inode][1]) if each.inode in owners else each
        for each in found
    ]


def read_drivers(interfaces: Collection[str], netns: str | None) -> dict[str, str]:
    def ask() -> dict[str, str]:
        found = {}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            for name in interfaces:
                with suppress(OSError):  # no driver, or the interface has just gone
                    found[name] = _driver(opened, name)
        return {name: driver for name, driver in found.items() if driver}

    return in_namespace(netns, ask) if interfaces else {}


def _look_at_sockets() -> _Seen:
    """Reads /proc first: sock_diag loads a kernel module, and most hosts have no packet socket to ask about."""
    try:
        lines = Path("/proc/thread-self/net/packet").read_text(encoding="ascii", errors="replace").splitlines()[1:]
    except OSError:
        return _Seen()
    rows = [line.split() for line in lines]  # sk RefCnt Type Proto Iface R Rmem User Inode
    bound = {int(row[8]): int(row[4]) for row in rows if len(row) >= 9}
    if not bound:
        return _Seen()
    try:
        return _Seen(bound, _memberships())
    except (OSError, wire.WireError):  # a kernel without packet_diag
        return _Seen(bound)


def _memberships() -> dict[int, tuple[int, ...]]:
    """For each socket, by inode, the ifindexes it wants promiscuous (packet_dev_mc, PACKET_MR_PROMISC)."""
    request = _REQUEST.pack(AF_PACKET, 0, 0, 0, PACKET_SHOW_MCLIST, 0xFFFFFFFF, 0xFFFFFFFF)
    found: dict[int, tuple[int, ...]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as opened:
        opened.settimeout(2)
        opened.send(wire.frame((SOCK_DIAG_BY_FAMILY, wire.NLM_F_REQUEST | wire.NLM_F_DUMP, request), 1))
        while True:
            for kind, _, _, message in wire.messages(opened.recv(1 << 16)):
                if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                    code, text = wire.parse_error(message)
                    if code:
                        raise OSError(code, text)
                    return found
                inode, wanted = _socket(message)
                found[inode] = wanted


def _socket(message: bytes) -> tuple[int, tuple[int, ...]]:
    position = wire.HEADER.size + _SOCKET.size
    if len(message) < position:
        raise wire.WireError(f"packet socket message of {len(message)} bytes")
    inode = _SOCKET.unpack_from(message, wire.HEADER.size)[3]
    wanted = []
    for kind, start, stop in wire.attributes(message, position, len(message)):
        if kind == PACKET_DIAG_MCLIST:
            for place in range(start, stop - _MEMBERSHIP.size + 1, _MEMBERSHIP.size):
                ifindex, _, membership, *_ = _MEMBERSHIP.unpack_from(message, place)
                wanted += [ifindex] * (membership == PACKET_MR_PROMISC)
    return inode, tuple(wanted)


def _owners(inodes: Collection[int]) -> dict[int, tuple[str, int]]:
    """The name and number of a process that holds each socket; processes that may not be looked at are left out."""
    links = {f"socket:[{inode}]": inode for inode in inodes}
    found: dict[int, tuple[str, int]] = {}
    for pid in os.listdir("/proc") if inodes else ():
        if not pid.isdecimal():
            continue
        with suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                inode = links.get(_target(f"/proc/{pid}/fd/{fd}"))
                if inode is not None and inode not in found:
                    found[inode] = _program(pid), int(pid)
        if len(found) == len(links):
            break
    return found


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - a path of a thousand parts a millisecond
    except OSError:
        return ""


def _program(pid: str) -> str:
    """The process's name, which it may set itself: nothing in it may reach a terminal but letters."""
    name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").rstrip("\n")
    return "".join(each if each.isprintable() else "?" for each in name)


def _driver(opened: socket.socket, name: str) -> str:
    information = array("B", struct.pack(f"=I{_DRVINFO_SIZE - 4}x", ETHTOOL_GDRVINFO))
    request = struct.pack(f"@{_NAME_SIZE}sP16x", os.fsencode(name), information.buffer_info()[0])  # struct ifreq
    fcntl.ioctl(opened.fileno(), SIOCETHTOOL, request)
    return information.tobytes()[4:36].partition(b"\0")[0].decode("ascii", "replace")


def in_namespace(netns: str | None, ask: Callable[[], _T]) -> _T:
    """Calls ``ask`` in a network namespace, in a thread of its own that enters it and ends."""
    if netns is None:
        return ask()
    answers: list[_T] = []
    failures: list[Exception] = []

    def enter() -> None:
        try:
            namespaces.setns(netns, flags=0)
            answers.append(ask())
        except Exception as error:  # noqa: BLE001 - handed over to the thread that waits
            failures.append(error)

    thread = threading.Thread(target=enter, name="macmgr-namespace")
    thread.start()
    thread.join()
    if answers:
        return answers[0]
    match failures[0]:
        case FileNotFoundError() as error:
            raise NotThere(f"network namespace {netns!r} does not exist (ip netns list shows those that do)") from error
        case PermissionError() as error:
            raise NoPermission(f"entering network namespace {netns!r}: {error.strerror}") from error
        case OSError() as error:
            raise KernelError(f"entering network namespace {netns!r}: {error.strerror}") from error
        case error:
            raise error
