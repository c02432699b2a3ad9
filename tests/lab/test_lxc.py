"""Containers: libvirt's LXC driver ignores macTableManager altogether, so everything is the hooks' work."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import HostBridge, Lan, Libvirt, Network, run, until

MAC, ADDRESS = "52:54:00:aa:00:41", "10.0.0.41"
CONTAINER = f"""<domain type='lxc'>
  <name>c1</name>
  <memory unit='MiB'>64</memory>
  <vcpu>1</vcpu>
  <os>
    <type>exe</type>
    <init>/bin/sh</init>
    <initarg>-c</initarg>
    <initarg>ip address add {ADDRESS}/24 dev eth0; ip link set eth0 up; exec sleep 600</initarg>
  </os>
  <devices>
    <filesystem type='mount'><source dir='/'/><target dir='/'/></filesystem>
    <interface type='network'><mac address='{MAC}'/><source network='lan'/></interface>
    <console type='pty'/>
  </devices>
</domain>
"""


def _virsh(*words: str) -> None:
    run("virsh", "-c", "lxc:///system", *words)


@pytest.fixture
def container(libvirt: Libvirt, network: Network, bridge: HostBridge) -> Iterator[None]:
    """A defined container c1 on the network "lan"."""
    path = Path("/run/lab/c1.xml")
    path.write_text(CONTAINER)
    _virsh("define", str(path))
    yield
    run("virsh", "-c", "lxc:///system", "destroy", "c1", check=False)
    _virsh("undefine", "c1")
    bridge.forget(MAC)


def test_libvirt_alone_leaves_a_container_to_learning(container: None, bridge: HostBridge, lan: Lan) -> None:
    """The live XML says libvirt manages; the port learns and floods, and there is no static entry."""
    _virsh("start", "c1")
    until(lambda: lan.ping(ADDRESS, 1) == 1, "the container answers")
    rows = bridge.fdb(MAC)
    assert {row.get("state", "") for row in rows} == {""}
    flags = bridge.flags(rows[0]["ifname"])
    assert flags["learning"]
    assert flags["flood"]
    assert bridge.promiscuity() == 1


def test_the_hooks_manage_a_container(
    hooks: None, container: None, bridge: HostBridge, lan: Lan, macmgr: Macmgr
) -> None:
    """From virsh start to a proven table, and nothing left when it ends."""
    _virsh("start", "c1")
    until(lambda: lan.ping(ADDRESS, 1) == 1, "the container answers")
    macmgr("audit", "--strict")
    assert {row.get("vlan", 0): row["flags"] for row in bridge.fdb(MAC)} == {0: ["sticky"], 1: ["sticky"]}
    assert bridge.promiscuity() == 0
    run("bridge", "fdb", "replace", MAC, "dev", bridge.uplink, "master", "static")
    _virsh("destroy", "c1")
    assert [row for row in bridge.fdb(MAC) if row.get("state") == "static"] == []
