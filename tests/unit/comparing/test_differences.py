"""What is wrong between hosts, each kind by itself, and what looks like it and is not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from macmgr.comparing.differences import Difference, Word, differences
from macmgr.comparing.hostaudits import HostAudit, read_audit
from macmgr.model.codes import Consequence

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MAC, OTHER = "52:54:00:aa:00:01", "52:54:00:aa:00:02"


def guest(domain: str = "web1", mac: str = MAC, **more: Any) -> dict[str, Any]:
    port = {"port": f"vnet-{domain}", "role": "guest", "domain": domain, "uuid": f"u-{domain}", "macs": [mac]}
    reached = [{"mac": mac, "vids": "0", "uplink": "yes"}]
    return port | {"state": "running", "manager": "libvirt", "vids": [], "reached": reached} | more


def audit(host: str, *guests: dict[str, Any], vids: list[int] | None = None, **more: Any) -> HostAudit:
    """An audit of a host with one bridge; ``vids`` are what its uplink carries, if it filters."""
    uplinks = [{"port": "eth0", "role": "uplink", "domain": None, "vids": vids or [], "macs": []}]
    if more.pop("alone", False):
        uplinks = []
    bridge = {"name": "br0", "vlan_filtering": vids is not None, "ports": [*uplinks, *guests]}
    taken_at = (NOW + timedelta(seconds=more.pop("late", 0))).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = {"version": 1, "host": host, "taken_at": taken_at, "bridges": [bridge], "findings": []}
    return read_audit(document | more)


def finding(code: str, port: str, mac: str = MAC, **more: Any) -> dict[str, Any]:
    said = {"code": code, "severity": "error", "consequence": "cut-off", "bridge": "br0", "port": port, "mac": mac}
    return said | {"domain": None, "reached": None, "message": f"{code} of {mac}", "fix": f"mend {port}"} | more


def words(found: list[Difference]) -> list[tuple[Word, tuple[str, ...]]]:
    return [(each.word, each.hosts) for each in found]


def test_hosts_without_anything_in_common_agree() -> None:
    assert differences([]) == []
    assert differences([audit("h1", guest()), audit("h2", guest("web2", OTHER)), audit("h3")]) == []


def test_a_guest_that_migrates_runs_once() -> None:
    assert differences([audit("h1", guest()), audit("h2", guest(state="paused", reached=[]))]) == []


def test_a_guest_that_is_alive_twice() -> None:
    (one,) = differences([audit("h2", guest()), audit("h1", guest())])
    assert (one.word, one.consequence, one.hosts) == (Word.ALIVE_TWICE, Consequence.CUT_OFF, ("h1", "h2"))
    assert one.note.startswith("end it on one of them")
    (one,) = differences([audit("h1", guest()), audit("h2", guest(), late=300)])
    assert one.note == "the audits are 300 s apart, and it may have moved in between"


def test_a_guest_on_very_many_hosts_is_named_once_for_each() -> None:
    found = differences([audit(f"h{number:03}", guest()) for number in range(200)])
    assert len(found) == 199


def test_a_guest_that_is_alive_nowhere() -> None:
    found = differences([audit("h1", guest(state="paused")), audit("h2", guest(state="paused"))])
    assert words(found) == [(Word.ALIVE_NOWHERE, ("h1", "h2"))]
    assert differences([audit("h1", guest(state="paused")), audit("h2")]) == []  # somebody has suspended it


def test_an_address_of_two_guests() -> None:
    found = differences([audit("h1", guest()), audit("h2", guest("web2"))])
    assert words(found) == [(Word.DUPLICATE_MAC, ("h1", "h2"))]
    assert differences([audit("h1", guest()), audit("h2", guest("web2"), alone=True)]) == []  # it leads nowhere
    virtual = "00:00:5e:00:01:0a"  # a router's that both are allowed
    assert differences([audit("h1", guest(macs=[MAC, virtual])), audit("h2", guest("b", macs=[OTHER, virtual]))]) == []
    assert differences([audit("h1", guest(), guest("web2"))]) == []  # the host's own audit says so


@pytest.mark.parametrize(("vids", "apart"), [([10], False), ([20], True)])
def test_an_address_in_two_vlans_is_that_of_two_networks(vids: list[int], apart: bool) -> None:
    carried = [1, 10, 20]
    found = differences([audit("h1", guest(vids=[10]), vids=carried), audit("h2", guest("b", vids=vids), vids=carried)])
    assert words(found) == ([] if apart else [(Word.DUPLICATE_MAC, ("h1", "h2"))])


def test_an_entry_that_a_guest_has_left() -> None:
    stale = finding("stale-entry", "vnet7")
    left = finding("left-on-uplink", "eth0", severity="warning", consequence="at-risk")
    for said, consequence in ((stale, Consequence.CUT_OFF), (left, Consequence.AT_RISK)):
        (one,) = differences([audit("h2", findings=[said, said]), audit("h1", guest())])
        assert (one.word, one.hosts, one.consequence) == (Word.LEFT_BEHIND, ("h1", "h2"), consequence)
        assert (one.fix, one.fix_on) == (f"mend {said['port']}", "h2")
    assert differences([audit("h2", findings=[stale]), audit("h1")]) == []  # nobody runs with it: h2's own audit
    assert differences([audit("h2", guest(), findings=[stale]), audit("h1")]) == []


def test_a_guest_that_nobody_reaches_from_another_host() -> None:
    blind = guest(reached=[{"mac": MAC, "uplink": "no"}, {"mac": OTHER, "uplink": "yes"}])
    said = finding("missing-entry", "vnet-web1", domain="web1", reached="no")
    found = differences([audit("h1", blind, findings=[said]), audit("h2"), audit("h3")])
    assert words(found) == [(Word.UNREACHED, ("h1",))]
    assert found[0].message == f"other hosts do not reach web1 on h1: {said['message']}"
    assert (found[0].fix, found[0].fix_on) == ("mend vnet-web1", "h1")
    left = finding("left-on-uplink", "eth0", severity="warning", consequence="at-risk")
    found = differences([audit("h1", blind), audit("h2", findings=[left]), audit("h3")])
    assert words(found) == [(Word.UNREACHED, ("h1", "h2")), (Word.LEFT_BEHIND, ("h1", "h2"))]


def test_an_allowed_address_that_nobody_uses_is_no_black_hole() -> None:
    reached = [{"mac": MAC, "uplink": "yes"}, {"mac": OTHER, "uplink": "no"}]
    assert differences([audit("h1", guest(macs=[MAC, OTHER], reached=reached)), audit("h2")]) == []


def on_lan(name: str, number: int, **more: Any) -> dict[str, Any]:
    return guest(name, f"52:54:00:bb:00:{number:02x}", **{"network": "lan", "pin": "auto"} | more)


def test_networks_that_differ_are_held_against_what_most_have() -> None:
    hosts = [audit(f"h{number}", on_lan(f"g{number}", number)) for number in range(1, 5)]
    strange = audit("h5", on_lan("g5", 5, manager="kernel", pin=None))
    found = differences([*hosts, strange])
    assert words(found) == [(Word.MANAGERS, ("h1", "h5"))]
    assert "is kernel on h5, and libvirt on h1 and 3 more" in found[0].message
    found = differences([*hosts, audit("h5", on_lan("g5", 5, pin="static"))])
    assert words(found) == [(Word.PINS, ("h1", "h5"))]


def test_one_guests_own_settings_are_no_difference_of_the_network() -> None:
    hosts = [audit("h1", on_lan("a", 1), on_lan("b", 2, manager="kernel")), audit("h2", on_lan("c", 3))]
    assert differences(hosts) == []
    assert (
        differences([audit("h1", on_lan("a", 1)), audit("h2", on_lan("b", 2, portgroup="p", manager="kernel"))]) == []
    )


def test_a_vlan_that_the_other_hosts_uplink_does_not_carry() -> None:
    one = audit("h1", on_lan("a", 1, vids=[10]), on_lan("b", 2, vids=[1]), vids=[1, 10])
    (found,) = differences([one, audit("h2", on_lan("c", 3, vids=[1]), vids=[1])])
    assert (found.word, found.hosts, found.domain) == (Word.VLANS, ("h1", "h2"), "a")
    assert "no uplink of br0 on h2 carries VID 10" in found.message
    assert differences([one, audit("h2", on_lan("c", 3, vids=[1]), vids=[1, 10])]) == []
    assert differences([one, audit("h2", on_lan("c", 3))]) == []  # without filtering each frame passes
    assert differences([one, audit("h2", on_lan("c", 3, vids=[1]), vids=[1], alone=True)]) == []


def test_what_cuts_a_guest_off_comes_first() -> None:
    left = finding("left-on-uplink", "eth0", severity="warning", consequence="at-risk")
    hosts = [
        audit("h1", findings=[left]),
        audit("h2", guest()),
        audit("h3", guest("twice", OTHER)),
        audit("h4", guest("twice", OTHER)),
    ]
    assert words(differences(hosts)) == [(Word.ALIVE_TWICE, ("h3", "h4")), (Word.LEFT_BEHIND, ("h1", "h2"))]
    assert differences(hosts[::-1]) == differences(hosts)
