"""Real guests under continuous traffic: managed and given back, with nothing lost and nothing leaked."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import HOOK_TIMEOUT, Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, until

STATE = Path("/var/lib/macmgr")
LIBVIRTS = Nic("52:54:00:aa:00:01", "10.0.0.11/24", network="lan")
PLAIN = Nic("52:54:00:aa:00:21", "10.0.0.31/24", bridge="br0")
THIRD = Nic("52:54:00:aa:00:22", "10.0.0.32/24", bridge="br0")
KERNELS = "<macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1' manager='kernel'/>"
NOBODY = "02:00:00:00:00:77"
ETHERTYPE = 0x88B5
FRAMES, INTERVAL = 1500, 10_000  # microseconds: fifteen seconds, longer than an apply and a release

Port = tuple[dict[str, bool], set[tuple[int, str, bool]]]


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    """Each test begins, and leaves, with nothing remembered."""
    shutil.rmtree(STATE, ignore_errors=True)
    yield
    shutil.rmtree(STATE, ignore_errors=True)


def port(bridge: HostBridge, guest: Guest, nic: Nic) -> Port:
    """What `bridge -d link` and `bridge fdb` say of a NIC's port: flags and static entries."""
    tap = guest.tap(nic.mac)
    flags = bridge.flags(tap)
    static = {
        (row.get("vlan", 0), row["ifname"], "sticky" in row.get("flags", []))
        for row in bridge.fdb(nic.mac)
        if row.get("state") == "static"
    }
    return {name: flags[name] for name in ("learning", "flood", "locked", "mcast_flood", "bcast_flood")}, static


def pinned(guest: Guest, nic: Nic) -> set[tuple[int, str, bool]]:
    tap = guest.tap(nic.mac)
    return {(0, tap, True), (1, tap, True)}


def closed(state: Port) -> bool:
    return not state[0]["learning"] and not state[0]["flood"]


def stream(source: Guest, target: Guest) -> None:
    source.ask(f"stream {source.interface()} {target.nics[0].mac} {ETHERTYPE:04x} {FRAMES} {INTERVAL}")


def received(guest: Guest, source: Guest) -> dict[str, Any]:
    rows = [row for row in guest.ask("report")["streams"] if row["src"] == source.nics[0].mac]
    return rows[0] if rows else {"distinct": 0, "duplicates": 0}


def _whole(target: Guest, source: Guest) -> bool:
    return bool(received(target, source)["distinct"] == FRAMES)


def leaked(third: Guest, *guests: Guest) -> int:
    """Frames of the streams that reached a guest they were not for."""
    return sum(third.frames(dst=guest.nics[0].mac, ethertype=ETHERTYPE) for guest in guests)


def _release(_libvirt: Libvirt, macmgr: Macmgr, *_guests: Guest) -> None:
    macmgr("release")


def _leave_to_the_kernel(libvirt: Libvirt, macmgr: Macmgr, *guests: Guest) -> None:
    """Each guest's metadata says so from now on, and the next apply gives its port back."""
    for guest in guests:
        where = guest.name, "--live", "--uri", "urn:macmgr:mactable:1", "--key", "macmgr"
        libvirt.virsh("metadata", *where, "--set", "<macTable manager='kernel'/>")
    assert b"(the policy now leaves the port to the kernel)" in macmgr("apply").stdout


@pytest.mark.parametrize("give_back", [_release, _leave_to_the_kernel])
def test_nothing_is_lost_and_nothing_leaks(
    network: Network,
    libvirt: Libvirt,
    bridge: HostBridge,
    lan: Lan,
    make_guest: MakeGuest,
    macmgr: Macmgr,
    give_back: Callable[..., None],
) -> None:
    """Numbered frames both ways between libvirt's own NIC and a plain one, pings from the LAN, and one who listens."""
    one = make_guest(1, [LIBVIRTS]).start()
    two = make_guest(2, [PLAIN]).start()
    third = make_guest(3, [THIRD], KERNELS).start()
    for guest in (one, two, third):
        guest.wait_ready()
    assert one.ping("10.0.0.31") == 3
    before = port(bridge, one, LIBVIRTS), port(bridge, two, PLAIN)
    assert closed(before[0])
    assert not closed(before[1])
    assert bridge.flags(third.tap())["flood"]

    third.listen(promiscuous=True)
    one.send(src=LIBVIRTS.mac, dst=NOBODY)
    until(lambda: third.frames(dst=NOBODY) == 1, "the listener gets what is flooded")
    one.listen()
    two.listen()
    pings: list[int] = []
    pinging = threading.Thread(target=lambda: pings.append(lan.ping("10.0.0.31", count=30)))
    stream(one, two)
    stream(two, one)
    pinging.start()
    until(lambda: received(two, one)["distinct"] > 20 and received(one, two)["distinct"] > 20, "the streams run")

    macmgr("apply")
    assert closed(port(bridge, two, PLAIN))
    assert port(bridge, one, LIBVIRTS)[1] == pinned(one, LIBVIRTS)
    assert port(bridge, two, PLAIN)[1] == pinned(two, PLAIN)
    assert macmgr.codes() == set()
    managed = received(two, one)["distinct"]
    until(lambda: received(two, one)["distinct"] > managed + 100, "the streams run on under management")
    assert leaked(third, one, two) == 0

    give_back(libvirt, macmgr, one, two)
    during = received(two, one)["distinct"], received(one, two)["distinct"]
    assert max(during) < FRAMES, "the streams outlast the release"
    assert (port(bridge, one, LIBVIRTS), port(bridge, two, PLAIN)) == before

    for target, source in ((two, one), (one, two)):
        until(partial(_whole, target, source), "each frame arrives", 120)
        assert received(target, source)["duplicates"] == 0
    pinging.join()
    assert pings == [30]
    assert leaked(third, one, two) == 0
    assert bool(macmgr.codes()) == (give_back is _release), "released ports are still managed by policy"
    print(f"streams: 2 x {FRAMES} sent, 0 lost, 0 twice, {leaked(third, one, two)} leaked; pings: {pings[0]} of 30")


def test_after_a_restart_of_libvirt_and_without_its_configuration(
    network: Network, libvirt: Libvirt, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """What macmgr remembers outlives libvirtd, and the line that gave it the bridge."""
    guest = make_guest(1, [LIBVIRTS, PLAIN]).start().wait_ready()
    before = port(bridge, guest, LIBVIRTS), port(bridge, guest, PLAIN)
    macmgr("apply")
    assert closed(port(bridge, guest, PLAIN))
    libvirt.restart()
    macmgr.configure(HOOK_TIMEOUT)
    said = json.loads(macmgr("release", "--json").stdout)
    assert said["complete"]
    assert {each["port"] for each in said["ports"]} == {guest.tap(LIBVIRTS.mac), guest.tap(PLAIN.mac)}
    assert (port(bridge, guest, LIBVIRTS), port(bridge, guest, PLAIN)) == before
    assert lan.ping("10.0.0.11") == lan.ping("10.0.0.31") == 3
    assert json.loads(macmgr("release", "--json").stdout)["ports"] == []


def test_uninstalling_tells_what_is_still_managed(
    network: Network, libvirt: Libvirt, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """uninstall gives nothing back by itself, and leaves no trace once release has."""
    macmgr("install", "--manage")
    libvirt.restart()
    guest = make_guest(1, [LIBVIRTS]).start().wait_ready()
    assert port(bridge, guest, LIBVIRTS)[1] == pinned(guest, LIBVIRTS)
    said = macmgr("uninstall").stdout.decode()
    assert f"Still as macmgr made them: {guest.tap()} on br0. 'macmgr release' gives them back" in said
    libvirt.restart()
    macmgr("release")
    tap = guest.tap()
    assert port(bridge, guest, LIBVIRTS)[1] == {(0, tap, False), (1, tap, False)}
    assert closed(port(bridge, guest, LIBVIRTS))
    macmgr("uninstall")
    assert not STATE.exists()
    assert lan.ping("10.0.0.11") == 3


def test_a_guest_that_ends_is_forgotten(
    hooks: None, network: Network, bridge: HostBridge, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    guest = make_guest(1, [LIBVIRTS]).start()
    remembered = json.loads((STATE / "state.json").read_text())["namespaces"][""]
    assert [each["domain"] for each in remembered["ports"]] == ["g1"]
    guest.destroy()
    assert json.loads((STATE / "state.json").read_text())["namespaces"] == {}
