"""A sample of what fails at the kernel's and the disk's edge; `tox run -e faults` runs all of it (docs/faults.rst)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.points import Fault, cases
from tests.faults.scenes import OPERATIONS, Scene
from tests.faults.wirekernel import state_of

WORLDS = {
    "apply": "stolen-entry",
    "again": "two-guests-and-a-plain-bridge",
    "watch": "one-guest-cut-off",
    "hook": "stolen-entry",
    "release": "drift",
    "return": "configuration",
    "observe": "configuration",
    "manage": "observed-host",
}
EACH = 59  # of so many cases one: seconds for all operations


@pytest.fixture(params=OPERATIONS)
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene(WORLDS[request.param], request.param)
    yield made
    made.close()


def test_whatever_fails_no_guest_is_lost_and_the_next_run_repairs(scene: Scene) -> None:
    found = {fault: scene.violations(fault) for fault in list(scene.cases())[::EACH]}
    assert {fault: broken for fault, broken in found.items() if broken} == {}


def test_a_run_without_a_fault_meets_each_kind_of_point(scene: Scene) -> None:
    kinds = {where for where, _ in scene.log}
    assert kinds == {"message", "send", "recv", "file"}
    assert len(list(cases(scene.log))) > 400


@pytest.mark.parametrize("lasting", [False, True])
def test_a_bridge_that_goes_while_it_is_read_is_read_again(lasting: bool) -> None:
    """An FDB that is taken for empty would have no address in use, and the port would be closed."""
    scene = Scene("address-in-use", "apply")
    dumps = [
        place for place, (_, kind) in enumerate(each for each in scene.log if each[0] == "message") if kind == "dump"
    ]
    found = {place: scene.violations(Fault("message", place, "ENODEV", lasting)) for place in dumps}
    scene.close()
    assert {place: broken for place, broken in found.items() if broken} == {}


def test_the_kernel_in_memory_is_read_through_the_socket_as_it_is() -> None:
    """Else the scene is left out, and would prove nothing."""
    scenes = [Scene(world, operation) for operation, world in WORLDS.items()]
    assert all(scene.fit for scene in scenes)
    assert state_of(scenes[0].host.start) != scenes[0].after, "there is something to do"
    for scene in scenes:
        scene.close()
