"""The daemon while guests are not reached: an uplink that is blocked, pulled or in other VLANs, and put right again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

pytestmark = pytest.mark.full_kernel


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """Two guests that run, and one that is paused. Their ports are cables: a tap needs a QEMU to have a carrier."""
    with house(ns, tmp_path) as made:
        for number, state in ((1, "running"), (2, "running"), (3, "paused")):
            ns.add_cable(f"vnet{number}")
            made.status_file(f"g{number}", f"vnet{number}", mac_of(number), state)
        ns.settle()
        yield made


@pytest.fixture
def watched(host: House) -> Iterator[House]:
    with host.daemon():
        yield host


def cut_off(host: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = host.status()["not_reached"]
    return found


def lines(host: House, words: str) -> list[str]:
    return [line for line in host.log.splitlines() if words in line]


def is_cut_off(host: House, words: str, domains: tuple[str, ...] = ("g1", "g2")) -> None:
    """The status has it, and the journal one line of it."""
    eventually(lambda: [tuple(each["domains"]) for each in cut_off(host)] == [domains], lambda: host.log)
    (outage,) = cut_off(host)
    assert words in outage["message"]
    assert outage["since"] <= host.status()["taken_at"]
    eventually(lambda: bool(lines(host, words)), lambda: host.log)
    (line,) = lines(host, words)
    assert f"{', '.join(domains)} {'is' if len(domains) == 1 else 'are'} cut off: " in line
    assert ", since " in line
    assert "g3" not in line


def is_over(host: House, words: str) -> None:
    eventually(lambda: not cut_off(host), lambda: host.log)
    eventually(lambda: bool(lines(host, words)), lambda: host.log)
    assert len(lines(host, words)) == 1


def test_an_uplink_that_stp_blocks(watched: House) -> None:
    assert cut_off(watched) == []
    watched.ns.bridge("link set dev up0 state 1")
    is_cut_off(watched, "the uplink up0 of br0 is listening (STP)")
    said = watched.macmgr("status").stdout.decode()
    assert "2 guests are cut off: g1, g2." in said
    watched.ns.bridge("link set dev up0 state 3")
    is_over(watched, "g1, g2 are reached again by way of up0")
    assert watched.status()["repairs"]["failed"] == 0


def test_an_uplink_without_a_carrier(watched: House) -> None:
    watched.ns.ip("link set up0-far down")
    is_cut_off(watched, "the uplink up0 of br0 has no carrier")
    watched.ns.ip("link set up0-far up")
    is_over(watched, "g1, g2 are reached again by way of up0")


def test_an_uplink_without_a_carrier_while_another_one_works(watched: House) -> None:
    """Nobody is cut off, so the daemon is silent; who looks reads which network is lost, and for whom."""
    watched.ns.add_cable("up1")
    watched.ns.ip("link set up0-far down")
    watched.ns.settle()
    said = watched.macmgr("audit").stdout.decode()
    assert "the uplink up0 of br0 has no carrier: nobody behind it reaches g1, g2, who are reached by up1 alone" in said
    assert cut_off(watched) == []
    watched.ns.ip("link set up0-far up")
    watched.ns.settle()
    assert "port-down" not in watched.macmgr("audit").stdout.decode()


def test_a_bridge_that_goes_down(watched: House) -> None:
    watched.ns.ip("link set br0 down")
    is_cut_off(watched, "br0 is down")
    watched.ns.ip("link set br0 up")
    is_over(watched, "g1, g2 are reached again by way of br0")


def test_a_guests_own_port(watched: House) -> None:
    watched.ns.ip("link set vnet1 down")
    is_cut_off(watched, "vnet1 is down", ("g1",))
    watched.ns.ip("link set vnet1 up")
    is_over(watched, "g1 is reached again by way of vnet1")


def test_a_guest_that_is_paused_is_to_get_nothing(watched: House) -> None:
    watched.ns.ip("link set vnet3 down")
    watched.ns.ip("link set vnet1 down")
    is_cut_off(watched, "vnet1 is down", ("g1",))
    assert not lines(watched, "vnet3 is down, since")


def test_a_vlan_that_is_taken_off_the_uplink(host: House) -> None:
    require("bridge VLAN filtering", host.ns.accepts("link add probe type bridge vlan_filtering 1"))
    host.ns.ip("link set br0 type bridge vlan_filtering 1")
    host.ns.bridge("vlan del dev br0 vid 1 self")  # else the host leads on
    with host.daemon():
        assert cut_off(host) == []
        host.ns.bridge("vlan del dev up0 vid 1")
        eventually(lambda: sorted(each["domains"][0] for each in cut_off(host)) == ["g1", "g2"], lambda: host.log)
        eventually(lambda: len(lines(host, " is cut off in VID 1: ")) == 2, lambda: host.log)
        host.ns.bridge("vlan add dev up0 vid 1 pvid untagged")
        eventually(lambda: not cut_off(host), lambda: host.log)
        eventually(lambda: len(lines(host, "is reached again by way of")) == 2, lambda: host.log)


def test_a_port_that_flaps_costs_few_lines(watched: House) -> None:
    watched.ns.bridge("link set dev up0 state 1")
    is_cut_off(watched, "the uplink up0 of br0 is listening (STP)")
    for _ in range(30):
        watched.ns.bridge("link set dev up0 state 3")
        eventually(lambda: not cut_off(watched), lambda: watched.log)
        watched.ns.bridge("link set dev up0 state 1")
        eventually(lambda: bool(cut_off(watched)), lambda: watched.log)
    assert len(lines(watched, " cut off: ")) <= 3
    assert len(lines(watched, "reached again")) <= 3


def test_a_guest_that_loses_its_port_keeps_its_series_and_wakes_the_plugin(host: House) -> None:
    place = host.root / "macmgr.prom"
    host.config.write_text(MANAGED + f"[daemon]\nmetrics_file = '{place}'\n")
    nic = 'macmgr_guest_reached{domain="g1",source_bridge="br0",target_device="vnet1"}'

    def exported(value: float) -> bool:
        return place.exists() and f"{nic} {value}" in place.read_text()

    with host.daemon():
        eventually(lambda: exported(1.0), lambda: place.read_text())
        assert host.macmgr("audit", "--format", "plugin").returncode == 0
        host.ns.ip("link del vnet1")
        eventually(lambda: exported(0.0), lambda: place.read_text())
    said = host.macmgr("audit", "--format", "plugin")
    assert said.stdout.startswith(b"MACMGR CRITICAL: g1 is cut off (missing-port).")
    assert said.returncode == 2
