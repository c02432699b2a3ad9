"""Network Load Balancing in unicast mode: every node must get each frame, which no entry does."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.findings import Code, Finding, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Settings, Step
from macmgr.model.snapshot import Bridge, BridgePort, PortFlags
from macmgr.planning.planner import plan
from tests.fake_kernel import make_snapshot

WEB, DB = "52:54:00:00:00:01", "52:54:00:00:00:02"
CLUSTER = "02:bf:0a:00:00:0a"


def node(number: int, mac: str, *allow: str) -> GuestPort:
    steps = (Step("metadata", Settings(Manager.LIBVIRT, allow=allow)),)
    macs = mac, *(each for each in allow if not each.endswith("*"))
    return GuestPort(
        f"vnet{number}",
        "br0",
        f"nlb{number}",
        f"u{number}",
        macs,
        policy=Policy(Manager.LIBVIRT, allow=allow, steps=steps),
    )


def conflicts(*guests: GuestPort) -> list[Finding]:
    taps = [BridgePort(f"vnet{each}", each, "br0", f"fe:00:00:00:00:0{each}", PortFlags()) for each in (1, 2)]
    found = plan(
        Intent(guests, {"br0": "a test"}), make_snapshot([Bridge("br0", 9, "02:b0:00:00:00:01")], taps)
    ).findings
    return [each for each in found if each.code in (Code.CONFLICTING_SETTINGS, Code.DUPLICATE_MAC)]


@pytest.mark.parametrize("allow", [CLUSTER, "02:bf:*", "02:bf:0a:*"])
def test_each_node_that_is_allowed_the_clusters_address_is_told_what_it_needs(allow: str) -> None:
    found = conflicts(node(1, WEB, allow), node(2, DB, allow))
    assert [(each.code, each.domain) for each in found] == [
        (Code.CONFLICTING_SETTINGS, "nlb1"),
        (Code.CONFLICTING_SETTINGS, "nlb2"),
    ]
    for each, mac in zip(found, (WEB, DB), strict=True):
        assert f"is allowed {allow} (metadata)" in each.message
        assert "Network Load Balancing" in each.message
        assert f"<macmgr:interface mac='{mac}' manager='kernel'/>" in fix_of(each).text
        assert "allow it to one" not in fix_of(each).text


def test_a_node_that_has_the_clusters_address_as_its_own() -> None:
    first, second = conflicts(node(1, CLUSTER), node(2, CLUSTER))[:2]
    assert {first.code, second.code} == {Code.DUPLICATE_MAC, Code.CONFLICTING_SETTINGS}
    assert "give it another" not in fix_of(first).text + fix_of(second).text
    assert "manager='kernel'" in fix_of(first).text


def test_nodes_that_are_left_to_the_kernel_are_not_told() -> None:
    left = [replace(node(1, WEB, CLUSTER), policy=Policy()), replace(node(2, DB, CLUSTER), policy=Policy())]
    assert conflicts(*left) == []


def test_other_addresses_are_none_of_a_cluster() -> None:
    assert conflicts(node(1, WEB, "02:be:0a:00:00:0a"), node(2, DB, "02:*")) == []
