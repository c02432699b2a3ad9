"""`macmgr trace`: who gets a frame, and why, as golden text for narrow and wide terminals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from macmgr.model.multicast import Mdb, Member
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
    ways = json.loads(document)["traces"]
    assert said.code == (0 if any(way["reached"] for way in ways) else 1), "another port's frame is no success"
    assert host.kernel.sent == []


def test_of_a_table_too_long_to_be_read_each_entry_that_decides_is_asked_for(host: Host) -> None:
    as_the_kernel_makes_it(host)
    words = ("trace", "--from", "vnet0", "--to")
    known, unknown = "00:16:3e:00:00:09", "02:00:00:00:00:ff"
    before = [host.macmgr(*words, mac) for mac in (known, unknown)]
    host.kernel.too_long = {"br0"}
    assert [host.macmgr(*words, mac) for mac in (known, unknown)] == before


@pytest.mark.parametrize("spelled", ["5254.00aa.0001", "52-54-00-AA-00-01", "525400aa0001", "'52:54:0:aa:0:1',"])
def test_an_address_is_read_as_it_is_pasted(host: Host, spelled: str) -> None:
    said = host.macmgr("trace", "--from", spelled, "--to", WEB2)
    assert said == host.macmgr("trace", "--from", "vnet0", "--to", WEB2)
    assert host.macmgr("trace", "--to", spelled) == host.macmgr("trace", "--to", WEB1)
    assert host.macmgr("trace", "--from", "eth0", "--to", "FF-FF-FF-FF-FF-FF").code == 0


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--from", "vnet9", "--to", WEB1), 69, "'vnet9' is not a bridge, a bridge port or a known MAC here; did you"),
        (("--from", "br1", "--to", WEB1), 69, "did you mean 'br0'?"),
        (("--from", "", "--to", WEB1), 69, "'' is not a bridge"),
        (("--from", "web1", "--to", WEB1), 69, "'web1' is a domain, no port; its frames come from vnet0"),
        (("--from", "52:54:00:aa:00:0f", "--to", WEB1), 69, "no guest on a bridge here has 52:54:00:aa:00:0f"),
        (
            ("--to", "52:54:00:aa:00:0f"),
            69,
            "with --from, see where a bridge floods it; did you mean '52:54:00:aa:00:0",
        ),
        (("--from", GROUP, "--to", WEB1), 2, "argument --from: ff:ff:ff:ff:ff:ff is no station's address"),
        (("--to", "web1"), 2, "(six hex pairs joined by colons); 'web1' has 52:54:00:aa:00:01"),
        (("--to", "nobody"), 2, "argument --to: this is not a MAC address (six hex pairs joined by colons)"),
        (("--from", "WBE1", "--to", WEB1), 69, "did you mean 'web1'?"),
        (("--to", WEB1, "--vid", "4095"), 2, "argument --vid: 4095 is no VLAN: 1 to 4094"),
        (("--to", WEB1, "--vid", "x"), 2, "argument --vid: invalid int value: 'x'"),
        (("--from", "vnet0"), 2, "the following arguments are required: --to"),
    ],
)
def test_what_is_not_here_or_no_address_is_told(host: Host, words: Sequence[str], code: int, said: str) -> None:
    answer = host.macmgr("trace", *words)
    assert (answer.code, answer.stdout) == (code, "")
    assert said in answer.stderr.splitlines()[-1]


@pytest.mark.case(PLAIN)
def test_a_group_goes_where_its_list_says(host: Host) -> None:
    as_the_kernel_makes_it(host)
    bridge = host.kernel.bridges["br0"]
    host.kernel.bridges["br0"] = replace(bridge, relay=replace(bridge.relay, querier=True))
    vid = bridge.pvid or 1 if bridge.vlan_filtering else 0
    host.kernel.mdb["br0"] = Mdb((Member("239.1.2.3", vid, "vnet0"),), frozenset({"eth0"}))
    said = host.macmgr("trace", "--from", "vnet1", "--to", "239.1.2.3")
    assert said.code == 0
    assert "Frames for 239.1.2.3 have the destination 01:00:5e:01:02:03." in said.stdout
    printed = host.macmgr("trace", "--json", "--from", "vnet1", "--to", "239.1.2.3").stdout
    validate("trace", printed)
    document = json.loads(printed)
    assert (document["to"], document["group"]) == ("01:00:5e:01:02:03", "239.1.2.3")
    fates = {fate["port"]: (fate["reached"], fate["reason"]) for fate in document["traces"][0]["ports"]}
    assert (fates["vnet0"], fates["eth0"]) == ((True, "member"), (True, "router"))
    assert fates["br0"] == fates["vnet2"] == (False, "no-member")
    by_mac = host.macmgr("trace", "--from", "vnet1", "--to", "01:00:5e:01:02:03").stdout
    assert "Several groups share 01:00:5e:01:02:03: --to takes the IP address of one." in by_mac


@pytest.mark.case(PLAIN)
def test_a_stations_ip_address_is_no_destination(host: Host) -> None:
    said = host.macmgr("trace", "--to", "10.0.0.1")
    assert said.code == 2
    assert "10.0.0.1 is the address of a station: a bridge forwards by its MAC" in said.stderr
