"""What docs/incident.rst says to type by hand, on a host with the symptom: judged by frames.

The fixes that an audit prints are typed in test_fixes.py, and what it advises in words in test_printed_policy.py.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.netns.air import Air, Pair, Station
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of

PAGE = (Path(__file__).parents[2] / "docs" / "incident.rst").read_text()
PLACES = {"UPLINK": "up0", "PORT": "vnet1", "BRIDGE": "br0"}
STATIONS = [
    Station("lan", "up0-far", "02:00:00:00:00:99"),
    *(Station(f"g{number}", f"vnet{number}-far", mac_of(number)) for number in (1, 2)),
]
ALL = {(one.name, two.name) for one in STATIONS for two in STATIONS if one is not two}
GROUP = "33:33:00:00:00:01"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        for number in (1, 2):
            ns.add_cable(f"vnet{number}")
            made.status_file(f"g{number}", f"vnet{number}", mac_of(number))
        made.macmgr("apply")
        yield made


@pytest.fixture
def air(host: House) -> Iterator[Air]:
    made = Air(host.ns, STATIONS)
    made.until(ALL, Air.AT_LAST)  # all is well
    yield made
    made.close()


def typed(host: House, command: str) -> None:
    """Type what the page has, with this host's names in it."""
    assert command in PAGE
    host.ns.run(*(PLACES.get(word, word) for word in command.split()))


@dataclass(frozen=True)
class Symptom:
    """``lost`` is who is not reached while it lasts, ``never`` who is not to be reached after it either."""

    lines: tuple[str, ...]
    command: str
    lost: frozenset[Pair]
    never: frozenset[Pair] = frozenset()


ISOLATED = tuple(f"link set dev {port} isolated on" for port in ("up0", "vnet1", "vnet2"))
SYMPTOMS = {
    "closed without an entry": Symptom(
        (f"fdb del {mac_of(1)} dev vnet1 master",),
        "bridge link set dev PORT learning on flood on",
        frozenset({("lan", "g1"), ("g2", "g1")}),
    ),
    "an isolated uplink": Symptom(
        ISOLATED,
        "bridge link set dev UPLINK isolated off",
        frozenset(ALL),
        frozenset({("g1", "g2"), ("g2", "g1")}),
    ),
}


@pytest.mark.parametrize("name", SYMPTOMS)
def test_what_is_typed_by_hand_brings_the_guest_back_and_cuts_nobody_off(host: House, air: Air, name: str) -> None:
    symptom = SYMPTOMS[name]
    for line in symptom.lines:
        host.ns.bridge(line)
    for _ in range(3):
        air.round(Air.BEFORE)
    assert not air.reached(Air.BEFORE) & symptom.lost
    with air.sending(Air.WHILE):
        typed(host, symptom.command)
    air.until(ALL - symptom.never, Air.AFTER)
    assert not air.heard(Air.AFTER) & symptom.never


def test_multicast_flood_comes_back(host: House) -> None:
    with host.ns.packet_socket("vnet1-far") as guest:
        guest.setblocking(False)
        host.ns.bridge("link set dev vnet1 mcast_flood off")
        host.ns.ip("link set br0 type bridge mcast_snooping 0")

        def heard() -> bool:
            host.ns.send_frame("up0-far", STATIONS[0].mac, GROUP)
            host.ns.send_frame("up0-far", STATIONS[0].mac)  # what comes behind it is sure to arrive
            found = set()
            while True:
                try:
                    found.add(guest.recv(2048)[:6].hex(":"))
                except BlockingIOError:
                    return GROUP in found

        assert not any(heard() for _ in range(3))
        assert host.macmgr("trace", "--from", "up0", "--to", GROUP).stdout.count(b"multicast flood is off")
        typed(host, "bridge link set dev PORT mcast_flood on")
        eventually(heard, "the group arrives")


@pytest.mark.parametrize("daemon", [True, False])
def test_macmgr_is_taken_out_in_the_order_of_the_page_and_stays_out(host: House, air: Air, daemon: bool) -> None:
    """All are reached afterwards, and nothing takes the ports again: neither the daemon nor an apply."""
    steps = (
        '``mode = "observe"`` under ``[defaults]``',
        "``systemctl reload macmgr``",
        "``macmgr release --bridge BRIDGE``",
    )
    assert sorted(steps, key=PAGE.index) == list(steps)
    with host.daemon() if daemon else nullcontext() as process:
        host.config.write_text('[defaults]\nmode = "observe"\n' + MANAGED)
        if process is not None:
            process.send_signal(signal.SIGHUP)
            eventually(lambda: "(SIGHUP)" in host.log, "it has read the configuration")
        assert host.macmgr("release", "--bridge", "br0").returncode == 0
        if process is not None:
            rounds = host.status()["rounds"]["count"]
            host.status_file("g3", "vnet3", mac_of(3))  # a reason to look
            eventually(lambda: host.status()["rounds"]["count"] > rounds, "it has looked again")
        host.macmgr("apply")
        assert host.flags("vnet1") == host.flags("vnet2") == (True, True)
    air.until(ALL, Air.AFTER)
