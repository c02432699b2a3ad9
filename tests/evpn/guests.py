"""A guest that moves between the hosts of a fabric, and a client that counts which of its frames reach it."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.evpn.fabric import Host, wait_until
from tests.netns.house import mac_of

EVERY = 0.005  # seconds between two frames
CLIENT = "52:54:00:cc:00:01"
_ETHERTYPE = b"\x88\xb5"  # one that nobody listens to
_HEAD = struct.Struct("!6s6s2sIQ")  # destination, source, EtherType, the guest's number, the frame's number


@dataclass
class Guest:
    """Guest gN. Where its CPUs run, since when and until when; what its ports have received."""

    number: int
    runs: list[tuple[int, float, float]] = field(default_factory=list)
    running: dict[int, float] = field(default_factory=dict)
    received: dict[int, dict[int, float]] = field(default_factory=dict)
    _ears: dict[int, _Ear] = field(default_factory=dict)

    @property
    def mac(self) -> str:
        return mac_of(self.number)

    @property
    def tap(self) -> str:
        return f"vnet{self.number}"

    def plug(self, host: Host) -> None:
        """Its port on a host: a cable, for a tap without a QEMU has no carrier."""
        host.ns.add_cable(self.tap)
        heard = self.received.setdefault(host.number, {})
        self._ears[host.number] = _Ear(host.ns.packet_socket(f"{self.tap}-far"), self.number, heard)

    def unplug(self, host: Host) -> None:
        host.ns.ip(f"link del {self.tap}")
        self._ears.pop(host.number).close()

    def starts(self, host: Host) -> None:
        """Its CPUs run from now on, and libvirt notes it."""
        self.running[host.number] = time.monotonic()
        host.house.status_file(f"g{self.number}", self.tap, self.mac, "running")

    def stops(self, host: Host) -> None:
        """Its CPUs stop, and libvirt notes it."""
        host.house.status_file(f"g{self.number}", self.tap, self.mac, "paused")
        self.halts(host)

    def halts(self, host: Host) -> None:
        """Its CPUs stop, and nobody notes anything."""
        self.runs.append((host.number, self.running.pop(host.number), time.monotonic()))

    def is_incoming(self, host: Host) -> None:
        """It has a port there, and its CPUs do not run there yet."""
        self.plug(host)
        host.house.status_file(f"g{self.number}", self.tap, self.mac, "paused")

    def boots(self, host: Host) -> None:
        self.plug(host)
        self.starts(host)

    def leaves(self, host: Host) -> None:
        """libvirt forgets it there, whether it moved or was destroyed."""
        if host.number in self.running:
            self.halts(host)
        host.house.remove(f"qemu/g{self.number}.xml")
        self.unplug(host)

    def moves(self, source: Host, destination: Host, *, copy: float = 1.0, downtime: float = 0.08) -> None:
        """A live migration."""
        self.is_incoming(destination)
        time.sleep(copy)
        self.stops(source)
        time.sleep(downtime)
        self.starts(destination)
        time.sleep(0.3)
        self.leaves(source)

    def close(self) -> None:
        for ear in self._ears.values():
            ear.close()
        self._ears.clear()


class _Ear(threading.Thread):
    """Notes which of the client's frames come to a port."""

    def __init__(self, opened: socket.socket, guest: int, heard: dict[int, float]) -> None:
        super().__init__(daemon=True)
        self._socket, self._guest, self._heard = opened, guest, heard
        opened.settimeout(0.2)
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.is_set():
            try:
                frame = self._socket.recv(2048)
            except TimeoutError:
                continue
            except OSError:
                return  # the port is gone
            if len(frame) >= _HEAD.size:
                _, _, kind, guest, number = _HEAD.unpack_from(frame)
                if kind == _ETHERTYPE and guest == self._guest:
                    self._heard[number] = time.monotonic()

    def close(self) -> None:
        self._done.set()
        self.join()
        self._socket.close()


class Client(threading.Thread):
    """Sends the guest one numbered frame after the other, from behind a host where it does not run."""

    def __init__(self, opened: socket.socket, guest: Guest) -> None:
        super().__init__(daemon=True)
        self._socket, self._guest = opened, guest
        self.sent: dict[int, float] = {}
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        destination, source = (bytes.fromhex(mac.replace(":", "")) for mac in (self._guest.mac, CLIENT))
        due = time.monotonic()
        number = 0
        while not self._done.wait(max(0.0, due - time.monotonic())):
            number += 1
            frame = _HEAD.pack(destination, source, _ETHERTYPE, self._guest.number, number)
            self.sent[number] = time.monotonic()
            with suppress(OSError):
                self._socket.send(frame.ljust(60, b"\0"))
            due = max(due + EVERY, time.monotonic())

    def stop(self) -> None:
        if self._done.is_set():
            return
        self._done.set()
        self.join()
        self._socket.close()
        time.sleep(0.3)  # what is under way still comes

    def lost(self) -> tuple[int, int]:
        """Frames that were sent while the guest ran somewhere and that did not come there; and how many were sent."""
        now = time.monotonic()
        runs = [*self._guest.runs, *((host, since, now) for host, since in self._guest.running.items())]
        lost = sent = 0
        for number, at in self.sent.items():
            homes = [host for host, since, until in runs if since <= at < until]
            if homes:
                sent += 1
                lost += not any(number in self._guest.received[host] for host in homes)
        return lost, sent

    def reaches(self, host: Host) -> bool:
        """Whether the last half second's frames came to the guest's port on a host, most of them."""
        now = time.monotonic()
        recent = [number for number, at in list(self.sent.items()) if now - 0.6 < at < now - 0.1]
        heard = self._guest.received.get(host.number, {})
        return len(recent) > 20 and sum(number in heard for number in recent) > 0.9 * len(recent)


@contextmanager
def client(host: Host, guest: Guest) -> Iterator[Client]:
    """A client of the guest behind a host, which sends until the block ends."""
    if "c0" not in host.ns.links():
        host.ns.add_cable("c0")
    made = Client(host.ns.packet_socket("c0-far"), guest)
    try:
        yield made
    finally:
        made.stop()
        guest.close()


def is_reached(guest: Guest, sender: Client, at: Host, source: Host) -> bool:
    """Whether the client's frames come, and its host has the address from where the guest runs."""
    return source.leads_to(guest.mac) == at.address and sender.reaches(at)


def must_be_reached(guest: Guest, sender: Client, at: Host, source: Host) -> None:
    wait_until(lambda: is_reached(guest, sender, at, source), f"{guest.mac} is reached on h{at.number}")
