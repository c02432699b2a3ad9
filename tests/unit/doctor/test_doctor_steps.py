"""A step whose commands would cut a guest off is printed without them."""

from __future__ import annotations

import pytest

from macmgr.doctor.steps import Step, harmless_steps
from macmgr.model.intent import Intent
from macmgr.model.snapshot import Entry, EntryState, PortFlags
from tests.doctorworld import CLOSED, OPEN, World, guest, tap, uplink

CLOSE = Step("Close it.", ("bridge link set dev vnet0 learning off flood off",), "it gets less")
OTHER = "52:54:00:00:00:02"


def checked(world: World, *steps: Step) -> list[Step]:
    return [*harmless_steps(steps, "br0", Intent(tuple(world.guests), world.managed), world.snapshot)]


def test_a_step_that_cuts_nobody_off_stays() -> None:
    world = World()
    world.ports = [uplink(), tap(flags=OPEN)]
    assert checked(world, CLOSE) == [CLOSE]


@pytest.mark.parametrize("bridge", ["br0", "br1"])
def test_a_port_without_an_entry_is_not_closed(bridge: str) -> None:
    """Nor where the guest is on br0 by mistake, and reached there."""
    world = World()
    world.ports, world.entries, world.guests = [uplink(), tap(flags=OPEN)], [], [guest(bridge=bridge)]
    (step,) = checked(world, CLOSE)
    assert (step.commands, step.gain) == ((), "")
    assert step.text == "Close it. But no command is printed, because vnet0 of guest-vnet0 would be cut off by it."


def test_a_port_is_not_closed_where_another_address_is_in_use_behind_it() -> None:
    world = World()
    world.ports = [uplink(), tap(flags=OPEN)]
    world.entries += [Entry(OTHER, 1, "vnet0", EntryState.DYNAMIC)]
    (step,) = checked(world, CLOSE)
    assert step.text.endswith(f"printed, because {OTHER} behind vnet0 of guest-vnet0 would be cut off by it.")


def test_guests_that_are_isolated_do_not_come_to_hear_each_other() -> None:
    world = World()
    isolated = PortFlags(learning=False, unicast_flood=False, isolated=True)
    world.ports = [uplink(), tap(flags=isolated), tap("vnet1", isolated)]
    world.guests = [guest(), guest("vnet1", mac=OTHER)]
    world.entries += [Entry(OTHER, 1, "vnet1", sticky=True)]
    (step,) = checked(world, Step("Join them.", ("bridge link set dev vnet0 isolated off",)))
    assert step.commands == ()
    assert step.text.startswith("Join them. But no command is printed, because others would hear vnet")


def test_what_changes_no_frames_way_is_not_judged() -> None:
    world = World()
    world.ports = [uplink(promiscuity=1), tap(flags=CLOSED)]
    step = Step("Stop it.", ("kill 123", "ip link set dev up0 promisc off", "macmgr apply --bridge br0"))
    assert checked(world, step) == [step]
