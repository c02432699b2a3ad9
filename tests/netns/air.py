"""Who hears whom: stations on the far ends of cables send to each other, and what arrives is told apart by its phase.

A station may be in a VLAN, and then its frames carry a tag, as on the cable to a switch outside. Nothing here waits for
a time: what must be heard is sent again until it is, and what must not be is looked for in all that was heard.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.netns.conftest import BROADCAST, LONG, Namespace, eventually, transmit

_SOL_PACKET, _PACKET_AUXDATA, _OUTGOING, _TAGGED = 263, 8, 4, 0x10
_AUXDATA = struct.Struct("=IIIHHHH")
_EXPERIMENTAL = b"\x88\xb5"
Pair = tuple[str, str]
"""Who sends, and who hears it."""


@dataclass(frozen=True)
class Station:
    """A host: its name, the interface that it is behind, its MAC and, where its frames are tagged, its VID."""

    name: str
    interface: str
    mac: str
    vid: int = 0


class Air:
    """All stations, with a socket for each interface. ``before`` and the other phases are numbers in the frames."""

    BEFORE, WHILE, AFTER, AT_LAST = range(4)

    def __init__(self, ns: Namespace, stations: list[Station]) -> None:
        self.stations = {station.name: station for station in stations}
        self._order = list(self.stations)
        self._sockets: Mapping[str, socket.socket] = {
            name: ns.packet_socket(name) for name in {station.interface for station in stations}
        }
        for each in self._sockets.values():
            each.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
            each.setblocking(False)
        self._unicast: dict[int, set[Pair]] = {phase: set() for phase in range(4)}
        self._any: dict[int, set[Pair]] = {phase: set() for phase in range(4)}

    def close(self) -> None:
        for each in self._sockets.values():
            each.close()

    def round(self, phase: int) -> None:
        """Each station sends one frame to each other one, and one to all; then what has arrived is taken."""
        for number, sender in enumerate(self.stations.values()):
            for target, receiver in enumerate(self.stations.values()):
                if receiver is not sender:
                    self._send(sender, receiver.mac, bytes((phase, number, target)))
            self._send(sender, BROADCAST, bytes((phase, number, 255)))
        self._take()

    def reached(self, phase: int) -> set[Pair]:
        """Whose own frames arrive where they are meant to."""
        return set(self._unicast[phase])

    def heard(self, phase: int) -> set[Pair]:
        """Whose frames arrive, whomever they are meant for."""
        return set(self._any[phase])

    def until(self, wanted: set[Pair], phase: int) -> None:
        """Send until all of ``wanted`` have arrived."""

        def arrived() -> bool:
            self.round(phase)
            return wanted <= self.reached(phase)

        eventually(arrived, lambda: f"reached: {sorted(wanted - self.reached(phase))}")

    @contextmanager
    def sending(self, phase: int) -> Iterator[None]:
        """All of them send all the time, from before the block's first step until after its last."""
        ended, begun = threading.Event(), threading.Event()

        def send() -> None:
            while not ended.is_set():
                self.round(phase)
                begun.set()
            self.round(phase)

        thread = threading.Thread(target=send)
        thread.start()
        try:
            assert begun.wait(LONG), "nothing is sent"
            yield
        finally:
            ended.set()
            thread.join()

    def _send(self, sender: Station, destination: str, payload: bytes) -> None:
        tag = b"\x81\x00" + struct.pack("!H", sender.vid) if sender.vid else b""
        addresses = bytes.fromhex((destination + sender.mac).replace(":", ""))
        transmit(self._sockets[sender.interface], addresses + tag + _EXPERIMENTAL + payload + bytes(43))

    def _take(self) -> None:
        for interface, each in self._sockets.items():
            for data, vid in _frames(each):
                for receiver in self.stations.values():
                    if (receiver.interface, receiver.vid) == (interface, vid):
                        self._note(receiver, *data[14:17])

    def _note(self, receiver: Station, phase: int, number: int, target: int) -> None:
        sender = self._order[number]
        if sender != receiver.name:
            self._any[phase].add((sender, receiver.name))
            if target < 255 and self._order[target] == receiver.name:
                self._unicast[phase].add((sender, receiver.name))


def _frames(taken: socket.socket) -> Iterator[tuple[bytes, int]]:
    """What has arrived, without its tag, and the VID that was in that; 0 for none."""
    receive: Callable[[], tuple[bytes, list[tuple[int, int, bytes]], int, tuple[str, int, int]]]
    receive = lambda: taken.recvmsg(2048, 64)  # noqa: E731 - a name for the types of what comes
    while True:
        try:
            data, extra, _, address = receive()
        except BlockingIOError:
            return
        vid = 0
        for level, kind, value in extra:
            if (level, kind) == (_SOL_PACKET, _PACKET_AUXDATA):
                status, _, _, _, _, tci, _ = _AUXDATA.unpack(value[: _AUXDATA.size])
                vid = tci & 0xFFF if status & _TAGGED else 0
        if data[12:14] == b"\x81\x00":
            vid, data = struct.unpack_from("!H", data, 14)[0] & 0xFFF, data[:12] + data[16:]
        if address[2] != _OUTGOING and data[12:14] == _EXPERIMENTAL:
            yield data, vid
