"""The forwarding model against the kernel: on random bridges, a frame arrives where the model says and nowhere else.

Random changes of entries and flags then do what the model foresees. Each run has other bridges. ``--bridges 2000``
looks at that many; in the lab, what was tried is counted in a file.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from pprint import pformat
from random import Random, SystemRandom

import pytest

from macmgr.forwarding import Answer, Fate, Frame, after, forward
from macmgr.forwarding.requested import requested
from macmgr.model.snapshot import Entry, Snapshot
from tests.netns.forwardingcounts import counted
from tests.netns.frameyard import BRIDGE, DOWN, UNPLUGGED, Arrival, Yard, open_yard
from tests.netns.randombridge import Made, deletion, make, requests, smaller
from tests.netns.randomgroups import frame_of

pytestmark = pytest.mark.full_kernel
_RUN = SystemRandom().getrandbits(32)
_UNSEEN = (DOWN, UNPLUGGED)  # nobody is behind these ports


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with open_yard() as opened:
        yield opened


def test_the_kernel_forwards_as_the_model_says(yard: Yard, request: pytest.FixtureRequest) -> None:
    given = os.environ.get("MACMGR_BRIDGE")
    seeds = [given] if given else [f"{_RUN}-{number}" for number in range(request.config.getoption("--bridges"))]
    tried: Counter[str] = Counter()
    for each in seeds:
        made = make(Random(each), yard.filters_vlans)  # noqa: S311 - no secret
        answers, wrong = compare(made, yard)
        if wrong:
            pytest.fail(report(each, *reduced(made, wrong, yard)), pytrace=False)
        tried.update(counted(answers))
    if results := os.environ.get("LAB_RESULTS"):
        lines = [f"{name}\t{number}" for name, number in sorted(tried.items())]
        Path(results, "forwarding-counts.txt").write_text("\n".join(lines) + "\n")


def compare(made: Made, yard: Yard) -> tuple[list[Answer], list[str]]:
    """Makes the bridge and sends the frames: the model's answers, and each difference from the kernel in words."""
    refused = yard.requests.transact(requests(made, yard), "making a bridge").failures
    assert 0 not in refused, refused[0]
    yard.begin()
    answers: list[Answer] = []
    try:
        for port in made.ports if made.stp and made.loop else ():
            yard.send_bpdu(port.name)
        for said in made.heard:
            yard.send_bytes(said.port, frame_of(said))
        yard.wait_for_querier()
        snapshot = yard.kernel.read_groups(yard.settled())
        for number, (ingress, frame) in enumerate(made.frames):
            answers.append(forward(snapshot, ingress, as_somebody_asks(number, frame)))
            snapshot = after(answers[-1])
            yard.send(number, ingress, frame)
        arrived = yard.collect()
        read = yard.kernel.read_snapshot({BRIDGE}, whole=True)
        yard.kernel.send(made.changes, read)
        changed = yard.kernel.read_snapshot({BRIDGE}, whole=True)
    finally:
        assert not yard.requests.transact([deletion()], "deleting the bridge").failures
    wrong = [
        f"frame {number} from {ingress}, {frame}: {words}"
        for number, ((ingress, frame), answer) in enumerate(zip(made.frames, answers, strict=True))
        for words in differences(answer, arrived.get(number, []))
    ]
    wrong += fdb_differences(snapshot, read.entries)
    foreseen = requested(read, made.changes)
    wrong += [f"after the changes: {words}" for words in fdb_differences(foreseen, changed.entries)]
    wrong += [f"{name}: not {port.flags}" for name, port in foreseen.ports.items() if port != changed.ports[name]]
    return answers, wrong


def as_somebody_asks(number: int, frame: Frame) -> Frame:
    """The frame, or only what its MAC says; or the group, and no source."""
    if number % 4 == 1:
        return replace(frame, group="", ip_source="")
    return replace(frame, ip_source="") if number % 4 == 2 else frame


def reduced(made: Made, wrong: list[str], yard: Yard) -> tuple[Made, list[str]]:
    """The bridge without all that the difference needs not."""
    for less in smaller(made):
        still = compare(less, yard)[1]
        if still:
            return reduced(less, still, yard)
    return made, wrong


def report(number: str, made: Made, wrong: list[str]) -> str:
    again = f"MACMGR_BRIDGE={number} looks at this bridge again. What is left of it:"
    return "\n".join([*wrong, again, pformat(made, width=110)])


def differences(answer: Answer, arrived: list[Arrival]) -> Iterator[str]:
    """What is not as the model says of one frame.

    A bridge that is down still shows a capture what its ports forward; the host's own stack has no route there.
    """
    for name, fate in answer.fates.items():
        if name in _UNSEEN or (name == BRIDGE and not answer.entered.bridge.up):
            continue
        destination = answer.entered.frame.destination
        copies = [(to, tags) for port, to, tags in arrived if port == name]
        if answer.entered.frame.for_group and name != BRIDGE and answer.snapshot.ports[name].relay.to_unicast:
            copies = [*{(destination, tags) for _, tags in copies}]  # one for each member, to its own address
        expected = [(destination, fate.tags)]
        if copies != ([] if fate.reached is False else expected) and (copies or fate.reached):
            yield f"{name}: the model says {said(fate)}, and {copies or 'nothing'} came"
    for port, _, tags in arrived:
        if port not in answer.fates:
            yield f"{port} is not on the bridge, and {tags} came"


def said(fate: Fate) -> str:
    return f"{fate.reached} {fate.reason} {list(fate.tags)}"


def fdb_differences(snapshot: Snapshot, entries: tuple[Entry, ...]) -> list[str]:
    mine, kernels = set(snapshot.entries), set(entries)
    return [f"only in the model: {entry}" for entry in mine - kernels] + [
        f"only in the kernel: {entry}" for entry in kernels - mine
    ]
