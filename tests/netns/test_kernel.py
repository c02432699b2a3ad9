"""The kernel edge against real bridges: what it reads, what it changes, and what it says when it cannot."""

from __future__ import annotations

import errno
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import macmgr
from macmgr.errors import NoPermission, NotThere
from macmgr.kernel import Kernel, Refusal, wire
from macmgr.kernel.netlink import Connection
from macmgr.model.changes import DeleteEntry, Request, bridge_command
from macmgr.model.relay import BridgeRelay, PortRelay, PortState, RouterMode, VlanProtocol
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from tests.fake_kernel import put_entry, set_port
from tests.netns.conftest import BROADCAST, LONG, Namespace, eventually, require

pytestmark = pytest.mark.full_kernel
GUEST = "52:54:00:00:00:01"
OTHER = "52:54:00:00:00:02"
STATES = {"static": EntryState.STATIC, "permanent": EntryState.LOCAL}


@contextmanager
def kernel_of(ns: Namespace) -> Iterator[Kernel]:
    with Kernel(ns.name) as kernel:
        yield kernel


@pytest.fixture
def kernel(ns: Namespace) -> Iterator[Kernel]:
    """A bridge with the taps tap1 and tap2."""
    build(ns)
    with Kernel(ns.name) as opened:
        yield opened


def build(ns: Namespace) -> None:
    ns.add_bridge()
    ns.add_tap("tap1")
    ns.add_tap("tap2")


def carry_out(kernel: Kernel, *requests: Request) -> None:
    assert kernel.send(requests, kernel.read_snapshot()) == [None] * len(requests)


def by_hand(ns: Namespace) -> Snapshot:
    """The snapshot that iproute2's output amounts to."""
    links = ns.links()
    vids: dict[str, list[int]] = {}
    pvids: dict[str, int] = {}
    untagged: dict[str, list[int]] = {}
    for port in ns.bridge_json("vlan show"):
        for vlan in port["vlans"]:
            run = range(vlan["vlan"], vlan.get("vlanEnd", vlan["vlan"]) + 1)
            vids.setdefault(port["ifname"], []).extend(run)
            if "Egress Untagged" in vlan.get("flags", []):
                untagged.setdefault(port["ifname"], []).extend(run)
            if "PVID" in vlan.get("flags", []):
                pvids[port["ifname"]] = vlan["vlan"]
    bridges = {
        name: Bridge(
            name,
            link["ifindex"],
            link["address"],
            bool(link["linkinfo"]["info_data"]["vlan_filtering"]),
            link["promiscuity"],
            "UP" in link["flags"],
            tuple(vids.get(name, ())),
            link["linkinfo"]["info_data"].get("vlan_default_pvid"),
            pvids.get(name),
            tuple(untagged.get(name, ())),
            bridge_relay(
                link["linkinfo"]["info_data"], "UP" in link["flags"] and link["operstate"] in ("UP", "UNKNOWN")
            ),
        )
        for name, link in links.items()
        if link.get("linkinfo", {}).get("info_kind") == "bridge"
    }
    ports = {}
    for port in ns.bridge_json("-d link"):
        name = port["ifname"]
        if name not in bridges:
            ports[name] = BridgePort(
                name,
                port["ifindex"],
                port["master"],
                links[name]["address"],
                PortFlags(port["learning"], port["flood"], port.get("locked"), port["isolated"]),
                tuple(vids.get(name, ())),
                pvids.get(name),
                links[name]["promiscuity"],
                "UP" in links[name]["flags"],
                links[name]["linkinfo"]["info_kind"],
                peer=str(links[name].get("link") or ""),
                untagged=tuple(untagged.get(name, ())),
                relay=port_relay(port, links[name]),
            )
    entries = tuple(
        Entry(
            entry["mac"],
            entry.get("vlan", 0),
            entry["ifname"],
            STATES.get(entry["state"], EntryState.DYNAMIC),
            "sticky" in entry["flags"],
            "extern_learn" in entry["flags"],
        )
        for entry in ns.fdb()
    )
    return Snapshot(bridges, ports, {name: link.get("master") for name, link in links.items()}, entries)


def bridge_relay(said: dict[str, Any], operational: bool) -> BridgeRelay:
    return BridgeRelay(
        protocol=VlanProtocol(said.get("vlan_protocol", "802.1Q")),
        stp=bool(said["stp_state"]),
        operational=operational,
        ages=said["ageing_time"] > 0,
        group_forward=int(said["group_fwd_mask"], 16),
        link_local_learning=not said["no_linklocal_learn"],
        snooping=bool(said["mcast_snooping"]),
        querier=bool(said["mcast_querier"]),
        sources_ipv4=said["mcast_igmp_version"] == 3,
        sources_ipv6=said["mcast_mld_version"] == 2,
        router=RouterMode(said["mcast_router"]),
    )


def port_relay(said: dict[str, Any], link: dict[str, Any]) -> PortRelay:
    return PortRelay(
        state=PortState[said["state"].upper()],
        carrier="LOWER_UP" in link["flags"],
        operational="UP" in link["flags"] and link["operstate"] in ("UP", "UNKNOWN"),
        broadcast_flood=said["bcast_flood"],
        multicast_flood=said["mcast_flood"],
        router=RouterMode(link["linkinfo"]["info_slave_data"]["multicast_router"]),
        to_unicast=said["mcast_to_unicast"],
        hairpin=said["hairpin"],
        group_forward=int(link["linkinfo"]["info_slave_data"]["group_fwd_mask"], 16),
        mtu=link["mtu"],
    )


def assert_same(read: Snapshot, said: Snapshot) -> None:
    assert read.bridges == said.bridges
    assert read.ports == said.ports
    assert read.masters == said.masters
    assert sorted(read.entries, key=repr) == sorted(said.entries, key=repr)


def entry_of(kernel: Kernel, mac: str, vid: int = 0) -> Entry | None:
    return kernel.look_up([("br0", mac, vid)], kernel.read_snapshot())["br0", mac, vid]


# Reading


def test_snapshot_is_what_iproute2_says(ns: Namespace) -> None:
    ns.add_bridge("br0")
    ns.add_bridge("br1")
    ns.add_tap("tap1")
    ns.add_tap("tap2", "br1")
    ns.add_cable("eth1")
    ns.ip("link add loose type veth peer name loose-far")
    ns.bridge("link set dev tap1 learning off flood off")
    ns.bridge("link set dev tap2 isolated on bcast_flood off")
    ns.bridge("link set dev eth1 mcast_flood off hairpin on")
    ns.ip("link set eth1 type bridge_slave group_fwd_mask 16384")
    ns.ip("link set br1 type bridge stp_state 1 ageing_time 0 group_fwd_mask 8 mcast_querier 1 no_linklocal_learn 1")
    ns.ip("link set tap1 mtu 1400")
    ns.ip("link set tap2 down")
    for line in ("tap1 master static", "tap1 master static sticky", "eth1 master dynamic", "tap1 master permanent"):
        ns.bridge(f"fdb add 52:54:00:00:01:{len(line):02x} dev {line}")
    ns.bridge("fdb add 52:54:00:00:02:01 dev tap2 master dynamic extern_learn")
    ns.bridge("fdb add 52:54:00:00:02:02 dev tap2 self")
    ns.send_frame("eth1-far", OTHER)
    eventually(lambda: ns.port_of(OTHER) == "eth1", "the cable's far end is learned")
    ns.settle()
    with Kernel(ns.name) as kernel:
        read = kernel.read_snapshot()
    assert_same(read, by_hand(ns))
    assert {entry.state for entry in read.entries} == set(EntryState)
    assert read.ports["tap1"].flags == PortFlags(False, False, read.ports["tap1"].flags.locked)
    assert read.masters["loose"] is None


def test_the_kernel_itself_answers_for_the_one_port_that_is_asked_for(ns: Namespace) -> None:
    """Counted as the kernel sent it, before anything of ours is left out: the entries of other ports never come."""
    build(ns)
    for number in range(20):
        ns.bridge(f"fdb add 52:54:00:00:01:{number:02x} dev tap1 master static")
    ns.bridge(f"fdb add {GUEST} dev tap2 master static")
    tap2 = ns.links()["tap2"]["ifindex"]
    connection = Connection(ns.name)
    everything, of_tap2 = (
        [
            wire.NEIGHBOUR.unpack_from(message, wire.HEADER.size)[1]
            for blocks in connection.dump(request, "reading").values()
            for *_, message in wire.messages(b"".join(blocks))
        ]
        for request in (wire.fdb_dump(), wire.fdb_dump(tap2))
    )
    connection.close()
    assert set(of_tap2) == {tap2}
    assert len(of_tap2) == everything.count(tap2) < len(everything) - 20


def test_what_each_port_is_for(ns: Namespace, twin: Namespace) -> None:
    """By its device and where its other end is: cables to a bridge here and to another namespace, taps, a dummy."""
    ns.add_bridge("br0")
    ns.add_bridge("br1")
    ns.add_tap("tap1")
    ns.add_tap("vnet0")
    for line in (
        "link add to-br1 type veth peer name to-br0",
        "link set to-br0 master br1",
        f"link add vethc1 type veth peer name eth0 netns {twin.name}",
        f"link add vethc2 type veth peer name eth1 netns {twin.name}",
    ):
        ns.ip(line)
    dummy = ["br0-mtu"] if ns.accepts("link add br0-mtu type dummy") else []  # not every kernel has them
    for port in ("to-br1", "vethc1", "vethc2", *dummy):
        ns.ip(f"link set {port} master br0")
    with Kernel(ns.name) as kernel:
        ports = kernel.read_snapshot().ports.values()
    assert roles_of(ports, {"vnet0"}) == {
        "vnet0": Role.GUEST,
        "tap1": Role.TAP,
        "to-br1": Role.UPLINK,
        "to-br0": Role.UPLINK,
        "vethc1": Role.CONTAINER,
        "vethc2": Role.CONTAINER,
        **dict.fromkeys(dummy, Role.DUMMY),
    }


def test_snapshot_of_a_namespace_without_bridges(ns: Namespace) -> None:
    with Kernel(ns.name) as kernel:
        assert kernel.read_snapshot() == Snapshot(masters={"lo": None})


@pytest.mark.parametrize(
    ("options", "learns"),
    [
        ("id 10 dstport 4789 nolearning", False),
        ("id 10 dstport 4789", True),
        ("dstport 4789 external", False),
        ("dstport 4789 external learning", True),
    ],
)
def test_whether_a_tunnel_learns_by_itself(ns: Namespace, options: str, learns: bool) -> None:
    """IFLA_VXLAN_LEARNING has the number of a bridge's VLAN filtering."""
    ns.add_bridge()
    require("vxlan", ns.accepts(f"link add vx10 type vxlan {options}"))
    ns.ip("link set vx10 master br0")
    ns.add_tap("tap1")
    with Kernel(ns.name) as kernel:
        read = kernel.read_snapshot()
    ports = {name: (port.kind, port.tunnel_learning, port.has_control_plane) for name, port in read.ports.items()}
    assert ports == {"vx10": ("vxlan", learns, not learns), "tap1": ("tun", None, False)}
    assert not read.bridges["br0"].vlan_filtering


def test_vids_are_what_iproute2_says(ns: Namespace) -> None:
    require("bridge VLAN filtering", ns.accepts("link add br0 type bridge vlan_filtering 1"))
    ns.ip("link set br0 up")
    ns.add_tap("tap1")
    ns.add_tap("tap2")
    ns.bridge("vlan add dev tap1 vid 10-20")
    ns.bridge("vlan add dev tap1 vid 30")
    ns.bridge("vlan del dev tap2 vid 1")
    ns.bridge("vlan add dev br0 vid 40 self")
    ns.bridge(f"fdb add {GUEST} dev tap1 master static sticky")
    ns.settle()
    with Kernel(ns.name) as kernel:
        read = kernel.read_snapshot()
    assert_same(read, by_hand(ns))
    assert read.ports["tap1"].vids == (1, *range(10, 21), 30)
    assert read.ports["tap1"].pvid == 1
    assert read.ports["tap2"].vids == ()
    assert {entry.vid for entry in read.entries if entry.mac == GUEST} == {0, 1, *range(10, 21), 30}


def test_opening_leaves_the_process_in_its_namespace(ns: Namespace) -> None:
    before = Path("/proc/thread-self/ns/net").readlink()
    with Kernel(ns.name):
        assert Path("/proc/thread-self/ns/net").readlink() == before
    assert threading.active_count() == 1


def test_a_namespace_that_is_not_there_is_not_made() -> None:
    with pytest.raises(NotThere, match="macmgr-nowhere"):
        Kernel("macmgr-nowhere")
    assert not Path("/run/netns/macmgr-nowhere").exists()


# Changing


@pytest.mark.parametrize("state", [EntryState.STATIC, EntryState.DYNAMIC])
@pytest.mark.parametrize("sticky", [False, True])
def test_a_put_entry_reads_back_as_it_was_put(ns: Namespace, kernel: Kernel, state: EntryState, sticky: bool) -> None:
    ns.add_cable("eth1")
    carry_out(kernel, put_entry("eth1", GUEST, None, state, sticky))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "eth1", state, sticky)


def test_a_port_that_does_not_forward_takes_no_dynamic_entry(ns: Namespace, kernel: Kernel) -> None:
    """EPERM, although the capability is there: a refusal of this one entry, and the rest is carried out."""
    eventually(lambda: ns.port_state("tap1") == "disabled", "the bridge hears that tap1 has no carrier")
    refusals = kernel.send(
        [put_entry("tap1", GUEST, None, EntryState.DYNAMIC), put_entry("tap1", OTHER, None)], kernel.read_snapshot()
    )
    assert [refusal and refusal.errno for refusal in refusals] == [errno.EPERM, None]
    assert entry_of(kernel, OTHER) == Entry(OTHER, 0, "tap1")


def test_extern_learn_makes_a_static_entry_dynamic(kernel: Kernel) -> None:
    """br_fdb_external_learn_add knows no state: what an external control plane put is never static."""
    carry_out(kernel, put_entry("tap1", GUEST, None, EntryState.STATIC, extern_learn=True))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap1", EntryState.DYNAMIC, extern_learn=True)


def test_a_local_entry_is_never_put(kernel: Kernel) -> None:
    with pytest.raises(ValueError, match="never puts a local"):
        kernel.send([put_entry("tap1", GUEST, None, EntryState.LOCAL)], kernel.read_snapshot())
    assert entry_of(kernel, GUEST) is None


def test_delete_is_idempotent(kernel: Kernel) -> None:
    carry_out(kernel, put_entry("tap1", GUEST, None))
    carry_out(kernel, DeleteEntry("tap1", GUEST, None))
    assert entry_of(kernel, GUEST) is None
    carry_out(kernel, DeleteEntry("tap1", GUEST, None))


def test_delete_leaves_the_entry_of_another_port(kernel: Kernel) -> None:
    carry_out(kernel, put_entry("tap2", GUEST, None), DeleteEntry("tap1", GUEST, None))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap2")


def test_only_the_flags_named_are_set(kernel: Kernel) -> None:
    carry_out(kernel, set_port("tap1", learning=False))
    flags = kernel.read_snapshot().ports["tap1"].flags
    assert (flags.learning, flags.unicast_flood) == (False, True)
    carry_out(kernel, set_port("tap1", unicast_flood=False))
    flags = kernel.read_snapshot().ports["tap1"].flags
    assert (flags.learning, flags.unicast_flood) == (False, False)
    carry_out(kernel, set_port("tap1", learning=True), set_port("tap1", unicast_flood=True), set_port("tap1"))
    assert kernel.read_snapshot().ports["tap1"].flags == kernel.read_snapshot().ports["tap2"].flags


def test_locked_is_set_and_read(kernel: Kernel) -> None:
    require("locked bridge ports (5.18)", kernel.read_snapshot().ports["tap1"].flags.locked is not None)
    carry_out(kernel, set_port("tap1", locked=True))
    assert kernel.read_snapshot().ports["tap1"].flags == PortFlags(locked=True)
    carry_out(kernel, set_port("tap1", locked=False))
    assert kernel.read_snapshot().ports["tap1"].flags == PortFlags(locked=False)


TWINS: list[Request] = [
    put_entry("tap1", GUEST, None),
    put_entry("tap1", GUEST, None, sticky=True),
    put_entry("tap1", GUEST, None, EntryState.DYNAMIC),
    put_entry("eth1", GUEST, None, EntryState.DYNAMIC),
    put_entry("eth1", GUEST, None, EntryState.DYNAMIC, sticky=True),
    put_entry("tap1", GUEST, None, EntryState.DYNAMIC, extern_learn=True),
    put_entry("tap1", GUEST, None, EntryState.STATIC, sticky=True, extern_learn=True),
    put_entry("tap2", OTHER, None, sticky=True),
    put_entry("tap1", GUEST, 7),
    DeleteEntry("tap2", OTHER, None),
    DeleteEntry("tap1", OTHER, None),
    DeleteEntry("tap2", OTHER, 7),
    set_port("tap1", learning=False, unicast_flood=False),
    set_port("tap2", learning=True),
    set_port("tap1", locked=True),
]


@pytest.mark.parametrize("request_", TWINS, ids=repr)
def test_sent_and_typed_come_to_the_same(ns: Namespace, twin: Namespace, request_: Request) -> None:
    for each in (ns, twin):
        build(each)
        each.add_cable("eth1")
        each.bridge(f"fdb add {OTHER} dev tap2 master static")
    if isinstance(request_, Entry) and request_.state is EntryState.DYNAMIC:
        # refused on a port that does not forward, which a tap without a carrier becomes at its own pace
        eventually(lambda: {each.port_state("tap1") for each in (ns, twin)} == {"disabled"}, "tap1 is disabled")
    with Kernel(ns.name) as kernel:
        kernel.send([request_], kernel.read_snapshot())
    twin.run(*bridge_command(request_), check=False)
    assert sorted(ns.fdb(), key=repr) == sorted(twin.fdb(), key=repr)
    with Kernel(ns.name) as one, Kernel(twin.name) as two:
        assert flags_of(one.read_snapshot()) == flags_of(two.read_snapshot())


def flags_of(snapshot: Snapshot) -> dict[str, PortFlags]:
    return {name: port.flags for name, port in snapshot.ports.items()}


def test_one_vid_is_put_and_deleted(ns: Namespace) -> None:
    require("bridge VLAN filtering", ns.accepts("link add br0 type bridge vlan_filtering 1"))
    ns.ip("link set br0 up")
    ns.add_tap("tap1")
    ns.bridge("vlan add dev tap1 vid 10")
    with Kernel(ns.name) as kernel:
        carry_out(kernel, put_entry("tap1", GUEST, 10, sticky=True))
        assert entry_of(kernel, GUEST, 10) == Entry(GUEST, 10, "tap1", sticky=True)
        assert entry_of(kernel, GUEST, 1) is None
        carry_out(kernel, DeleteEntry("tap1", GUEST, 10))
        assert entry_of(kernel, GUEST, 10) is None
        carry_out(kernel, put_entry("tap1", GUEST, None))
        assert {entry.vid for entry in kernel.read_snapshot().entries if entry.mac == GUEST} == {0, 1, 10}
        carry_out(kernel, DeleteEntry("tap1", GUEST, None))
        assert {entry.vid for entry in kernel.read_snapshot().entries if entry.mac == GUEST} == set()


# Failing


def test_a_port_deleted_since_is_refused(ns: Namespace, kernel: Kernel) -> None:
    snapshot = kernel.read_snapshot()
    ns.ip("link delete tap1")
    for request in (put_entry("tap1", GUEST, None), DeleteEntry("tap1", GUEST, None), set_port("tap1", learning=False)):
        (refusal,) = kernel.send([request], snapshot)
        assert refusal is not None
        assert refusal.errno == errno.ENODEV
        assert refusal.text.startswith("tap1 is gone since the kernel was read")


def test_a_port_made_again_under_its_name_is_not_touched(ns: Namespace, kernel: Kernel) -> None:
    snapshot = kernel.read_snapshot()
    ns.ip("link delete tap1")
    ns.add_tap("tap1")
    refusals = kernel.send([put_entry("tap1", GUEST, None), set_port("tap1", learning=False)], snapshot)
    assert [refusal and refusal.errno for refusal in refusals] == [errno.ENODEV, errno.ENODEV]
    assert entry_of(kernel, GUEST) is None
    assert kernel.read_snapshot().ports["tap1"].flags.learning


def test_a_name_that_was_no_bridge_port_is_refused_unsent(kernel: Kernel) -> None:
    (refusal,) = kernel.send([set_port("lo", learning=False)], kernel.read_snapshot())
    assert refusal == Refusal(errno.ENODEV, "lo was no bridge port when the kernel was read")


def test_a_refusal_has_the_kernels_words(kernel: Kernel) -> None:
    (refusal,) = kernel.send([put_entry("tap1", GUEST, 7)], kernel.read_snapshot())
    assert refusal is not None
    assert refusal.errno == errno.EINVAL
    assert f"{GUEST} on tap1: Invalid argument (EINVAL)" in refusal.text


def test_each_failure_of_a_batch_finds_its_request(ns: Namespace, kernel: Kernel) -> None:
    """Failures at the start, at batch ends and at the very end, among requests that are carried out."""
    ns.add_tap("tap3")
    snapshot = kernel.read_snapshot()
    ns.ip("link delete tap3")
    bad = {0, 1, 199, 200, 207, 208, 333, 498, 499}
    requests = [
        put_entry("tap3" if n in bad else "tap1", f"52:54:00:01:{n >> 8:02x}:{n & 255:02x}", None) for n in range(500)
    ]
    refusals = kernel.send(requests, snapshot)
    assert {place for place, refusal in enumerate(refusals) if refusal} == bad
    assert {refusal.errno for refusal in refusals if refusal} == {errno.ENODEV}
    there = {entry.mac for entry in kernel.read_snapshot().entries}
    assert {request.mac in there for place, request in enumerate(requests) if place not in bad} == {True}


def test_a_batch_may_fail_completely(kernel: Kernel) -> None:
    refusals = kernel.send([put_entry("tap1", GUEST, 7)] * 3000, kernel.read_snapshot())
    assert {refusal and refusal.errno for refusal in refusals} == {errno.EINVAL}


UNPRIVILEGED = """
import sys
from macmgr.kernel import Kernel
from macmgr.model.snapshot import Entry
with Kernel() as kernel:
    snapshot = kernel.read_snapshot()
    assert len(kernel.look_up([("br0", f"52:54:00:02:00:{n & 255:02x}", 0) for n in range(3000)], snapshot)) == 256
    try:
        kernel.send([Entry("52:54:00:00:00:01", 0, "tap1")] * 3000, snapshot)
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_without_the_capability_it_reads_and_says_what_is_missing(ns: Namespace, kernel: Kernel) -> None:
    where = str(Path(macmgr.__file__).parent.parent)
    said = ns.run(
        "env", f"PYTHONPATH={where}", "setpriv", "--bounding-set=-net_admin", sys.executable, "-c", UNPRIVILEGED
    )
    assert said.startswith(
        f"{NoPermission.__name__} putting the FDB entry {GUEST} on tap1: Operation not permitted (EPERM)"
    )
    assert "CAP_NET_ADMIN" in said


# The kernel rules that the plan rests on (facts that the fake kernel repeats)


def steal(ns: Namespace, mac: str) -> None:
    """A frame with this source MAC comes from the cable, and has been seen: the marker behind it was learned."""
    marker = "52:54:00:00:ff:01"
    ns.send_frame("eth1-far", mac)
    ns.send_frame("eth1-far", marker)
    eventually(lambda: ns.port_of(marker) == "eth1", "the marker frame is learned")


def test_one_frame_moves_a_static_entry_that_is_not_sticky(ns: Namespace, kernel: Kernel) -> None:
    ns.add_cable("eth1")
    carry_out(kernel, set_port("tap1", learning=False), put_entry("tap1", GUEST, None))
    steal(ns, GUEST)
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "eth1", EntryState.STATIC)


def test_no_frame_moves_a_sticky_entry(ns: Namespace, kernel: Kernel) -> None:
    ns.add_cable("eth1")
    carry_out(kernel, set_port("tap1", learning=False), put_entry("tap1", GUEST, None, sticky=True))
    steal(ns, GUEST)
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap1", EntryState.STATIC, sticky=True)


def test_a_put_moves_a_sticky_entry_and_clears_sticky_unless_it_says_so(kernel: Kernel) -> None:
    carry_out(kernel, put_entry("tap1", GUEST, None, sticky=True), put_entry("tap2", GUEST, None, sticky=True))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap2", sticky=True)
    carry_out(kernel, put_entry("tap2", GUEST, None))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap2", sticky=False)


def test_a_put_makes_a_local_entry_the_guests(ns: Namespace, kernel: Kernel) -> None:
    ns.bridge(f"fdb add {GUEST} dev tap2 master permanent")
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap2", EntryState.LOCAL)
    carry_out(kernel, put_entry("tap1", GUEST, None, sticky=True))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap1", sticky=True)


def test_no_put_clears_extern_learn(kernel: Kernel) -> None:
    """br_fdb.c: fdb_add_entry leaves the flag as it is, and br_fdb_external_learn_add leaves state and sticky."""
    carry_out(kernel, put_entry("tap2", GUEST, None, extern_learn=True), put_entry("tap1", GUEST, None, sticky=True))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap1", sticky=True, extern_learn=True)
    carry_out(kernel, put_entry("tap2", GUEST, None, extern_learn=True))
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap2", sticky=True, extern_learn=True)


def test_a_copy_in_a_vid_that_the_port_lost_cannot_be_deleted(ns: Namespace) -> None:
    require("bridge VLAN filtering", ns.accepts("link add br0 type bridge vlan_filtering 1"))
    ns.ip("link set br0 up")
    ns.add_tap("tap1")
    with Kernel(ns.name) as kernel:
        carry_out(kernel, put_entry("tap1", GUEST, None))
        ns.bridge("vlan del dev tap1 vid 1")
        snapshot = kernel.read_snapshot()
        refusals = kernel.send([DeleteEntry("tap1", GUEST, 1), put_entry("tap1", GUEST, 1)], snapshot)
        assert [refusal and refusal.errno for refusal in refusals] == [errno.EINVAL, errno.EINVAL]
        carry_out(kernel, DeleteEntry("tap1", GUEST, None))
        assert entry_of(kernel, GUEST, 0) is None
        assert entry_of(kernel, GUEST, 1) == Entry(GUEST, 1, "tap1")


def arrivals(ns: Namespace, cable: str, source: str, destination: str, marker: str = OTHER) -> set[str]:
    """The cables at whose far ends the frame comes out; a broadcast from ``marker`` behind it tells that it has."""
    with ExitStack() as opened:
        others = {name: f"{name}-far" for name in ("eth1", "eth2", "eth3") if name != cable}
        listeners = {name: opened.enter_context(ns.packet_socket(far)) for name, far in others.items()}
        ns.send_frame(f"{cable}-far", source, destination)
        ns.send_frame(f"{cable}-far", marker, BROADCAST)
        return {name for name, listener in listeners.items() if destination in _until_broadcast(listener)}


def _until_broadcast(listener: socket.socket) -> set[str]:
    """The destinations of all frames up to the first broadcast."""
    listener.settimeout(LONG)
    destinations: set[str] = set()
    while BROADCAST not in destinations:
        destinations.add(listener.recv(2048)[:6].hex(":"))
    return destinations


def test_a_frame_goes_where_the_entry_leads_or_where_unicast_flood_is_on(ns: Namespace) -> None:
    ns.add_bridge()
    for cable in ("eth1", "eth2", "eth3"):
        ns.add_cable(cable)
    with Kernel(ns.name) as kernel:
        carry_out(kernel, set_port("eth3", unicast_flood=False))
        assert arrivals(ns, "eth1", OTHER, GUEST) == {"eth2"}
        carry_out(kernel, put_entry("eth3", GUEST, None, sticky=True))
        assert arrivals(ns, "eth1", OTHER, GUEST) == {"eth3"}
        ns.bridge(f"fdb replace {GUEST} dev eth2 master permanent")
        assert arrivals(ns, "eth1", OTHER, GUEST) == set()


def test_a_locked_port_takes_only_the_frames_of_its_entries(ns: Namespace) -> None:
    ns.add_bridge()
    for cable in ("eth1", "eth2", "eth3"):
        ns.add_cable(cable)
    with Kernel(ns.name) as kernel:
        require("locked bridge ports (5.18)", kernel.read_snapshot().ports["eth1"].flags.locked is not None)
        carry_out(kernel, set_port("eth1", learning=False, locked=True), put_entry("eth1", GUEST, None, sticky=True))
        assert arrivals(ns, "eth1", GUEST, OTHER, marker=GUEST) == {"eth2", "eth3"}
        assert arrivals(ns, "eth1", "52:54:00:00:00:66", OTHER, marker=GUEST) == set()


def test_a_static_entry_survives_its_port_going_down_but_not_its_leaving(ns: Namespace, kernel: Kernel) -> None:
    carry_out(kernel, put_entry("tap1", GUEST, None, sticky=True), set_port("tap1", learning=False))
    ns.ip("link set tap1 down")
    assert entry_of(kernel, GUEST) == Entry(GUEST, 0, "tap1", sticky=True)
    ns.ip("link set tap1 nomaster")
    assert entry_of(kernel, GUEST) is None
    ns.ip("link set tap1 master br0")
    assert kernel.read_snapshot().ports["tap1"].flags.learning


def test_five_thousand_entries_there_and_back(kernel: Kernel) -> None:
    macs = [f"52:54:01:00:{n >> 8:02x}:{n & 255:02x}" for n in range(5000)]
    carry_out(kernel, *(put_entry(f"tap{1 + n % 2}", mac, None, sticky=True) for n, mac in enumerate(macs)))
    wanted = {Entry(mac, 0, f"tap{1 + n % 2}", sticky=True) for n, mac in enumerate(macs)}
    snapshot = kernel.read_snapshot()
    assert wanted == {entry for entry in snapshot.entries if entry.mac.startswith("52:54:01") and entry.vid == 0}
    keys = [("br0", mac, 0) for mac in macs]
    assert wanted == set(kernel.look_up(keys, snapshot).values())
    carry_out(kernel, *(DeleteEntry(f"tap{1 + n % 2}", mac, None) for n, mac in enumerate(macs)))
    assert set(kernel.look_up(keys, snapshot).values()) == {None}


def test_look_up_of_what_is_not_there(ns: Namespace, kernel: Kernel) -> None:
    snapshot = kernel.read_snapshot()
    assert kernel.look_up([], snapshot) == {}
    assert kernel.look_up([("br7", GUEST, 0), ("br0", GUEST, 0)], snapshot) == {
        ("br7", GUEST, 0): None,
        ("br0", GUEST, 0): None,
    }
    ns.ip("link delete br0")
    assert kernel.look_up([("br0", GUEST, 0)], snapshot) == {("br0", GUEST, 0): None}
