"""The doctor's first lines: who is cut off, what is promiscuous and by what, and what ends it."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from macmgr.doctor.answer import answers
from macmgr.doctor.diagnose import diagnose
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import Intent
from macmgr.model.snapshot import Entry
from macmgr.report.diagnosis import print_diagnosis
from tests.doctorworld import CAPTURE, OPEN, WEB, World, device, guest, tap, uplink


def said(world: World, *findings: Finding) -> list[str]:
    """The answer, which comes before all else."""
    intent = Intent(tuple(world.guests), world.managed)
    (found,) = diagnose(intent, world.snapshot, world.facts, findings, "br0").bridges
    return [text for _, text in answers(found)]


def test_the_answer_where_all_is_well() -> None:
    assert said(World()) == ["up0 is not promiscuous."]


def test_the_answer_where_one_step_ends_it() -> None:
    world = World()
    world.ports = [uplink(promiscuity=1), tap(flags=OPEN)]
    assert said(world) == [
        "up0 is promiscuous, because vnet0 of guest-vnet0 learns or floods. One step ends that: "
        "'macmgr apply --bridge br0'."
    ]


def test_the_answer_where_it_takes_several_steps() -> None:
    world = World()
    world.ports = [uplink(promiscuity=2), tap(flags=OPEN), tap("vnet1", OPEN), tap("vnet2", OPEN)]
    world.guests = [guest(), guest("vnet1", mac="52:54:00:00:00:02"), guest("vnet2", mac="52:54:00:00:00:03")]
    world.sockets = [CAPTURE]
    assert said(world) == [
        "up0 is promiscuous, because tcpdump (pid 123) asks for it and vnet0 of guest-vnet0 and 2 more ports learn or "
        "flood. Steps 1 and 2 below end that."
    ]


def test_the_answer_where_nothing_ends_it() -> None:
    world = World()
    world.ports = [uplink(promiscuity=1), tap()]
    world.devices = {"up0": device(world.ports[0], "bridge-less", kind="tun")}
    (text,) = said(world)
    assert text.startswith("up0 is promiscuous, because it cannot filter. No step here ends that: it cannot filter.")


def test_guests_that_are_cut_off_come_first_with_their_fixes() -> None:
    """Turned on, VLAN filtering has cut off the guest, whose entry is in VID 0 alone."""
    world = World()
    world.entries = [Entry(WEB, 0, "vnet0", sticky=True)]
    lost = Finding(
        Code.MISSING_ENTRY, "no entry", "br0", "vnet0", "guest-vnet0", WEB, 1, mends=(("bridge", "fdb", "replace"),)
    )
    assert said(world, lost)[0] == (
        "guest-vnet0 is cut off on br0 (guest-vnet0 by VLAN filtering): step 1 below says why, and what helps."
    )
    (found,) = diagnose(Intent(tuple(world.guests), world.managed), world.snapshot, world.facts, [lost], "br0").bridges
    assert (found.steps[0].text, found.steps[0].commands) == ("No entry.", ("bridge fdb replace",))
    assert said(world)[0].endswith("(guest-vnet0 by VLAN filtering): 'macmgr explain guest-vnet0' says why.")


def test_the_answer_where_the_cause_is_not_certain() -> None:
    world = World()
    world.ports = [uplink(promiscuity=1), tap()]
    world.devices = {"up0": device(world.ports[0])}
    assert said(world) == [
        "up0 is promiscuous, perhaps because it cannot filter. Nothing that can be seen from here ends that."
    ]


def test_of_many_ports_the_table_has_those_that_matter() -> None:
    world = World()
    many = [tap(f"vnet{number}") for number in range(40)]
    world.ports = [uplink(promiscuity=1), *many[:38], *(replace(port, flags=OPEN) for port in many[38:])]
    out = io.StringIO()
    diagnosis = diagnose(Intent(tuple(world.guests), world.managed), world.snapshot, world.facts, [], "br0")
    print_diagnosis(Console(file=out, width=100), diagnosis)
    rows = [line.split()[0] for line in out.getvalue().split("BECAUSE OF")[1].split("\n\n")[0].splitlines()[1:]]
    assert rows == ["up0", "vnet38", "vnet39", "(38"]
