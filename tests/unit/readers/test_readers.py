"""What is read of libvirt's XML: each form of a NIC, and each place that a network or a port says something in."""

from __future__ import annotations

from dataclasses import replace

import pytest
from lxml import etree

from macmgr.errors import XmlError
from macmgr.model.intent import Vlan
from macmgr.readers.domain import Domain, Nic, read_domain, read_domain_status, read_nic
from macmgr.readers.hookdata import HookInput, read_hook_input
from macmgr.readers.network import Inherited, Network, NetworkPort, read_network, read_network_port

MAC = "52:54:00:aa:00:01"
PORT = "6f7ceeab-6ed4-4f5d-83c0-73e5bb490846"


def nic(text: str) -> Nic:
    return read_nic(etree.fromstring(text), "web1.xml")


def interface(inner: str = "", kind: str = "bridge", attributes: str = "") -> str:
    return f"<interface type='{kind}'{attributes}><mac address='{MAC}'/>{inner}</interface>"


def domain(nics: str, attributes: str = "type='kvm'") -> str:
    return f"<domain {attributes}><name>web1</name><uuid>u1</uuid><devices>{nics}</devices></domain>"


LIVE = interface(
    f"""<source network='lan' portgroup='staff' portid='{PORT}' bridge='br0' macTableManager='libvirt'/>
    <vlan trunk='yes'><tag id='10'/><tag id='20' nativeMode='untagged'/></vlan>
    <port isolated='yes'/><target dev='vnet0'/><filterref filter='clean-traffic'/><link state='down'/>
    <teaming type='persistent'/><alias name='ua-net0'/>""",
    attributes=" trustGuestRxFilters='yes'",
)
STATUS = interface(
    f"""<source network='lan' portgroup='staff' portid='{PORT}'/>
    <actual type='bridge' trustGuestRxFilters='yes'>
      <source bridge='br0' macTableManager='libvirt'/>
      <vlan trunk='yes'><tag id='10'/><tag id='20' nativeMode='untagged'/></vlan><port isolated='yes'/>
    </actual>
    <target dev='vnet0'/><filterref filter='clean-traffic'/><link state='down'/>
    <teaming type='persistent'/><alias name='ua-net0'/>""",
    kind="network",
)
RECORD = Nic(
    mac=MAC,
    kind="bridge",
    configured="bridge",
    bridge="br0",
    network="lan",
    port_id=PORT,
    portgroup="staff",
    tap="vnet0",
    alias="ua-net0",
    manager="libvirt",
    filter="clean-traffic",
    teaming="persistent",
    vlan=Vlan((10, 20), 20, True),
    isolated=True,
    trust=True,
    link_down=True,
)


def test_the_live_form() -> None:
    """A NIC of a managed host bridge reads type='bridge' here: its network is what tells it from a plain one."""
    assert nic(LIVE) == RECORD


def test_the_form_of_status_files_is_the_same_record() -> None:
    """But for what it was configured as, which only this form remembers."""
    assert nic(STATUS) == replace(nic(LIVE), configured="network")


def test_the_inactive_form() -> None:
    """At `prepare`, `stopped` and `release`: no tap, no bridge, no port."""
    read = nic(interface("<source network='lan'/>", kind="network"))
    assert read == Nic(MAC, "network", "network", network="lan")


def test_what_became_of_a_nic_comes_before_what_was_asked() -> None:
    read = nic(
        interface(
            "<source network='lan'/><vlan><tag id='10'/></vlan><port isolated='no'/><virtualport type='openvswitch'/>"
            "<actual type='direct'><source dev='eth0' mode='bridge'/><vlan><tag id='20'/></vlan>"
            "<port isolated='yes'/><virtualport type='802.1Qbh'/></actual>",
            kind="network",
            attributes=" trustGuestRxFilters='no'",
        )
    )
    assert (read.kind, read.configured, read.lower, read.vlan) == ("direct", "network", "eth0", Vlan((20,)))
    assert (read.isolated, read.trust, read.virtualport) == (True, False, "802.1Qbh")


def test_what_was_asked_holds_where_actual_is_silent() -> None:
    read = nic(
        interface(
            "<source network='lan'/><vlan><tag id='10'/></vlan><port isolated='yes'/><virtualport type='openvswitch'/>"
            "<actual type='bridge'><source bridge='br0'/></actual>",
            kind="network",
            attributes=" trustGuestRxFilters='yes'",
        )
    )
    assert (read.vlan, read.isolated, read.trust, read.virtualport) == (Vlan((10,)), True, True, "openvswitch")


@pytest.mark.parametrize(
    ("tags", "vlan"),
    [
        ("<tag id='10'/>", Vlan((10,))),
        ("<tag id='0'/>", Vlan((0,))),
        ("<tag id='10'/><tag id='20'/>", Vlan((10, 20), None, True)),
        ("<tag id='10' nativeMode='tagged'/>", Vlan((10,), 10, True, native_tagged=True)),
        ("<tag id='10' nativeMode='untagged'/>", Vlan((10,), 10, True)),
        ("", None),
    ],
)
def test_vlans(tags: str, vlan: Vlan | None) -> None:
    assert nic(interface(f"<vlan>{tags}</vlan>")).vlan == vlan


def test_one_tag_can_be_a_trunk() -> None:
    assert nic(interface("<vlan trunk='yes'><tag id='10'/></vlan>")).vlan == Vlan((10,), None, True)


@pytest.mark.parametrize("mac", ["52:54:00:AA:00:01", "52:54:0:aa:0:1", " 52:54:00:aa:00:01\n"])
def test_a_mac_has_one_written_form(mac: str) -> None:
    assert nic(f"<interface type='bridge'><mac address='{mac}'/></interface>").mac == MAC


def test_the_address_that_the_guest_uses_now() -> None:
    """The attribute currentAddress, since libvirt 11.2.0."""
    text = interface().replace("/></i", " currentAddress='52:54:00:AA:00:81'/></i")
    assert (nic(text).mac, nic(text).current_mac) == (MAC, "52:54:00:aa:00:81")


@pytest.mark.parametrize(
    "text",
    [
        "<interface type='bridge'><mac address='hunter2'/></interface>",
        "<interface type='bridge'><mac address='01:00:5e:00:00:01'/></interface>",
        "<interface type='bridge'><mac address='52:54:00:aa:00:01' currentAddress='hunter2'/></interface>",
        interface("<vlan><tag id='hunter2'/></vlan>"),
        interface("<vlan><tag id='4096'/></vlan>"),
        interface("<vlan><tag/></vlan>"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(text: str) -> None:
    with pytest.raises(XmlError) as refused:
        nic(text)
    assert str(refused.value).startswith("web1.xml:1: ")
    assert "hunter2" not in str(refused.value)


def test_a_domain_has_its_nics_in_order() -> None:
    """All of them, of whatever type; one without a MAC gets it when libvirt defines the domain."""
    nics = [f"<interface type='{kind}'><mac address='52:54:00:aa:00:0{n}'/></interface>" for n, kind in enumerate("ab")]
    read = read_domain(etree.fromstring(domain(f"{nics[0]}<interface type='user'/>{nics[1]}")), "web1.xml")
    assert (read.name, read.uuid, read.driver) == ("web1", "u1", "qemu")
    assert [(each.mac, each.kind) for each in read.nics] == [("52:54:00:aa:00:00", "a"), ("52:54:00:aa:00:01", "b")]


@pytest.mark.parametrize(("kind", "driver"), [("kvm", "qemu"), ("qemu", "qemu"), ("lxc", "lxc"), ("hvf", "qemu")])
def test_the_driver_is_that_of_the_hook(kind: str, driver: str) -> None:
    assert read_domain(etree.fromstring(domain("", f"type='{kind}'")), "web1.xml").driver == driver


def test_only_a_guests_own_nics_count() -> None:
    """An <interface> elsewhere (a network inside <metadata>, somebody's description) is none."""
    text = domain("").replace("<devices>", f"<metadata><x>{interface()}</x></metadata>{interface()}<devices>")
    assert read_domain(etree.fromstring(text), "web1.xml").nics == ()


@pytest.mark.parametrize("state", ["running", "paused", "shutoff"])
def test_a_status_file(state: str) -> None:
    text = f"<domstatus state='{state}' reason='booted' pid='7'><monitor/>{domain(STATUS)}</domstatus>"
    read = read_domain_status(etree.fromstring(text), "web1.xml")
    assert (read.state, read.reason, read.running) == (state, "booted", state == "running")
    assert read.nics == (nic(STATUS),)


def test_a_state_that_nobody_knows_is_not_running() -> None:
    read = read_domain_status(etree.fromstring(f"<domstatus state='hunter2'>{domain('')}</domstatus>"), "web1.xml")
    assert read == Domain("web1", "u1", "qemu", (), state="unknown")


NETWORK = """<network trustGuestRxFilters='no'><name>lan</name><uuid>u2</uuid><forward mode='bridge'/>
  <bridge name='br0' macTableManager='libvirt'/><vlan><tag id='10'/></vlan><port isolated='no'/>
  <portgroup name='staff' default='yes' trustGuestRxFilters='yes'><vlan><tag id='20'/></vlan>
  <port isolated='yes'/><virtualport type='openvswitch'/></portgroup><portgroup name='guests'/></network>"""


@pytest.mark.parametrize("text", [NETWORK, f"<networkstatus><floor sum='0'/>{NETWORK}</networkstatus>"])
def test_a_network(text: str) -> None:
    assert read_network(etree.fromstring(text), "lan.xml") == Network(
        name="lan",
        uuid="u2",
        bridge="br0",
        forward="bridge",
        manager="libvirt",
        inherited=Inherited(Vlan((10,)), isolated=False, trust=False),
        portgroups={"staff": Inherited(Vlan((20,)), True, True, "openvswitch"), "guests": Inherited()},
        default_portgroup="staff",
    )


@pytest.mark.parametrize(
    ("forward", "mode"), [("", "isolated"), ("<forward/>", "nat"), ("<forward mode='route' dev='eth0'/>", "route")]
)
def test_forward_modes(forward: str, mode: str) -> None:
    read = read_network(etree.fromstring(f"<network><name>n</name>{forward}</network>"), "n.xml")
    assert (read.forward, read.bridge, read.manager) == (mode, "", "")


def test_a_network_port() -> None:
    text = f"""<networkport><uuid>{PORT}</uuid><owner><name>web1</name><uuid>u1</uuid></owner><group>staff</group>
      <mac address='52:54:00:AA:00:01'/><rxfilters trustGuest='yes'/><vlan><tag id='10'/></vlan>
      <port isolated='yes'/><plug type='bridge' bridge='br0' macTableManager='libvirt'/></networkport>"""
    assert read_network_port(etree.fromstring(text), "port.xml") == NetworkPort(
        PORT, MAC, "br0", "libvirt", Vlan((10,)), True, True
    )


def test_a_network_port_that_is_not_on_a_bridge() -> None:
    text = f"<networkport><uuid>{PORT}</uuid><mac address='{MAC}'/><plug type='hostdev-pci'/></networkport>"
    assert read_network_port(etree.fromstring(text), "port.xml") == NetworkPort(PORT, MAC)


PORT_XML = f"<networkport><uuid>{PORT}</uuid><mac address='{MAC}'/></networkport>"


@pytest.mark.parametrize(
    ("beside", "found"),
    [
        ("", ("lan", None)),
        (PORT_XML, ("lan", PORT)),
        (LIVE, ("lan", None)),
        ("<interface type='network'/>", ("lan", None)),
    ],
)
def test_network_hook_input(beside: str, found: tuple[str, str | None]) -> None:
    """With its port since 5.5; the guest's NIC, which `plugged` and `unplugged` gave before, is not read."""
    given = read_hook_input("network", f"<hookData>{NETWORK}{beside}</hookData>".encode())
    assert given.network is not None
    assert (given.network.name, given.port and given.port.uuid) == found


def test_hook_input_of_guests_and_the_daemon() -> None:
    for driver in ("qemu", "lxc"):
        given = read_hook_input(driver, domain(LIVE).encode())
        assert given.domain is not None
        assert given.domain.nics == (RECORD,)
    assert read_hook_input("daemon", b"") == HookInput()


@pytest.mark.parametrize(
    ("driver", "text"),
    [
        ("qemu", NETWORK),
        ("qemu", f"<hookData>{domain('')}</hookData>"),
        ("qemu", "<domain><devices/></domain>"),
        ("qemu", "<domain><name> </name></domain>"),
        ("lxc", "<hunter2/>"),
        ("network", domain("")),
        ("network", NETWORK),
        ("network", "<hookData/>"),
        ("network", "<hookData><network/></hookData>"),
        ("network", f"<hookData>{NETWORK.replace('libvirt', 'hunter2')}</hookData>"),
    ],
)
def test_another_drivers_input_is_refused(driver: str, text: str) -> None:
    with pytest.raises(XmlError, match=f"^{driver} hook input:[0-9]+: ") as refused:
        read_hook_input(driver, text.encode())
    assert "hunter2" not in str(refused.value)
