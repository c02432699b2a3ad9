"""A daemon in small, and a bridge with an uplink: what is seen, one round, what is forgotten."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from macmgr.model.findings import Code
from macmgr.model.intent import GuestMac, GuestPort, Intent, Manager, NicFacts, Policy
from macmgr.model.known import Known, Memory, NicAddress, SeenMacs, Sighting
from macmgr.model.snapshot import Bridge, BridgePort, Entry
from macmgr.reconcile import apply, look
from macmgr.state.lock import WriterLock
from macmgr.state.observedfile import read_observed, write_observed
from macmgr.view import View
from macmgr.watch.addresses import MacChange, hear, remember, settle, watched
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

OWN, NEIGHBOUR, NEW, OTHER = (f"52:54:00:00:00:0{number}" for number in range(1, 5))
BRIDGE_MAC, UPLINK_MAC, LAN = "02:00:00:00:00:01", "02:00:00:00:00:03", "02:00:00:00:00:99"
VIRTUAL = "00:00:5e:00:01:0a"
WATCHED = Memory(watched=True)
FOLLOW, ALERTS, IGNORE = (Policy(Manager.LIBVIRT, guest_mac=each) for each in GuestMac)
NO_WORD = Policy(reason="left as it is", problem="web1.xml:4: no such option")
VRRP = replace(ALERTS, allow=("00:00:5e:00:01:*",))


def guest(policy: Policy = FOLLOW, port: str = "vnet0", mac: str = OWN, domain: str = "web1") -> GuestPort:
    facts = NicFacts(configured_mac=mac)
    return GuestPort(port, "br0", domain, f"uuid of {domain}", (mac,), "net0", policy=policy, facts=facts)


def said_of(guest: GuestPort, mac: str) -> GuestPort:
    """The guest with libvirt's word that its NIC has this address (``currentAddress``), as policy/guests makes it."""
    said = mac if mac != guest.facts.configured_mac else ""
    own = said if said and guest.policy.guest_mac is GuestMac.FOLLOW else guest.facts.configured_mac
    facts = replace(guest.facts, current_mac=said, said_mac=said)
    return replace(guest, macs=tuple(dict.fromkeys([own, *guest.macs[1:]])), facts=facts)


@dataclass
class Host:
    """One host. `sees` is a reading of the sockets with the round that follows; so are `hears` and `saves`.

    ``sightings`` and ``listens`` are what the daemon is configured to do: to look at frames, to listen to libvirt.
    """

    guests: Sequence[GuestPort]
    vids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    now: float = 1000.0
    records: tuple[SeenMacs, ...] = ()
    sightings: bool = True
    listens: bool = True
    lost: bool = False

    def __post_init__(self) -> None:
        taps = [
            BridgePort(
                each.port, 10 + index, "br0", f"fe:00:00:00:00:0{index}", vids=self.vids.get(each.port, (1,)), pvid=1
            )
            for index, each in enumerate(self.guests)
        ]
        uplink = BridgePort("eth0", 3, "br0", UPLINK_MAC, vids=(1, 2), pvid=1)
        self.kernel = FakeKernel(make_snapshot([Bridge("br0", 1, BRIDGE_MAC, True)], [uplink, *taps]))
        self.view: View
        self.round()

    def intent(self) -> Intent:
        return Intent(tuple(self.guests), {"br0": "a test says so"})

    def known(self) -> Known:
        return Known(WATCHED, seen=self.records, seen_lost=self.lost)

    def round(self) -> View:
        self.view = apply(WriterLock(), self.intent, self.kernel, known=self.known(), notes=Notebook(WATCHED)).view
        self.records = settle(self.records, self.view, self.now, sightings=self.sightings)
        return self.view

    def loses(self) -> None:
        """The file of what was seen cannot be read: nothing of it is known, and that is known."""
        self.records, self.lost = (), True

    def saves(self, mac: str, port: str = "vnet0") -> None:
        """libvirt saves its status file, and inotify tells the daemon."""
        self.guests = [said_of(each, mac) if each.port == port else each for each in self.guests]
        self.round()

    def hears(self, mac: str, port: str = "vnet0", *, changed: bool = True) -> list[MacChange]:
        """libvirt's connection says which address a NIC has: by an event, or asked after it was connected."""
        if not self.listens:
            return []
        uuid = next(each.uuid for each in self.guests if each.port == port)
        word = NicAddress(uuid, "net0", mac, changed)
        self.records, changes, _ = hear(self.records, [word], self.view, self.now)
        self.round()
        return changes

    def restarts(self) -> None:
        """The daemon, which reads what it has written down."""
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory, "macmgr", "observed.json")
            assert not write_observed(self.records, path=path)
            read = read_observed(path=path)
        self.records = read.records
        assert not read.problem
        self.round()

    def sees(self, *macs: str, port: str = "vnet0", after: float = 1.0) -> list[MacChange]:
        self.now += after
        ifindex = self.kernel.ports[port].ifindex
        known = watched(self.view).get(port, (0, frozenset()))[1]
        seen = [Sighting(port, ifindex, mac, None) for mac in macs if mac not in known and self.sightings]
        self.records, changes = remember(self.records, seen, self.view, self.now)
        self.round()
        return changes

    def entry(self, mac: str, vid: int = 1) -> Entry | None:
        return self.kernel.fdb.get(("br0", mac, vid))

    def port_of(self, mac: str, vid: int = 1) -> str | None:
        found = self.entry(mac, vid)
        return found.port if found else None

    @property
    def codes(self) -> set[Code]:
        return {each.code for each in self.view.plan.findings if each.code is not Code.UPLINK_PROMISCUOUS}

    def audit(self) -> View:
        """What a verb finds that only reads the file."""
        return look(self.intent, self.kernel, known=self.known())

    def audit_by_libvirt(self, mac: str, port: str = "vnet0") -> View:
        """What it finds with ``--source libvirt``, whose XML has the address that libvirt knows now."""
        said = [said_of(each, mac) if each.port == port else each for each in self.guests]
        return look(lambda: replace(self.intent(), ports=tuple(said)), self.kernel, known=self.known())
