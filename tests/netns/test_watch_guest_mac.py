"""A guest that changes its MAC, addresses that roam, and MACs that are stolen: the daemon on the real kernel."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.kernel import Kernel
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.reconcile import look
from macmgr.watch.alarms import GRACE, Alarm, Alarms
from tests.netns.conftest import LONG, Namespace, eventually, require
from tests.netns.house import MANAGED, House, house, mac_of

NEW, STRANGER, VIRTUAL = "52:54:00:bb:00:01", "02:aa:00:00:00:01", "00:00:5e:00:01:0a"
OBSERVED = "run/macmgr/observed.json"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """A host with two guests, whose frames are sent from vnetN-far."""
    with house(ns, tmp_path) as made:
        for number in (1, 2):
            ns.add_cable(f"vnet{number}")
            made.status_file(f"g{number}", f"vnet{number}", mac_of(number))
        yield made


def configure(host: House, *lines: str) -> None:
    host.config.write_text(MANAGED + "\n".join(lines) + "\n")


def observed(host: House) -> str:
    path = Path(f"/proc/{host.keeper.pid}/root/{OBSERVED}")
    return path.read_text() if path.exists() else ""


def sends(host: House, mac: str, port: str = "vnet1", *, until: str | None) -> None:
    """A guest, or the LAN, goes on sending until the address is on a port; None: on none."""

    def there() -> bool:
        host.ns.send_frame(f"{port}-far", mac)
        return host.ns.port_of(mac) == until

    eventually(there, f"{mac} sent from {port} is on {until}")


def flags_of(host: House, mac: str, port: str) -> set[str]:
    return {flag for each in host.ns.fdb() if (each["mac"], each["ifname"]) == (mac, port) for flag in each["flags"]}


def test_follow_moves_the_entry_and_every_verb_knows_of_it(host: House) -> None:
    configure(host, "guest_mac = 'follow'")
    with host.daemon():
        sends(host, NEW, until="vnet1")
        eventually(lambda: host.ns.port_of(mac_of(1)) is None, "the old entry is gone")
        assert flags_of(host, NEW, "vnet1") == set()  # not sticky: it may roam
        assert host.audit() == set()
        assert host.macmgr("apply").stdout == b"Nothing had to be changed.\n"
        assert host.ns.port_of(NEW) == "vnet1"
        eventually(lambda: f"g1 uses {NEW} on vnet1 instead of {mac_of(1)}" in host.log, "it is told")
    with host.daemon():  # another daemon knows it too
        assert host.ns.port_of(NEW) == "vnet1"
        sends(host, mac_of(1), until="vnet1")
        eventually(lambda: host.ns.port_of(NEW) is None, "the guest is back at its own address")


@pytest.mark.full_kernel
def test_a_locked_port_lets_a_followed_address_in(host: House) -> None:
    configure(host, "guest_mac = 'follow'", "lock = 'yes'")
    with host.daemon():
        require("locked bridge ports (5.18)", any("locked" in each for each in host.ns.bridge_json("-d link")))
        with host.ns.packet_socket("up0-far") as lan:
            lan.settimeout(LONG)
            sends(host, NEW, until="vnet1")
            host.ns.send_frame("vnet1-far", NEW)
            while lan.recv(2048)[6:12] != bytes.fromhex(NEW.replace(":", "")):
                pass


def test_alert_tells_and_lets_nothing_in(host: House) -> None:
    with host.daemon():
        host.ns.send_frame("vnet1-far", NEW)
        eventually(lambda: f"g1 uses {NEW} on vnet1 in addition to" in host.log, "it is told")
        assert host.ns.port_of(NEW) is None
        assert host.managed(1) or host.ns.port_of(mac_of(1)) == "vnet1"
        said = json.loads(host.macmgr("audit", "--json").stdout)
        assert "guest-mac-changed" in {each["code"] for each in said["findings"]}


def test_a_virtual_router_comes_goes_and_comes_back(host: House) -> None:
    configure(host, 'allow = ["00:00:5e:00:01:*"]')
    with host.daemon():
        host.ns.send_frame("up0-far", VIRTUAL)  # the master is elsewhere
        sends(host, VIRTUAL, until="vnet1")
        assert host.ns.port_of(mac_of(1)) == "vnet1"
        host.ns.send_frame("up0-far", VIRTUAL)  # it fails over to another host
        eventually(lambda: not observed(host) or VIRTUAL not in observed(host), "it is forgotten, and swept")
        assert not [each for each in host.ns.fdb() if each["mac"] == VIRTUAL and each["state"] == "static"]
        host.ns.send_frame("up0-far", VIRTUAL)
        assert {each["ifname"] for each in host.ns.fdb() if each["mac"] == VIRTUAL} == {"up0"}
        sends(host, VIRTUAL, "vnet2", until="vnet2")  # and to another guest here
        sends(host, VIRTUAL, until="vnet1")
        assert host.audit() == set()


def test_no_guest_takes_its_neighbours_address_and_the_theft_is_told(host: House) -> None:
    configure(host, "guest_mac = 'follow'", "allow = ['52:54:00:*']")
    with host.daemon():
        theft = f"vnet1 sent with the MAC {mac_of(2)} of g2, which is behind vnet2"

        def told() -> bool:
            host.ns.send_frame("vnet1-far", mac_of(2))
            return theft in host.log

        eventually(told, lambda: host.log)  # not at once: a guest that has just come is nobody's victim
        assert host.ns.port_of(mac_of(2)) == "vnet2"
        assert host.ns.port_of(mac_of(1)) == "vnet1"
        assert host.audit() == {"duplicate-mac"}


def test_without_sightings_nothing_is_looked_at(host: House) -> None:
    configure(host, "guest_mac = 'follow'", "[daemon]", "sightings = 'no'")
    with host.daemon():
        host.ns.send_frame("vnet1-far", NEW)
        before = host.status()["rounds"]["count"]
        host.status_file("g3", "vnet3", mac_of(3))
        eventually(lambda: host.status()["rounds"]["count"] > before, "another round")
        assert host.ns.port_of(NEW) is None
        assert host.ns.run("cat", "/proc/net/packet").count("\n") == 1
        assert NEW not in observed(host)


def test_a_frame_on_the_uplink_betrays_itself_by_the_age_of_a_sticky_entry(host: House) -> None:
    """The daemon asks each half minute; here its parts are asked at once."""
    with host.daemon():
        pass
    guests = tuple(
        GuestPort(
            f"vnet{number}", "br0", f"g{number}", f"u-g{number}", (mac_of(number),), policy=Policy(Manager.LIBVIRT)
        )
        for number in (1, 2)
    )
    alarms = Alarms()
    with Kernel(host.ns.name) as kernel:
        view = look(lambda: Intent(guests, {"br0": "a test says so"}), kernel)
        assert not view.plan.changes

        def found() -> list[Alarm]:
            return alarms.ages(kernel.ages(alarms.keys(), view.snapshot), time.monotonic())

        time_of_put = time.monotonic()
        eventually(lambda: time.monotonic() > time_of_put + 1, "the put is a second old")
        alarms.look(view, time_of_put - GRACE)
        assert found() == []
        host.ns.send_frame("vnet1-far", mac_of(1))
        sends(host, STRANGER, "up0", until="up0")  # the bridge is done with the frame before it
        assert found() == []
        host.ns.send_frame("up0-far", mac_of(1))
        alarmed: list[Alarm] = []

        def told() -> bool:
            alarmed.extend(found())
            return bool(alarmed)

        eventually(told, "the age tells")
        (alarm,) = alarmed
        assert (alarm.mac, alarm.seen_on) == (mac_of(1), ("up0",))
        assert host.ns.port_of(mac_of(1)) == "vnet1"
