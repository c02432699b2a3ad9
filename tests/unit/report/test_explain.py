"""`macmgr explain` reads like an answer that a colleague would give: the text is here."""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile

import pytest
from lxml import etree

from macmgr.errors import NotThere
from macmgr.model.intent import GuestMac, Intent, Manager, Pin, Settings
from macmgr.model.known import NOTHING_KNOWN, Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.model.vids import fold_vids
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.domain import Domain, read_domain_status
from macmgr.readers.network import read_network
from macmgr.report.explain import explain
from macmgr.report.verdict import verdict_of
from macmgr.view import View, judged
from tests.golden.case import explained
from tests.notebook import remembers_gone
from tests.two_guests import INTENT, host

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
    return judged(View(intent, snapshot, plan(intent, snapshot, known), known=known))


def entry(mac: str, vid: int, port: str = "vnet0") -> Entry:
    return Entry(mac, vid, port, EntryState.STATIC, True)


IN_SYNC = look(CLOSED, *(entry(mac, vid) for mac in (MAC, ALLOWED) for vid in (0, 10)))

ANSWER = "web1 is cut off as 52:54:00:aa:00:81; as 52:54:00:aa:00:01 it is reached in VID 10 from the uplink eth0."
HEADLINE = "vnet0 is net0 of web1, on br0."
FACTS = """\
  Reached       52:54:00:aa:00:01 in VID 10: reached from the uplink eth0; not from the host: the frame is in VLAN 10,
                  and the host is not
                00:00:5e:00:01:0a in VID 10: reached from the uplink eth0; not from the host: the frame is in VLAN 10,
                  and the host is not
                52:54:00:aa:00:81 in VID 10: not from the host: the frame is in VLAN 10, and the host is not; not from
                  the uplink eth0: no FDB entry knows the destination in VLAN 10, and unicast flood is off; one frame
                  from eth0 takes it away
  XML says      52:54:00:aa:00:01, a NIC of network lan, portgroup staff
                VLAN access: VID 10
                the guest may change its address (trustGuestRxFilters='yes')
                isolated from other isolated ports
                nwfilter no-arp-spoofing
                the guest uses 52:54:00:aa:00:81 now
                the domain is running: its CPUs run here
  Policy says   manager libvirt (network lan: <macmgr:portgroup name='staff'>); -v shows all 6 places
                pin sticky (domain web1: <macmgr:macTable>), lock yes (domain web1: <macmgr:interface
                  mac='52:54:00:aa:00:01'>), guestMac alert (domain web1: <macmgr:macTable>), vlans tell (default), also
                  allowed 00:00:5e:00:01:0a 00:00:5e:00:02:*
  So wanted     learning off, unicast flood off, locked
                52:54:00:aa:00:01 -> vnet0 in VID 0,10, static sticky
                00:00:5e:00:01:0a -> vnet0 in VID 0,10, static sticky
  Kernel says   learning off, unicast flood off, locked, isolated, not promiscuous, VID 10, PVID 10
                52:54:00:aa:00:01 -> vnet0 in VID 0,10, static sticky
                00:00:5e:00:01:0a -> vnet0 in VID 0,10, static sticky
"""
ALL_PLACES = """\
  Policy says   1  domain web1: <macmgr:interface mac='52:54:00:aa:00:01'>  lock='yes', allow 00:00:5e:00:01:0a
                2  domain web1: <macmgr:macTable>                           pin='sticky', guestMac='alert'
                3  network lan: <macmgr:portgroup name='staff'>             manager='libvirt', guestMac='follow'   <- decides
                4  network lan: macTableManager                             manager='kernel'
                5  [bridge."br0"] in the configuration                      manager='kernel', pin='static', guestMac='ignore', allow 00:00:5e:00:02:*
                6  otherwise                                                manager='kernel'
                Together: manager libvirt (step 3), pin sticky (step 2), lock yes (step 1), guestMac alert (step 2), vlans tell (default), also allowed 00:00:5e:00:01:0a 00:00:5e:00:02:*.
"""  # noqa: E501

PORTLESS = (
    "net1 of web1 (52:54:00:aa:00:02, type user) has no port on a Linux bridge here (user-mode networking: its frames "
    "do not pass a bridge)."
)


WIDTH = 120


def parts(view: View, what: str, width: int = WIDTH) -> tuple[str, str]:
    """The answers, and the facts behind them, as a person reads them."""
    answers, facts = explained(view, what, width).split("\n\n", 1)
    return answers, facts


def section(text: str, label: str) -> list[str]:
    """The lines of one section."""
    after = text.split(f"  {label:<14}")[1].splitlines()
    return [after[0], *(line.strip() for line in takewhile(lambda line: line.startswith(" " * 16), after[1:]))]


def test_scripts_get_the_same_lines() -> None:
    """Each label is a key, and its lines are the value. Every place is there."""
    document = explain(IN_SYNC, "vnet0")[0].document()
    labels = ["XML says", "Policy says", "So wanted", "Kernel says"]
    keys = [label.lower().replace(" ", "_") for label in labels]
    assert list(document) == ["headline", "answer", "role", "reached", *keys, "verdict"]
    assert (document["headline"], document["answer"], document["role"]) == (HEADLINE, ANSWER, "guest")
    assert [each["uplink"] for each in document["reached"]] == ["yes", "yes", "no"]
    shown = explained(IN_SYNC, "vnet0", 400, verbose=True)
    assert [section(shown, label) for label in labels] == [document[key] for key in keys]
    assert len(document["verdict"]) == 2 * len(IN_SYNC.plan.findings)  # each with its fix


def test_a_guest_with_metadata_portgroup_network_and_configuration() -> None:
    answers, facts = parts(IN_SYNC, "web1")
    assert answers.splitlines()[0] == ANSWER
    assert " ".join(facts.removeprefix(f"{HEADLINE}\n{FACTS}\n").split()) == PORTLESS
    assert ALL_PLACES in explained(IN_SYNC, "web1", 400, verbose=True)


@pytest.mark.parametrize(
    "what", ["vnet0", MAC, MAC.upper(), MAC.replace(":", "-"), ALLOWED, CURRENT, "00:00:5e:00:02:77"]
)
def test_the_same_answer_by_port_and_by_every_address_of_the_nic(what: str) -> None:
    """Its own, the one it uses now, an allowed one, and one that an allowed prefix covers."""
    assert parts(IN_SYNC, what)[1] == f"{HEADLINE}\n{FACTS}"


def test_what_is_wrong_comes_first_with_its_fix() -> None:
    view = look(PortFlags(), entry(MAC, 0), entry(MAC, 10, "eth0"))
    lines = explained(view, "vnet0", 400).splitlines()
    assert lines[0] == "web1 is cut off in VID 10."
    said = [line.strip().removeprefix("# ") for line in lines[1 : lines.index("")]]
    for finding in view.plan.findings:
        vids = f" (VID {fold_vids(finding.vids)})" if finding.vids else ""
        message = finding.message.removeprefix("web1 is cut off: ")  # the answer says that
        assert f"{finding.severity} {finding.code}: {message}{vids}" in said
        assert f"fix: {finding.fix}" in said
    assert section("\n".join(lines), "Kernel says") == [
        "learning on, unicast flood on, isolated, not promiscuous, VID 10, PVID 10",
        "52:54:00:aa:00:01 -> vnet0 in VID 0, static sticky",
        "52:54:00:aa:00:01 -> eth0 in VID 10, static sticky",
        "no entry for 00:00:5e:00:01:0a on br0",
    ]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_only_commands_are_longer_than_a_line(width: int) -> None:
    """They are to be copied."""
    view = look(PortFlags(), entry(MAC, 0), entry(MAC, 10, "eth0"))
    long = [line for line in explained(view, "web1", width).splitlines() if len(line) > width]
    assert [line for line in long if not line.startswith("    fix: bridge ")] == []


def test_a_mac_of_a_guest_that_has_left() -> None:
    known = remembers_gone({"52:54:00:aa:00:09": "web2"}, "br0")
    view = look(CLOSED, *(entry("52:54:00:aa:00:09", vid, "eth0") for vid in (0, 10)), known=known)
    for what in ("52:54:00:aa:00:09", "5254.00aa.0009", "web2"):
        answers, facts = parts(view, what)
        assert answers.splitlines()[0].endswith("web2 does not run here, but this is left of it here.")
        assert "eth0 has a static entry for 52:54:00:aa:00:09" in answers
        assert "    fix: bridge fdb del 52:54:00:aa:00:09 dev eth0 " in answers
        assert "52:54:00:aa:00:09 -> eth0 in VID 0,10, static sticky" in facts
        assert "  Frames for it a frame to 52:54:00:aa:00:09 " in facts


def test_a_mac_of_a_guest_that_has_left_nothing() -> None:
    """The memory knows it; the LAN has it."""
    known = remembers_gone({"52:54:00:aa:00:09": "web2"}, "br0")
    learned = Entry("52:54:00:aa:00:09", 10, "eth0", EntryState.DYNAMIC)
    answers, _ = parts(look(CLOSED, learned, known=known), "52:54:00:aa:00:09")
    assert answers == "52:54:00:aa:00:09 of web2 does not run here, and nothing is wrong with that."


def test_an_uplink_is_left_alone() -> None:
    assert explained(IN_SYNC, "eth0", WIDTH) == (
        "eth0 is an uplink of br0: nothing is wrong with it, and macmgr does not touch it.\n\n"
        "eth0 is a port of br0, and of no domain's NIC: an uplink.\n"
        "  Policy says   br0 is managed (network lan: <macmgr:portgroup name='staff'>)\n"
        "  Kernel says   learning on, unicast flood on, not promiscuous, entries that lead to it: 0\n"
    )


GROUP = "ff:ff:ff:ff:ff:ff"


@pytest.mark.parametrize(
    ("what", "hint"),
    [
        ("wbe1", "did you mean 'web1'?"),
        ("WEB1", "did you mean 'web1'?"),
        ("VNET0", "did you mean 'vnet0'?"),
        ("52-54-00-aa-00-11", "did you mean '52:54:00:aa:00:01'?"),
        ("5254.00aa.0003", "did you mean '52:54:00:aa:00:01'?"),
        ("52:54:00:aa:00:0g", "did you mean '52:54:00:aa:00:01'?"),
        ("lan", "it is a network on br0: 'macmgr explain br0'"),
        (GROUP, f"it is a group's address: 'macmgr trace --to {GROUP}' says who gets its frames"),
    ],
)
def test_what_was_probably_meant(what: str, hint: str) -> None:
    with pytest.raises(NotThere) as error:
        explain(IN_SYNC, what)
    assert str(error.value).endswith(f"; {hint}")


@pytest.mark.parametrize("what", ["nobody", "02:00:00:00:00:77", "tap9", "", "--help"])
def test_what_is_not_here_is_an_error(what: str) -> None:
    with pytest.raises(NotThere, match="is not a running domain, a bridge, a bridge port or a known MAC here"):
        explain(IN_SYNC, what)


def test_a_paused_guest() -> None:
    """Its NIC is the kernel's by libvirt's own attribute, so nobody puts an entry at resume: the port stays open."""
    status = read_domain_status(etree.fromstring(DOMAIN.replace("'running'", "'paused'")), "web1.xml")
    assert isinstance(status, Domain)
    sources = PolicySources([read_network(etree.fromstring(NETWORK), "lan.xml")], CONFIGURATION)
    intent = build_intent([status], sources)
    text = explained(judged(View(intent, IN_SYNC.snapshot, plan(intent, IN_SYNC.snapshot))), "vnet0", WIDTH)
    assert text.startswith("web1 is paused: its CPUs do not run here")
    assert "                the domain is paused: its CPUs do not run here\n" in text
    assert "  So wanted     no entry, and the port open: nobody would put one at resume\n" in text


def left_to_the_kernel(policy: str | None, master: str | None) -> View:
    """A look at web1, whose NIC is left to the kernel, on br0 with that policy; its tap is on ``master``."""
    status = f"""<domstatus state='running' pid='7'><domain type='kvm'><name>web1</name>
      <metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' manager='kernel'/></metadata><devices>
      <interface type='bridge'><mac address='{MAC}'/><source bridge='br0'/><target dev='vnet0'/></interface>
      </devices></domain></domstatus>"""
    bridges = {name: Bridge(name, number, "02:00:00:00:00:b0") for number, name in enumerate(("br0", "br1"), 1)}
    ports = {"eth0": BridgePort("eth0", 8, "br0", "02:00:00:00:00:e0")}
    masters: dict[str, str | None] = {"br0": None, "br1": None, "eth0": "br0"}
    if master is not None:
        masters["vnet0"] = master or None
    if master:
        ports["vnet0"] = BridgePort("vnet0", 9, master, "fe:54:00:aa:00:01", kind="tun")
    snapshot = Snapshot(bridges, ports, masters, ())
    settings = {"br0": Settings(Manager.LIBVIRT)} if policy else {}
    intent = build_intent([read_domain_status(etree.fromstring(status), "web1.xml")], PolicySources([], settings))
    return judged(View(intent, snapshot, plan(intent, snapshot)))


@pytest.mark.parametrize(
    ("policy", "master", "code", "answer"),
    [
        ("libvirt", None, "missing-port", "web1 is cut off: vnet0 is no port of br0."),
        ("libvirt", "", "wrong-bridge", "web1 is cut off: vnet0 is no port of br0."),
        (
            "libvirt",
            "br1",
            "",
            "web1 is on br1, but its XML says br0; its port is left to the kernel: there is nothing to",
        ),
        (None, None, "", "web1 is cut off: vnet0 is no port of br0, which is not managed, so no audit says that."),
    ],
    ids=["no tap", "on no bridge", "on another bridge", "on a bridge that is not managed"],
)
def test_a_nic_without_its_port_is_cut_off_for_the_audit_too(
    policy: str | None, master: str | None, code: str, answer: str
) -> None:
    """Also where the NIC is left to the kernel; but somebody may want it on another bridge."""
    view = left_to_the_kernel(policy, master)
    (about,) = explain(view, "web1")
    assert about.answer.startswith(answer)
    assert [str(each.code) for each in view.plan.findings if each.domain == "web1"] == [code] * bool(code)
    assert bool(view.cut_off) is bool(code)
    assert about.cut_off is not (master == "br1")


def test_a_vlan_that_leads_nowhere_cuts_nobody_off_that_the_xml_does_not_ask_for() -> None:
    """The audit says nothing of it either."""
    snapshot = host(True, vnet1={"vids": (1, 20)})
    view = judged(View(Intent(INTENT.ports, {"br0": "a test says so"}), snapshot, Plan()))
    (about,) = explain(view, "web")
    assert (about.cut_off, view.cut_off) == (False, ())
    reached = "web is reached in VID 1 from the uplink eth0, the host and vnet2 of db"
    assert about.answer.startswith(f"{reached}; not reached in VID 20, because")


def test_a_guest_that_is_cut_off_is_not_at_risk_too() -> None:
    entries = (entry(MAC, 0), entry(MAC, 10, "eth0"), entry(ALLOWED, 0), entry(ALLOWED, 10))
    view = look(CLOSED, *(each._replace(sticky=False) for each in entries))
    verdict = verdict_of(view)
    assert "vnet0" in verdict.at_risk
    assert verdict.text.startswith("web1 is cut off")
    assert "by one frame" not in verdict.text
