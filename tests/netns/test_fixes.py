"""Every fix that is printed is typed, and judged by frames: nobody who was reached is cut off by it, nobody hears who
must not be heard, also while it is typed, and what the finding was about is mended.

A row for each code that a command is printed for. What is said in words alone is named below, with the reason.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from macmgr.model.findings import Code
from tests.netns.air import Air, Pair, Station
from tests.netns.conftest import Namespace, require
from tests.netns.house import MANAGED, House, house, mac_of

ISOLATED = "<port isolated='yes'/>"
ACCESS_42 = "<vlan><tag id='42'/></vlan>"
LAN, LAN_42, SERVER = "02:00:00:00:00:99", "02:00:00:00:00:42", "02:00:00:00:00:77"
STATIONS = [
    Station("lan", "up0-far", LAN),
    *(Station(f"g{number}", f"vnet{number}-far", mac_of(number)) for number in (1, 2, 3)),
]
ONE = mac_of(1)


@dataclass(frozen=True)
class Row:
    """``spoil`` makes the fault on a host where all is well; ``xml`` is what NIC 1 has beside its address."""

    code: Code
    spoil: Callable[[House], None]
    xml: str = ""
    other: str = ""  # what NIC 2 has
    config: str = MANAGED
    begins: str = ""  # what the fix begins with
    stations: tuple[Station, ...] = ()
    forbidden: frozenset[Pair] = frozenset()
    unreached: bool = False  # guest 1 does not run here, and need not be reached
    name: str = ""


def bridge(*lines: str) -> Callable[[House], None]:
    def spoil(host: House) -> None:
        for line in lines:
            host.ns.bridge(line)

    return spoil


def ip(*lines: str) -> Callable[[House], None]:
    def spoil(host: House) -> None:
        for line in lines:
            host.ns.ip(line)

    return spoil


def paused(*lines: str) -> Callable[[House], None]:
    def spoil(host: House) -> None:
        nic(host, 1, "", state="paused")
        bridge(*lines)(host)

    return spoil


def configured(host: House, *lines: str) -> None:
    host.config.write_text("\n".join([MANAGED, *lines]) + "\n")


def ends_lock(host: House) -> None:
    configured(host, "lock = 'yes'")
    host.macmgr("apply")
    configured(host)


def leaves_it_to_the_kernel(host: House) -> None:
    host.config.write_text(MANAGED.replace("libvirt", "kernel"))


def asks_for_lock(host: House) -> None:
    configured(host, "lock = 'yes'")


def own_address(host: House) -> None:
    host.ns.ip(f"link set vnet1 address {ONE}")


ROWS = [
    Row(Code.MISSING_ENTRY, bridge(f"fdb del {ONE} dev vnet1 master")),
    Row(
        Code.MISSING_ENTRY,
        bridge("link set dev vnet1 learning on flood on", f"fdb del {ONE} dev vnet1 master"),
        name="open",
    ),
    Row(Code.LEARNING_ON, bridge("link set dev vnet1 learning on")),
    Row(Code.FLOOD_ON, bridge("link set dev vnet1 learning on flood on")),
    Row(
        Code.FLOOD_ON,
        bridge("link set dev vnet1 learning on flood on", f"fdb del {ONE} dev vnet1 master"),
        begins="bridge fdb replace",
        name="without its entry",
    ),
    Row(
        Code.LEARNING_ON,
        bridge("link set dev vnet1 learning on", f"fdb del {ONE} dev vnet1 master"),
        begins="bridge fdb replace",
        name="without its entry",
    ),
    Row(Code.STOLEN_ENTRY, bridge(f"fdb replace {ONE} dev up0 master static")),
    Row(Code.NOT_STICKY, bridge(f"fdb replace {ONE} dev vnet1 master static")),
    Row(Code.LOCAL_ENTRY, bridge(f"fdb replace {ONE} dev vnet1 master permanent")),
    Row(Code.STALE_ENTRY, paused(f"fdb replace {ONE} dev up0 master static"), unreached=True),
    Row(Code.EARLY_ENTRY, paused(), unreached=True),
    Row(
        Code.CLOSED_WITHOUT_ENTRY,
        paused(f"fdb del {ONE} dev vnet1 master"),
        unreached=True,
        begins="bridge link set dev vnet1 learning on flood on",
    ),
    Row(
        Code.LEFT_ON_UPLINK,
        bridge(f"fdb replace {SERVER} dev up0 master static"),
        stations=(Station("server", "up0-far", SERVER),),
        begins=f"bridge fdb del {SERVER} dev up0 ",
    ),
    Row(Code.UNLOCKED, asks_for_lock),
    Row(Code.STILL_LOCKED, ends_lock),
    Row(Code.NOT_GIVEN_BACK, leaves_it_to_the_kernel),
    Row(Code.WRONG_BRIDGE, ip("link set vnet1 nomaster"), begins="ip link set dev vnet1 master br0"),
    Row(
        Code.WRONG_BRIDGE,
        ip("link set vnet1 nomaster"),
        xml=ISOLATED,
        other=ISOLATED,
        begins="ip link set dev vnet1 down && ",
        forbidden=frozenset({("g1", "g2"), ("g2", "g1")}),
        name="isolated",
    ),
    Row(
        Code.NOT_ISOLATED,
        bridge("link set dev vnet1 isolated off"),
        xml=ISOLATED,
        other=ISOLATED,
        begins="bridge link set dev vnet1 isolated on",
        forbidden=frozenset({("g1", "g2"), ("g2", "g1")}),
    ),
    Row(Code.PORT_DOWN, ip("link set vnet1 down"), begins="ip link set dev vnet1 up"),
    Row(Code.MAC_COLLISION, own_address, begins=f"ip link set dev vnet1 address fe{ONE[2:]} && macmgr apply"),
]

# g1 is in VLAN 42, with a host on the LAN; all others are in VLAN 1
APART = frozenset(
    pair for each in ("lan", "g2", "g3") for other in ("g1", "lan42") for pair in ((each, other), (other, each))
)
LAN_IN_42 = (Station("lan42", "up0-far", LAN_42, vid=42),)


def loses_its_vlan(host: House) -> None:
    host.ns.bridge("vlan add dev vnet1 vid 1 pvid untagged")
    host.ns.bridge("vlan del dev vnet1 vid 42")


VLAN_ROWS = [
    Row(
        Code.WRONG_VLAN,
        loses_its_vlan,
        begins="macmgr apply --vlans --domain g1",
        name="in the default one",
    ),
    Row(
        Code.WRONG_VLAN,
        bridge("vlan add dev vnet1 vid 1"),
        begins="macmgr apply --vlans --domain g1",
        name="beside its own in another",
    ),
    Row(Code.WRONG_VLAN, bridge("vlan add dev vnet1 vid 42 pvid"), name="tagged"),
    Row(Code.WRONG_VLAN, bridge("vlan del dev vnet1 vid 42"), name="in none"),
    Row(Code.WRONG_BRIDGE, ip("link set vnet1 nomaster"), begins="ip link set dev vnet1 down && "),
    Row(
        Code.VLAN_WITHOUT_UPLINK,
        bridge("vlan del dev up0 vid 42"),
        begins="bridge vlan add dev up0 vid 42",
    ),
    Row(
        Code.LEFT_ON_UPLINK,
        bridge(f"fdb replace {SERVER} dev up0 vlan 42 master static"),
        begins=f"bridge fdb del {SERVER} dev up0 vlan 42 master",
    ),
]

IN_WORDS = {
    Code.EXTRA_ENTRY: "what deletes it is judged where the entry is somebody's: tests of what guests leave behind",
    Code.LEARNED_ON_MANAGED_PORT: "an address that the policy lets nobody use: who uses it is to be cut off",
    Code.ADDRESS_IN_USE: "policy has to let the address in, or somebody to say that it is cut off (apply --cut)",
    Code.WOULD_HARM: "somebody has to say that it is cut off (apply --cut)",
    Code.TABLE_TOO_LONG: "what fills the table is not to be told from here",
    Code.MISSING_PORT: "no tap is there to be mended",
    Code.SHARED_TAP: "two domains name one tap: which of them is right, only a person knows",
    Code.NOT_FORWARDING: "a port's state is STP's, or a person's",
    Code.NO_VLAN: "which VLAN it belongs in, no XML says",
    Code.DUPLICATE_MAC: "one of two guests needs another address",
    Code.GUEST_MAC_CHANGED: "policy has to say whether the address is let in",
    Code.UNMANAGED_AUTO_PORT: "policy has to say who manages the port",
    Code.VLAN_FILTERING_OFF: "`macmgr apply --vlan-filtering`, which asks first: test_doctor.py, and the lab's",
    Code.FILTERING_AT_NEXT_START: "libvirt turns it on; the commands in its sentences are the doctor's: test_doctor.py",
    Code.UPLINK_PROMISCUOUS: "`macmgr doctor` says what to do",
    Code.UPLINK_NO_UNICAST_FILTER: "only another NIC helps",
    Code.FOREIGN_ENTRY: "it is left as it is",
    Code.CONFLICTING_SETTINGS: "one of two settings has to go",
    Code.PIN_AGAINST_CONTROL_PLANE: "one of two settings has to go",
    Code.MTU: "the guest has to send shorter packets: test_mtu.py",
    Code.UNSUPPORTED: "only another kernel helps",
    Code.UNREADABLE_XML: "the XML has to be mended",
    Code.NO_SUCH_BRIDGE: "the configuration has to be mended",
    Code.NOTHING_MANAGED: "there is nothing to mend",
}


def test_each_code_has_a_row_or_is_in_words() -> None:
    assert {row.code for row in (*ROWS, *VLAN_ROWS)} | IN_WORDS.keys() == set(Code)


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        command = tmp_path / "bin" / "macmgr"
        command.parent.mkdir()
        options = f'verb=$1; shift; exec {sys.executable} -m macmgr "$verb" --config {made.config} "$@"'
        command.write_text(f"#!/bin/sh\n{options}\n")
        command.chmod(command.stat().st_mode | stat.S_IXUSR)
        yield made


def nic(host: House, number: int, xml: str, state: str = "running") -> None:
    """Guest gN with NIC vnetN, as libvirt leaves its status file."""
    parts = f"<mac address='{mac_of(number)}'/><source bridge='br0'/><target dev='vnet{number}'/>{xml}"
    devices = f"<devices><interface type='bridge'>{parts}</interface></devices>"
    domain = f"<domain type='kvm'><name>g{number}</name><uuid>u-g{number}</uuid>{devices}</domain>"
    host.write(f"qemu/g{number}.xml", f"<domstatus state='{state}' pid='1'>{domain}</domstatus>")


def plug(host: House, number: int, xml: str) -> None:
    """As libvirt does it: the NIC on its bridge, isolated and in its VLAN where its XML says so."""
    port = f"vnet{number}"
    host.ns.add_cable(port)
    nic(host, number, xml)
    if xml == ISOLATED:
        host.ns.bridge(f"link set dev {port} isolated on")
    if xml == ACCESS_42:
        host.ns.bridge(f"vlan del dev {port} vid 1")
        host.ns.bridge(f"vlan add dev {port} vid 42 pvid untagged")


def findings(host: House, code: Code, port: str) -> list[dict[str, str]]:
    said = host.macmgr("audit", "--json")
    assert said.stdout, said.stderr
    return [each for each in json.loads(said.stdout)["findings"] if (each["code"], each["port"]) == (code, port)]


def typed(host: House, fix: str) -> None:
    path = f"{host.root / 'bin'}:{os.environ['PATH']}"
    words = host.command("env", f"PATH={path}", "bash", "-c", fix)
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{fix}: {done.stderr}"


def judge(host: House, row: Row, stations: list[Station]) -> None:
    names = [station.name for station in stations]
    forbidden = set(row.forbidden)
    allowed = {(sender, receiver) for sender in names for receiver in names if sender != receiver} - forbidden
    if row.unreached:
        allowed -= {pair for pair in allowed if "g1" in pair}
    allowed -= {pair for pair in allowed if {"lan", "server"} == {*pair}}  # behind one port: no bridge between them
    port = "up0" if row.code in (Code.LEFT_ON_UPLINK, Code.STALE_ENTRY) else "vnet1"
    air = Air(host.ns, stations)
    try:
        host.macmgr("apply")
        air.until(allowed, Air.AT_LAST)  # all is well
        row.spoil(host)
        found = findings(host, row.code, port)
        assert found, f"{row.code} is not told"
        fix = found[0]["fix"]
        assert fix, f"no fix for {row.code}"
        assert fix.startswith(row.begins), fix
        for _ in range(3):
            air.round(Air.BEFORE)
        with air.sending(Air.WHILE):
            typed(host, fix)
        for name in {port.removesuffix("-far") for port in host.ns.links() if port.endswith("-far")}:
            host.ns.ip(f"link set dev {name} type bridge_slave fdb_flush")  # what was learned ages
        before = air.reached(Air.BEFORE)
        air.until(allowed, Air.AFTER)
        assert before - forbidden <= air.reached(Air.AFTER) | (before - allowed)
        new = air.heard(Air.WHILE) - air.heard(Air.BEFORE)
        assert not new & forbidden, f"heard while the fix was typed, and not before: {new & forbidden}"
        assert not air.heard(Air.AFTER) & forbidden
        assert findings(host, row.code, port) == []
    finally:
        air.close()


def named(row: Row) -> str:
    return f"{row.code}{f', {row.name}' if row.name else ''}"


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_a_printed_fix(host: House, row: Row) -> None:
    host.config.write_text(row.config)
    for number, xml in enumerate((row.xml, row.other, ""), 1):
        plug(host, number, xml)
    judge(host, row, [*STATIONS, *row.stations])


@pytest.mark.full_kernel
@pytest.mark.parametrize("row", VLAN_ROWS, ids=named)
def test_a_printed_fix_with_vlans(ns: Namespace, host: House, row: Row) -> None:
    """g1 is in VLAN 42, as its XML says, and all others in VLAN 1: no step of a fix lets them hear each other."""
    require("bridge VLAN filtering", ns.accepts("link set br0 type bridge vlan_filtering 1"))
    ns.bridge("vlan add dev up0 vid 42")
    plug(host, 1, ACCESS_42)
    plug(host, 2, "")
    plug(host, 3, "")
    judge(host, replace(row, forbidden=APART), [*STATIONS, *LAN_IN_42])
