"""The doctor's readings against real devices: every cause is made for real and found; looking changes nothing.

The lab's kernel has no packet_diag: there a socket that is bound to a port is a suspect, and only where the kernel
counts a user more than the other causes explain.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections.abc import Iterator

import pytest
from pyroute2 import netns

from macmgr.doctor.diagnose import BridgeDiagnosis, PortDiagnosis, diagnose
from macmgr.doctor.promiscuity import Reason
from macmgr.errors import NotThere
from macmgr.kernel import Kernel
from macmgr.model.devices import DeviceFacts, PacketSocket
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Policy, Vlan
from macmgr.state.lock import WriterLock
from macmgr.vlanfiltering import Answer, turn_on
from tests.netns.conftest import Namespace, eventually, require

pytestmark = pytest.mark.full_kernel

GUEST = "52:54:00:00:00:01"
RTMGRP_LINK, RTMGRP_NEIGH = 1, 4
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC = 263, 1, 1
WITHOUT_PACKET_DIAG = None
MANAGED = {"br0": "a test"}


@pytest.fixture
def kernel(ns: Namespace) -> Iterator[Kernel]:
    """br0 with the uplink up0 (a veth, or a macvlan where VLAN filtering is there) and the closed tap1."""
    with Kernel(ns.name) as opened:
        yield opened


def close(ns: Namespace, *ports: str) -> None:
    for port in ports:
        ns.bridge(f"link set dev {port} learning off flood off")


def filtering(ns: Namespace) -> None:
    """br0 that filters VLANs, with an uplink that may leave promiscuous mode: a macvlan, as in the lab."""
    possible = ns.accepts("link add brx type bridge vlan_filtering 1")
    require("bridge VLAN filtering", possible)
    ns.ip("link delete brx")
    ns.add_bridge(options="vlan_filtering 1")
    ns.ip("link add cable type veth peer name far")
    ns.ip("link add up0 link cable type macvlan mode passthru")
    for device in ("cable", "far", "up0"):
        ns.ip(f"link set {device} up")
    ns.ip("link set up0 master br0")
    ns.add_tap("tap1")
    close(ns, "tap1")


def plain(ns: Namespace) -> None:
    ns.add_bridge()
    ns.add_cable("up0")
    ns.add_tap("tap1")
    close(ns, "tap1")


def examined(kernel: Kernel, *guests: GuestPort) -> BridgeDiagnosis:
    intent = Intent(guests, MANAGED)
    return diagnose(intent, kernel.read_snapshot(), kernel.read_devices(), [], "br0").bridges[0]


def port(found: BridgeDiagnosis, name: str = "up0") -> PortDiagnosis:
    return next(each for each in found.ports if each.member.name == name)


def reasons(kernel: Kernel, name: str = "up0", *guests: GuestPort) -> list[tuple[Reason, str]]:
    return [(cause.reason, cause.subject) for cause in port(examined(kernel, *guests), name).causes]


def guest(name: str = "tap1", vlan: Vlan | None = None) -> GuestPort:
    policy = Policy(Manager.LIBVIRT, "network lan: macTableManager")
    return GuestPort(name, "br0", f"guest-{name}", "", (GUEST,), "net0", policy=policy, facts=NicFacts(vlan=vlan))


def capture(ns: Namespace, interface: str) -> socket.socket:
    """What tcpdump does: a packet socket that asks for promiscuous mode."""
    opened = ns.packet_socket(interface)
    ifindex = ns.links()[interface]["ifindex"]
    opened.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", ifindex, PACKET_MR_PROMISC, 0, b""))
    return opened


def listener(ns: Namespace) -> socket.socket:
    """Every event of interfaces and FDBs in a namespace, from now on."""
    made: list[socket.socket] = []

    def make() -> None:
        netns.setns(ns.name, flags=0)
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        opened.bind((0, RTMGRP_LINK | RTMGRP_NEIGH))
        made.append(opened)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


def capturer(facts: DeviceFacts) -> PacketSocket:
    (found,) = facts.sockets
    return found


def test_a_capture_is_named_with_its_process_and_gone_with_it(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    with capture(ns, "up0"):
        seen = capturer(kernel.read_devices())
        assert (seen.device, seen.pid) == ("up0", os.getpid())
        assert seen.promiscuous in (("up0",), WITHOUT_PACKET_DIAG)
        assert (Reason.PACKET_SOCKET, seen.who) in reasons(kernel)
    assert kernel.read_devices().sockets == ()
    assert Reason.PACKET_SOCKET not in {reason for reason, _ in reasons(kernel)}


def test_a_packet_socket_that_asks_for_nothing_is_no_cause(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    with ns.packet_socket("up0"):
        assert capturer(kernel.read_devices()).promiscuous in ((), WITHOUT_PACKET_DIAG)
        assert Reason.PACKET_SOCKET not in {reason for reason, _ in reasons(kernel)}


def test_a_capture_on_the_bridge_makes_the_bridge_promiscuous(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    with capture(ns, "br0"):
        found = examined(kernel)
        assert [cause.reason for cause in found.causes] == [Reason.PACKET_SOCKET]
        assert (Reason.BRIDGE, "br0") in reasons(kernel)


def test_the_administrators_flag_and_a_capture_are_two_users(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    ns.ip("link set up0 promisc on")
    with capture(ns, "up0"):
        outside = [reason for reason, _ in reasons(kernel)][-2:]
        assert outside == [Reason.ADMINISTRATOR, Reason.PACKET_SOCKET]
        assert ns.links()["up0"]["promiscuity"] == 3


def test_every_user_the_kernel_counts_is_explained(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    ns.ip("link set up0 promisc on")
    for name in ("up0", "tap1"):
        assert Reason.UNSEEN not in {reason for reason, _ in reasons(kernel, name)}


def test_an_auto_port_is_named_down_or_not(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    ns.add_tap("tap2")
    ns.ip("link set tap2 down")
    causes = port(examined(kernel, guest())).causes
    (auto,) = [cause for cause in causes if cause.reason is Reason.AUTO_PORT]
    assert auto.subject == "tap2"
    assert "it is down" in auto.text
    assert "tun" in auto.text


def test_a_macvlan_on_the_bridge_is_a_cause(ns: Namespace, kernel: Kernel) -> None:
    """So is the macvtap of a guest: the bridge must receive for its address, and cannot filter."""
    plain(ns)
    ns.ip("link add mv0 link br0 type macvlan")
    ns.ip("link set mv0 up")
    (cause,) = examined(kernel).causes
    assert cause.reason is Reason.OWN_ADDRESSES
    assert "mv0" in cause.text


def test_the_kernel_says_whether_it_can_filter_vlans(ns: Namespace, kernel: Kernel) -> None:
    """The attribute whose absence says no is absent exactly where the kernel refuses."""
    ns.add_bridge()
    possible = ns.accepts("link set br0 type bridge vlan_filtering 1")
    assert kernel.read_devices().features.vlan_filtering is possible
    ns.add_cable("up0")
    assert (Reason.NO_VLAN_FILTERING, "br0") in reasons(kernel) or possible


def test_a_kernel_without_vlan_filtering_is_told_so_and_nothing_is_sent(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    if kernel.read_devices().features.vlan_filtering:
        assert turn_on(WriterLock(), "br0", Intent, kernel) == Answer(turned_on=True)
        assert kernel.read_snapshot().bridges["br0"].vlan_filtering
    else:
        (sentence,) = turn_on(WriterLock(), "br0", Intent, kernel).cut
        assert sentence.startswith("This kernel has no VLAN filtering")


def test_devices_are_what_iproute2_says(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    devices = kernel.read_devices().devices
    links = ns.links()
    assert devices.keys() == links.keys()
    for name, link in links.items():
        device = devices[name]
        assert device.ifindex == link["ifindex"]
        assert device.mac == link["address"]
        assert device.kind == link.get("linkinfo", {}).get("info_kind", "")
        assert device.master == link.get("master")
        assert device.promiscuity == link["promiscuity"]
        assert device.administrator == ("PROMISC" in link["flags"])
        assert device.up == ("UP" in link["flags"])


def test_the_own_list_is_what_bridge_says(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    ns.bridge(f"fdb add {GUEST} dev up0 self")
    said = {each["mac"] for each in ns.bridge_json("fdb show dev up0") if "self" in each["flags"]}
    addresses = kernel.read_devices().devices["up0"].addresses
    assert {mac for mac in said if not int(mac[:2], 16) & 1} == {GUEST}
    assert addresses == frozenset({GUEST})
    assert (Reason.OWN_ADDRESSES, "up0") in reasons(kernel)


def test_other_hosts_addresses_are_none_that_a_tunnel_receives_for(ns: Namespace, kernel: Kernel) -> None:
    """Its `self` list says behind which host each is: NDA_DST."""
    ns.add_bridge()
    require("vxlan", ns.accepts("link add vx10 type vxlan id 10 dstport 4789 nolearning"))
    ns.ip("link set vx10 master br0")
    ns.ip("link set vx10 up")
    ns.bridge("fdb add 52:54:00:00:00:07 dev vx10 dst 192.0.2.7 self static")
    ns.bridge("fdb add 00:00:00:00:00:00 dev vx10 dst 192.0.2.7 self permanent")
    assert kernel.read_devices().devices["vx10"].addresses == frozenset()
    assert not any(reason is Reason.OWN_ADDRESSES for reason, _ in reasons(kernel, "vx10"))


def test_a_device_in_another_namespace_is_said_to_be_out_of_sight(
    ns: Namespace, twin: Namespace, kernel: Kernel
) -> None:
    ns.add_bridge()
    twin.ip("link add far type veth peer name cable")
    twin.ip(f"link add up0 link cable netns {ns.name} type macvlan mode passthru")
    ns.ip("link set up0 master br0")
    assert kernel.read_devices().devices["up0"].lower_elsewhere
    assert any("another network namespace" in note for note in port(examined(kernel)).notes)


def test_a_namespace_that_is_gone(ns: Namespace) -> None:
    with pytest.raises(NotThere, match="no-such-namespace"):
        Kernel("no-such-namespace")


def test_looking_changes_nothing(ns: Namespace, kernel: Kernel) -> None:
    """The kernel tells every change of an interface or an FDB at once; and one of our own shows that we would hear."""
    plain(ns)
    eventually(lambda: ns.port_state("tap1") == "disabled", "the bridge has heard that tap1 has no carrier")
    with capture(ns, "up0"), listener(ns) as events:
        examined(kernel)
        with pytest.raises(BlockingIOError):
            events.recv(1 << 16, socket.MSG_DONTWAIT)
        ns.ip("link set up0 promisc on")
        assert events.recv(1 << 16, socket.MSG_DONTWAIT)


# With VLAN filtering


def test_an_uplink_at_rest_is_proved_to_filter(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    ns.bridge(f"fdb replace {GUEST} dev tap1 master static sticky")
    found = port(examined(kernel, guest()))
    assert not found.promiscuous
    assert found.causes == ()
    assert found.filter.filters is True
    assert found.nic_list is not None
    assert found.nic_list.missing == ()


def test_one_auto_port_is_the_whole_cause(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    ns.add_tap("tap2")
    assert reasons(kernel) == [(Reason.AUTO_PORT, "tap2")]
    close(ns, "tap2")
    assert reasons(kernel) == []


def test_an_auto_port_that_is_down_counts_and_flood_of_broadcast_and_multicast_does_not(
    ns: Namespace, kernel: Kernel
) -> None:
    filtering(ns)
    ns.add_tap("tap2")
    ns.ip("link set tap2 down")
    assert ns.links()["up0"]["promiscuity"] == 1
    assert reasons(kernel) == [(Reason.AUTO_PORT, "tap2")]
    close(ns, "tap2")
    (flags,) = [link for link in ns.bridge_json("-d link") if link["ifname"] == "tap2"]
    assert (flags["mcast_flood"], flags["bcast_flood"]) == (True, True)
    assert ns.links()["up0"]["promiscuity"] == 0


@pytest.mark.parametrize("words", ["static", "static sticky", "dynamic", "dynamic extern_learn"])
def test_only_static_entries_are_in_the_uplinks_own_list(ns: Namespace, kernel: Kernel, words: str) -> None:
    """What is not there, an uplink that is at rest and filters does not receive."""
    filtering(ns)
    ns.add_cable("cable2")
    close(ns, "cable2")
    assert ns.links()["up0"]["promiscuity"] == 0
    ns.bridge(f"fdb replace {GUEST} dev cable2 master {words}")
    assert ns.port_of(GUEST) == "cable2"
    assert (GUEST in (kernel.read_devices().devices["up0"].addresses or ())) is words.startswith("static")


def test_an_uplink_that_cannot_filter_is_the_whole_cause(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    ns.ip("link delete up0")
    ns.ip("link set cable master br0")
    assert reasons(kernel, "cable") == [(Reason.NO_UNICAST_FILTER, "cable")]


def test_a_lost_address_is_missed_and_the_advice_brings_it_back(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    ns.bridge(f"fdb replace {GUEST} dev tap1 master static sticky")
    while GUEST in (kernel.read_devices().devices["up0"].addresses or ()):
        ns.bridge(f"fdb del {GUEST} dev up0 self")  # it is counted once for VID 0 and once for VID 1
    nic_list = port(examined(kernel, guest())).nic_list
    assert nic_list is not None
    assert nic_list.missing == ((GUEST, "guest-tap1"),)
    for command in examined(kernel, guest()).steps[0].commands:
        ns.run(*command.split())
    again = port(examined(kernel, guest())).nic_list
    assert again is not None
    assert again.missing == ()
    assert ns.links()["up0"]["promiscuity"] == 0


def test_the_device_below_the_uplink_is_seen(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    (below,) = port(examined(kernel)).below
    assert below.device.name == "cable"
    assert below.filter.filters is False
    assert (Reason.UPPER_DEVICE, "up0") in {(cause.reason, cause.subject) for cause in below.causes}


def test_vlans_are_read_with_their_tagging(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    ns.bridge("vlan add dev tap1 vid 10-20")
    ns.bridge("vlan add dev tap1 vid 30 untagged")
    ns.bridge("vlan add dev br0 vid 7 self")
    snapshot = kernel.read_snapshot(())
    port, bridge = snapshot.ports["tap1"], snapshot.bridges["br0"]
    assert (set(port.vids), set(port.untagged), port.pvid) == ({1, *range(10, 21), 30}, {1, 30}, 1)
    assert (set(bridge.vids), set(bridge.untagged), bridge.pvid) == ({1, 7}, {1}, 1)


def test_vlan_filtering_is_refused_while_an_8021q_device_would_be_cut(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    ns.ip("link set br0 type bridge vlan_filtering 0")
    ns.ip("link add br0.5 link br0 type vlan id 5")
    refused = turn_on(WriterLock(), "br0", Intent, kernel).cut
    assert refused[0].startswith("br0.5 (VLAN 5 on br0) would be cut off")
    assert not kernel.read_snapshot().bridges["br0"].vlan_filtering
    for sentence in refused:  # what it says mends it
        ns.run(*sentence.split("'")[1].split())
    assert turn_on(WriterLock(), "br0", Intent, kernel) == Answer(turned_on=True)
    assert kernel.read_snapshot().bridges["br0"].vlan_filtering
    assert ns.links()["br0"]["linkinfo"]["info_data"]["vlan_filtering"] == 1


def test_vlan_filtering_is_refused_while_a_guests_vlan_is_not_on_its_port(ns: Namespace, kernel: Kernel) -> None:
    filtering(ns)
    ns.ip("link set br0 type bridge vlan_filtering 0")
    wanted = Intent((guest(vlan=Vlan((5,))),), MANAGED)
    assert "does not carry VID 5" in turn_on(WriterLock(), "br0", lambda: wanted, kernel).cut[0]
    assert not kernel.read_snapshot().bridges["br0"].vlan_filtering


def test_a_bridge_that_has_a_guests_ports_address_is_told_until_it_has_its_own(ns: Namespace, kernel: Kernel) -> None:
    ns.ip("link add br0 type bridge", "link set br0 up")
    ns.add_tap("tap1")
    guest = GuestPort("tap1", "br0", "web1", "u-1", (GUEST,), policy=Policy(Manager.LIBVIRT))
    assert "br0 has the address of tap1" in " ".join(examined(kernel, guest).notes)
    ns.ip("link set br0 address 02:b0:00:00:00:01")
    assert "has the address of" not in " ".join(examined(kernel, guest).notes)


def test_a_port_without_multicast_flood_gets_none_where_no_querier_is(ns: Namespace, kernel: Kernel) -> None:
    plain(ns)
    ns.bridge("link set dev tap1 mcast_flood off")
    assert "tap1 gets no multicast" in " ".join(examined(kernel).notes)
    ns.bridge("link set dev tap1 mcast_flood on")
    assert "gets no multicast" not in " ".join(examined(kernel).notes)
