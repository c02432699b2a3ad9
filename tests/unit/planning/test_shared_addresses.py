"""An address that several guests are allowed is with one of them, and each of them keeps all the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.findings import Code, Finding, Severity, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Policy, Settings, Step
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.property.test_laws import carry_out

M1, M2, V = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:aa:0a"
BRIDGE_MAC = "02:b0:00:00:00:01"
CLOSED = PortFlags(learning=False, unicast_flood=False)
PLACE = '[bridge."br0"] in the configuration'


def router(number: int, *allow: str) -> GuestPort:
    steps = (Step(PLACE, Settings(Manager.LIBVIRT, allow=allow)),)
    policy = Policy(Manager.LIBVIRT, lock=True, allow=allow, steps=steps)
    macs = f"52:54:00:00:00:0{number}", *(each for each in allow if not each.endswith("*"))
    return GuestPort(f"vnet{number}", "br0", f"router{number}", f"u{number}", macs, policy=policy)


def unmanaged(guest: GuestPort) -> GuestPort:
    return replace(guest, policy=Policy())


def waiting(guest: GuestPort) -> GuestPort:
    return replace(guest, state="paused", running=False)


def host(*entries: Entry, vids: dict[str, tuple[int, ...]] | None = None, filtering: bool = True) -> FakeKernel:
    """A bridge with an uplink and the open taps of two guests."""
    carried = {"vnet1": (1,), "vnet2": (1,)} | (vids or {})
    taps = [
        BridgePort(name, 10 + number, "br0", f"fe:00:00:00:00:{number:02x}", PortFlags(), its, its[0])
        for number, (name, its) in enumerate(carried.items())
    ]
    uplink = BridgePort("eth0", 5, "br0", "fe:00:00:00:01:05", PortFlags(), (1, 10), 1)
    return FakeKernel(make_snapshot([Bridge("br0", 1, BRIDGE_MAC, filtering)], [uplink, *taps], entries))


def pinned(mac: str, port: str, *vids: int) -> list[Entry]:
    return [Entry(mac, vid, port, sticky=True) for vid in vids or (0, 1)]


def settled(kernel: FakeKernel, *guests: GuestPort) -> list[Finding]:
    """Carry the plan out, see that it is enough, and answer with what is told when nothing is left to do."""
    intent = Intent(guests, {"br0": "a test"})
    carry_out(kernel, plan(intent, kernel.read_snapshot()))
    after: Plan = plan(intent, kernel.read_snapshot())
    assert after.changes == ()
    return [each for each in after.findings if each.severity is not Severity.INFO]


def leads(kernel: FakeKernel, mac: str) -> dict[int, str]:
    return {entry.vid: entry.port for entry in kernel.fdb.values() if entry.mac == mac}


@pytest.mark.parametrize("filtering", [True, False])
def test_each_keeps_its_own_address_a_closed_port_and_its_lock(filtering: bool) -> None:
    kernel = host(filtering=filtering)
    (told,) = settled(kernel, router(1, V), router(2, V))
    for number, mac in (1, M1), (2, M2):
        assert leads(kernel, mac) == dict.fromkeys((0, 1), f"vnet{number}")
        assert kernel.ports[f"vnet{number}"].flags == replace(CLOSED, locked=True)
    assert leads(kernel, V) == dict.fromkeys((0, 1), "vnet1")
    assert (told.code, told.severity) == (Code.CONFLICTING_SETTINGS, "warning")
    assert (told.port, told.domain, told.mac) == ("vnet2", "router2", V)
    assert told.message == (
        f"router2 (vnet2) and router1 (vnet1) are both allowed {V} on br0: its entry leads to vnet1, also while "
        "router2 uses the address"
    )
    assert "52:54:00:00:aa:*" in fix_of(told).text


def test_who_has_it_keeps_it_though_the_other_has_an_entry_of_its_own() -> None:
    """libvirt puts a NIC's own entry before the started hook runs."""
    kernel = host(*pinned(M2, "vnet2"), *pinned(V, "vnet2"), *pinned(M1, "vnet1"))
    settled(kernel, router(1, V), router(2, V))
    assert leads(kernel, V) == dict.fromkeys((0, 1), "vnet2")


def test_it_goes_to_the_other_when_its_guest_has_left() -> None:
    kernel = host(*pinned(V, "vnet1"))
    assert settled(kernel, waiting(router(1, V)), router(2, V)) == []
    assert leads(kernel, V) == dict.fromkeys((0, 1), "vnet2")


def test_in_another_vlan_it_is_another_address() -> None:
    kernel = host(vids={"vnet2": (10,)})
    assert settled(kernel, router(1, V), router(2, V)) == []
    assert leads(kernel, V) == {0: "vnet1", 1: "vnet1", 10: "vnet2"}


def test_who_shares_one_vlan_of_two_has_it_in_the_other() -> None:
    """And not in VID 0: the kernel has no request for that without all VIDs of the port."""
    kernel = host(*pinned(V, "vnet2", 10), vids={"vnet1": (1, 10), "vnet2": (10,)})
    (told,) = settled(kernel, router(1, V), router(2, V))
    assert leads(kernel, V) == {0: "vnet2", 1: "vnet1", 10: "vnet2"}
    assert (told.port, told.vid) == ("vnet1", 10)


@pytest.mark.parametrize(
    "other", [router(2), unmanaged(router(2)), waiting(router(2))], ids=["managed", "unmanaged", "waiting"]
)
def test_a_guests_own_address_is_nobody_elses_to_have(other: GuestPort) -> None:
    kernel = host(*pinned(M2, "vnet1"), *pinned(M1, "vnet1"))
    (told,) = settled(kernel, router(1, M2), other)
    assert set(leads(kernel, M2).values()) == ({"vnet2"} if other.managed and other.running else set())
    assert kernel.ports["vnet1"].flags == replace(CLOSED, locked=True)
    assert (told.code, told.port, told.mac) == (Code.CONFLICTING_SETTINGS, "vnet1", M2)
    assert f"router1 (vnet1) is allowed {M2}, the address of router2 (vnet2) itself, on br0" in told.message
    assert fix_of(told).text == f"do not allow {M2} to router1 ({PLACE})"


def test_an_address_that_changed_in_the_guest_takes_nothing_that_another_is_allowed() -> None:
    thief = replace(router(1), macs=(V,), facts=NicFacts(configured_mac=M1))
    kernel = host(*pinned(V, "vnet1"))
    (told,) = settled(kernel, thief, router(2, V))
    assert leads(kernel, V) == dict.fromkeys((0, 1), "vnet2")
    assert (told.code, told.port) == (Code.DUPLICATE_MAC, "vnet1")
    assert kernel.ports["vnet1"].flags == PortFlags()


def test_of_two_with_one_own_address_who_has_it_in_their_common_vlan_keeps_it() -> None:
    kernel = host(*pinned(M1, "vnet1", 1), *pinned(M1, "vnet2", 10), vids={"vnet1": (1, 10), "vnet2": (10,)})
    (told,) = settled(kernel, router(1), replace(router(2), macs=(M1,)))
    assert leads(kernel, M1)[10] == "vnet2"
    assert (told.code, told.port, told.vid) == (Code.DUPLICATE_MAC, "vnet1", 10)


def test_the_hosts_address_is_left_out_and_not_the_guest() -> None:
    kernel = host(*pinned(BRIDGE_MAC, "vnet1", 1))
    (told,) = settled(kernel, router(1, BRIDGE_MAC, V))
    assert set(leads(kernel, V).values()) == set(leads(kernel, M1).values()) == {"vnet1"}
    assert kernel.ports["vnet1"].flags == replace(CLOSED, locked=True)
    assert not [e for e in kernel.fdb.values() if e.mac == BRIDGE_MAC and e.state is EntryState.STATIC]
    assert told.code is Code.MAC_COLLISION
    assert told.message == (
        f"router1 is allowed the MAC address {BRIDGE_MAC} of the bridge br0 itself: no entry is put, because it "
        "would take the host's own address away"
    )
    assert fix_of(told).text == f"do not allow {BRIDGE_MAC} to router1 ({PLACE})"


def test_a_virtual_routers_address_is_advised_as_a_prefix() -> None:
    """In full, it is pinned here while its master is on the LAN. A prefix lets it in while it is seen here."""
    address = "00:00:5e:00:02:0a"
    (told,) = settled(host(), router(1, address, "00:00:5e:00:01:*"))
    assert (told.code, told.severity, told.port) == (Code.CONFLICTING_SETTINGS, Severity.WARNING, "vnet1")
    assert fix_of(told).text == "allow 00:00:5e:00:02:* in its place, with macmgr watch running"
    assert settled(host(), router(1, "00:00:5e:00:03:01")) == []
