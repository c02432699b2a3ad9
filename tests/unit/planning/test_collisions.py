"""What is the host's own stays the host's: no guest that names its address gets an entry in its place."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.changes import requests
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Stacked
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from tests.fake_kernel import FakeKernel, make_snapshot

OWN, GATEWAY = "52:54:00:00:00:01", "00:00:5e:00:01:01"
CLOSED = PortFlags(learning=False, unicast_flood=False)


def guest(*macs: str, port: str = "vnet1") -> GuestPort:
    policy = Policy(manager=Manager.LIBVIRT, allow=macs[1:])
    return GuestPort(port, "br0", f"g-{port}", f"u-{port}", macs, policy=policy)


def host(
    *entries: Entry, vids: tuple[int, ...] = (1,), filtering: bool = True, stacked: tuple[Stacked, ...] = ()
) -> FakeKernel:
    def port(name: str, number: int) -> BridgePort:
        return BridgePort(name, number, "br0", f"fe:00:00:00:00:{number:02x}", PortFlags(), vids, vids[0])

    ports = [port("eth0", 5), port("vnet1", 11), port("vnet2", 12)]
    made = make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", filtering)], ports, entries)
    return FakeKernel(replace(made, stacked=stacked))


def local(port: str, *vids: int) -> list[Entry]:
    return [Entry(GATEWAY, vid, port, EntryState.LOCAL) for vid in vids]


def planned(kernel: FakeKernel, *guests: GuestPort) -> Plan:
    return plan(Intent(guests, {"br0": "a test says so"}), kernel.read_snapshot())


def carried_out(kernel: FakeKernel, *guests: GuestPort) -> list[Code]:
    steps = planned(kernel, *guests)
    for change in steps.changes:
        assert not any(kernel.send(list(requests(change)), kernel.read_snapshot()))
    assert planned(kernel, *guests).changes == ()
    return [finding.code for finding in steps.findings if finding.mac == GATEWAY]


def entries(kernel: FakeKernel, mac: str = GATEWAY) -> set[tuple[int, str, str]]:
    return {(entry.vid, entry.port, entry.in_words) for entry in kernel.fdb.values() if entry.mac == mac}


@pytest.mark.parametrize("port", ["br0", "eth0", "vnet2"])  # nobody here says that vnet2 is a guest's
@pytest.mark.parametrize("filtering", [True, False])
def test_a_guest_that_has_an_address_of_the_host_is_left_as_it_is(port: str, filtering: bool) -> None:
    kernel = host(*local(port, 0, 1), filtering=filtering)
    steps = planned(kernel, guest(GATEWAY))
    assert steps.changes == ()
    assert [finding.code for finding in steps.findings if finding.mac] == [Code.MAC_COLLISION]
    assert f"(a local entry on {port})" in next(f.message for f in steps.findings if f.mac)


@pytest.mark.parametrize("vids", [(0, 1), (1,), (0,)])
def test_a_guest_that_is_allowed_one_has_its_own_address_and_not_that(vids: tuple[int, ...]) -> None:
    kernel = host(*local("br0", *vids), filtering=1 in vids)
    before = entries(kernel)
    assert carried_out(kernel, guest(OWN, GATEWAY)) == [Code.MAC_COLLISION]
    assert entries(kernel) == before
    assert entries(kernel, OWN) == {(0, "vnet1", "static sticky"), (1, "vnet1", "static sticky")}
    assert kernel.ports["vnet1"].flags == CLOSED


@pytest.mark.parametrize("macs", [(GATEWAY,), (OWN, GATEWAY)])
def test_in_the_vids_in_which_the_host_has_it_not_it_is_the_guests(macs: tuple[str, ...]) -> None:
    kernel = host(*local("br0", 10), vids=(1, 10, 20))
    assert carried_out(kernel, guest(*macs)) == [Code.MAC_COLLISION, Code.MISSING_ENTRY, Code.MISSING_ENTRY]
    assert entries(kernel) == {
        (1, "vnet1", "static sticky"),
        (10, "br0", "permanent"),
        (20, "vnet1", "static sticky"),
    }
    assert kernel.ports["vnet1"].flags == CLOSED


def test_a_slip_on_its_tap_is_put_right_where_the_host_has_the_address_in_another_vid() -> None:
    kernel = host(*local("eth0", 0), *local("vnet1", 1))
    assert carried_out(kernel, guest(GATEWAY)) == [Code.LOCAL_ENTRY]
    assert entries(kernel) == {(0, "eth0", "permanent"), (1, "vnet1", "static sticky")}


def test_a_vid_that_no_port_of_the_guest_carries_is_nobodys_business() -> None:
    kernel = host(*local("br0", 10), vids=(1, 20))
    codes = carried_out(kernel, guest(GATEWAY))
    assert codes == [Code.MISSING_ENTRY, Code.MISSING_ENTRY]
    assert entries(kernel) == {
        (1, "vnet1", "static sticky"),
        (10, "br0", "permanent"),
        (20, "vnet1", "static sticky"),
    }


def test_without_vlan_filtering_the_address_in_a_vid_is_the_hosts_altogether() -> None:
    """The kernel has no request for VID 0 that skips the entry in VID 10."""
    kernel = host(*local("br0", 10), vids=(1, 10), filtering=False)
    assert planned(kernel, guest(GATEWAY)).changes == ()


def test_what_a_guest_was_given_before_the_host_had_it_goes_where_it_was_only_allowed() -> None:
    """In VID 20 the host has the address now; the guest's copies elsewhere stay."""
    kernel = host(*local("br0", 20), vids=(1, 10, 20))
    for vid in (0, 1, 10):
        kernel.fdb["br0", GATEWAY, vid] = Entry(GATEWAY, vid, "vnet1", EntryState.STATIC, sticky=True)
    carried_out(kernel, guest(OWN, GATEWAY))
    assert {each for each in entries(kernel) if each[0]} == {
        (1, "vnet1", "static sticky"),
        (10, "vnet1", "static sticky"),
        (20, "br0", "permanent"),
    }


@pytest.mark.parametrize("port", ["vnet1", "vnet2"])
def test_a_local_entry_on_a_guests_tap_is_a_slip_and_mended(port: str) -> None:
    """`bridge fdb add MAC dev vnet1` without `static` makes one: the host swallows the guest's frames."""
    kernel = host(*local(port, 0, 1))
    assert set(carried_out(kernel, guest(GATEWAY), guest(OWN, port="vnet2"))) == {Code.LOCAL_ENTRY}
    assert entries(kernel) == {(0, "vnet1", "static sticky"), (1, "vnet1", "static sticky")}


def test_but_not_where_it_is_the_taps_own_address() -> None:
    kernel = host()
    tap = kernel.ports["vnet2"].mac
    steps = planned(kernel, guest(tap), guest(OWN, port="vnet2"))
    assert not any(getattr(change, "mac", "") == tap for change in steps.changes)
    assert Code.MAC_COLLISION in {finding.code for finding in steps.findings}


def test_a_waiting_guest_loses_nothing_of_the_hosts_either() -> None:
    kernel = host(*local("br0", 0, 1))
    waits = replace(guest(OWN, GATEWAY), running=False, state="paused")
    before = entries(kernel)
    carried_out(kernel, waits)
    assert entries(kernel) == before


def stacked(*vids: int) -> tuple[Stacked, ...]:
    return (Stacked("br0", "br0.10-v0", GATEWAY, vids),)


def test_what_is_stacked_on_the_bridge_has_its_address_in_its_vid() -> None:
    kernel = host(vids=(1, 10), stacked=stacked(10))
    assert carried_out(kernel, guest(OWN, GATEWAY)) == [Code.MAC_COLLISION, Code.MISSING_ENTRY]
    assert entries(kernel) == {(1, "vnet1", "static sticky")}
    assert kernel.ports["vnet1"].flags == CLOSED


def test_a_guest_whose_own_address_a_device_has_in_a_vid_still_gets_what_is_flooded_there() -> None:
    """The bridge has no entry for the device's address: a closed port would no longer get the frames of VID 10."""
    kernel = host(vids=(1, 10), stacked=stacked(10))
    assert carried_out(kernel, guest(GATEWAY)) == [Code.MAC_COLLISION, Code.MISSING_ENTRY]
    assert entries(kernel) == {(1, "vnet1", "static sticky")}
    assert kernel.deliver("br0", "eth0", GATEWAY, 10) >= {"vnet1"}
    flags = [finding for finding in planned(kernel, guest(GATEWAY)).findings if finding.code is Code.FLOOD_ON]
    assert [finding.mends for finding in flags] == [()]


@pytest.mark.parametrize("state", [EntryState.STATIC, EntryState.DYNAMIC])
def test_an_entry_elsewhere_keeps_no_frames_from_it_for_long(state: EntryState) -> None:
    """It goes, as one that a guest left behind, or ages, and then only an open port gets what is flooded."""
    kernel = host(Entry(GATEWAY, 10, "eth0", state), vids=(1, 10), stacked=stacked(10))
    carried_out(kernel, guest(GATEWAY))
    assert kernel.ports["vnet1"].flags == PortFlags()


@pytest.mark.parametrize("vids", [(10,), (1,), ()])
def test_without_vlan_filtering_in_all(vids: tuple[int, ...]) -> None:
    kernel = host(filtering=False, stacked=stacked(*vids))
    assert planned(kernel, guest(GATEWAY)).changes == ()
    assert carried_out(kernel, guest(OWN, GATEWAY)) == [Code.MAC_COLLISION]
    assert entries(kernel) == set()


def test_an_entry_from_before_the_device_came_goes_where_the_address_is_only_allowed() -> None:
    here = [Entry(GATEWAY, vid, "vnet1", EntryState.STATIC, sticky=True) for vid in (0, 1)]
    kernel = host(*here, stacked=stacked(1))
    assert carried_out(kernel, guest(OWN, GATEWAY)) == [Code.MAC_COLLISION, Code.EXTRA_ENTRY, Code.EXTRA_ENTRY]
    assert entries(kernel) == set()
