"""A trusted guest that changes its address, on a libvirt that notes it at once and saves it later (11.2 and newer).

The daemon, the verbs and the bridge are real, and so are the guest's frames and those of the LAN. libvirt's status
files have the form of 11.3; its connection is a stand-in (`tests.netns.fake_libvirt`) under the real event source.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns import fake_libvirt
from tests.netns.conftest import BROADCAST, LONG, Namespace, eventually
from tests.netns.fake_libvirt import DIRECTORY
from tests.netns.house import MANAGED, House, house, mac_of

A, B, C = mac_of(1), "52:54:00:bb:00:02", "52:54:00:bb:00:03"
ROUTER = "02:aa:00:00:00:01"
PINGS = 3
STAND_IN = Path(fake_libvirt.__file__).read_text(encoding="utf-8")  # a wheel has no tests to import


@dataclass
class Trusted:
    """Guest g1 with a trusted virtio NIC on vnet1; the guest itself is vnet1-far."""

    host: House
    libvirt: Path
    mac: str = A
    saved: str = ""

    def __post_init__(self) -> None:
        self.libvirt.mkdir()
        (self.libvirt / "events").touch()
        self.libvirt.joinpath("libvirt.py").write_text(STAND_IN)
        self.host.ns.add_cable("vnet1")
        self.knows()
        self.save()

    @property
    def environment(self) -> dict[str, str]:
        return {"PYTHONPATH": str(self.libvirt), DIRECTORY: str(self.libvirt)}

    def xml(self) -> str:
        current = f" currentAddress='{self.mac}'" if self.mac != A else ""
        return (
            "<domain type='kvm' id='1'><name>g1</name><uuid>00000000-0000-4000-8000-000000000001</uuid><devices>"
            f"<interface type='bridge' trustGuestRxFilters='yes'><mac address='{A}'{current}/>"
            "<source bridge='br0'/><target dev='vnet1'/><model type='virtio'/><alias name='net0'/></interface>"
            "</devices></domain>"
        )

    def knows(self) -> None:
        """libvirt has heard of it from QEMU: dumpxml has it, its status file has not."""
        self.libvirt.joinpath("g1.new").write_text(self.xml())
        self.libvirt.joinpath("g1.new").rename(self.libvirt / "g1.xml")

    def save(self) -> None:
        """As with a suspend and resume."""
        self.saved = self.mac
        self.host.write("qemu/g1.xml", f"<domstatus state='running' reason='unpaused' pid='1'>{self.xml()}</domstatus>")

    def changes(self, mac: str, *, event: bool = True, frame: bool = True) -> None:
        old, self.mac = self.mac, mac
        self.knows()
        if event:
            with (self.libvirt / "events").open("a") as file:
                file.write(f"g1 net0 {old} {mac}\n")
        if frame:
            self.host.ns.send_frame("vnet1-far", mac)

    def pings(self) -> int:
        """How many of the LAN's frames to the address that the guest has now come to it, before one to everybody."""
        heard: list[str] = []
        with self.host.ns.packet_socket("vnet1-far") as guest:
            for destination in (*[self.mac] * PINGS, BROADCAST):
                self.host.ns.send_frame("up0-far", ROUTER, destination)
            guest.settimeout(LONG)
            while BROADCAST not in heard:
                heard.append(guest.recv(2048)[:6].hex(":"))
        return heard.count(self.mac)

    def entries(self) -> set[str]:
        """The static entries on its port."""
        return {each["mac"] for each in self.host.ns.fdb() if each["ifname"] == "vnet1" and each["state"] == "static"}

    def has(self, mac: str) -> None:
        """Wait until its port has an entry for this address and no other."""
        eventually(
            lambda: self.entries() == {mac}, lambda: f"{mac} on its port: {self.entries()} are there\n{self.host.log}"
        )

    def audits(self, *words: str) -> tuple[int, list[tuple[str, str]]]:
        """Exit code, and code and MAC of all that is wrong or to be noted about the guest."""
        said = self.host.macmgr("audit", "--json", *words)
        assert said.stdout, said.stderr
        found = [(each["code"], each["mac"]) for each in json.loads(said.stdout)["findings"] if each["port"] == "vnet1"]
        return said.returncode, found


@pytest.fixture
def guest(ns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trusted]:
    with house(ns, tmp_path) as host:
        made = Trusted(host, tmp_path / "libvirt")
        for name, value in made.environment.items():
            monkeypatch.setenv(name, value)
        yield made


def configure(guest: Trusted, *, events: bool, sightings: bool) -> None:
    yes = {True: "'yes'", False: "'no'"}
    text = f"{MANAGED}[hook]\ntimeout = 25\n[daemon]\nlibvirt_events = {yes[events]}\nsightings = {yes[sightings]}\n"
    guest.host.config.write_text(text)


@contextmanager
def daemon(guest: Trusted, *, events: bool) -> Iterator[None]:
    """The daemon, once it listens to libvirt where it is to."""
    (guest.libvirt / "listened").unlink(missing_ok=True)
    with guest.host.daemon():
        eventually(lambda: not events or (guest.libvirt / "listened").exists(), lambda: guest.host.log)
        yield


@pytest.mark.parametrize("sightings", [True, False], ids=["sightings", "blind"])
@pytest.mark.parametrize("events", [True, False], ids=["events", "deaf"])
def test_each_change_of_the_address_with_each_way_to_hear_of_it(guest: Trusted, events: bool, sightings: bool) -> None:
    """A to B, which is saved, to C, which is not, and back to A; before that the daemon ends, and a hook runs."""
    configure(guest, events=events, sightings=sightings)
    heard = events or sightings

    def reached(step: str, right: str) -> None:
        guest.has(right)
        answered = guest.pings()
        print(f"events={events} sightings={sightings} {step}: {answered} of {PINGS}")
        assert answered == (PINGS if right == guest.mac else 0)
        assert guest.audits() == (0, [])
        if right == guest.mac:  # dumpxml knows it, and asks for the very same entry
            assert guest.audits("--source", "libvirt") == (0, [])

    with daemon(guest, events=events):
        reached("at its own address A", A)
        guest.changes(B)
        reached("A to B", B if heard else A)
        guest.save()
        reached("B is saved", B)
        guest.changes(C)
        reached("B to C", C if heard else B)
    reached("the daemon has ended", C if heard else B)
    hook = guest.host.macmgr("hook", "qemu", "g1", "reconnect", "begin", "-", stdin=guest.xml().encode())
    assert (hook.returncode, hook.stdout) == (0, b"")
    reached("a hook without it", C if heard else B)
    with daemon(guest, events=events):
        reached("the daemon is back", C if heard else B)
        guest.changes(A)
        reached("C to A", A if heard else B)
        guest.save()
        reached("A is saved", A)


def test_what_was_missed_is_asked_for_when_libvirt_is_connected(guest: Trusted) -> None:
    """The guest changed its address while no daemon was there, libvirt has not saved it, and no frame is looked at."""
    configure(guest, events=True, sightings=False)
    with guest.host.daemon():
        guest.has(A)
    guest.changes(B)
    assert guest.entries() == {A}
    with guest.host.daemon():
        guest.has(B)
        assert guest.pings() == PINGS
    guest.changes(A)
    with guest.host.daemon():
        guest.has(A)
        assert guest.pings() == PINGS


def test_a_forged_frame_takes_no_followed_address_for_good(guest: Trusted) -> None:
    configure(guest, events=True, sightings=False)
    with daemon(guest, events=True):
        guest.changes(B, frame=False)
        guest.has(B)
        guest.host.ns.send_frame("up0-far", B)
        guest.has(B)
        assert guest.pings() == PINGS


def test_a_connection_without_such_events_is_listened_to_all_the_same(
    guest: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libvirt-python before 11.2: the guest's frames tell."""
    guest.libvirt.joinpath("libvirt.py").write_text(f"{STAND_IN}\ndel VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE\n")
    configure(guest, events=True, sightings=True)
    with daemon(guest, events=True):
        guest.changes(B)
        guest.has(B)
    assert os.environ[DIRECTORY] == str(guest.libvirt)
