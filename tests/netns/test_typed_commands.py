"""What the commands of a printed fix make of a host: the kernel does what the model foresees, which judges them."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from macmgr.forwarding.typed import typed
from macmgr.kernel import Kernel
from macmgr.model.relay import PortRelay
from macmgr.model.snapshot import BridgePort, Entry, Snapshot
from tests.netns.conftest import Namespace, require

ONE, TWO = "52:54:00:00:00:01", "52:54:00:00:00:02"
PLAIN = f"""
    bridge fdb replace {ONE} dev vnet1 master static sticky
    bridge fdb replace {TWO} dev vnet1 master static
    bridge fdb replace {TWO} dev vnet2 master static
    bridge fdb del {ONE} dev vnet2 master
    bridge link set dev vnet1 learning off flood off isolated on
    bridge link set dev vnet1 flood on
    ip link set dev vnet1 address fe:00:00:00:77:01
    bridge fdb replace {ONE} dev vnet1 master dynamic
    ip link set dev vnet1 down
    ip link set dev vnet1 up
    ip link set dev vnet1 down
    ip link set dev vnet1 master br1
    bridge link set dev vnet1 isolated on
    ip link set dev vnet1 up
    bridge fdb del {TWO} dev vnet2 master
    ip link set dev br1 down
    ip link set dev br1 up
"""
WITH_VLANS = f"""
    bridge vlan add dev vnet1 vid 42 pvid untagged
    bridge fdb replace {ONE} dev vnet1 vlan 42 master static sticky
    bridge fdb replace {TWO} dev vnet1 vlan 42 master dynamic
    bridge fdb replace {TWO} dev vnet1 master static
    bridge vlan add dev vnet1 vid 50-52
    bridge vlan add dev vnet1 vid 1
    bridge vlan del dev vnet1 vid 42
    bridge fdb del {ONE} dev vnet1 vlan 42 master
    ip link add macmgr-tmp address fe:ff:ff:ff:ff:fe mtu 65535 type dummy
    ip link set dev macmgr-tmp master br0
    bridge vlan add dev macmgr-tmp vid 42
    bridge fdb replace {ONE} dev macmgr-tmp vlan 42 master static
    ip link del macmgr-tmp
    bridge fdb flush dev vnet1 vlan 1 master static noextern_learn
    ip link set dev vnet2 down
    ip link set dev vnet2 master br1
    bridge vlan del dev vnet2 vid 1-4094
    bridge vlan add dev vnet2 vid 42 pvid untagged
    ip link set dev vnet2 up
"""


@pytest.fixture
def host(ns: Namespace) -> Namespace:
    for name in ("br0", "br1"):
        ns.add_bridge(name)
    for name in ("vnet1", "vnet2"):
        ns.add_cable(name)
    return ns


def follow(host: Namespace, commands: str) -> None:
    """A snapshot has only the name of an interface on no bridge: its address is not foreseen."""
    with Kernel(host.name) as kernel:
        foreseen = kernel.read_snapshot(whole=True)
        for line in filter(None, map(str.strip, commands.splitlines())):
            program, *words = shlex.split(line)
            host.run(program, *words, check=False)  # what is refused changes nothing
            foreseen, found = typed(foreseen, (program, *words)), kernel.read_snapshot(whole=True)
            own = {each.mac for snapshot in (foreseen, found) for each in snapshot.ports.values()}
            assert ports(foreseen) == ports(found), line
            assert entries(foreseen, own) == entries(found, own), line
            assert {name: each.up for name, each in foreseen.bridges.items()} == {
                name: each.up for name, each in found.bridges.items()
            }


def ports(snapshot: Snapshot) -> dict[str, BridgePort]:
    """Without what the kernel hears of later, or gives by itself: carriers, states, promiscuity, a number."""
    unlike = {"promiscuity": 0, "relay": PortRelay(), "ifindex": 0, "kind": "", "peer": "", "elsewhere": False}
    there = [each for each in snapshot.ports.values() if each.bridge]
    return {each.name: replace(each, mac="", **unlike) for each in there}  # type: ignore[arg-type]


def entries(snapshot: Snapshot, own: set[str]) -> set[Entry]:
    return {each for each in snapshot.entries if each.mac not in own and each.port not in snapshot.bridges}


def test_the_kernel_does_what_the_model_foresees(host: Namespace) -> None:
    follow(host, PLAIN)


@pytest.mark.full_kernel
def test_the_kernel_does_what_the_model_foresees_with_vlans(host: Namespace) -> None:
    require("bridge VLAN filtering", host.accepts("link set br0 type bridge vlan_filtering 1"))
    host.ip("link set br1 type bridge vlan_filtering 1")
    follow(host, WITH_VLANS)
