"""`macmgr trace`: who gets a frame, and why, as golden text for narrow and wide terminals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from macmgr.verbs import host as verbs
from tests.cli.conftest import Host
from tests.cli.test_documents import validate
from tests.conftest import Golden

HERE = Path(__file__).parent / "trace"
WEB1, WEB2, GROUP = "52:54:00:aa:00:01", "52:54:00:aa:00:02", "ff:ff:ff:ff:ff:ff"
PLAIN, VLANS = "two-guests-and-a-plain-bridge", "vlan-precedence"
QUESTIONS: dict[str, tuple[str, Sequence[str]]] = {
    "a-guest-from-its-uplink": (PLAIN, ("--from", "eth0", "--to", WEB1)),
    "a-guest-from-everybody": (PLAIN, ("--to", WEB1)),
    "a-station-of-the-lan": (PLAIN, ("--from", "br0", "--to", "00:16:3e:00:00:09")),
    "from-a-station-of-the-lan": (PLAIN, ("--from", "00:16:3e:00:00:09", "--to", WEB2)),
    "broadcast": (PLAIN, ("--to", GROUP)),
    "multicast": (PLAIN, ("--from", "vnet0", "--to", "33:33:00:00:00:01")),
    "nobody-knows-it": (PLAIN, ("--from", "vnet0", "--to", "02:00:00:00:00:ff")),
    "the-host": (PLAIN, ("--to", "02:00:00:00:00:b0")),
    "isolated-guests": ("isolated", ("--to", WEB1)),
    "isolated-broadcast": ("isolated", ("--to", GROUP)),
    "a-stolen-entry": ("stolen-entry", ("--to", WEB1)),
    "no-entry": ("drift", ("--to", WEB2)),
    "a-vlan-from-everybody": (VLANS, ("--to", WEB1)),
    "a-vlan-untagged": (VLANS, ("--from", "eth0", "--to", WEB1)),
    "a-vlan-tagged": (VLANS, ("--from", "eth0", "--to", WEB1, "--vid", "10")),
    "another-vlan": (VLANS, ("--from", "vnet2", "--to", WEB1)),
    "not-in-the-vlan": (VLANS, ("--from", "vnet2", "--to", WEB1, "--vid", "42")),
    "one-mac-in-two-vlans": ("one-mac-in-two-vlans", ("--to", WEB1)),
    "roles": ("roles", ("--to", GROUP)),
}


def as_the_kernel_makes_it(host: Host) -> None:
    """The host is in VLAN 1, as on each new bridge; the cases leave that out."""
    for name, bridge in host.kernel.bridges.items():
        if bridge.vlan_filtering and not bridge.vids:
            host.kernel.bridges[name] = replace(bridge, vids=(1,), pvid=1, untagged=(1,))


@pytest.fixture
def width(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The width of the terminal, to be set."""
    chosen = [80]
    out = verbs.out

    def narrow(arguments: object) -> Console:
        console = out(arguments)  # type: ignore[arg-type]
        console.width = chosen[0]
        return console

    monkeypatch.setattr("macmgr.verbs.trace.out", narrow)
    return chosen


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.case(case)) for name, (case, _) in QUESTIONS.items()]
)
def test_an_answer_fits_its_terminal(host: Host, width: list[int], name: str, golden: Golden) -> None:
    as_the_kernel_makes_it(host)
    _, words = QUESTIONS[name]
    text = f"$ macmgr trace {' '.join(words)}\n"
    for each in (60, 80, 120):
        width[0] = each
        said = host.macmgr("trace", *words)
        assert said.stderr == ""
        assert max(map(len, said.stdout.splitlines())) <= each
        text += f"\n{'-' * each}\n" + "".join(f"{line.rstrip()}\n" for line in said.stdout.splitlines())
    golden(HERE / f"{name}.txt", f"{text}\nexit code {said.code}\n")
    document = host.macmgr("trace", "--json", *words).stdout
    validate("trace", document)
    gets = json.loads(document)["somebody_gets_it"]
    assert said.code == (0 if gets else 1)
    assert host.kernel.sent == []
