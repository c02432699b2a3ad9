"""A daemon in small, and a bridge with an uplink: what is seen, one round, what is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from macmgr.kernel.sightings import Sighting
from macmgr.model.findings import Code
from macmgr.model.intent import GuestMac, GuestPort, Intent, Manager, NicFacts, Observed, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry
from macmgr.reconcile import View, apply, look
from macmgr.state.lock import WriterLock
from macmgr.watch.addresses import MacChange, remember, settle, watched
from tests.fake_kernel import FakeKernel, make_snapshot

OWN, NEIGHBOUR, NEW, OTHER = (f"52:54:00:00:00:0{number}" for number in range(1, 5))
BRIDGE_MAC, UPLINK_MAC, LAN = "02:00:00:00:00:01", "02:00:00:00:00:03", "02:00:00:00:00:99"
VIRTUAL = "00:00:5e:00:01:0a"
FOLLOW, ALERTS, IGNORE = (Policy(Manager.LIBVIRT, guest_mac=each) for each in GuestMac)
NO_WORD = Policy(reason="left as it is", problem="web1.xml:4: no such option")
VRRP = replace(ALERTS, allow=("00:00:5e:00:01:*",))


def guest(policy: Policy = FOLLOW, port: str = "vnet0", mac: str = OWN, domain: str = "web1") -> GuestPort:
    return GuestPort(
        port, "br0", domain, f"uuid of {domain}", (mac,), policy=policy, facts=NicFacts(configured_mac=mac)
    )


@dataclass
class Host:
    """One host. `sees` is a reading of the sockets with the round that follows."""

    guests: Sequence[GuestPort]
    vids: dict[str, tuple[int, ...]] = field(default_factory=dict)
    now: float = 1000.0
    records: tuple[Observed, ...] = ()

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
        return Intent(tuple(self.guests), {"br0": "a test says so"}, observed=self.records)

    def round(self) -> View:
        self.view = apply(WriterLock(), self.intent, self.kernel).view
        self.records = settle(self.records, self.view, self.now)
        return self.view

    def sees(self, *macs: str, port: str = "vnet0", after: float = 1.0) -> list[MacChange]:
        self.now += after
        ifindex = self.kernel.ports[port].ifindex
        known = watched(self.view).get(port, (0, frozenset()))[1]
        seen = [Sighting(port, ifindex, mac, None) for mac in macs if mac not in known]
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
        return look(self.intent, self.kernel)
