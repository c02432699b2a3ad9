"""`macmgr trace` against the kernel: it describes a frame, that frame is sent, and it arrives where the answer says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import pytest

from macmgr import cli, paths
from macmgr.forwarding import BROADCAST, Frame
from macmgr.model.relay import Tag, VlanProtocol
from tests.netns.frameyard import BRIDGE, DOWN, UNPLUGGED, Arrival, Yard, open_yard
from tests.netns.randombridge import STATIONS, VIDS, deletion, make, requests
from tests.netns.randomgroups import IP_GROUPS, SOURCES
from tests.netns.randomgroups import frame_of as packet_of

pytestmark = pytest.mark.full_kernel
_BRIDGES, _QUESTIONS = 20, 8
_UNSEEN = (DOWN, UNPLUGGED)  # nobody is behind these ports


@pytest.fixture(scope="module")
def yard() -> Iterator[Yard]:
    with open_yard() as opened:
        yield opened


def test_a_frame_goes_where_trace_says(
    yard: Yard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("STATE", "OBSERVED", "REMEMBERED"):
        monkeypatch.setattr(paths, name, tmp_path / name)
    (tmp_path / "macmgr.toml").write_text("")
    (tmp_path / "run").mkdir()
    options = ["--json", "--netns", yard.here.name, "--config", str(tmp_path / "macmgr.toml")]
    options += ["--run-dir", str(tmp_path / "run")]
    arrived = 0
    seed = SystemRandom().getrandbits(32)
    for number in range(_BRIDGES):
        random = Random(f"{seed}-{number}")  # noqa: S311 - no secret
        made = make(random, yard.filters_vlans)
        assert 0 not in yard.requests.transact(requests(made, yard), "making a bridge").failures
        yard.begin()
        try:
            for packet in made.heard:
                yard.send_bytes(packet.port, packet_of(packet))
            yard.wait_for_querier()
            places = [*(port.name for port in made.ports), BRIDGE]
            asked: list[tuple[list[str], int, dict[str, Any]]] = []
            for _ in range(_QUESTIONS):
                snapshot = yard.settled()
                words = ["--from", random.choice(places), "--to", random.choice((*STATIONS, BROADCAST, *IP_GROUPS))]
                words += random.choice(([], [], ["--vid", str(random.choice(VIDS))]))
                code = cli.run(["trace", *words, *options])
                said = capsys.readouterr()
                assert code in (0, 1), said.err
                document = json.loads(said.out)
                asked.append((words, code, document))
                yard.send(len(asked), words[1], frame_of(document))
            came = yard.collect()
        finally:
            assert not yard.requests.transact([deletion()], "deleting the bridge").failures
        for index, (words, code, document) in enumerate(asked, 1):
            to_unicast = {name for name, port in snapshot.ports.items() if port.relay.to_unicast}
            wrong = differences(document, came.get(index, []), to_unicast, up=snapshot.bridges[BRIDGE].up)
            assert code == (0 if document["traces"][0]["reached"] else 1)
            assert not wrong, f"bridge {seed}-{number}, {words}: {wrong}\n{json.dumps(document, indent=1)}"
            arrived += document["somebody_gets_it"] is True
    assert arrived > _BRIDGES, "hardly a frame arrived: the test shows nothing"


def frame_of(document: dict[str, Any]) -> Frame:
    """The frame that the answer is about."""
    (sender,) = document["traces"][0]["from"]
    group = document["group"] or ""
    ip_source = SOURCES[ip_address(group).version][0] if group else ""
    return Frame(sender["source"], document["to"], tags_of(sender), 80, group, ip_source)


def tags_of(said: dict[str, Any]) -> tuple[Tag, ...]:
    return tuple(Tag(tag["vid"], VlanProtocol(tag["protocol"])) for tag in said["tags"])


def differences(document: dict[str, Any], arrived: list[Arrival], to_unicast: set[str], *, up: bool) -> list[str]:
    """What is not as the answer says. Of a bridge that is down only a capture sees what its ports forward.

    Each member behind a port that is ``to_unicast`` gets a copy to its own address.
    """
    (way,) = document["traces"]
    wrong = []
    for fate in way["ports"]:
        name = fate["port"]
        if name in _UNSEEN or (name == BRIDGE and not up):
            continue
        copies = [(to, tags) for port, to, tags in arrived if port == name]
        if document["group"] and name in to_unicast:
            copies = [*{(document["to"], tags) for _, tags in copies}]
        expected = [] if fate["reached"] is False else [(document["to"], tags_of(fate))]
        if copies != expected and (copies or fate["reached"]):
            wrong.append(f"{name}: {fate['reached']} {fate['reason']}, and {copies or 'nothing'} came")
    return wrong
