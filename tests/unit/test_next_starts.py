"""Findings about networks whose next start turns VLAN filtering on for a bridge of the host's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from macmgr import virsh
from macmgr.config import Config
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import Intent, Scope
from macmgr.model.snapshot import Bridge, BridgePort
from macmgr.planning.draft import Plan
from macmgr.sources.statusfiles import StatusFiles
from macmgr.view import View
from macmgr.vlanfiltering import with_next_starts
from macmgr.wanted import wanted
from tests.doctorworld import OPEN, guest, tap, uplink
from tests.fake_kernel import FakeKernel, make_snapshot

FITS, ASTRAY = tap("vnet0", OPEN, untagged=(1,)), tap("vnet1", OPEN, vids=(30,), pvid=30, untagged=(30,))


def found(
    *ports: BridgePort,
    start_filtering: tuple[tuple[str, str], ...] = (("lan", "br0"),),
    filtering: bool = False,
    scope: Scope | None = None,
    findings: tuple[Finding, ...] = (),
) -> list[Finding]:
    bridge = Bridge("br0", 2, "02:00:00:00:00:02", vlan_filtering=filtering)
    bridge = replace(bridge, vids=(1,), pvid=1, untagged=(1,))
    snapshot = make_snapshot([bridge], [uplink(untagged=(1,)), *ports])
    guests = tuple(guest(port.name, mac=f"52:54:00:00:00:0{port.name[-1]}") for port in ports)
    intent = Intent(guests, start_filtering=start_filtering)
    view = View(intent, snapshot, Plan((), findings), scope=scope or Scope())
    return list(with_next_starts(view, FakeKernel(snapshot)).plan.findings)


def test_who_would_be_cut_off_is_named() -> None:
    (finding,) = found(FITS, ASTRAY)
    assert (finding.code, finding.bridge) == (Code.FILTERING_AT_NEXT_START, "br0")
    assert finding.message.startswith("when network lan starts, libvirt turns VLAN filtering on for br0. vnet1 of ")


def test_a_long_list_is_cut() -> None:
    ports = [replace(ASTRAY, name=f"vnet{number}", ifindex=10 + number) for number in range(5)]
    (finding,) = found(*ports)
    assert finding.message.count("has PVID 30") == 3
    assert finding.message.endswith("And 2 more.")


def test_several_networks_on_a_bridge_are_one_finding() -> None:
    (finding,) = found(ASTRAY, start_filtering=(("dmz", "br0"), ("lan", "br0")))
    assert finding.message.startswith("when one of the networks dmz and lan starts, libvirt turns")


@pytest.mark.parametrize(
    ("filtering", "starts"),
    [(True, (("lan", "br0"),)), (False, ()), (False, (("lan", "br7"),))],
    ids=["filters already", "no such network", "no such bridge"],
)
def test_there_is_nothing_to_say(filtering: bool, starts: tuple[tuple[str, str], ...]) -> None:
    assert found(ASTRAY, filtering=filtering, start_filtering=starts) == []


def test_a_scope_leaves_out_other_bridges() -> None:
    assert found(ASTRAY, scope=Scope(bridges=frozenset({"br1"}))) == []
    assert len(found(ASTRAY, scope=Scope(bridges=frozenset({"br0"})))) == 1


@pytest.mark.parametrize("astray", [True, False])
def test_no_fix_starts_a_network_that_would_cut_somebody_off(astray: bool) -> None:
    """What another finding advises is advised only where it harms nobody."""
    other = Finding(Code.CONFLICTING_SETTINGS, "it waits for the next start", "br0", mends=virsh.restart_network("lan"))
    kept, _ = found(ASTRAY if astray else FITS, findings=(other,))
    assert kept.mends == (() if astray else virsh.restart_network("lan"))
    assert kept.note == ("put right first what filtering-at-next-start says" if astray else "")


NETWORK = "<network><name>{name}</name>{forward}<bridge name='br0'{attribute}/></network>"


@pytest.mark.parametrize("forward", ["<forward mode='bridge'/>", "<forward mode='nat'/>", ""])
@pytest.mark.parametrize("attribute", ["", " macTableManager='kernel'", " macTableManager='libvirt'"])
def test_only_a_definition_with_the_attribute_on_the_hosts_bridge_counts(
    tmp_path: Path, forward: str, attribute: str
) -> None:
    """Active or not. Another network's own bridge is made by its start, and nobody is on it yet."""
    (tmp_path / "run/libvirt").mkdir(parents=True)
    definitions = tmp_path / "etc/libvirt/qemu/networks"
    definitions.mkdir(parents=True)
    (definitions / "lan.xml").write_text(NETWORK.format(name="lan", forward=forward, attribute=attribute))
    (definitions / "lie.xml").write_text(NETWORK.format(name="another", forward=forward, attribute=attribute))
    (definitions / "half.xml").write_text("<network>")
    intent = wanted(StatusFiles(tmp_path / "run/libvirt").read(), Config())
    counts = "'bridge'" in forward and "libvirt" in attribute
    assert intent.start_filtering == ((("lan", "br0"),) if counts else ())
