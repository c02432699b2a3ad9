"""What two hosts say while a guest moves: libvirt's lifecycle events and the kernel's FDB changes, with their times."""

import os
import re
import select
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.lab.hosts import Host
from tests.lab.segment import mac_bytes, network_namespace

RTNLGRP_NEIGH, RTM_NEWNEIGH = 3, 28
NUD_NOARP, NTF_STICKY, NDA_LLADDR, NDA_VLAN, AF_BRIDGE = 0x40, 0x40, 2, 5, 7
_EVENT = re.compile(r"^(\S+ \S+)\+0000: event 'lifecycle' for domain '?([^':]+)'?: (.+)$", re.M)


@dataclass(frozen=True)
class Entry:
    """A static entry of the MAC that came or went: on which port, in which VID (0: the entry without one)."""

    at: float
    put: bool
    port: int
    vid: int
    sticky: bool


class Witness:
    """One host, watched in a `with` block; ask afterwards."""

    def __init__(self, host: Host, domain: str, mac: str) -> None:
        self.host, self._domain, self._mac = host, domain, mac_bytes(mac)
        self._directory = tempfile.TemporaryDirectory(dir="/tmp")
        self._entries: list[Entry] = []

    def event(self, what: str) -> float:
        """When libvirt told of an event of the domain, for the first time: "Resumed Migrated"."""
        return next(at for at, said in self.events if said == what)

    def entries(self, port: str = "") -> list[Entry]:
        """What became of the MAC's static entries, on one port of today's if it is said."""
        index = int(self.host.run("cat", f"/sys/class/net/{port}/ifindex").stdout) if port else None
        return [entry for entry in self._entries if index in (None, entry.port)]

    def __enter__(self) -> Self:
        with network_namespace(self.host.name):
            self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._netlink.bind((0, 1 << RTNLGRP_NEIGH - 1))
        self._end, self._ending = os.pipe()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        self._log = Path(self._directory.name) / "events"
        words = ["virsh", "-c", self.host.uri, "event", "--loop", "--timestamp", "--event", "lifecycle"]
        with self._log.open("wb") as log:
            self._virsh = subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._virsh.send_signal(signal.SIGINT)  # it prints what it holds back when it is interrupted
        self._virsh.wait(20)
        os.close(self._ending)
        self._thread.join()
        os.close(self._end)
        self._netlink.close()
        said = _EVENT.findall(self._log.read_text())
        self.events = [(_seconds(at), what) for at, name, what in said if name == self._domain]
        self._directory.cleanup()

    def _watch(self) -> None:
        while self._end not in select.select([self._netlink.fileno(), self._end], [], [])[0]:
            data, now = self._netlink.recv(1 << 16), time.time()
            while data:
                length, kind = struct.unpack_from("IH", data)
                self._take(kind, data[16:length], now)
                data = data[length + 3 & ~3 :]

    def _take(self, kind: int, body: bytes, now: float) -> None:
        family, port, state, flags = struct.unpack_from("BxxxiHB", body)
        attributes, rest = {}, body[12:]
        while rest:
            length, name = struct.unpack_from("HH", rest)
            attributes[name] = rest[4:length]
            rest = rest[length + 3 & ~3 :]
        if family == AF_BRIDGE and state == NUD_NOARP and attributes.get(NDA_LLADDR) == self._mac:
            vid = int.from_bytes(attributes.get(NDA_VLAN, b"\0"), "little")
            self._entries.append(Entry(now, kind == RTM_NEWNEIGH, port, vid, bool(flags & NTF_STICKY)))


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
