"""Sees frames that leave a guest with another source address than its own, with one packet socket for each port.

A managed port does not learn, so the kernel keeps no trace of such an address. The sockets are bound to the port and
never promiscuous, so they show only what the guest sends. A classic BPF program runs before the kernel
copies or queues anything. It lets pass only news: a unicast source that is not known. Sources:
packet(7), net/packet/af_packet.c (packet_rcv), include/uapi/linux/filter.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from macmgr.kernel.bpf import JEQ, JSET, LDB, LDH, LDW, RET, assembled, attach
from macmgr.kernel.netlink import words
from macmgr.kernel.sockets import AF_PACKET, in_namespace
from macmgr.model.known import Sighting
from macmgr.model.mac import ZERO

# What one port may report at one reading. A guest that has more to report is not listened to for a while, and whoever
# goes on reporting is listened to less and less: what a guest sends must not decide how much the daemon has to do.
MOST = 64
FIRST_PAUSE, LONGEST_PAUSE, FULL_PAUSE = 0.05, 5.0, 1.0

_CLOSERS = 32
_HEADER = 14  # destination, source, EtherType
_SNAP = 18  # what is kept of a frame, with room for a tag
_BUFFER = 8192  # bytes a port's frames may take while nobody reads: a few of them
_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_AUXDATA, _PACKET_IGNORE_OUTGOING = 263, 8, 23
_AUXDATA = struct.Struct("=IIIHHHH")  # struct tpacket_auxdata
_ANCILLARY = socket.CMSG_SPACE(_AUXDATA.size)
_TP_STATUS_VLAN_VALID = 1 << 4
_SOCKADDR_LL = struct.Struct("=HHiHBB8s")
_TIMERSPEC = struct.Struct("@llll")  # interval, value
_MOST_LINES = 384  # 74 addresses; twice that fits into a socket's option memory, while one filter replaces another
# (20 KiB before 6.9; sk_filter_charge counts the converted program, some 15 instructions an address)
_PACKET_TYPE = 0xFFFFF000 + 4  # SKF_AD_OFF + SKF_AD_PKTTYPE
_libc = ctypes.CDLL(None, use_errno=True)

Ports = Mapping[str, tuple[int, frozenset[str]]]
"""Ifindex and known MAC addresses, by port name."""


@dataclass(slots=True)
class _Port:
    name: str
    ifindex: int
    known: frozenset[str]
    socket: socket.socket
    resumes: float | None = None
    pause: float = 0.0
    reported_at: float = field(default=float("-inf"))


class Sightings:
    """Watches the ports that `watch` names, in the network namespace ``netns`` or that of the calling thread.

    ``problem`` is one line that says why it sees nothing, empty while all is well. The rest of macmgr works without.
    """

    def __init__(self, netns: str | None = None) -> None:
        self.problem = ""
        self._netns = netns
        self._ports: dict[str, _Port] = {}
        self._by_fd: dict[int, _Port] = {}
        self._epoll = select.epoll()
        self._timer = _timer()
        self._epoll.register(self._timer, select.EPOLLIN)

    def watch(self, ports: Ports) -> None:
        """From now on watches exactly these ports, for any source address that is not known there."""
        old = [port for port in self._ports.values() if ports.get(port.name, (None, None))[0] != port.ifindex]
        self._drop(old)
        for name, port in self._ports.items():
            known = ports[name][1]
            if known != port.known:
                port.known = known
                with suppress(OSError):  # the old filter stays, and what it lets pass is sorted out by the reader
                    attach(port.socket, filter_program(known))
        new = {name: ports[name] for name in ports if name not in self._ports}
        self.problem = ""
        if new:
            in_namespace(self._netns, lambda: self._open(new))

    def fileno(self) -> int:
        return self._epoll.fileno()

    def read(self) -> list[Sighting]:
        """The addresses seen since the last reading, each once for a port, the latest last. Never waits."""
        now = time.monotonic()
        found: list[Sighting] = []
        for fd, _ in self._epoll.poll(0):
            if fd == self._timer:
                with suppress(BlockingIOError):
                    os.read(self._timer, 8)
            elif fd in self._by_fd:
                found += self._read_port(self._by_fd[fd], now)
        self._resume(now)
        return found

    def close(self) -> None:
        for thread in self._drop(list(self._ports.values())):
            thread.join()
        os.close(self._timer)
        self._epoll.close()

    def _open(self, ports: Ports) -> None:
        blind = 0
        for name, (ifindex, known) in ports.items():
            try:
                opened = _packet_socket(ifindex, known)
            except OSError as error:
                if error.errno in (errno.ENODEV, errno.ENXIO, errno.ENETDOWN):
                    continue  # the port has just gone, and the next look says so
                if error.errno in (errno.EPERM, errno.EACCES):
                    self.problem = (
                        "packet sockets need CAP_NET_RAW, so nobody sees which addresses guests send from: guest_mac "
                        "acts on what libvirt reports, and prefixes under allow let nothing in"
                    )
                    return
                blind += 1
                self.problem = (
                    f"{blind} ports cannot be looked at, {name} is the last of them: {words(error.errno or 0)}"
                )
                continue
            port = _Port(name, ifindex, known, opened)
            self._ports[name] = self._by_fd[opened.fileno()] = port
            self._epoll.register(opened, select.EPOLLIN)

    def _drop(self, ports: Sequence[_Port]) -> list[threading.Thread]:
        """Stops watching some ports; returns the threads that close their sockets.

        The kernel waits for a grace period, some 10 ms, in each close (packet_release, synchronize_net). The threads
        share such periods, and the caller waits for none.
        """
        for port in ports:
            del self._ports[port.name], self._by_fd[port.socket.fileno()]
            if port.resumes is None:
                self._epoll.unregister(port.socket)
        threads = [
            threading.Thread(target=_close, args=(ports[start::_CLOSERS],), name="macmgr-sightings-close")
            for start in range(min(_CLOSERS, len(ports)))
        ]
        for thread in threads:
            thread.start()
        return threads

    def _read_port(self, port: _Port, now: float) -> list[Sighting]:
        seen: dict[tuple[str, int | None], None] = {}
        frames = heard = 0
        while frames < MOST:
            frames += 1
            try:
                frame, ancillary, _, address = port.socket.recvmsg(_SNAP, _ANCILLARY)
            except BlockingIOError:
                break
            except OSError:
                continue  # ENETDOWN, said once: the port was taken down, or has gone
            heard += 1
            source = frame[6:12].hex(":")
            if len(frame) >= _HEADER and _is_news(frame, source, address, port.known):
                key = source, _vid(ancillary)
                seen.pop(key, None)
                seen[key] = None
        if heard or frames >= MOST:  # no news too: known addresses that do not fit into the filter send all the time
            self._pause(port, now, full=frames >= MOST)
        return [Sighting(port.name, port.ifindex, mac, vid) for mac, vid in seen]

    def _pause(self, port: _Port, now: float, *, full: bool) -> None:
        """Stops listening for a while: longer each time, unless the port was quiet for longer than that."""
        quiet = now - port.reported_at > 2 * LONGEST_PAUSE
        port.pause = FIRST_PAUSE if quiet else min(LONGEST_PAUSE, 2 * port.pause)
        if full:
            port.pause = max(FULL_PAUSE, port.pause)
        port.reported_at, port.resumes = now, now + port.pause
        self._epoll.unregister(port.socket)

    def _resume(self, now: float) -> None:
        """Listens again to the ports whose pause is over, and sets the timer for the next one."""
        waiting = []
        for port in self._ports.values():
            if port.resumes is None:
                continue
            if port.resumes <= now:
                port.resumes = None
                self._epoll.register(port.socket, select.EPOLLIN)
            else:
                waiting.append(port.resumes - now)
        _set_timer(self._timer, min(waiting, default=0.0))


def _close(ports: Sequence[_Port]) -> None:
    for port in ports:
        port.socket.close()


def _is_news(frame: bytes, source: str, address: tuple[object, ...], known: Collection[str]) -> bool:
    """The filter would let the frame pass. It may have been queued before the filter was changed."""
    return address[2] != socket.PACKET_OUTGOING and not frame[6] & 1 and source != ZERO and source not in known


def _vid(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, kind, data in ancillary:
        if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA) and len(data) >= _AUXDATA.size:
            status, _, _, _, _, tag, _ = _AUXDATA.unpack_from(data)
            return tag & 0xFFF or None if status & _TP_STATUS_VLAN_VALID else None
    return None


def _packet_socket(ifindex: int, known: frozenset[str]) -> socket.socket:
    """A packet socket for what comes in on an interface; it receives nothing before its filter is attached."""
    opened = socket.socket(AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        opened.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        with suppress(OSError):  # 4.20; without it the kernel clones each frame to the guest for the filter to refuse
            opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        attach(opened, filter_program(known))
        # by ifindex: a name may belong to another interface by now
        where = _SOCKADDR_LL.pack(AF_PACKET, socket.htons(_ETH_P_ALL), ifindex, 0, 0, 0, bytes(8))
        if _libc.bind(opened.fileno(), where, len(where)):
            _raise(ctypes.get_errno(), "bind")
    except BaseException:
        opened.close()
        raise
    return opened


def filter_program(known: Collection[str]) -> bytes:
    """The classic BPF program that accepts incoming frames with a unicast source which is not zero and not known.

    A source costs one instruction for each known address. Addresses that do not fit any more pass, and are sorted out
    when they are read.
    """
    lines = [
        (LDW, 0, 0, _PACKET_TYPE),
        (JEQ, 0, 1, socket.PACKET_OUTGOING),
        (RET, 0, 0, 0),
        (LDB, 0, 0, 6),
        (JSET, 0, 1, 1),  # the group bit
        (RET, 0, 0, 0),
        (LDW, 0, 0, 8),
    ]
    for mac in [ZERO, *sorted(known)]:
        if len(lines) + 6 > _MOST_LINES:
            break
        address = bytes.fromhex(mac.replace(":", ""))
        lines += [
            (JEQ, 0, 4, int.from_bytes(address[2:], "big")),
            (LDH, 0, 0, 6),
            (JEQ, 0, 1, int.from_bytes(address[:2], "big")),
            (RET, 0, 0, 0),
            (LDW, 0, 0, 8),
        ]
    lines.append((RET, 0, 0, _SNAP))
    return assembled(lines)


def _timer() -> int:
    """A timer as a file descriptor, so that one descriptor stands for all (os.timerfd_create is Python 3.13's)."""
    fd: int = _libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if fd < 0:
        _raise(ctypes.get_errno(), "timerfd_create")
    return fd


def _set_timer(timer: int, seconds: float) -> None:
    """Let the timer expire once after so many seconds, or never for 0."""
    whole, fraction = divmod(seconds, 1)
    when = _TIMERSPEC.pack(0, 0, int(whole), int(fraction * 1_000_000_000))
    _libc.timerfd_settime(timer, 0, when, None)


def _raise(number: int, what: str) -> NoReturn:
    raise OSError(number, f"{what}: {os.strerror(number)}")
