"""Another host's address, as FRR puts it on a vxlan port (static sticky) stays, whatever macmgr does.

With VLAN filtering too, where the kernel has it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

pytestmark = pytest.mark.full_kernel

MAC = mac_of(1)


@pytest.fixture(params=["one table", "VLAN filtering"])
def host(request: pytest.FixtureRequest, ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """br0 with a tunnel that does not learn, and the running guest g1, which macmgr has managed."""
    with house(ns, tmp_path) as made:
        if request.param == "VLAN filtering":
            require("bridge VLAN filtering", ns.accepts("link set br0 type bridge vlan_filtering 1"))
        require("vxlan", ns.accepts("link add vx10 type vxlan id 10 dstport 4789 nolearning"))
        ns.ip("link set vx10 master br0")
        ns.ip("link set vx10 up")
        made.config.write_text(f"{MANAGED}[hook]\ntimeout = 30\n")  # a busy machine is no reason to give up
        made.guest(1)
        assert made.macmgr("apply").returncode == 0
        yield made


def by_vid(host: House) -> dict[int, tuple[str, str, bool]]:
    """Where the guest's address leads, and how it is pinned, by VID."""
    return {
        each.get("vlan", 0): (each["ifname"], each["state"], "sticky" in each["flags"])
        for each in host.ns.fdb()
        if each["mac"] == MAC
    }


def vids(host: House) -> list[int]:
    return [0, *(each for each in by_vid(host) if each)]


def moves_away(host: House) -> dict[int, tuple[str, str, bool]]:
    """The guest runs on another host: its control plane says so here, in the VID that is the tunnel's."""
    vid = max(vids(host))
    host.ns.bridge(f"fdb replace {MAC} dev vx10 {f'vlan {vid} ' if vid else ''}master static sticky")
    host.ns.ip("link del vnet1")
    entries = by_vid(host)
    assert set(entries.values()) == {("vx10", "static", True)}
    return entries


def test_a_guest_is_pinned_plainly(host: House) -> None:
    assert set(by_vid(host).values()) == {("vnet1", "static", False)}
    assert host.audit() == set()


def test_it_stays_when_the_guest_has_left(host: House) -> None:
    domain = host.status_file("g1", "vnet1", MAC)
    theirs = moves_away(host)
    host.remove("qemu/g1.xml")
    for operation in ("stopped", "release"):
        done = host.macmgr("hook", "qemu", "g1", operation, "end", "-", stdin=domain.encode())
        assert done.returncode == 0
        assert by_vid(host) == theirs
    assert host.audit() == set()
    assert host.macmgr("apply").returncode == 0
    assert by_vid(host) == theirs
    with host.daemon():
        assert by_vid(host) == theirs
        assert host.audit() == set()
    assert host.macmgr("release").returncode == 0
    assert by_vid(host) == theirs


def test_it_stays_while_the_guest_is_on_its_way_here(host: House) -> None:
    """And gives way as soon as the guest's CPUs run here, whatever its control plane says."""
    theirs = moves_away(host)
    host.ns.add_tap("vnet1")
    domain = host.status_file("g1", "vnet1", MAC, "paused")
    done = host.macmgr("hook", "qemu", "g1", "migrate", "begin", "-", stdin=domain.encode())
    assert done.returncode == 0
    assert host.macmgr("apply").returncode == 0
    with host.daemon():
        assert by_vid(host) == theirs
        assert host.audit() == set()
        host.status_file("g1", "vnet1", MAC, "running")
        eventually(lambda: set(by_vid(host).values()) == {("vnet1", "static", False)}, "the guest has its entry")
        eventually(lambda: host.audit() == set(), "in sync")
    assert host.macmgr("release").returncode == 0


def test_a_tunnel_that_comes_and_goes_changes_the_pin_and_cuts_nobody(host: House) -> None:
    with host.daemon():
        assert set(by_vid(host).values()) == {("vnet1", "static", False)}
        host.ns.ip("link set vx10 nomaster")
        eventually(lambda: set(by_vid(host).values()) == {("vnet1", "static", True)}, "sticky, for frames decide now")
        host.ns.ip("link set vx10 master br0")
        eventually(lambda: set(by_vid(host).values()) == {("vnet1", "static", False)}, "static again")
        assert host.flags("vnet1") == (False, False)
