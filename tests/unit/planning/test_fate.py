"""The sentence of a finding begins with the fate of its guest, and names it once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from macmgr.model.codes import Consequence
from tests.cli.hostworlds import GuestWorld, written
from tests.golden.case import CASES, read_case

FOLDERS = {folder.name: folder for folder in CASES}


@pytest.mark.parametrize(
    ("case", "sentences"),
    [
        (
            "stolen-entry",
            ["web1 is cut off: frames for 52:54:00:aa:00:01 leave through eth0 instead of vnet0"],
        ),
        (
            "drift",  # closed, and without an entry
            ["web2 is cut off: vnet1 is closed, and 52:54:00:aa:00:02 has no entry"],
        ),
        (
            "container",  # without an entry, and open
            ["52:54:00:aa:00:01 of c1 has no entry; c1 is reached, because vnet0 still floods"],
        ),
        (
            "every-vid",  # reached in its other VLANs
            [
                "router is cut off in VID 2,4,6,8,10,12: vnet0 is closed, and 52:54:00:aa:00:01 has no entry",
            ],
        ),
        (
            "allowed-addresses",  # its own address is reached
            ["00:00:5e:00:01:0a of router is cut off: vnet0 is closed, and 00:00:5e:00:01:0a has no entry"],
        ),
        (
            "not-reached",
            [
                "web2 is cut off: vnet2 is down",
                "db1, db2 are cut off: the uplink eth1 of br1 has no carrier",
                "web1 is cut off in VID 42: vnet1 is in that VLAN, and no uplink of br0 carries it (eth0 is in others)",
            ],
        ),
        (
            "paused",
            [
                "web1 is paused, and the entry for 52:54:00:aa:00:01 is on vnet0 already: frames for it are lost if "
                "web1 runs on another host",
            ],
        ),
    ],
)
def test_who_is_cut_off_stands_first(case: str, sentences: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    view = read_case(FOLDERS[case], tmp_path_factory.mktemp(case)).view
    messages = [finding.message for finding in view.plan.findings]
    assert [each for each in sentences if each not in messages] == []


@pytest.mark.parametrize(
    ("relay", "wanted"),
    [
        ({"state": "disabled", "carrier": False}, [("port-down", "web1 is cut off: vnet1 has no carrier")]),
        ({"state": "blocking"}, [("not-forwarding", "web1 is cut off: vnet1 is blocked (STP)")]),
        ({}, []),
    ],
)
def test_a_missing_entry_is_not_blamed_for_what_no_entry_helps_against(
    relay: dict[str, object], wanted: list[tuple[str, str]], tmp_path: Path
) -> None:
    """The port floods. 'macmgr apply' puts the entry, and the guest would still be cut off."""
    folder = written(tmp_path / "case", [GuestWorld("web1", 1, flags="learning flood", entry="")])
    snapshot = json.loads((folder / "snapshot.json").read_text())
    snapshot["ports"]["vnet1"]["relay"] = relay
    (folder / "snapshot.json").write_text(json.dumps(snapshot))
    (tmp_path / "libvirt").mkdir()
    view = read_case(folder, tmp_path / "libvirt").view
    found = [each for each in view.plan.findings if each.consequence is Consequence.CUT_OFF]
    assert [(str(each.code), each.message) for each in found] == wanted
    assert "missing-entry" in [str(each.code) for each in view.plan.findings]
