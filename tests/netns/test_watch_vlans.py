"""The daemon on a bridge with VLAN filtering: VIDs that come and go, and filtering itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually, require
from tests.netns.house import House, house, mac_of

pytestmark = pytest.mark.full_kernel


@pytest.fixture
def watched(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """A host whose bridge filters VLANs, with one guest, and the daemon."""
    require("bridge VLAN filtering", ns.accepts("link add probe type bridge vlan_filtering 1"))
    with house(ns, tmp_path) as host:
        ns.ip("link set br0 type bridge vlan_filtering 1")
        host.guest(1)
        with host.daemon():
            yield host


def vids(host: House) -> set[int]:
    """The VIDs in which the guest's MAC leads to its port; 0 is the one without filtering."""
    return {
        int(each.get("vlan", 0)) for each in host.ns.fdb() if each["mac"] == mac_of(1) and each["ifname"] == "vnet1"
    }


def test_a_vid_that_comes_later_gets_its_entry(watched: House) -> None:
    assert vids(watched) == {0, 1}
    watched.ns.bridge("vlan add dev vnet1 vid 10")
    eventually(lambda: vids(watched) == {0, 1, 10}, "the new VID has an entry")
    assert watched.audit() == set()


def test_filtering_that_is_turned_off_and_on_again_cuts_nobody(watched: House) -> None:
    watched.ns.ip("link set br0 type bridge vlan_filtering 0")
    eventually(lambda: watched.status()["in_sync"], "still in sync")
    assert vids(watched) == {0, 1}
    watched.ns.ip("link set br0 type bridge vlan_filtering 1")
    eventually(lambda: watched.managed(1) and watched.audit() == set(), "and again")
