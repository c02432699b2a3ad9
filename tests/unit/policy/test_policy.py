"""Who manages a port: six places, the first that names a manager wins, and each answer keeps its reason."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from macmgr.model.findings import Code, fix_of
from macmgr.model.intent import GuestMac, GuestPort, Manager, Pin, Policy, PortlessNic, Settings, Vlan
from macmgr.policy.guests import Decisions, build_intent, guest_port
from macmgr.policy.precedence import PolicySources, decide, managed_bridges
from macmgr.readers.domain import Domain, Nic
from macmgr.readers.network import Inherited, Network, NetworkPort

MAC = "52:54:00:aa:00:01"
NIC = Nic(MAC, "bridge", "network", bridge="br0", network="lan", portgroup="staff", tap="vnet0", alias="net0")
PLAIN = Nic(MAC, "bridge", "bridge", bridge="br0", tap="vnet0", alias="net0")
LIBVIRT, KERNEL = Settings(Manager.LIBVIRT), Settings(Manager.KERNEL)
SILENT = Settings()


def domain(*nics: Nic, interface: Settings = SILENT, whole: Settings = SILENT, driver: str = "qemu") -> Domain:
    return Domain("web1", "u", driver, nics, {"": whole, MAC: interface})


def status(*nics: Nic, state: str = "running", reason: str = "booted", driver: str = "qemu") -> Domain:
    return replace(domain(*nics, driver=driver), state=state, reason=reason)


def sources(group: Settings = SILENT, attribute: str = "", bridge: Settings = SILENT) -> PolicySources:
    network = Network("lan", "u", "br0", "bridge", attribute, metadata={"staff": group})
    return PolicySources([network], {"br0": bridge})


def port(nic: Nic, where: PolicySources | None = None, **how: str) -> GuestPort:
    found = guest_port(status(nic, **how), nic, where or sources())
    assert isinstance(found, GuestPort)
    return found


PLACES = (
    "domain web1: <macmgr:interface mac='52:54:00:aa:00:01'>",
    "domain web1: <macmgr:macTable>",
    "network lan: <macmgr:portgroup name='staff'>",
    "network lan: macTableManager",
    '[bridge."br0"] in the configuration',
)


def test_the_bridges_own_section_goes_before_patterns_and_each_option_is_decided_by_the_first_that_names_it() -> None:
    sections = {
        "br*": Settings(Manager.LIBVIRT, lock=True, allow=("00:00:5e:00:01:0a",)),
        "b?0": Settings(Manager.KERNEL, Pin.STATIC),
        "br0": Settings(lock=False),
        "brx": Settings(Manager.KERNEL),
    }
    asked = domain(PLAIN)
    policy = decide(asked, PLAIN, PolicySources([], sections))
    assert (policy.manager, policy.pin, policy.lock) == (Manager.LIBVIRT, Pin.STATIC, False)
    assert policy.allow == ("00:00:5e:00:01:0a",)
    assert policy.reason == '[bridge."br*"] in the configuration'
    assert [step.place for step in policy.steps[-3:]] == [
        f'[bridge."{name}"] in the configuration' for name in ("br0", "br*", "b?0")
    ]
    found = build_intent([replace(asked, state="running")], PolicySources([], sections)).managed_bridges
    assert found == {"br0": '[bridge."br*"] in the configuration'}


def test_a_pattern_stands_for_the_bridges_of_networks_and_of_guests_that_left() -> None:
    """Else nobody would drop what the last guest of a bridge left there."""
    networks = [Network("lan", "u", "br-lan", "bridge", "")]
    where = PolicySources(networks, {"br*": LIBVIRT, "br-x": KERNEL, "br*-named": LIBVIRT})
    found = build_intent([], where, departed=[domain(PLAIN)])
    assert dict(found.managed_bridges).keys() == {"br0", "br-lan"}


@pytest.mark.parametrize("said", list(product((None, Manager.KERNEL, Manager.LIBVIRT), repeat=5)))
def test_the_first_place_that_names_a_manager_decides(said: tuple[Manager | None, ...]) -> None:
    """All 243 combinations of what five places can say, against the sentence of the contract."""
    interface, whole, group, attribute, bridge = said
    asked = domain(NIC, interface=Settings(interface), whole=Settings(whole))
    policy = decide(asked, NIC, sources(Settings(group), attribute or "", Settings(bridge)))
    first = next((index for index, manager in enumerate(said) if manager is not None), None)
    assert policy.manager is (Manager.KERNEL if first is None else said[first])
    assert policy.reason == (Policy().reason if first is None else PLACES[first])
    assert [step.place for step in policy.steps] == list(PLACES)
    assert [step.says.manager for step in policy.steps] == list(said)


def test_each_option_is_decided_for_itself() -> None:
    """A portgroup may lock what the domain pins: the manager's place does not speak for the other options."""
    asked = domain(NIC, interface=Settings(pin=Pin.STATIC), whole=Settings(pin=Pin.STICKY, guest_mac=GuestMac.IGNORE))
    policy = decide(asked, NIC, sources(Settings(lock=True), "libvirt", Settings(Manager.KERNEL, lock=False)))
    assert (policy.manager, policy.pin, policy.lock, policy.guest_mac) == (
        *(Manager.LIBVIRT, Pin.STATIC),
        *(True, GuestMac.IGNORE),
    )
    assert [policy.place_of(option) for option in ("manager", "pin", "lock", "guest_mac", "allow")] == [
        *(PLACES[3], PLACES[0], PLACES[2], PLACES[1], "")
    ]


def test_what_is_allowed_anywhere_is_allowed() -> None:
    asked = domain(NIC, interface=Settings(allow=("00:00:5e:00:01:01",)))
    where = sources(Settings(allow=("00:00:5e:00:01:*",)), "libvirt", Settings(allow=("00:00:5e:00:01:01",)))
    assert decide(asked, NIC, where).allow == ("00:00:5e:00:01:01", "00:00:5e:00:01:*")
    found = guest_port(replace(asked, state="running"), NIC, where)
    assert isinstance(found, GuestPort)
    assert found.macs == (MAC, "00:00:5e:00:01:01")


def test_the_nics_own_attribute_comes_before_the_networks() -> None:
    """A network that was redefined under its guests: what libvirt did when the NIC was plugged is what holds."""
    assert port(replace(NIC, manager="kernel"), sources(attribute="libvirt")).policy.manager is Manager.KERNEL
    assert port(replace(NIC, manager="libvirt"), sources(attribute="kernel")).policy.manager is Manager.LIBVIRT


def test_metadata_for_one_mac_is_for_no_other() -> None:
    other = replace(NIC, mac="52:54:00:aa:00:02")
    asked = domain(NIC, other, interface=LIBVIRT)
    assert decide(asked, NIC, sources()).manager is Manager.LIBVIRT
    assert decide(asked, other, sources()).manager is Manager.KERNEL


def test_the_default_portgroup_is_that_of_a_nic_without_one() -> None:
    network = Network("lan", "u", "br0", "bridge", default_portgroup="staff", metadata={"staff": LIBVIRT})
    nic = replace(NIC, portgroup="")
    assert port(nic, PolicySources([network], {})).portgroup == "staff"
    assert port(nic, PolicySources([network], {})).managed


def test_a_plain_bridge_nic_gets_its_policy_from_the_configuration() -> None:
    found = port(PLAIN, sources(LIBVIRT, "libvirt", LIBVIRT))
    assert (found.policy.manager, found.policy.reason) == (Manager.LIBVIRT, PLACES[4])
    assert not port(PLAIN, sources(LIBVIRT, "libvirt")).managed


def test_a_manager_that_is_none_is_a_finding_of_its_nic_alone() -> None:
    wrong = replace(NIC, manager="hunter2", mac="52:54:00:aa:00:02")
    intent = build_intent([status(wrong, NIC)], sources(attribute="libvirt"))
    assert [each.macs for each in intent.ports] == [(MAC,)]
    (finding,) = intent.findings
    assert (finding.code, finding.domain, finding.mac) == (Code.UNREADABLE_XML, "web1", wrong.mac)
    assert "hunter2" not in finding.message
    assert "allowed: kernel, libvirt" in finding.message


VLANS = {name: Vlan((vid,)) for vid, name in enumerate(("nic", "port", "group", "network"), 10)}


@pytest.mark.parametrize("silent", range(5))
def test_inheritance_is_nic_then_port_then_portgroup_then_network(silent: int) -> None:
    """The first ``silent`` of the four say nothing."""
    order = list(VLANS)

    def said(name: str) -> tuple[Vlan | None, bool | None]:
        return (None, None) if order.index(name) < silent else (VLANS[name], order.index(name) == silent)

    def vlan(name: str) -> Vlan | None:
        return said(name)[0]

    def flag(name: str) -> bool | None:
        return said(name)[1]

    network = Network(
        *("lan", "u", "br0", "bridge"),
        inherited=Inherited(vlan("network"), flag("network"), flag("network")),
        portgroups={"staff": Inherited(vlan("group"), flag("group"), flag("group"))},
    )
    ports = {"p1": NetworkPort("p1", MAC, vlan=vlan("port"), isolated=flag("port"), trust=flag("port"))}
    nic = replace(NIC, port_id="p1", vlan=vlan("nic"), isolated=flag("nic"), trust=flag("nic"))
    facts = port(nic, PolicySources([network], {}, ports)).facts
    assert facts.vlan == (VLANS[order[silent]] if silent < 4 else None)
    assert (facts.isolated, facts.trust) == (silent < 4, silent < 4)


CHANGED = replace(NIC, current_mac="52:54:00:aa:00:81")


@pytest.mark.parametrize(
    ("trust", "asked", "mac"),
    [
        (True, None, "52:54:00:aa:00:81"),
        (False, None, MAC),
        (True, GuestMac.ALERT, MAC),
        (True, GuestMac.IGNORE, MAC),
        (False, GuestMac.FOLLOW, "52:54:00:aa:00:81"),
    ],
)
def test_a_changed_address_is_followed_where_policy_says_so(trust: bool, asked: GuestMac | None, mac: str) -> None:
    """By default that is where libvirt trusts the guest, and metadata may say otherwise."""
    found = port(replace(CHANGED, trust=trust), sources(Settings(guest_mac=asked)))
    assert found.macs == (mac,)
    assert (found.facts.configured_mac, found.facts.current_mac) == (MAC, CHANGED.current_mac)


@pytest.mark.parametrize(
    ("nic", "how", "comes"),
    [
        (replace(NIC, manager="libvirt"), {}, True),
        (replace(NIC, manager="libvirt"), {"reason": "migration"}, False),
        (replace(NIC, manager="libvirt"), {"state": "pmsuspended"}, False),
        (replace(NIC, manager="libvirt"), {"driver": "lxc"}, False),
        (replace(NIC, manager="kernel"), {}, False),
        (NIC, {}, False),
        (PLAIN, {}, False),
    ],
)
def test_who_puts_the_entry_when_the_cpus_start(nic: Nic, how: dict[str, str], comes: bool) -> None:
    """libvirt's QEMU driver, for a NIC whose own source says libvirt. Not for an incoming guest, because of EEXIST, nor
    for one that suspended itself: it wakes up by itself too.
    """
    assert port(nic, sources(LIBVIRT, "libvirt", LIBVIRT), **how).entry_comes is comes


def test_only_running_is_running() -> None:
    states = ("running", "paused", "blocked", "shutoff", "crashed", "pmsuspended", "nostate", "unknown", "starting")
    assert [state for state in states if port(NIC, state=state).running] == ["running"]


@pytest.mark.parametrize(
    ("nic", "why"),
    [
        (replace(NIC, kind="direct"), "a macvtap"),
        (replace(NIC, kind="hostdev"), "a PCI device"),
        (replace(NIC, kind="ethernet", tap=""), "it has no tap yet"),
        (replace(NIC, kind="vhostuser"), "a vhost-user socket"),
        (replace(NIC, kind="hunter2"), "an interface type that macmgr does not know"),
        (replace(NIC, virtualport="openvswitch"), "an Open vSwitch port"),
        (replace(NIC, virtualport="802.1Qbg"), "a virtual port of type '802.1Qbg'"),
        (replace(NIC, virtualport="hunter2"), "a virtual port of type unknown"),
        (replace(NIC, mac="00:00:00:00:00:00"), "its address is zero"),
        (replace(NIC, tap=""), "it has no tap yet"),
        (replace(NIC, bridge="", network="gone"), "no bridge is known for it"),
    ],
)
def test_a_nic_without_a_port_has_a_reason(nic: Nic, why: str) -> None:
    found = guest_port(status(nic), nic, sources())
    assert isinstance(found, PortlessNic)
    assert why in found.why
    assert "hunter2" not in repr(found)


def test_the_bridge_is_the_networks_where_the_nic_names_none() -> None:
    assert port(replace(NIC, kind="network", bridge="")).bridge == "br0"


def test_managed_bridges_keep_their_reason() -> None:
    """The network's attribute comes before the configuration's line; a network without a bridge manages none."""
    networks = [Network("lan", "u", "br0", manager="libvirt"), Network("none", "u", manager="libvirt")]
    where = PolicySources(networks, {"br0": LIBVIRT, "br1": LIBVIRT, "br2": KERNEL})
    assert managed_bridges(where) == {
        "br0": "network lan: macTableManager",
        "br1": '[bridge."br1"] in the configuration',
    }


def test_a_guest_manages_the_bridge_of_a_network_that_is_gone() -> None:
    """net-destroy leaves the guests where they are; what they say of their own NICs still holds."""
    intent = build_intent([status(replace(NIC, manager="libvirt"))], PolicySources([], {}))
    assert intent.managed_bridges == {"br0": "network lan: macTableManager"}


def test_the_departed_are_known_by_their_names() -> None:
    intent = build_intent([], sources(attribute="libvirt"), departed=[domain(NIC)])
    assert (intent.ports, intent.gone_domains) == ((), ("web1",))


WRONG = "lan.xml:7: lock is 'yess'; allowed: yes, no; did you mean 'yes'?"


@pytest.mark.parametrize("said", [SILENT, LIBVIRT, KERNEL])
def test_no_other_place_decides_in_the_stead_of_one_that_is_not_understood(said: Settings) -> None:
    """The portgroup might say lock='yes', or manager='kernel': whatever the others say, the port is left as it is."""
    network = Network("lan", "u", "br0", "bridge", "libvirt", problem=WRONG)
    asked = domain(replace(NIC, manager="libvirt"), interface=said, whole=said)
    intent = build_intent([replace(asked, state="running")], PolicySources([network], {"br0": LIBVIRT}))
    (found,) = intent.ports
    assert (found.managed, found.policy.problem, found.policy.steps) == (False, WRONG, ())
    (finding,) = intent.findings
    assert (finding.code, finding.domain, finding.port) == (Code.UNREADABLE_XML, "web1", "vnet0")
    assert finding.message == f"vnet0 of web1 is left as it is, because its network lan is not understood: {WRONG}"


def test_a_mistake_in_a_domains_metadata_is_told_once_and_its_ports_are_known() -> None:
    asked = Domain("it's", "u", "qemu", (NIC, replace(PLAIN, tap="vnet1")), problem="it's.xml:4: wrong")
    intent = build_intent([replace(asked, state="running")], sources(LIBVIRT, "libvirt", LIBVIRT))
    assert [(port.port, port.managed, bool(port.policy.problem)) for port in intent.ports] == [
        ("vnet0", False, True),
        ("vnet1", False, True),
    ]
    (finding,) = intent.findings
    assert finding.message == "it's.xml:4: wrong; until that is fixed, the ports of it's are left as they are"
    assert fix_of(finding).text.startswith(
        """virsh metadata 'it'"'"'s' urn:macmgr:mactable:1 --key macmgr --edit --live"""
    )


def test_decisions_that_are_kept_are_those_that_would_be_made() -> None:
    """Whatever changes between two looks: a domain's record, its network, the configuration; a domain that goes."""
    decisions = Decisions()
    first, other = status(NIC), status(PLAIN, driver="lxc")
    for statuses, where in (
        ([first, other], sources()),
        ([first, other], sources(bridge=Settings(lock=True))),
        ([first, other], sources(attribute="libvirt")),
        ([other], sources(attribute="libvirt")),
        ([], sources()),
        ([status(NIC, state="paused"), other], sources()),
        ([first], sources(attribute="nonsense")),
    ):
        for _ in range(2):
            assert build_intent(statuses, where, decisions=decisions) == build_intent(statuses, where)


def test_a_domain_that_is_the_same_is_not_decided_again(monkeypatch: pytest.MonkeyPatch) -> None:
    decisions, known = Decisions(), status(NIC)
    first = build_intent([known], sources(), decisions=decisions)
    monkeypatch.setattr("macmgr.policy.guests.guest_port", None)
    assert build_intent([known], sources(), decisions=decisions).ports[0] is first.ports[0]


@pytest.mark.parametrize(
    ("nic", "whole", "incomplete"),
    [(NIC, SILENT, True), (NIC, KERNEL, True), (PLAIN, SILENT, False), (replace(NIC, manager="libvirt"), SILENT, True)],
    ids=["silent", "its lock may be the portgroup's", "on a bridge without a network", "managed, by libvirt's word"],
)
def test_a_network_that_is_not_active_might_have_said_otherwise(nic: Nic, whole: Settings, incomplete: bool) -> None:
    assert decide(domain(nic, whole=whole), nic, PolicySources([], {})).incomplete is incomplete
    assert not decide(domain(nic, whole=whole), nic, sources()).incomplete


@pytest.mark.parametrize(("whole", "incomplete"), [(SILENT, True), (KERNEL, False)])
def test_a_configuration_that_is_not_there_might_have_said_otherwise(whole: Settings, incomplete: bool) -> None:
    """An editor moves the file away and writes it anew; a NIC on a bridge has its policy from nowhere else."""
    nothing = PolicySources([], {}, configured=False)
    assert decide(domain(PLAIN, whole=whole), PLAIN, nothing).incomplete is incomplete
