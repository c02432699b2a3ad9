"""The network around the guests: the host's bridge with its uplink, and the LAN behind it."""

import contextlib
import ctypes
import json
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.lab.wait import run, until

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 0x0003
ICMP_ECHO_REQUEST = 8
MARK = "02:00:00:00:00:0f"  # nobody's address
STREAM_TYPE, STREAM_MARK = b"\x88\xb5", b"MACMGRST"  # guest/frames.c knows them too
_libc = ctypes.CDLL(None, use_errno=True)


class HostBridge:
    """br0 in the lab's root namespace: VLAN filtering on, its uplink a device that may leave promiscuous mode.

    The uplink is a macvlan in passthru mode: the only mode that hands the bridge frames for other
    MACs, and, unlike a bare veth, a device that says it filters unicast (IFF_UNICAST_FLT).
    """

    def __init__(self, name: str = "br0", uplink: str = "up0", lan: str = "lan") -> None:
        self.name, self.uplink, self.lan = name, uplink, lan
        self._cable = f"{uplink}-cable"

    def create(self) -> Self:
        """Make the bridge, the uplink, and the namespace at the uplink's other end."""
        run("ip", "netns", "add", self.lan)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", self.lan)
        run("ip", "link", "add", self.uplink, "link", self._cable, "type", "macvlan", "mode", "passthru")
        run("ip", "link", "set", self._cable, "up")
        self.build()
        return self

    def build(self) -> None:
        """Make the bridge itself and put the uplink on it."""
        # Without STP too, the kernel sends an event for each port when the forward delay is over, 15 s after it came up
        # (br_forward_delay_timer_expired in net/bridge/br_stp_timer.c): where nothing may happen, that would.
        run("ip", "link", "add", self.name, "type", "bridge", "vlan_filtering", "1", "forward_delay", "0")
        run("ip", "link", "set", self.uplink, "master", self.name)
        for device in (self.uplink, self.name):
            run("ip", "link", "set", device, "up")

    def delete(self) -> None:
        """Take all of it away again."""
        run("ip", "link", "del", self.name, check=False)
        run("ip", "link", "del", self._cable, check=False)
        run("ip", "netns", "del", self.lan, check=False)

    def port(self, device: str) -> dict[str, Any]:
        """What the kernel says of a device: `ip -d -j link show`."""
        return dict(json.loads(run("ip", "-d", "-j", "link", "show", "dev", device).stdout)[0])

    def promiscuity(self, device: str | None = None) -> int:
        """How many users keep the device (the uplink) in promiscuous mode."""
        return int(self.port(device or self.uplink)["promiscuity"])

    def flags(self, device: str) -> dict[str, Any]:
        """The bridge port's flags: learning, flood, locked, …"""
        return dict(self.port(device)["linkinfo"]["info_slave_data"])

    def set_flags(self, device: str, **flags: str) -> None:
        """Set flags of a bridge port by iproute2's names: set_flags("vnet0", learning="off", flood="off")."""
        words = [word for flag in flags.items() for word in flag]
        run("bridge", "link", "set", "dev", device, *words)

    def fdb(self, mac: str | None = None) -> list[dict[str, Any]]:
        """The bridge's FDB entries (master only, not the devices' own lists), of one MAC if one is given."""
        rows = json.loads(run("bridge", "-j", "fdb", "show", "br", self.name).stdout)
        return [row for row in rows if "master" in row and mac in (None, row["mac"])]

    def forget(self, mac: str) -> None:
        """Drop every entry of a MAC, in whatever VID and on whatever port."""
        for entry in self.fdb(mac):
            vid = ["vlan", str(entry["vlan"])] if "vlan" in entry else []
            run("bridge", "fdb", "del", mac, "dev", entry["ifname"], "master", *vid, check=False)

    @contextlib.contextmanager
    def untouched(self) -> Iterator[None]:
        """What is done inside makes no netlink event about a bridge: the first one is ours, made at the end.

        No entry ages meanwhile: the kernel would tell of it.
        """
        run("ip", "link", "set", self.name, "type", "bridge", "ageing_time", "360000")
        with subprocess.Popen(
            ["bridge", "monitor", "link", "fdb", "vlan"], stdout=subprocess.PIPE, text=True
        ) as monitor:
            try:
                seen = Path(f"/proc/{monitor.pid}/fd")
                until(lambda: any("socket" in str(fd.readlink()) for fd in seen.iterdir()), "the monitor listens")
                yield
                run("bridge", "fdb", "add", MARK, "dev", self.uplink, "master", "static")
                assert monitor.stdout is not None
                assert MARK in (first := monitor.stdout.readline()), first
            finally:
                monitor.kill()
                self.forget(MARK)
                run("ip", "link", "set", self.name, "type", "bridge", "ageing_time", "30000")


class Lan:
    """A host on the LAN, in a network namespace of its own; sends and sees raw frames."""

    def __init__(self, namespace: str = "lan", device: str = "eth0", address: str = "10.0.0.1/24") -> None:
        self.namespace, self.device, self.address = namespace, device, address

    def up(self) -> Self:
        """Configure the LAN host's address."""
        run("ip", "-n", self.namespace, "address", "add", self.address, "dev", self.device)
        run("ip", "-n", self.namespace, "link", "set", "lo", "up")
        run("ip", "-n", self.namespace, "link", "set", self.device, "up")
        return self

    @property
    def ip(self) -> str:
        """The LAN host's address without its prefix length."""
        return self.address.partition("/")[0]

    @property
    def mac(self) -> str:
        """The LAN host's own MAC address."""
        links = json.loads(run("ip", "-n", self.namespace, "-j", "link", "show", "dev", self.device).stdout)
        return str(links[0]["address"])

    def forget_neighbours(self) -> None:
        """Empty the ARP table, so that the next ping starts with a broadcast."""
        run("ip", "-n", self.namespace, "neighbour", "flush", "all")

    def ping(self, ip: str, count: int = 3, patience: float = 3) -> int:
        """Ping each 0.2 s and answer how many of `count` came back; waits so many seconds for the last."""
        with self._socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as icmp:
            return _ping(icmp, ip, count, patience)

    def send(self, src: str, dst: str, ethertype: int = 0x88B5, payload: bytes = b"", count: int = 1) -> None:
        """Send a frame with any source MAC: how a spoofer, or a guest that lives elsewhere, looks from here."""
        frame = mac_bytes(dst) + mac_bytes(src) + struct.pack("!H", ethertype) + payload
        with self._socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as packet:
            packet.bind((self.device, 0))
            for _ in range(count):
                packet.send(frame.ljust(60, b"\0"))

    def listen(self) -> "Listener":
        """Count, from now on, every frame that reaches this host (a context manager)."""
        packet = self._socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        packet.bind((self.device, ETH_P_ALL))
        return Listener(packet)

    def stream(self, dst: str, interval: float = 0.02) -> "Stream":
        """Send numbered frames, from now on, that a guest's agent counts (a context manager)."""
        packet = self._socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        packet.bind((self.device, 0))
        return Stream(packet, mac_bytes(dst) + mac_bytes(self.mac) + STREAM_TYPE, interval)

    def _socket(self, family: int, kind: int, protocol: int) -> socket.socket:
        """A socket that lives in the LAN's namespace, used from here."""
        with network_namespace(self.namespace):
            return socket.socket(family, kind, protocol)


class Stream:
    """Numbered frames to one address, as the guest's agent sends and counts them."""

    def __init__(self, packet: socket.socket, head: bytes, interval: float) -> None:
        self._packet, self._head, self._interval = packet, head, interval
        self.sent = 0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        """Send no more; how many were sent."""
        self._ending.set()
        self._thread.join()
        self._packet.close()
        return self.sent

    def _send(self) -> None:
        while not self._ending.wait(self._interval):
            self._packet.send((self._head + STREAM_MARK + struct.pack("!I", self.sent)).ljust(60, b"\0"))
            self.sent += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class Listener:
    """The frames one host received, by (source, destination, ethertype)."""

    def __init__(self, packet: socket.socket) -> None:
        self._packet = packet
        self._frames: Counter[tuple[str, str, int]] = Counter()
        self._end, self._ending = os.pipe()
        self._thread = threading.Thread(target=self._count, daemon=True)
        self._thread.start()

    def frames(self, src: str | None = None, dst: str | None = None, ethertype: int | None = None) -> int:
        """How many frames so far match."""
        return sum(
            count
            for (from_, to, type_), count in self._frames.copy().items()
            if src in (None, from_) and dst in (None, to) and ethertype in (None, type_)
        )

    def close(self) -> None:
        """Stop listening."""
        os.close(self._ending)
        self._thread.join()
        os.close(self._end)
        self._packet.close()

    def _count(self) -> None:
        while True:
            ready, _, _ = select.select([self._packet.fileno(), self._end], [], [])
            if self._end in ready:
                return
            frame, (_, _, direction, *_) = self._packet.recvfrom(2048)
            if direction != socket.PACKET_OUTGOING:
                ethertype = int.from_bytes(frame[12:14], "big")
                self._frames[(frame[6:12].hex(":"), frame[:6].hex(":"), ethertype)] += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def mac_bytes(mac: str) -> bytes:
    """The six bytes of a MAC address in text."""
    return bytes.fromhex(mac.replace(":", ""))


@contextlib.contextmanager
def network_namespace(name: str) -> Iterator[None]:
    """This thread lives in the named network namespace for a while; sockets made there stay there."""
    with Path("/proc/thread-self/ns/net").open("rb") as here, Path(f"/run/netns/{name}").open("rb") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(here.fileno())


def _enter(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _ping(icmp: socket.socket, ip: str, count: int, patience: float) -> int:
    """The ping of the guest's agent, in Python: one request each 0.2 s, then some patience for the rest."""
    session = int.from_bytes(os.urandom(2), "big")
    sent = 0
    answered: set[int] = set()
    due = time.monotonic()
    while len(answered) < count:
        if (left := due - time.monotonic()) <= 0:
            if sent == count:
                break
            sent += 1
            request = struct.pack("!BBHHH", ICMP_ECHO_REQUEST, 0, 0, session, sent)
            total = sum(struct.unpack("!4H", request))
            checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
            with contextlib.suppress(OSError):  # no route, neighbour known dead: counts as not answered
                icmp.sendto(struct.pack("!BBHHH", ICMP_ECHO_REQUEST, 0, checksum, session, sent), (ip, 0))
            left = patience if sent == count else 0.2
            due = time.monotonic() + left
        if select.select([icmp], [], [], left)[0]:
            packet = icmp.recv(2048)
            kind, _, _, whose, number = struct.unpack_from("!BBHHH", packet, (packet[0] & 15) * 4)
            if kind == 0 and whose == session:
                answered.add(number)
    return len(answered)
