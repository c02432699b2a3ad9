"""A guests' bridge whose uplink is a VLAN device on another bridge, where VLAN filtering is turned on.

up1 is a port of "below", "below.42" is a VLAN device on it and the uplink of br0, where the guest is.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.air import Air, Station
from tests.netns.conftest import Namespace, require
from tests.netns.house import House, house, mac_of

LAN, PEER = "02:00:00:00:00:42", "02:00:00:00:00:01"
QUOTED = re.compile(r"'(bridge vlan add [^']+)'")
GUEST = Station("g1", "vnet1-far", mac_of(1))
# What turned filtering on, and left the VLAN of the stack out
CUTS: dict[str, tuple[str, ...]] = {
    "filtering": (),
    "with a VLAN on the uplink alone": ("vlan add dev up1 vid 42",),
    "with a VLAN on the bridge alone": ("vlan add dev below vid 42 self",),
}


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    require("bridge VLAN filtering", ns.accepts("link add probe type bridge vlan_filtering 1"))
    with house(ns, tmp_path) as made:
        ns.ip("link del up0")
        ns.add_bridge("below")
        ns.add_cable("up1", "below")
        ns.ip("link add below.42 link below type vlan id 42", "link set below.42 master br0", "link set below.42 up")
        ns.add_cable("vnet1")
        made.status_file("g1", "vnet1", mac_of(1))
        made.macmgr("apply")
        yield made


@pytest.fixture
def on_air(host: House) -> Iterator[Callable[[], Air]]:
    made: list[Air] = []

    def station() -> Air:
        made.append(Air(host.ns, [Station("lan", "up1-far", LAN, vid=42), GUEST]))
        return made[-1]

    yield station
    for each in made:
        each.close()


BOTH = {("lan", "g1"), ("g1", "lan")}


def cut_off(host: House, bridge: str) -> list[str]:
    """What the doctor of a bridge says of the VLAN device as cut off."""
    (found,) = json.loads(host.macmgr("doctor", bridge, "--json").stdout)["bridges"]
    return [step["text"] for step in found["steps"] if step["text"].startswith("below.42 (VLAN 42 on below) ")]


@pytest.mark.full_kernel
@pytest.mark.parametrize("what", CUTS)
def test_who_was_cut_off_is_named_and_what_is_printed_brings_the_guest_back(
    host: House, on_air: Callable[[], Air], what: str
) -> None:
    on_air().until(BOTH, Air.BEFORE)
    for line in CUTS[what]:
        host.ns.bridge(line)
    assert cut_off(host, "below") == cut_off(host, "br0") == []
    host.ns.ip("link set below type bridge vlan_filtering 1")
    air = on_air()
    for _ in range(3):
        air.round(Air.WHILE)
    assert air.reached(Air.WHILE) < BOTH
    said = cut_off(host, "below")
    assert cut_off(host, "br0") == said, "a person asks about the guests' bridge"
    commands = [command for text in said for command in QUOTED.findall(text)]
    assert commands
    for command in commands:
        host.ns.run(*command.split())
    on_air().until(BOTH, Air.AFTER)
    assert cut_off(host, "below") == []


@pytest.mark.full_kernel
def test_a_vlan_that_the_bridge_itself_takes_untagged_is_named_without_a_command(host: House) -> None:
    """It may be the host's own VLAN there: what would give it to the device may take it from the host."""
    host.ns.bridge("vlan add dev up1 vid 42")
    host.ns.bridge("vlan add dev below vid 42 self untagged")
    host.ns.ip("link set below type bridge vlan_filtering 1")
    (said,) = cut_off(host, "below")
    assert said.endswith("is cut off, because below itself takes VID 42 untagged.")
