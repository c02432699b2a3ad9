"""`macmgr explain` reads like an answer that a colleague would give: the text is here."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from macmgr.errors import NotThere
from macmgr.model.intent import GuestMac, Manager, Pin, Settings
from macmgr.model.known import NOTHING_KNOWN, Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.planner import plan
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.domain import Domain, read_domain_status
from macmgr.readers.network import read_network
from macmgr.report.explain import explain
from macmgr.view import View
from tests.notebook import remembers_gone

DOMAIN = """
<domstatus state='running' reason='booted' pid='7'>
  <domain type='kvm'>
    <name>web1</name>
    <uuid>00000000-0000-4000-8000-000000000001</uuid>
    <metadata>
      <macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1' pin='sticky' guestMac='alert'>
        <macmgr:interface mac='52:54:00:aa:00:01' lock='yes'>
          <macmgr:allow mac='00:00:5e:00:01:0a'/>
        </macmgr:interface>
      </macmgr:macTable>
    </metadata>
    <devices>
      <interface type='network'>
        <mac address='52:54:00:aa:00:01' currentAddress='52:54:00:aa:00:81'/>
        <source network='lan' portgroup='staff'/>
        <actual type='bridge'>
          <source bridge='br0' macTableManager='kernel'/>
          <vlan>
            <tag id='10'/>
          </vlan>
          <port isolated='yes'/>
        </actual>
        <target dev='vnet0'/>
        <filterref filter='no-arp-spoofing'/>
        <alias name='net0'/>
      </interface>
      <interface type='user'>
        <mac address='52:54:00:aa:00:02'/>
        <alias name='net1'/>
      </interface>
    </devices>
  </domain>
</domstatus>
"""
NETWORK = """
<networkstatus>
  <network>
    <name>lan</name>
    <metadata>
      <macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1'>
        <macmgr:portgroup name='staff' manager='libvirt' guestMac='follow'/>
      </macmgr:macTable>
    </metadata>
    <forward mode='bridge'/>
    <bridge name='br0' macTableManager='kernel'/>
    <portgroup name='staff' trustGuestRxFilters='yes'/>
  </network>
</networkstatus>
"""
MAC, ALLOWED, CURRENT = "52:54:00:aa:00:01", "00:00:5e:00:01:0a", "52:54:00:aa:00:81"
CONFIGURATION = {"br0": Settings(Manager.KERNEL, Pin.STATIC, guest_mac=GuestMac.IGNORE, allow=("00:00:5e:00:02:*",))}
CLOSED = PortFlags(learning=False, unicast_flood=False, locked=True)


def look(flags: PortFlags = CLOSED, *entries: Entry, known: Known = NOTHING_KNOWN) -> View:
    status = read_domain_status(etree.fromstring(DOMAIN), "web1.xml")
    sources = PolicySources([read_network(etree.fromstring(NETWORK), "lan.xml")], CONFIGURATION)
    intent = build_intent([status], sources)
    snapshot = Snapshot(
        {"br0": Bridge("br0", 1, "02:00:00:00:00:b0", vlan_filtering=True)},
        {
            "eth0": BridgePort("eth0", 2, "br0", "02:00:00:00:00:e0", vids=(1, 10)),
            "vnet0": BridgePort(
                "vnet0", 3, "br0", "fe:54:00:aa:00:01", replace(flags, isolated=True), (10,), 10, untagged=(10,)
            ),
        },
        {"br0": None, "eth0": "br0", "vnet0": "br0"},
        entries,
    )
    return View(intent, snapshot, plan(intent, snapshot, known), known=known)


def entry(mac: str, vid: int, port: str = "vnet0") -> Entry:
    return Entry(mac, vid, port, EntryState.STATIC, True)


IN_SYNC = look(CLOSED, *(entry(mac, vid) for mac in (MAC, ALLOWED) for vid in (0, 10)))

# A terminal shows it as it is, so the lines are not broken here either.
ANSWER = """\
vnet0 is net0 of web1, on br0.

  XML says      52:54:00:aa:00:01, a NIC of network lan, portgroup staff
                VLAN access: VID 10
                the guest may change its address (trustGuestRxFilters='yes')
                isolated from other isolated ports
                nwfilter no-arp-spoofing
                the guest uses 52:54:00:aa:00:81 now
                the domain is running: its CPUs run here
  Policy says   1  domain web1: <macmgr:interface mac='52:54:00:aa:00:01'>  lock='yes', allow 00:00:5e:00:01:0a
                2  domain web1: <macmgr:macTable>                           pin='sticky', guestMac='alert'
                3  network lan: <macmgr:portgroup name='staff'>             manager='libvirt', guestMac='follow'   <- decides
                4  network lan: macTableManager                             manager='kernel'
                5  [bridge."br0"] in the configuration                      manager='kernel', pin='static', guestMac='ignore', allow 00:00:5e:00:02:*
                6  otherwise                                                manager='kernel'
                Together: manager libvirt (step 3), pin sticky (step 2), lock yes (step 1), guestMac alert (step 2), also allowed 00:00:5e:00:01:0a 00:00:5e:00:02:*.
  So wanted     learning off, unicast flood off, locked
                52:54:00:aa:00:01 -> vnet0 in VID 0,10, static sticky
                00:00:5e:00:01:0a -> vnet0 in VID 0,10, static sticky
  Kernel says   learning off, unicast flood off, locked, isolated, not promiscuous, VID 10, PVID 10
                52:54:00:aa:00:01 -> vnet0 in VID 0,10, static sticky
                00:00:5e:00:01:0a -> vnet0 in VID 0,10, static sticky
  Verdict       warning guest-mac-changed: web1 uses 52:54:00:aa:00:81 on vnet0 in addition to 52:54:00:aa:00:01 or instead of it: no entry is put for it, because guestMac='alert' (domain web1: <macmgr:macTable>)
                  fix: allow 52:54:00:aa:00:81 in the metadata of web1 if the guest uses it in addition to its own; set guestMac='follow' if its address changes; set manager='kernel' if the NIC serves many, as in a bridge, a firewall or a hypervisor
                warning conflicting-settings: allow 00:00:5e:00:01:0a (domain web1: <macmgr:interface mac='52:54:00:aa:00:01'>) pins an address that a virtual router (VRRP, CARP) moves between hosts: while its master is elsewhere, nobody on this host reaches it, because its entry is on vnet0
                  fix: allow 00:00:5e:00:01:* in its place, with macmgr watch running"""  # noqa: E501

PORTLESS = (
    "net1 of web1 (52:54:00:aa:00:02, type user) has no port on a Linux bridge here (user-mode networking: its frames "
    "do not pass a bridge)."
)


def answer(view: View, what: str) -> str:
    """All that is explained, as a person reads it."""
    return "\n\n".join(map(str, explain(view, what)))


def test_scripts_get_the_same_lines() -> None:
    """Each label is a key, and its lines are the value."""
    document = explain(IN_SYNC, "vnet0")[0].document()
    assert list(document) == ["headline", "xml_says", "policy_says", "so_wanted", "kernel_says", "verdict"]
    assert [document["headline"], *(line for key in list(document)[1:] for line in document[key])] == [
        line if index == 0 else line[16:] for index, line in enumerate(ANSWER.splitlines()) if line
    ]


def test_a_guest_with_metadata_portgroup_network_and_configuration() -> None:
    assert answer(IN_SYNC, "web1") == f"{ANSWER}\n\n{PORTLESS}"


@pytest.mark.parametrize("what", ["vnet0", MAC, MAC.upper(), ALLOWED, CURRENT, "00:00:5e:00:02:77"])
def test_the_same_answer_by_port_and_by_every_address_of_the_nic(what: str) -> None:
    """Its own, the one it uses now, an allowed one, and one that an allowed prefix covers."""
    assert answer(IN_SYNC, what) == ANSWER


def test_what_drift_is_told() -> None:
    """The kernel's side and the verdict change, and nothing else."""
    text = answer(look(PortFlags(), entry(MAC, 0), entry(MAC, 10, "eth0")), "vnet0")
    before, after = text.split("  Kernel says")
    assert before == ANSWER.split("  Kernel says")[0]
    assert after.splitlines() == [
        "   learning on, unicast flood on, isolated, not promiscuous, VID 10, PVID 10",
        "                52:54:00:aa:00:01 -> vnet0 in VID 0, static sticky",
        "                52:54:00:aa:00:01 -> eth0 in VID 10, static sticky",
        "                no entry for 00:00:5e:00:01:0a on br0",
        *explain_findings(),
    ]


def explain_findings() -> list[str]:
    indent = " " * 16
    own = "bridge fdb replace 52:54:00:aa:00:01 dev vnet0 vlan 10 master static sticky"
    allowed = "bridge fdb replace 00:00:5e:00:01:0a dev vnet0 master static sticky"
    closed = f"{own} && {allowed} && bridge link set dev vnet0"  # no port is closed before its entries are there
    lines = [
        "error stolen-entry: the static sticky entry for 52:54:00:aa:00:01 of web1 leads to eth0, not to vnet0",
        f"  fix: {own}",
        "error missing-entry: no entry for 00:00:5e:00:01:0a of web1",
        f"  fix: {allowed}",
        "error learning-on: vnet0 of web1 learns source addresses",
        f"  fix: {closed} learning off",
        "error flood-on: vnet0 of web1 gets every frame with an unknown destination",
        f"  fix: {closed} flood off",
        "error unlocked: vnet0 of web1 accepts frames from any source address, but policy says lock='yes'",
        f"  fix: {closed} locked on",
        *(line.removeprefix("  Verdict").strip(" ") for line in ANSWER.splitlines()[-4:]),
    ]
    lines[-3], lines[-1] = f"  {lines[-3]}", f"  {lines[-1]}"  # the fixes
    return [f"  Verdict       {lines[0]}", *(indent + line for line in lines[1:])]


def test_a_mac_of_a_guest_that_has_left() -> None:
    known = remembers_gone({"52:54:00:aa:00:09": "web2"}, "br0")
    view = look(CLOSED, entry("52:54:00:aa:00:09", 0, "eth0"), known=known)
    assert answer(view, "52:54:00:aa:00:09") == (
        "52:54:00:aa:00:09 is a NIC of web2, which no longer runs here.\n\n"
        "  Kernel says   52:54:00:aa:00:09 -> eth0 in VID 0, static sticky"
    )


def test_an_uplink_is_left_alone() -> None:
    assert answer(IN_SYNC, "eth0") == (
        "eth0 is a port of br0, and of no domain's NIC: an uplink.\n\n"
        "  Policy says   br0 is managed (network lan: <macmgr:portgroup name='staff'>)\n"
        "  Kernel says   learning on, unicast flood on, not promiscuous, entries that lead to it: 0\n"
        "  Verdict       macmgr does not touch it"
    )


@pytest.mark.parametrize("what", ["web2", "52:54:00:aa:00:77", "vnet9", "", "--help"])
def test_what_is_not_here_is_an_error(what: str) -> None:
    with pytest.raises(NotThere, match="is not a running domain, a bridge, a bridge port or a known MAC here"):
        answer(IN_SYNC, what)


def test_a_paused_guest() -> None:
    """Its NIC is the kernel's by libvirt's own attribute, so nobody puts an entry at resume: the port stays open."""
    status = read_domain_status(etree.fromstring(DOMAIN.replace("'running'", "'paused'")), "web1.xml")
    assert isinstance(status, Domain)
    sources = PolicySources([read_network(etree.fromstring(NETWORK), "lan.xml")], CONFIGURATION)
    intent = build_intent([status], sources)
    text = answer(View(intent, IN_SYNC.snapshot, plan(intent, IN_SYNC.snapshot)), "vnet0")
    assert "                the domain is paused: its CPUs do not run here\n" in text
    assert "  So wanted     no entry, and the port open: nobody would put one at resume\n" in text
