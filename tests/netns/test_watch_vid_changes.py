"""The daemon while VIDs change: default PVIDs, loops and ranges, two bridges at once, and a fight amid all that."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

pytestmark = pytest.mark.full_kernel


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """Two bridges that filter VLANs and are managed: br0 with guests 1 and 2, br1 with guest 3."""
    require("bridge VLAN filtering", ns.accepts("link add probe type bridge vlan_filtering 1"))
    ns.ip("link del probe")
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED + MANAGED.replace("br0", "br1"))
        ns.ip("link set br0 type bridge vlan_filtering 1")
        ns.ip("link add br1 type bridge vlan_filtering 1")
        ns.ip("link set br1 up")
        made.guest(1)
        made.guest(2)
        ns.ip("tuntap add vnet3 mode tap")
        ns.ip("link set vnet3 master br1 up")
        made.status_file("g3", "vnet3", mac_of(3), bridge="br1")
        yield made


@contextmanager
def watched(host: House) -> Iterator[None]:
    with host.daemon():
        eventually(lambda: all(vids(host, number) for number in (1, 2, 3)), lambda: host.ns.fdb())
        yield


def vids(host: House, number: int) -> set[int]:
    """The VIDs in which a static sticky entry leads the guest's MAC to its port."""
    return {
        int(each.get("vlan", 0))
        for each in host.ns.fdb()
        if each["mac"] == mac_of(number) and each["ifname"] == f"vnet{number}" and "sticky" in each["flags"]
    }


def has(host: House, number: int, *wanted: int) -> None:
    eventually(lambda: vids(host, number) == {0, *wanted}, lambda: (vids(host, number), host.log))


def lines(host: House, words: str) -> list[str]:
    return [line for line in host.log.splitlines() if words in line]


def test_another_default_pvid_is_seen(host: House) -> None:
    with watched(host):
        host.ns.ip("link set br0 type bridge vlan_default_pvid 100")
        for number in (1, 2):
            has(host, number, 100)
        host.ns.ip("link set br1 type bridge vlan_default_pvid 200")
        host.ns.ip("link set br0 type bridge vlan_default_pvid 7")
        has(host, 3, 200)
        has(host, 1, 7)
        assert host.audit() == set()


def test_ports_that_join_with_another_default_pvid(host: House) -> None:
    with watched(host):
        host.ns.ip("link set br0 type bridge vlan_default_pvid 100")
        host.ns.add_tap("vnet4")
        host.status_file("g4", "vnet4", mac_of(4))
        has(host, 4, 100)
        host.ns.ip("link set br0 type bridge vlan_default_pvid 0")
        host.ns.ip("link set vnet4 nomaster")
        host.ns.ip("link set vnet4 master br0")
        host.ns.ip("link set br0 type bridge vlan_default_pvid 5")
        has(host, 4, 5)
        has(host, 1, 5)


@pytest.mark.parametrize(
    "order",
    [
        ("vlan_default_pvid 0", "vlan_filtering 0", "vlan_filtering 1", "vlan_default_pvid 1"),
        ("vlan_filtering 0", "vlan_default_pvid 0", "vlan_default_pvid 1", "vlan_filtering 1"),
        ("vlan_default_pvid 0", "vlan_default_pvid 1"),
    ],
    ids=["off and on without it", "while filtering is off", "at once"],
)
@pytest.mark.parametrize("pause", [0.3, 0.0], ids=["slowly", "fast"])
def test_a_default_pvid_that_is_taken_and_given_back_cuts_nobody_off(
    host: House, order: tuple[str, ...], pause: float
) -> None:
    with watched(host):
        for setting in order:
            host.ns.ip(f"link set br0 type bridge {setting}")
            time.sleep(pause)
        has(host, 1, 1)
        has(host, 2, 1)
        assert host.audit() == set()


def test_vids_that_are_added_one_by_one_open_no_port(host: House) -> None:
    host.ns.bridge("vlan add dev up0 vid 100-139")
    with watched(host):
        seen = set()
        for vid in range(100, 140):
            host.ns.bridge(f"vlan add dev vnet1 vid {vid}")
            time.sleep(0.15)
            seen.add(host.flags("vnet1"))
        has(host, 1, 1, *range(100, 140))
        assert seen == {(False, False)}
        assert lines(host, "another program") == []
        assert host.status()["standing_back"] == {"count": 0, "now": []}


def test_a_range_that_goes_is_no_fight_and_few_lines(host: House) -> None:
    """Nor does it keep a guest from what is mended a moment later."""
    host.ns.bridge("vlan add dev up0 vid 2-2000")
    for name in ("vnet1", "vnet2"):
        host.ns.bridge(f"vlan add dev {name} vid 2-2000")
    with watched(host):
        has(host, 1, *range(1, 2001)) if 0 in vids(host, 1) else None
        before = len(host.log.splitlines())
        for name in ("vnet1", "vnet2"):
            host.ns.bridge(f"vlan del dev {name} vid 31-2000")
        has(host, 1, *range(1, 31))
        host.ns.bridge("vlan del dev vnet1 vid 30")
        has(host, 1, *range(1, 30))
        has(host, 2, *range(1, 31))
        assert lines(host, "another program") == []
        assert len(host.log.splitlines()) - before < 12, host.log


def test_a_burst_on_two_bridges_hides_no_fight(host: House) -> None:
    """Somebody takes away the entry of guest 2 again and again, while an administrator adds VIDs to all others."""
    host.ns.bridge("vlan add dev up0 vid 100-160")
    with watched(host):
        loop = f"while :; do bridge fdb del {mac_of(2)} dev vnet2 vlan 1 master 2>/dev/null; sleep 0.01; done"
        rival = subprocess.Popen(host.command("sh", "-c", loop))
        try:
            for vid in range(100, 160):
                for name in ("vnet1", "vnet3"):
                    host.ns.bridge(f"vlan add dev {name} vid {vid}")
                time.sleep(0.05)
            eventually(lambda: bool(lines(host, "another program undoes this change")), lambda: host.log)
            eventually(
                lambda: host.flags("vnet2") == (True, True), lambda: host.log
            )  # open: it is reached all the same
            assert host.flags("vnet1") == host.flags("vnet3") == (False, False)
            has(host, 1, 1, *range(100, 160))
            has(host, 3, 1, *range(100, 160))
        finally:
            rival.kill()
            rival.wait()
        has(host, 2, 1)
        eventually(lambda: host.flags("vnet2") == (False, False), lambda: host.log)
        assert all("vnet2" in line for line in lines(host, "another program undoes this change"))
