"""From `virsh start` to a proven MAC table, with the hooks alone, and what they must never do."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, run, until

SCHEMA = Path(__file__).parents[2] / "docs" / "audit-v1.schema.json"
BROADCAST = "ff:ff:ff:ff:ff:ff"
PLAIN = Nic("52:54:00:aa:00:21", "10.0.0.31/24", bridge="br0")


def _entries(bridge: HostBridge, mac: str) -> set[tuple[str, int, bool]]:
    """The static entries of a MAC: (port, VID, sticky)."""
    return {
        (row["ifname"], row.get("vlan", 0), "sticky" in row.get("flags", []))
        for row in bridge.fdb(mac)
        if row.get("state") == "static"
    }


def _pinned(guest: Guest, mac: str) -> set[tuple[str, int, bool]]:
    tap = guest.tap(mac)
    return {(tap, 0, True), (tap, 1, True)}


def _closed(bridge: HostBridge, tap: str) -> bool:
    flags = bridge.flags(tap)
    return not flags["learning"] and not flags["flood"]


def test_start_ends_in_a_proven_table(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """A guest on a managed network and one on a plain bridge: entries, closed ports, audit 0, the uplink at rest."""
    guest = make_guest(1).start()
    plain = make_guest(2, [PLAIN]).start()
    for each in (guest, plain):
        each.wait_ready()
        assert _entries(bridge, each.nics[0].mac) == _pinned(each, each.nics[0].mac)
        assert _closed(bridge, each.tap())
    macmgr("audit", "--strict")
    assert bridge.promiscuity() == 0
    assert lan.ping("10.0.0.11") == 3
    assert lan.ping("10.0.0.31") == 3
    assert plain.ping("10.0.0.11") == 3


def test_one_spoofed_frame_changes_nothing(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """The same frame that cuts a guest off with libvirt alone (test_libvirt_alone.py)."""
    guest = make_guest(1).start().wait_ready()
    mac = guest.nics[0].mac
    with_macmgr = _entries(bridge, mac)
    lan.send(src=mac, dst=BROADCAST, count=3)
    assert lan.ping("10.0.0.11") == 3
    assert guest.ping(lan.ip) == 3
    assert _entries(bridge, mac) == with_macmgr == _pinned(guest, mac)
    macmgr("audit")


def test_a_stolen_guest_is_given_back(
    network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """libvirt's entry is stolen before macmgr comes: audit says so, apply brings the guest back."""
    guest = make_guest(1).start().wait_ready()
    lan.send(src=guest.nics[0].mac, dst=BROADCAST)
    assert lan.ping("10.0.0.11") == 0
    assert "stolen-entry" in macmgr.codes()
    macmgr("audit", expect=1)
    macmgr("apply")
    assert macmgr.codes() == set()
    assert lan.ping("10.0.0.11") == 3


def test_a_paused_guest_has_no_entry_and_its_plain_nic_stays_open(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """start --paused: nobody would put the plain NIC's entry at resume, so that port is left open, and it is said."""
    managed = Nic("52:54:00:aa:00:01", "10.0.0.11/24", network="lan")
    guest = make_guest(1, [managed, PLAIN]).start(paused=True)
    taps = guest.taps()
    assert _entries(bridge, managed.mac) == _entries(bridge, PLAIN.mac) == set()
    assert bridge.flags(taps[PLAIN.mac])["learning"]
    assert bridge.flags(taps[PLAIN.mac])["flood"]
    macmgr("apply")  # looking again changes nothing while the CPUs stand still
    assert _entries(bridge, managed.mac) == _entries(bridge, PLAIN.mac) == set()
    assert not _closed(bridge, taps[PLAIN.mac])

    guest.resume()
    macmgr("apply")
    for nic in (managed, PLAIN):
        assert _entries(bridge, nic.mac) == _pinned(guest, nic.mac)
        assert _closed(bridge, taps[nic.mac])
    guest.wait_ready()
    assert lan.ping("10.0.0.11") == 3
    macmgr("audit", "--strict")


def test_suspending_a_guest_takes_its_entries_and_opens_what_nobody_would_fill(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """No hook runs at suspend; the next look finds the early entry, and the guest is reachable when it resumes."""
    guest = make_guest(1, [PLAIN]).start().wait_ready()
    guest.suspend()
    assert macmgr.codes() == {"early-entry", "closed-without-entry"}
    macmgr("apply")
    assert _entries(bridge, PLAIN.mac) == set()
    guest.resume()
    until(lambda: lan.ping("10.0.0.31", 1) == 1, "the guest answers after resume")


def test_drift_is_named_and_repaired(
    hooks: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """What a script and a deleted entry do, and an entry on the host's own account."""
    guest = make_guest(1).start().wait_ready()
    mac, tap = guest.nics[0].mac, guest.tap()
    bridge.set_flags(tap, learning="on", flood="on")
    run("bridge", "fdb", "replace", mac, "dev", tap, "vlan", "1", "master", "permanent")
    run("bridge", "fdb", "add", "52:54:00:aa:00:77", "dev", tap, "vlan", "1", "master", "static")
    assert lan.ping("10.0.0.11") == 0  # a permanent entry hands the guest's frames to the host
    assert macmgr.codes() == {"local-entry", "learning-on", "flood-on", "extra-entry"}
    macmgr("apply")
    assert _entries(bridge, mac) == _pinned(guest, mac)
    assert _entries(bridge, "52:54:00:aa:00:77") == set()
    assert lan.ping("10.0.0.11") == 3
    macmgr("audit")


def test_the_plan_run_by_hand_brings_the_same(
    network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """plan prints bridge(8) commands; a shell that runs them leaves nothing for apply."""
    make_guest(1).start().wait_ready()
    make_guest(2, [PLAIN]).start().wait_ready()
    commands = json.loads(macmgr("plan", "--json", expect=1).stdout)["commands"]
    for command in commands:
        run(*command)
    macmgr("plan")
    macmgr("audit", "--strict")


def test_nothing_stale_is_left_when_a_guest_ends(
    hooks: None, network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """A static entry that moved to the uplink outlives the tap, unless somebody looks the MAC up."""
    guest = make_guest(1).start().wait_ready()
    mac = guest.nics[0].mac
    run("bridge", "fdb", "replace", mac, "dev", bridge.uplink, "master", "static")
    guest.destroy()
    assert _entries(bridge, mac) == set()


def test_a_restarted_daemon_repairs_what_happened_meanwhile(
    hooks: None, network: Network, libvirt: Libvirt, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """reconnect is a hook operation; libvirt itself repairs nothing at a restart."""
    guest = make_guest(1).start().wait_ready()
    tap = guest.tap()
    libvirt.stop()
    bridge.set_flags(tap, learning="on", flood="on")
    run("bridge", "fdb", "del", guest.nics[0].mac, "dev", tap, "master")
    libvirt.start()
    until(lambda: not macmgr.codes(), "the hooks have repaired the port")
    assert lan.ping("10.0.0.11") == 3


def test_the_audit_document_is_the_contracts(
    hooks: None, network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """Real output, in sync and with drift, validates against the published schema."""
    guest = make_guest(1).start().wait_ready()
    schema = json.loads(SCHEMA.read_text())
    in_sync = macmgr.audit()
    jsonschema.validate(in_sync, schema)
    assert in_sync["in_sync"]
    bridge.set_flags(guest.tap(), learning="on")
    drifted = macmgr.audit()
    jsonschema.validate(drifted, schema)
    assert not drifted["in_sync"]


def test_looking_changes_nothing(
    network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """A netlink monitor beside audit, plan and show sees no event, though there is much to repair."""
    make_guest(1, [PLAIN]).start().wait_ready()
    with bridge.untouched():
        for verb in ("audit", "plan", "show"):
            macmgr(verb, expect=None)
            macmgr(verb, "--json", expect=None)


def _state(bridge: HostBridge, guest: Guest) -> tuple[bool, bool, bool, set[tuple[str, int, bool]]]:
    flags = bridge.flags(guest.tap())
    return flags["learning"], flags["flood"], flags["locked"], _entries(bridge, guest.nics[0].mac)


_LAUGHS = b"".join(b'<!ENTITY l%d "%s">' % (n, b"&l%d;" % (n - 1) * 10) for n in range(1, 10))
BOMB = b'<!DOCTYPE d [<!ENTITY l0 "ha">' + _LAUGHS + b"]><domain type='qemu'><name>&l9;</name></domain>"
EXTERNAL = b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/passwd">]><domain><name>g1&x;</name></domain>'


@pytest.mark.parametrize(
    "stdin",
    [b"", b"<domain type='qemu'><name>g1</na", b"x" * (20 << 20), BOMB, EXTERNAL, b"\xff\xfe\x00rubbish"],
    ids=["empty", "truncated", "20 MiB", "entity bomb", "external entity", "not text"],
)
def test_bad_input_ends_in_one_line(
    stdin: bytes, network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr, guest_to_repair: Guest
) -> None:
    """Nothing on stdout, exit 0, one line on stderr, and no change in the kernel. (tests/hooks measures the time.)"""
    before = _state(bridge, guest_to_repair)
    done = macmgr("hook", "qemu", guest_to_repair.name, "started", "begin", "-", stdin=stdin)
    assert done.stdout == b""
    assert re.fullmatch(rb"macmgr: [^\n]+\n", done.stderr)
    assert b"root:" not in done.stderr
    assert _state(bridge, guest_to_repair) == before


@pytest.fixture(scope="module")
def guest_to_repair(libvirt: Libvirt, network: Network) -> Iterator[Guest]:
    """A running guest whose port a working hook would close."""
    guest = Guest(libvirt, "g9", [Nic("52:54:00:aa:00:29", bridge="br0")]).define().start().wait_ready()
    yield guest
    guest.undefine()
