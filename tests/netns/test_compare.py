"""Three hosts on one LAN, a guest that libvirt alone migrates, and `macmgr compare` on captures of the three.

No libvirt runs here: its part is done by hand (virnetdevbridge.c, virnetdevtap.c). It closes the tap when it plugs it,
and adds the guest's entry with NLM_F_EXCL when the CPUs start; that fails where the uplink has learned the address, and
libvirt takes that for success. It deletes nothing where the guest has left.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import BROADCAST, LONG, Namespace, eventually, namespace
from tests.netns.house import House, house

WEB, CLIENT = "52:54:00:aa:00:01", "52:54:00:aa:00:09"
NETWORK = (
    "<networkstatus><network><name>lan</name><uuid>00000000-0000-4000-8000-0000000000ff</uuid><forward mode='bridge'/>"
    "<bridge name='br0' macTableManager='libvirt'/></network></networkstatus>"
)
DOMAIN = """<domstatus state='{state}' reason='booted' pid='1'><domain type='kvm'>
<name>{name}</name><uuid>00000000-0000-4000-8000-0000000000{number:02}</uuid><devices><interface type='network'>
<mac address='{mac}'/><source network='lan'/>
<actual type='bridge'><source bridge='br0' macTableManager='libvirt'/></actual>
<target dev='vnet0'/><alias name='net0'/></interface></devices></domain></domstatus>
"""


@dataclass(frozen=True)
class Station:
    """A host of the LAN. Its one guest is on vnet0, and sends from vnet0-far."""

    name: str
    house: House

    def plugs(self) -> None:
        """The guest's tap is made: libvirt closes it."""
        self.house.ns.add_cable("vnet0")
        self.house.ns.bridge("link set dev vnet0 learning off flood off")

    def starts(self, name: str, number: int, mac: str) -> None:
        """The CPUs start: libvirt adds the entry, unless there is one; the guest announces itself."""
        words = ("fdb", "add", mac, "dev", "vnet0", "master", "static")
        self.house.ns.run("bridge", *words, check=False)
        self.house.write("qemu/g.xml", DOMAIN.format(state="running", name=name, number=number, mac=mac))
        self.house.ns.send_frame("vnet0-far", mac)

    def loses_its_guest(self) -> None:
        self.house.remove("qemu/g.xml")
        self.house.ns.ip("link del vnet0")

    def capture(self, place: Path) -> Path:
        """`macmgr capture` on this host; the host's name is its own too."""
        target = place / f"{self.name}.tar"
        command = self.house.macmgr_command("capture", str(target))
        at = len(self.house.command())
        named = [
            *command[:at],
            "unshare",
            "--uts",
            "sh",
            "-c",
            f'hostname {self.name} && exec "$@"',
            "sh",
            *command[at:],
        ]
        done = subprocess.run(named, capture_output=True, check=False, timeout=LONG)
        assert done.returncode == 0, done.stderr
        return target

    def reaches(self, mac: str, other: Station) -> bool:
        """A frame from the guest here to ``mac`` comes to the guest on the other host, before one to everybody does."""
        with other.house.ns.packet_socket("vnet0-far") as there:
            there.settimeout(LONG)
            for to in (mac, BROADCAST):
                self.house.ns.send_frame("vnet0-far", CLIENT, to)
            while True:
                frame = there.recv(2048)
                if frame[6:12].hex(":") == CLIENT:
                    return frame[:6].hex(":") == mac


@contextmanager
def station(name: str, lan: Namespace, root: Path) -> Iterator[Station]:
    (root / name).mkdir()
    with namespace() as ns, house(ns, root / name) as made:
        made.config.write_text("")
        made.write("network/lan.xml", NETWORK)
        ns.ip(f"link set up0-far netns {lan.name} name {name}")
        lan.ip(f"link set {name} master sw", f"link set {name} up")
        eventually(lambda: lan.port_state(name) == "forwarding" and ns.port_state("up0") == "forwarding", "the LAN")
        yield Station(name, made)


@pytest.fixture
def stations(ns: Namespace, tmp_path: Path) -> Iterator[tuple[Station, Station, Station]]:
    ns.add_bridge("sw")
    with ExitStack() as opened:
        h1, h2, h3 = (opened.enter_context(station(name, ns, tmp_path)) for name in ("h1", "h2", "h3"))
        yield h1, h2, h3


def compared(stations: tuple[Station, ...], place: Path) -> tuple[int, Any]:
    place.mkdir()
    captures = [each.capture(place) for each in stations]
    command = [sys.executable, "-m", "macmgr", "compare", "--json", *map(str, captures)]
    done = subprocess.run(command, capture_output=True, check=False, timeout=LONG)
    assert not done.stderr, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_a_guest_that_libvirt_alone_has_migrated(stations: tuple[Station, Station, Station], tmp_path: Path) -> None:
    h1, h2, h3 = stations
    h3.plugs()
    h3.starts("client", 9, CLIENT)
    h1.plugs()
    h1.starts("web1", 1, WEB)
    for each in (h2, h3):
        eventually(lambda each=each: each.house.ns.port_of(WEB) == "up0", "the others learn where it is")  # type: ignore[misc]
    assert h3.reaches(WEB, h1)

    h2.plugs()
    h2.starts("web1", 1, WEB)
    eventually(lambda: h1.house.ns.port_of(WEB) == "up0", "its static entry on h1 moves to the uplink")
    h1.loses_its_guest()
    assert not h3.reaches(WEB, h2), "a black hole"

    code, said = compared(stations, tmp_path / "before")
    assert [(each["code"], each["consequence"], each["hosts"], each["domain"]) for each in said["differences"]] == [
        ("unreached", "cut-off", ["h1", "h2"], "web1"),
        ("left-behind", "at-risk", ["h1", "h2"], "web1"),
    ]
    assert code == 1
    hole, left = said["differences"]
    assert f"frames for {WEB} leave through up0 instead of vnet0" in hole["message"]
    assert f"has left a static entry for {WEB} on up0 of h1" in left["message"]

    for said in (hole, left):  # what it says to type helps
        host = {"h1": h1, "h2": h2}[said["fix_on"]]
        host.house.ns.run("sh", "-c", said["fix"])
    assert h3.reaches(WEB, h2)
    code, said = compared(stations, tmp_path / "after")
    assert (code, said["differences"]) == (0, []), said
