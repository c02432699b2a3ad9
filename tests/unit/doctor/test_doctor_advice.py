"""What to do, in which order, with which commands, and what is promised: neither too little nor too much."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from macmgr.doctor.diagnose import Diagnosis, diagnose
from macmgr.doctor.expectedgain import in_measured_words
from macmgr.doctor.nicfilters import filter_of
from macmgr.model.devices import Device, Xdp
from macmgr.model.intent import Intent, Manager, Policy, Settings, Step
from macmgr.model.snapshot import Entry, EntryState, PortFlags
from macmgr.report.diagnosis import print_diagnosis
from macmgr.report.diagnosisdocument import diagnosis_document
from tests.doctorworld import CAPTURE, CLOSED, MODERN, OPEN, World, device, guest, tap, uplink


@pytest.fixture
def world() -> World:
    return World()


def commands(found: World) -> list[str]:
    return [command for step in found.diagnose().steps for command in step.commands]


def test_everything_at_once_in_order(world: World) -> None:
    """Close ports, VLAN filtering, the bridge, then what comes from outside; only the last step frees the uplink."""
    world.bridge = replace(world.bridge, vlan_filtering=False, promiscuity=1)
    world.ports = [uplink(promiscuity=3), *(tap(f"vnet{number}", OPEN) for number in range(4))]
    place = "domain g: <macmgr:macTable>"
    decided = Policy(Manager.KERNEL, place, steps=(Step(place, Settings(manager=Manager.KERNEL)),))
    world.guests = [
        guest("vnet0", mac="52:54:00:00:00:01"),
        guest("vnet1", Manager.KERNEL, "52:54:00:00:00:02"),
        guest("vnet2", mac="52:54:00:00:00:03", policy=decided),
    ]
    world.entries = [Entry("52:54:00:00:00:09", 0, "vnet3", EntryState.DYNAMIC)]
    world.sockets = [CAPTURE]
    world.devices = {
        "up0": device(world.ports[0], "e1000e", administrator=True),
        "br0": replace(world.facts.devices["br0"], administrator=True),
    }
    assert commands(world) == [
        "macmgr apply --bridge br0",
        "macmgr apply --bridge br0",
        "macmgr apply --bridge br0",
        "macmgr apply --vlan-filtering br0",
        "ip link set dev br0 promisc off",
        "ip link set dev up0 promisc off",
        "kill 123",
    ]
    steps = world.diagnose().steps
    assert [step.gain for step in steps if "promiscuous" in step.gain] == ["up0 leaves promiscuous mode"]
    assert steps[-1].gain == "up0 leaves promiscuous mode"
    assert steps[1].lines == ('[bridge."br0"]', 'mac_table_manager = "libvirt"')
    assert steps[1].where.endswith("macmgr.toml")
    assert "domain g: <macmgr:macTable>" in steps[2].text


def test_one_unmanaged_guest_is_the_only_obstacle(world: World) -> None:
    world.ports = [uplink(promiscuity=1), tap(), tap("vnet1", OPEN)]
    world.guests.append(guest("vnet1", Manager.KERNEL))
    (step,) = world.diagnose().steps
    assert step.gain == "it gets no more copies of foreign frames; up0 leaves promiscuous mode"


def test_a_port_that_only_learns_gets_no_copies_and_none_are_promised_away(world: World) -> None:
    world.ports = [uplink(promiscuity=1), tap("vnet0", PortFlags(learning=True, unicast_flood=False))]
    (step,) = world.diagnose().steps
    assert step.gain == "up0 leaves promiscuous mode"


def test_nothing_is_promised_where_the_nic_cannot_filter(world: World) -> None:
    world.bridge = replace(world.bridge, vlan_filtering=False)
    world.ports = [uplink(promiscuity=1, kind="veth"), tap("vnet0", OPEN)]
    found = world.diagnose()
    assert not any("leaves" in step.gain for step in found.steps)
    assert "Only another uplink helps" in found.steps[-1].text
    assert found.gain[-1] == "up0 itself stays promiscuous in any case, because it cannot filter."


def test_what_is_promised_of_a_nic_that_nothing_is_known_of_is_conditional(world: World) -> None:
    world.ports = [uplink(promiscuity=1), tap("vnet0", OPEN)]
    world.devices["up0"] = device(world.ports[0], "exotic")
    (step,) = world.diagnose().steps
    assert step.gain.endswith("up0 leaves promiscuous mode, if it can filter")
    assert "if up0 can filter, which is not known" in " ".join(world.diagnose().gain)


def test_no_more_is_promised_than_the_device_below_can_keep(world: World) -> None:
    """A macvlan in passthru mode filters, but the device below it receives everything for it."""
    world.ports = [uplink(promiscuity=1, kind="macvlan"), tap("vnet0", OPEN)]
    world.devices = {
        "up0": device(world.ports[0], lower="eth9", passthru=True),
        "eth9": Device("eth9", 20, driver="igb", promiscuity=1),
    }
    assert "They still reach the host, because eth9 below it" in world.diagnose().gain[-1]
    world.devices["up0"] = device(world.ports[0], lower="eth9")
    world.devices["eth9"] = Device("eth9", 20, driver="igb")
    assert world.diagnose().gain[-1].endswith("do not reach the host at all.")


def test_a_kernel_without_vlan_filtering_is_not_told_to_turn_it_on(world: World) -> None:
    world.bridge = replace(world.bridge, vlan_filtering=False)
    world.features = replace(MODERN, vlan_filtering=False)
    world.ports[0] = uplink(promiscuity=1)
    assert commands(world) == []
    assert "Only another kernel helps" in world.diagnose().steps[0].text


def test_what_vlan_filtering_would_cut_comes_before_it(world: World) -> None:
    world.bridge = replace(world.bridge, vlan_filtering=False)
    world.ports[0] = uplink(promiscuity=1)  # and no port has a PVID in these facts
    texts = [step.text for step in world.diagnose().steps]
    assert texts[0].startswith("Before VLAN filtering can be turned on: ")
    assert texts[-1].startswith("Turn VLAN filtering on")


def test_a_second_uplink_is_bonded_or_left(world: World) -> None:
    world.ports = [uplink(promiscuity=1), uplink("up1", 1, ifindex=4), tap()]
    (step,) = world.diagnose().steps
    assert step.commands == ()  # who is reached through up1 would be cut off
    assert step.gain == "up0 and up1 leave promiscuous mode"


def test_nobody_is_told_to_close_or_take_off_what_others_are_reached_through(world: World) -> None:
    """A container, somebody's tap and a cable to another bridge: prose; a dummy leads nowhere, and can be closed."""
    world.ports = [
        uplink(promiscuity=1),
        uplink("cable", 1, kind="veth", ifindex=4),
        uplink("vethc1", 1, kind="veth", ifindex=5, elsewhere=True),
        uplink("virbr0-nic", 1, kind="dummy", ifindex=6),
        tap("vnet7", OPEN, promiscuity=1),
        tap(),
    ]
    world.entries += [Entry("52:54:00:00:00:09", 0, "vnet7", EntryState.DYNAMIC)]
    assert commands(world) == ["bridge link set dev virbr0-nic learning off flood off"]
    texts = " ".join(step.text for step in world.diagnose().steps)
    assert "seen lately: 52:54:00:00:00:09" in texts
    assert "vethc1 is a container's way to br0: leave it open" in texts
    assert "up0 and cable lead out of br0" in texts
    assert "leave them as they are: hosts are reached through each of them" in texts


WAYS: dict[str, dict[str, Any]] = {
    "NIC": {},
    "bond": {"kind": "bond"},
    "cable to another bridge": {"kind": "veth", "peer": "br1-end"},
    "the host's own cable": {"kind": "veth", "peer": "host0"},
    "tunnel that learns": {"kind": "vxlan", "tunnel_learning": True},
    "tunnel of a control plane": {"kind": "vxlan", "tunnel_learning": False},
    "container": {"kind": "veth", "elsewhere": True},
    "foreign tap": {"kind": "tun"},
}


@pytest.mark.parametrize("beside", [True, False], ids=["with containers beside", "alone"])
@pytest.mark.parametrize("way", WAYS)
def test_no_advice_cuts_off_what_is_behind_a_port(world: World, way: str, beside: bool) -> None:
    cables = [uplink(f"vethc{n}", 1, kind="veth", ifindex=6 + n, elsewhere=True) for n in (1, 2)]
    world.ports = [uplink(promiscuity=1), uplink("way", 1, ifindex=4, **WAYS[way]), tap(), *(cables if beside else [])]
    assert commands(world) == []
    texts = " ".join(step.text for step in world.diagnose().steps)
    assert not re.search("take .* off|nomaster|another bridge|elsewhere|remove|delete", texts), texts
    assert "hosts are reached through each of them" in texts or "leave" in texts or "because it is open" in texts


def test_a_waiting_guest_is_not_closed_before_its_cpus_run(world: World) -> None:
    world.ports = [uplink(promiscuity=1), tap("vnet0", OPEN)]
    world.guests = [guest(state="paused", running=False)]
    (step,) = world.diagnose().steps
    assert "until the CPUs run here" in step.text


def test_a_port_whose_network_is_not_active_is_left_to_the_start_of_that(world: World) -> None:
    frozen = replace(guest().policy, incomplete=True)
    world.ports[1] = tap(flags=OPEN)
    world.guests = [guest(network="lan", policy=frozen)]
    assert "virsh net-start lan" in commands(world)
    assert not any("macmgr apply" in command for command in commands(world))


def test_a_suspect_is_looked_at_and_not_killed(world: World) -> None:
    world.ports[0] = uplink(promiscuity=1)
    world.sockets = [replace(CAPTURE, promiscuous=None)]
    (step,) = world.diagnose().steps
    assert step.commands == ("ps -fp 123",)
    assert step.gain == ""
    assert world.diagnose().gain == (
        "Whether up0 comes to rest is not certain: not every cause can be seen from here.",
    )


def test_what_nobody_can_name_is_not_promised_away(world: World) -> None:
    world.bridge = replace(world.bridge, promiscuity=1)
    world.ports[0] = uplink(promiscuity=1)
    found = world.diagnose()
    assert found.causes[0].text.startswith("one more user")
    assert not any("leaves" in step.gain for step in found.steps)


@pytest.mark.parametrize(
    ("taps", "words"),
    [
        (1, "about 1.4 times"),
        (2, "between 1.4 and 4.3 times"),
        (99, "between 4.3 and 24 times"),
        (100, "about 24 times"),
        (500, "between 24 and 54 times"),
        (1023, "54 times or more"),
    ],
)
def test_the_gain_is_the_measured_range(taps: int, words: str) -> None:
    assert in_measured_words(taps) == words


def test_the_page_fits_a_terminal(world: World) -> None:
    """A thousand unmanaged guests: the causes and ports are counted, the first have a row, no line is over 100."""
    world.bridge = replace(world.bridge, vlan_filtering=False)
    world.ports = [uplink(promiscuity=1), *(tap(f"vnet{number}", OPEN, ifindex=100 + number) for number in range(200))]
    world.guests = [guest(f"vnet{number}", Manager.KERNEL) for number in range(200)]
    world.devices["up0"] = device(world.ports[0], "e1000e", xdp=(Xdp("xdpgeneric", 9),))
    page = io.StringIO()
    print_diagnosis(Console(file=page, width=100, highlight=False), Diagnosis((world.diagnose(),)))
    lines = page.getvalue().splitlines()
    assert max(map(len, lines)) <= 100
    assert sum(line.lstrip().startswith("vnet") for line in lines) == 19
    assert "  (181 more ports that may learn or flood: --json has all)" in lines
    assert any("190 more ports learn or flood" in line for line in lines)
    assert any("XDP program (xdpgeneric, id 9)" in line for line in lines)
    assert len(lines) < 120


def test_without_a_managed_bridge_the_page_says_what_to_type(world: World) -> None:
    page = io.StringIO()
    print_diagnosis(Console(file=page, width=100), diagnose(Intent(), world.snapshot, world.facts, []))
    assert "'macmgr doctor BRIDGE'" in page.getvalue()


def test_the_document_holds_what_the_page_says(world: World) -> None:
    world.ports = [uplink(promiscuity=2), tap("vnet0", OPEN)]
    world.sockets = [CAPTURE]
    document = diagnosis_document(Diagnosis((world.diagnose(),)), "h1", "2026-11-21T12:00:00Z")
    (bridge,) = document["bridges"]
    first, second = bridge["ports"]
    assert document["version"] == 1
    assert (first["role"], first["promiscuous"], first["unicast_filter"]) == ("uplink", True, True)
    assert [(each["cause"], each["subject"], each["pid"]) for each in first["causes"]] == [
        ("auto-port", "vnet0", None),
        ("packet-socket", "tcpdump (pid 123)", 123),
    ]
    assert second["domain"] == "guest-vnet0"
    assert [step["commands"] for step in bridge["steps"]] == [["macmgr apply --bridge br0"], ["kill 123"]]


def test_closed_taps_are_told_to_cost_nothing(world: World) -> None:
    world.ports = [uplink(), tap("vnet0", CLOSED)]
    page = io.StringIO()
    print_diagnosis(Console(file=page, width=200), Diagnosis((world.diagnose(),)))
    assert "Taps are always promiscuous" in page.getvalue()
    assert filter_of(world.facts.devices["vnet0"]).filters is False


@pytest.mark.parametrize("tunnel", [True, False], ids=["a tunnel", "a container"])
def test_what_must_stay_open_is_said_to_keep_the_uplink_promiscuous(world: World, tunnel: bool) -> None:
    """No step is said to end it, or to spare such a port its frames."""
    kind: dict[str, Any] = (
        {"kind": "vxlan", "tunnel_learning": False} if tunnel else {"kind": "veth", "elsewhere": True}
    )
    world.ports = [uplink(promiscuity=1), uplink("way", 1, ifindex=4, **kind), tap()]
    found = world.diagnose()
    assert not any("leave" in step.gain or "copies" in step.gain for step in found.steps)
    assert "up0 stays promiscuous while way learns or floods: hosts are reached that way." in found.gain
