"""No command is printed that would cut off the guest it is for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from macmgr.model.findings import Code, Finding
from macmgr.model.flags import PortFlags
from macmgr.model.intent import Intent, Manager, NicFacts, Policy, Vlan
from macmgr.model.known import NOTHING_KNOWN
from macmgr.model.snapshot import Bridge, BridgePort, Entry, Snapshot
from macmgr.planning.fixcheck import with_harmless_fixes
from macmgr.planning.planner import plan
from macmgr.view import View, judged
from tests.two_guests import CLOSED, DB, INTENT, WEB, host

MANAGED, KERNELS = Policy(manager=Manager.LIBVIRT), Policy()
IN_42 = NicFacts(vlan=Vlan((42,)), vlan_live=True)
VRRP = "00:00:5e:00:01:0a"
IN_1_AND_42 = {"vids": (1, 42)}


def web(policy: Policy = MANAGED, facts: NicFacts = IN_42) -> Intent:
    guest = replace(INTENT.ports[0], policy=policy, facts=facts)
    return Intent((guest, INTENT.ports[1]), {"br0": "a test says so"})


def found(snapshot: Snapshot, intent: Intent, code: Code) -> Finding:
    view = judged(View(intent, snapshot, plan(intent, snapshot)))
    (finding,) = (each for each in view.plan.findings if each.code is code and each.port == "vnet1")
    return finding


def test_a_fix_is_printed_where_an_uplink_reaches_the_guest_after_it() -> None:
    open_port = {"flags": PortFlags()}
    finding = found(host(True, eth0=IN_1_AND_42, vnet1=open_port), web(KERNELS), Code.WRONG_VLAN)
    assert finding.mends[-1] == ("bridge", "vlan", "add", "dev", "vnet1", "vid", "42", "pvid", "untagged")


def test_an_apply_judges_its_own_changes() -> None:
    """It leaves out what would cut the guest off, and says so: see tests of the interlock."""
    finding = found(host(True, eth0=IN_1_AND_42), web(MANAGED), Code.WRONG_VLAN)
    assert finding.mends == (("macmgr", "apply", "--vlans", "--domain", "web"),)


@pytest.mark.parametrize(
    ("eth0", "flags"),
    [
        ({}, PortFlags()),  # no uplink is in its VLAN
        (IN_1_AND_42, CLOSED),  # its port is closed, and nobody puts its entry there
    ],
)
def test_none_is_printed_that_takes_the_guest_from_its_uplink(eth0: dict[str, Any], flags: PortFlags) -> None:
    finding = found(host(True, eth0=eth0, vnet1={"flags": flags}), web(KERNELS), Code.WRONG_VLAN)
    assert finding.mends == ()
    assert finding.note.endswith(f"no command is printed, because eth0 would no longer reach {WEB} of web")


def test_none_is_printed_that_takes_an_allowed_address_from_the_guest() -> None:
    guest = replace(web().ports[0], macs=(WEB, VRRP), facts=NicFacts())
    intent = replace(web(), ports=(guest, INTENT.ports[1]))
    deletion = ("bridge", "fdb", "del", VRRP, "dev", "vnet1", "vlan", "1", "master")
    finding = Finding(Code.EXTRA_ENTRY, "a test says so", "br0", "vnet1", "web", VRRP, mends=(deletion,))
    snapshot = host(True, tuple(Entry(mac, 1, "vnet1", sticky=True) for mac in (WEB, VRRP)))
    (printed,) = with_harmless_fixes([finding], intent, snapshot, NOTHING_KNOWN)
    assert (printed.mends, f"would no longer reach {VRRP} of web" in printed.note) == ((), True)


@pytest.mark.parametrize("has_a_way_out", [True, False])
def test_a_tap_on_another_bridge_is_put_back_if_something_leads_out_there(has_a_way_out: bool) -> None:
    start = host(vnet1={"flags": PortFlags(), "bridge": "br1"}, eth0={"bridge": "br1"}, vnet2={"bridge": "br1"})
    ports = dict(start.ports)
    if has_a_way_out:
        ports["eth1"] = BridgePort("eth1", 20, "br0", "02:00:00:00:00:20")
    bridges = {**start.bridges, "br1": Bridge("br1", 2, "02:b0:00:00:00:02")}
    masters = {**dict.fromkeys(bridges), **{name: port.bridge for name, port in ports.items()}}
    snapshot = replace(start, bridges=bridges, ports=ports, masters=masters, entries=())
    finding = found(snapshot, web(facts=NicFacts()), Code.WRONG_BRIDGE)
    assert finding.mends == ((("ip", "link", "set", "dev", "vnet1", "master", "br0"),) if has_a_way_out else ())
    assert ("eth0 would no longer reach" in finding.note) is not has_a_way_out


def test_a_guest_that_does_not_run_here_loses_nothing() -> None:
    paused = replace(web(), ports=(replace(web().ports[0], running=False, state="paused"), INTENT.ports[1]))
    entries = (Entry(WEB, 1, "vnet1", sticky=True),)
    assert found(host(True, entries, vnet1={"flags": CLOSED}), paused, Code.WRONG_VLAN).mends != ()


def test_no_port_is_closed_by_itself_while_an_address_of_its_guest_waits_for_its_entry_on_another_port() -> None:
    """Both are allowed it, and the plan gives it to db. Until then it is flooded, and reached on the port of web."""
    web_guest, db_guest = (replace(each, policy=MANAGED, macs=(*each.macs, VRRP)) for each in INTENT.ports)
    both = Intent((web_guest, db_guest), {"br0": "a test says so"})
    finding = found(host(vnet1={"flags": PortFlags(learning=False)}), both, Code.FLOOD_ON)
    assert finding.mends == (("macmgr", "apply", "--bridge", "br0"),)


def test_none_is_printed_that_takes_its_address_from_a_guest_on_another_bridge_than_its_own() -> None:
    """db is on br0 by mistake, and reached there. web is allowed its address, and its port is down."""
    web_guest, db_guest = INTENT.ports
    strays = replace(
        INTENT, ports=(replace(web_guest, macs=(WEB, DB), policy=MANAGED), replace(db_guest, bridge="br1"))
    )
    put = ("bridge", "fdb", "replace", DB, "dev", "vnet1", "master", "static", "sticky")
    finding = Finding(Code.MISSING_ENTRY, "a test says so", "br0", "vnet1", "web", DB, mends=(put,))
    snapshot = host(entries=(Entry(DB, 0, "vnet2"),), vnet1={"up": False})
    (printed,) = with_harmless_fixes([finding], strays, snapshot, NOTHING_KNOWN)
    assert (printed.mends, f"would no longer reach {DB} of db" in printed.note) == ((), True)
