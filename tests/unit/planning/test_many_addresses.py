"""A NIC with many addresses behind it (a bridge, a firewall, a hypervisor): told as many, with the way out."""

from __future__ import annotations

from macmgr.model.findings import Code, Finding, fix_of
from macmgr.planning.seen import MOST
from macmgr.watch import words
from macmgr.watch.addresses import ALERT
from macmgr.watch.alarms import EVERY, Alarms
from tests.onlooker import ALERTS, FOLLOW, OWN, VIRTUAL, Host, guest

FORTY = [f"52:54:00:cc:00:{number:02x}" for number in range(40)]
WAY = f"<macmgr:interface mac='{OWN}' manager='kernel'/> in the metadata of web1"


def told(host: Host) -> Finding:
    (found,) = [each for each in host.view.plan.findings if each.code is Code.GUEST_MAC_CHANGED]
    return found


def test_forty_addresses_are_one_finding() -> None:
    host = Host([guest(ALERTS)])
    host.sees(*FORTY)
    found = told(host)
    assert found.message == (
        f"web1 uses 40 addresses on vnet0 in addition to {OWN}, which nothing gives it ({', '.join(FORTY[:3])} and 37 "
        "more): no entry is put for them, because the NIC is not trusted to change it"
    )
    assert WAY in fix_of(found).text
    host.restarts()
    assert told(host).message == found.message


def test_two_are_told_as_two_and_a_virtual_router_as_a_prefix() -> None:
    host = Host([guest(ALERTS)])
    host.sees(FORTY[0])
    assert "or instead of it" in told(host).message
    host.sees(VIRTUAL)
    assert f"uses 2 addresses on vnet0 in addition to {OWN}" in told(host).message
    assert "allow 00:00:5e:00:01:* for a virtual router" in fix_of(told(host)).text


def test_they_get_no_entry_and_are_forgotten_when_they_are_quiet() -> None:
    host = Host([guest(ALERTS)])
    host.sees(*FORTY)
    assert [mac for mac in FORTY if host.entry(mac)] == []
    host.now += ALERT + 1
    host.round()
    assert host.records == ()
    host.round()
    assert host.codes == set()


def test_a_guest_that_makes_them_up_fills_no_memory() -> None:
    host = Host([guest(ALERTS)])
    for number in range(4):
        host.sees(*(f"52:54:00:cc:{number:02x}:{each:02x}" for each in range(64)))
    assert len(host.records[0].unlisted) == MOST


def test_an_entry_that_follows_is_for_one_address_at_a_time() -> None:
    host, alarms = Host([guest(FOLLOW)]), Alarms()
    lines = []
    for mac in FORTY[:8]:
        changes = host.sees(mac, after=1.0 if mac is not FORTY[7] else EVERY)
        lines += [words.alarm(each).message for each in alarms.guest_macs(changes, host.now)]
    assert "instead of" in lines[0]
    assert "used one address after the other on vnet0 (7 changes" in lines[1]
    assert WAY in lines[1]
