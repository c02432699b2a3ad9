"""A yard to try bridges in: ports that are ready, and frames that are sent through a bridge and collected behind it.

The ports are made once; each bridge takes some of them. The far ends of the cables are in a namespace of their own,
where one packet socket hears them all. Nothing here waits for a time. Behind each frame goes a marker, by a cable that
is on no bridge. The kernel handles both on one processor, one after the other: once the marker has arrived, the bridge
is done with the frame, and once a second one has arrived, so has all that the bridge sent on.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address
from typing import TypeVar

from pyroute2 import netns

from macmgr.forwarding import Frame
from macmgr.kernel import Kernel, wire
from macmgr.kernel.attributes import IFLA_IFNAME, IFLA_INFO_DATA, IFLA_LINKINFO
from macmgr.kernel.netlink import Connection
from macmgr.model.relay import PortState, Tag, VlanProtocol
from macmgr.model.snapshot import Snapshot
from tests.netns.conftest import Namespace, eventually, namespace
from tests.netns.randomgroups import checksum

BRIDGE = "br0"
CABLES = ("c0", "c1", "c2", "c3")
SHORT, SHORT_MTU = "c3", 576
LACED, LACE = "c2", 42  # a VLAN device on this cable takes this VID, where the kernel has such devices
DOWN, UNPLUGGED, DORMANT = (
    "d0",
    "n0",
    "z0",
)  # cables: the near end is down, the far end is, somebody must say that it works
TAPS = ("t0", "t1")
ETHERTYPES = {VlanProtocol.DOT1Q: 0x8100, VlanProtocol.DOT1AD: 0x88A8}
_PROTOCOLS = {number: protocol for protocol, number in ETHERTYPES.items()}
_SOL_PACKET, _AUXDATA, _IGNORE_OUTGOING, _RCVBUFFORCE = 263, 8, 23, 33
_TAGGED, _TPID = 0x10, 0x40
_AUX = struct.Struct("=IIIHHHH")
_IFLA_OPERSTATE, _IF_OPER_UP = 16, b"\6"
_IFLA_BR_QUERIER_INTERVAL, _IFLA_BR_QUERIER_STATE = 32, 47
_COARSE = 6  # CLOCK_MONOTONIC_COARSE, which goes from tick to tick
_TWO_TICKS, _ASKED = 0.021, 0.13  # seconds; a query of IGMP asks for a tenth at least
_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x2, 0x1000
_MAGIC = b"frameyard"
_MARKER = 0xFFFF
_LONG = 30.0
T = TypeVar("T")
Arrival = tuple[str, str, tuple[Tag, ...]]
"""Where a copy of a frame arrived, behind a port or at the bridge; its destination; and its tags."""


@dataclass
class Yard:
    """The namespace of the bridge, that of the far ends, and the sockets. ``run`` tells the frames of each bridge."""

    here: Namespace
    far: Namespace
    requests: Connection
    kernel: Kernel
    near_socket: socket.socket
    far_socket: socket.socket
    taps: Mapping[str, int]
    ifindexes: Mapping[str, int]
    filters_vlans: bool
    run: int = 0
    arrived: dict[int, list[Arrival]] = field(default_factory=dict)

    def settled(self) -> Snapshot:
        """The snapshot of the bridge, once it has heard whether a port forwards: until then the host sends nothing.

        The kernel calls an interface operational before it has looked (IF_OPER_UNKNOWN).
        """
        end = time.monotonic() + _LONG
        while True:
            snapshot = self.kernel.read_snapshot({BRIDGE}, whole=True)
            bridge = snapshot.bridges[BRIDGE]
            forwards = PortState.FORWARDING in (port.relay.state for port in snapshot.ports.values())
            if not bridge.up or bridge.relay.operational == forwards == self._known_up():
                return snapshot
            assert time.monotonic() < end, "the bridge never heard of its ports"

    def _known_up(self) -> bool:
        return self._bridge()[_IFLA_OPERSTATE] == _IF_OPER_UP

    def _bridge(self, *path: int) -> dict[int, bytes]:
        """The bridge's attributes, or those inside one."""
        name = wire.attribute(IFLA_IFNAME, BRIDGE.encode() + b"\0")
        request = (wire.RTM_GETLINK, wire.NLM_F_REQUEST, wire.LINK.pack(0, 0, 0, 0, 0) + name)
        said = self.requests.transact([request], "reading the bridge").replies[0][32:]
        for step in (*path, None):
            found = {kind: said[first:last] for kind, first, last in wire.attributes(said, 0, len(said))}
            said = found[step] if step else b""
        return found

    def begin(self) -> None:
        """From now on only frames that are sent from now on count."""
        self.run += 1
        self.arrived = {}

    def send(self, number: int, ingress: str, frame: Frame) -> None:
        """Sends a frame from the host, or from a station behind a port. On return, the bridge is done with it."""
        data = _bytes(frame, self.run, number)
        with suppress(OSError):  # what is down takes nothing
            if ingress in self.taps:
                os.write(self.taps[ingress], data)
            elif ingress == BRIDGE:
                self.near_socket.sendto(data, (BRIDGE, 0))
            else:
                self.far_socket.sendto(data, (f"{ingress}-far", 0))
        self._until_marker()

    def send_bpdu(self, port: str) -> None:
        """A better bridge than this one says that it is the root of the spanning tree."""
        better = bytes(2) + b"\2\0\0\0\0\1"
        bpdu = bytes(5) + better + bytes(4) + better + struct.pack("!5H", 0x8001, 0, 20 << 8, 2 << 8, 15 << 8)
        data = bytes.fromhex("0180c2000000") + better[2:] + struct.pack("!H", 38) + b"\x42\x42\3" + bpdu
        self.send_bytes(port, data)

    def send_bytes(self, port: str, data: bytes) -> None:
        """A station behind a port sends what is no frame of the test."""
        with suppress(OSError):
            if port in self.taps:
                os.write(self.taps[port], data)
            else:
                self.far_socket.sendto(data, (f"{port}-far", 0))
        self._until_marker()

    def wait_for_querier(self) -> None:
        """Until the bridge believes its querier: it floods for the time that a query allows for answers.

        The bridge itself allows none, which ends with the kernel's next tick. For a querier that it has heard, the
        kernel tells the time that is left until it forgets it.
        """
        begin = time.clock_gettime(_COARSE)
        while time.clock_gettime(_COARSE) - begin < _TWO_TICKS or min(self._heard_ago()) < _ASKED:
            assert time.clock_gettime(_COARSE) - begin < _LONG, "the querier was never believed"
            time.sleep(_TWO_TICKS)

    def _heard_ago(self) -> Iterator[float]:
        """The seconds since the bridge has heard each other querier."""
        yield _LONG
        data = self._bridge(IFLA_LINKINFO, IFLA_INFO_DATA)
        queriers = data.get(_IFLA_BR_QUERIER_STATE, b"")
        for kind, first, last in wire.attributes(queriers, 0, len(queriers)):
            if kind in (3, 7):  # BRIDGE_QUERIER_IP_OTHER_TIMER, and …IPV6…
                interval = int.from_bytes(data[_IFLA_BR_QUERIER_INTERVAL], sys.byteorder)
                yield (interval - int.from_bytes(queriers[first:last], sys.byteorder)) / 100

    def collect(self) -> dict[int, list[Arrival]]:
        """What has arrived, by the number of the frame."""
        self._until_marker()
        self._until_marker()
        self._take(self.near_socket, {BRIDGE: BRIDGE})
        for name, tap in self.taps.items():
            for data in _reads(tap):
                self._note(name, data, ())
        return self.arrived

    def _until_marker(self) -> None:
        marker = _bytes(Frame("02:00:00:00:00:01", "02:00:00:00:00:02"), self.run, _MARKER)
        self.far_socket.sendto(marker, ("m0", 0))
        while not self._take(self.far_socket, _BEHIND):
            assert select.select([self.far_socket], [], [], _LONG)[0], "the marker never arrived"

    def _take(self, opened: socket.socket, names: Mapping[str, str]) -> bool:
        """Takes what has come to the named interfaces. Returns True if the marker was among it."""
        marked = False
        while True:
            try:
                data, extra, _, (interface, *_) = opened.recvmsg(2048, 64)
            except BlockingIOError:
                return marked
            except OSError:  # an interface went down
                continue
            name = names.get(interface)
            if name == "m1":
                marked = marked or _number(data, self.run) == _MARKER
            elif name is not None:
                self._note(name, data, _auxiliary_tag(extra))

    def _note(self, name: str, data: bytes, tags: tuple[Tag, ...]) -> None:
        number = _number(data, self.run)
        if number is None:
            return
        place = 12
        while (protocol := _PROTOCOLS.get(int.from_bytes(data[place : place + 2]))) is not None:
            tags = (*tags, Tag(int.from_bytes(data[place + 2 : place + 4]) & 0xFFF, protocol))
            place += 4
        self.arrived.setdefault(number, []).append((name, data[:6].hex(":"), tags))


_BEHIND = {f"{name}-far": name for name in (*CABLES, DOWN, UNPLUGGED, DORMANT)} | {"m1": "m1"}


@contextmanager
def open_yard() -> Iterator[Yard]:
    """Makes the ports. Until the end, this process stays on one processor."""
    processors = os.sched_getaffinity(0)
    with ExitStack() as stack:
        stack.callback(os.sched_setaffinity, 0, processors)
        os.sched_setaffinity(0, {min(processors)})
        here, far = stack.enter_context(namespace()), stack.enter_context(namespace())
        for table in ("iptables", "ip6tables"):  # where br_netfilter is, it drops and splits IP packets as it sees fit
            here.run("sysctl", "-q", "-w", f"net.bridge.bridge-nf-call-{table}=0", check=False)
        far.ip("link add m0 type veth peer name m1")
        far.ip("link set m0 up")
        far.ip("link set m1 up")
        for number, name in enumerate((*CABLES, DOWN, UNPLUGGED, DORMANT)):
            here.ip(f"link add {name} address 02:c0:00:00:00:{number:02x} type veth peer name {name}-far")
            here.ip(f"link set {name}-far netns {far.name}")
            if name not in (DOWN, DORMANT):
                here.ip(f"link set {name} up")
            if name != UNPLUGGED:
                far.ip(f"link set {name}-far up")
        here.ip(f"link set {SHORT} mtu {SHORT_MTU}")
        if here.accepts(f"link add link {LACED} name laced type vlan id {LACE}"):
            here.ip("link set laced up")
        taps = {}
        for number, name in enumerate(TAPS):
            taps[name] = _inside(here, partial(_open_tap, name))
            stack.callback(os.close, taps[name])
            here.ip(f"link set {name} address 02:c0:00:00:01:{number:02x} up")
        eventually(lambda: far.links()["m1"]["operstate"] == "UP", "the marker's cable is up")
        here.settle()
        here.ip(f"link set {DORMANT} mode dormant up")
        eventually(lambda: here.links()[DORMANT]["operstate"] == "DORMANT", "a cable is dormant")
        near_socket, far_socket = (stack.enter_context(_inside(place, _listen)) for place in (here, far))
        requests = Connection(here.name)
        stack.callback(requests.close)
        kernel = stack.enter_context(Kernel(here.name))
        ifindexes = {name: link["ifindex"] for name, link in here.links().items()}
        filters = here.accepts("link add probe type bridge vlan_filtering 1")
        here.run("ip", "link", "delete", "probe", check=False)
        yield Yard(here, far, requests, kernel, near_socket, far_socket, taps, ifindexes, filters)


def _listen() -> socket.socket:
    """A socket that hears all interfaces of a namespace, and nothing that leaves by them."""
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    opened.setsockopt(_SOL_PACKET, _AUXDATA, 1)
    opened.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
    opened.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 23)
    opened.setblocking(False)
    return opened


def _open_tap(name: str) -> int:
    opened = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(opened, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return opened


def _inside(place: Namespace, make: Callable[[], T]) -> T:
    """What is made by a thread that enters the namespace, and ends."""
    made: list[T] = []

    def enter_and_make() -> None:
        netns.setns(place.name, flags=0)
        made.append(make())

    thread = threading.Thread(target=enter_and_make)
    thread.start()
    thread.join()
    return made[0]


def _reads(tap: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(tap, 2048)
        except BlockingIOError:
            return


def _auxiliary_tag(extra: list[tuple[int, int, bytes]]) -> tuple[Tag, ...]:
    """The tag that the kernel took out of the frame."""
    for level, kind, value in extra:
        if (level, kind) == (_SOL_PACKET, _AUXDATA):
            status, _, _, _, _, tci, tpid = _AUX.unpack(value[: _AUX.size])
            if status & _TAGGED:
                return (Tag(tci & 0xFFF, _PROTOCOLS[tpid if status & _TPID else 0x8100]),)
    return ()


def _bytes(frame: Frame, run: int, number: int) -> bytes:
    data = bytes.fromhex((frame.destination + frame.source).replace(":", ""))
    for tag in frame.tags:
        data += struct.pack("!HH", ETHERTYPES[tag.protocol], tag.vid)
    content = _MAGIC + struct.pack("!IH", run, number)
    ethertype, header = _network_header(frame)
    return data + struct.pack("!H", ethertype) + (header + content).ljust(frame.length, b"\0")


def _network_header(frame: Frame) -> tuple[int, bytes]:
    """The EtherType and the start of the payload: for a group of IP the bridge looks into it."""
    if not frame.group:
        return 0x88B5, b""
    to, source = ip_address(frame.group), ip_address(frame.ip_source)
    if to.version == 6:
        return 0x86DD, struct.pack("!IHBB", 0x60000000, frame.length - 40, 17, 64) + source.packed + to.packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, frame.length, 0, 0, 0x40, 17, 0) + source.packed + to.packed
    return 0x0800, head[:10] + struct.pack("!H", checksum(head)) + head[12:]


def _number(data: bytes, run: int) -> int | None:
    place = data.find(_MAGIC, 12)
    if place < 0:
        return None
    of_run, number = struct.unpack_from("!IH", data, place + len(_MAGIC))
    return int(number) if of_run == run else None
