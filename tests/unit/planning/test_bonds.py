"""A bond inside a guest: its address leaves by another NIC after a failover, and is where the guest last sent from."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.forwarding.consequences import consequences
from macmgr.model.findings import Code, fix_of
from macmgr.model.intent import GuestMac, GuestPort, Intent, Policy
from macmgr.model.known import Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState
from macmgr.planning.planner import plan
from macmgr.watch.addresses import watched
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.onlooker import ALERTS, FOLLOW, LAN, NEIGHBOUR, OWN, UPLINK_MAC, VIRTUAL, Host, guest
from tests.property.test_laws import carry_out

SHARED = (OWN, NEIGHBOUR)
UPLINK = BridgePort("eth0", 3, "br0", UPLINK_MAC)


def nic(
    number: int, mac: str, *, domain: str = "web1", shared: tuple[str, ...] = SHARED, lock: bool = False
) -> GuestPort:
    made = guest(replace(ALERTS, allow=("own",), lock=lock), f"vnet{number}", mac, domain)
    return replace(made, alias=f"net{number}", shared=shared)


def bond(*, lock: bool = False, **vids: tuple[int, ...]) -> Host:
    return Host([nic(0, OWN, lock=lock), nic(1, NEIGHBOUR, lock=lock)], vids=vids)


def leads(host: Host) -> tuple[str | None, str | None]:
    return host.port_of(OWN), host.port_of(NEIGHBOUR)


@pytest.mark.parametrize("lock", [False, True])
def test_the_entry_follows_the_bond_there_and_back(lock: bool) -> None:
    host = bond(lock=lock)
    assert leads(host) == ("vnet0", "vnet1")
    for port in ("vnet1", "vnet0", "vnet1"):
        host.sees(OWN, port=port)
        assert leads(host) == (port, "vnet1")
        assert host.entry(OWN) == Entry(OWN, 1, port, EntryState.STATIC, sticky=True)
        assert host.kernel.takes(port, OWN)
        assert host.kernel.takes({"vnet0": "vnet1", "vnet1": "vnet0"}[port], OWN) is not lock
        assert host.codes == set()
        assert not host.round().plan.changes
        assert not host.audit().plan.changes


def test_both_addresses_may_change_their_places() -> None:
    host = bond()
    host.sees(OWN, port="vnet1")
    host.sees(NEIGHBOUR, port="vnet0")
    assert leads(host) == ("vnet1", "vnet0")
    host.sees(NEIGHBOUR, port="vnet1")
    assert leads(host) == ("vnet1", "vnet1")


def test_what_another_program_moves_back_is_where_the_guest_last_sent_from() -> None:
    """libvirt puts a NIC's own entry again, and knows nothing of the bond."""
    host = bond()
    host.sees(OWN, port="vnet1")
    for key in [key for key in host.kernel.fdb if key[1] == OWN]:
        host.kernel.fdb[key] = host.kernel.fdb[key]._replace(port="vnet0")
    host.round()
    assert host.port_of(OWN) == "vnet1"


def test_it_stays_while_the_daemon_is_away_and_after_its_restart() -> None:
    host = bond()
    host.sees(OWN, port="vnet1")
    host.restarts()
    assert host.port_of(OWN) == "vnet1"
    host.records = ()  # nothing is remembered, and the entry is there
    host.round()
    assert host.port_of(OWN) == "vnet1"
    host.sees(OWN, port="vnet0")
    assert host.port_of(OWN) == "vnet0"


def test_a_bond_that_failed_over_before_the_first_look_is_reached_where_it_sends() -> None:
    host = bond()
    for key in [key for key in host.kernel.fdb if key[1] == OWN]:
        host.kernel.fdb[key] = Entry(OWN, key[2], "vnet1", EntryState.DYNAMIC)
    host.round()
    assert host.entry(OWN) == Entry(OWN, 1, "vnet1", EntryState.STATIC, sticky=True)
    host.sees(OWN, port="vnet0")
    assert leads(host) == ("vnet0", "vnet1")


def test_three_nics_hand_it_round() -> None:
    third = "52:54:00:00:00:07"
    shared = (OWN, NEIGHBOUR, third)
    host = Host([nic(0, OWN, shared=shared), nic(1, NEIGHBOUR, shared=shared), nic(2, third, shared=shared)])
    for port in ("vnet1", "vnet2", "vnet1", "vnet0", "vnet2"):
        host.sees(OWN, port=port)
        assert host.port_of(OWN) == port
        assert (host.port_of(NEIGHBOUR), host.port_of(third)) == ("vnet1", "vnet2")
        assert host.codes == set()


def test_a_frame_of_the_lan_does_not_take_it() -> None:
    host = bond()
    host.sees(OWN, port="vnet1")
    host.kernel.frame("eth0", OWN, LAN)
    host.round()
    assert host.port_of(OWN) == "vnet1"


def test_a_prefix_of_one_nic_holds_for_the_other() -> None:
    shared = (OWN, NEIGHBOUR, "00:00:5e:00:01:*")
    host = Host([nic(0, OWN, shared=shared), nic(1, NEIGHBOUR, shared=shared)])
    for port in ("vnet0", "vnet1", "vnet0"):
        host.sees(VIRTUAL, port=port)
        assert host.port_of(VIRTUAL) == port


def test_another_guest_with_the_address_does_not_get_it_while_the_first_nic_waits() -> None:
    host = Host([nic(0, OWN), nic(1, NEIGHBOUR), guest(ALERTS, "vnet2", OWN, "evil")])
    assert host.port_of(OWN) in ("vnet0", "vnet2")
    host = Host([nic(0, OWN), nic(1, NEIGHBOUR), guest(FOLLOW, "vnet2", LAN, "evil")])
    host.sees(OWN, port="vnet1")
    host.sees(OWN, port="vnet2")
    assert host.port_of(OWN) == "vnet1"
    assert Code.DUPLICATE_MAC in host.codes


def test_another_domain_does_not_share() -> None:
    host = Host([nic(0, OWN), nic(1, NEIGHBOUR, domain="db1")])
    host.sees(OWN, port="vnet1")
    assert host.port_of(OWN) == "vnet0"


def test_nics_in_different_vlans_do_not_share() -> None:
    host = bond(vnet0=(1, 2))
    host.sees(OWN, port="vnet1")
    assert host.port_of(OWN) == "vnet0"
    assert host.port_of(OWN, 2) == "vnet0"


def test_without_policy_the_entry_stays() -> None:
    host = Host([nic(0, OWN, shared=()), nic(1, NEIGHBOUR, shared=())])
    host.sees(OWN, port="vnet1")
    assert leads(host) == ("vnet0", "vnet1")


@pytest.mark.parametrize("reaction", list(GuestMac))
def test_libvirts_word_that_a_nic_has_the_bonds_address_is_none_about_who_sends(reaction: GuestMac) -> None:
    """A bond gives its address to each NIC when it takes it in (NIC_MAC_CHANGE, trusted NICs)."""
    host = bond()
    host.guests = [replace(each, policy=replace(each.policy, guest_mac=reaction)) for each in host.guests]
    host.guests = [replace(each, alias="net0" if each.port == "vnet1" else "other") for each in host.guests]
    host.round()
    host.hears(OWN, port="vnet1")
    assert leads(host) == ("vnet0", "vnet1")
    assert host.codes == set()
    host.sees(OWN, port="vnet1")
    assert leads(host) == ("vnet1", "vnet1")


def test_a_paused_guest_has_no_entries_and_gets_them_back_where_they_were() -> None:
    host = bond()
    host.sees(OWN, port="vnet1")
    running = host.guests
    host.guests = [replace(each, state="paused", running=False) for each in running]
    host.round()
    assert leads(host) == (None, None)
    host.guests = running
    host.round()
    assert leads(host) == ("vnet1", "vnet1")
    assert host.codes == set()


def test_only_new_places_are_listened_to() -> None:
    host = bond()
    assert watched(host.view) == {"vnet0": (10, frozenset({OWN})), "vnet1": (11, frozenset({NEIGHBOUR}))}
    host.sees(OWN, port="vnet1")
    assert watched(host.view) == {"vnet0": (10, frozenset()), "vnet1": (11, frozenset({NEIGHBOUR, OWN}))}


def unasked(*entries: Entry, policy: Policy = ALERTS) -> tuple[FakeKernel, Intent]:
    """A guest with two NICs and no policy of its own about them; macmgr looks for the first time."""
    taps = [BridgePort(f"vnet{each}", 10 + each, "br0", f"fe:00:00:00:00:0{each}", kind="tun") for each in range(2)]
    kernel = FakeKernel(make_snapshot([Bridge("br0", 1, "02:00:00:00:00:01")], [*taps, UPLINK], entries))
    nics = guest(policy, "vnet0", OWN), replace(guest(policy, "vnet1", NEIGHBOUR), alias="net1")
    return kernel, Intent(nics, {"br0": "a test says so"})


def test_a_bond_that_nobody_has_named_stays_reached_and_the_findings_lead_to_the_way() -> None:
    kernel, intent = unasked(Entry(OWN, 0, "vnet1", EntryState.DYNAMIC))
    made = plan(intent, kernel.read_snapshot())
    assert made.changes == plan(intent, kernel.read_snapshot()).changes
    carry_out(kernel, made)
    assert kernel.frame("eth0", LAN, OWN) == {"vnet1"}
    assert kernel.frame("eth0", LAN, NEIGHBOUR) >= {"vnet1"}
    found = {each.code: fix_of(each).text for each in made.findings if "allow='own'" in fix_of(each).text}
    assert set(found) == {Code.ADDRESS_IN_USE, Code.LEARNED_ON_MANAGED_PORT}
    assert all("<macmgr:macTable allow='own'/>" in text for text in found.values())


def test_a_person_may_cut_it_off() -> None:
    kernel, intent = unasked(Entry(OWN, 0, "vnet1", EntryState.DYNAMIC))
    carry_out(kernel, plan(intent, kernel.read_snapshot(), Known(cut=True)))
    assert kernel.frame("eth0", LAN, OWN) == {"vnet0"}


def test_a_lock_has_said_already_that_no_other_address_is_used_there() -> None:
    kernel, intent = unasked(Entry(OWN, 0, "vnet1", EntryState.DYNAMIC), policy=replace(ALERTS, lock=True))
    made = plan(intent, kernel.read_snapshot())
    carry_out(kernel, made)
    assert kernel.frame("eth0", LAN, OWN) == {"vnet0"}
    assert any("allow='own'" in fix_of(each).text for each in made.findings)


@pytest.mark.parametrize("policy", [ALERTS, FOLLOW, replace(ALERTS, allow=("52:54:00:*",))])
def test_each_finding_about_a_bond_leads_to_the_way(policy: Policy) -> None:
    host = Host([guest(policy, "vnet0", OWN), guest(policy, "vnet1", NEIGHBOUR)])
    host.sees(OWN, port="vnet1")
    about = [each for each in host.view.plan.findings if each.port == "vnet1" and each.mac == OWN]
    assert about
    assert all("allow='own'" in fix_of(each).text for each in about)


def test_where_nobody_watches_it_is_said() -> None:
    host = bond()
    (found,) = [each for each in plan(host.intent(), host.kernel.read_snapshot()).findings if each.domain]
    assert (found.code, found.domain) == (Code.CONFLICTING_SETTINGS, "web1")
    assert "the NICs of web1 (vnet0, vnet1) may use each other's addresses" in found.message
    assert "run macmgr watch" in fix_of(found).text


def test_the_guest_is_reached_where_it_uses_the_address() -> None:
    host = bond()
    host.sees(OWN, port="vnet1")
    reaches = {(each.guest.port, each.mac): each.reached for each in consequences(host.view.snapshot, host.view.intent)}
    assert reaches == {("vnet0", OWN): True, ("vnet1", NEIGHBOUR): True, ("vnet1", OWN): True}
    kernel, intent = unasked(Entry(OWN, 0, "vnet1", EntryState.DYNAMIC))
    assert all(each.reached for each in consequences(kernel.read_snapshot(), intent))


def test_a_stolen_entry_on_another_nic_of_the_guest_leads_to_the_way() -> None:
    """Its lock has kept both ports closed, so somebody or another policy has put it there."""
    kernel, intent = unasked(Entry(OWN, 0, "vnet1"), policy=replace(ALERTS, lock=True))
    (found,) = [each for each in plan(intent, kernel.read_snapshot()).findings if each.code is Code.STOLEN_ENTRY]
    assert (found.port, found.mac) == ("vnet0", OWN)
    assert "allow='own'" in fix_of(found).text


def test_a_nic_that_shares_with_nobody_is_told_so() -> None:
    host = Host([nic(0, OWN, shared=()), guest(ALERTS, "vnet1", NEIGHBOUR)])
    (found,) = [each for each in host.view.plan.findings if each.code is Code.CONFLICTING_SETTINGS]
    assert "has no effect on vnet0 of web1: no other managed NIC of web1 on br0 says so" in found.message
    assert Host([nic(0, OWN, shared=())]).codes == set()  # in the configuration it is said of all guests


def test_nics_in_different_vlans_are_told_so() -> None:
    assert any("are in different VLANs" in each.message for each in bond(vnet0=(1, 2)).view.plan.findings)
    assert bond(vnet0=(1, 2), vnet1=(1, 2)).codes == set()
