"""A real guest whose tap fell out of its VLAN is put back into it, and nobody in the other VLAN hears it meanwhile.

This libvirt puts no ``<vlan>`` on a Linux bridge (11.0 does). So macmgr reads copies of its status files, with the
element that 11.0 would leave in them.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.domain import Guest
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import HostBridge, Lan, Network, run, until

BROADCAST = "ff:ff:ff:ff:ff:ff"
LIBVIRT = Path("/run/libvirt")
MOVED = "52:54:00:aa:00:01"


@pytest.fixture
def lan42(bridge: HostBridge, lan: Lan) -> Iterator[Lan]:
    """A host in VLAN 42 behind the uplink, in a namespace of its own."""
    run("bridge", "vlan", "add", "dev", bridge.uplink, "vid", "42")
    run("ip", "netns", "add", "lan42")
    run("ip", "-n", lan.namespace, "link", "add", "v42", "link", lan.device, "type", "vlan", "id", "42")
    run("ip", "-n", lan.namespace, "link", "set", "v42", "netns", "lan42")
    yield Lan("lan42", "v42", "10.0.0.42/24").up()
    run("ip", "netns", "del", "lan42")
    run("bridge", "vlan", "del", "dev", bridge.uplink, "vid", "42")


@pytest.fixture
def files(tmp_path: Path, network: Network, make_guest: MakeGuest) -> tuple[Path, Guest, Guest]:
    """Two guests of libvirt's, the first of them in VLAN 42; and the files that say so."""
    moved, neighbour = make_guest(1).start(), make_guest(2).start()
    for guest in (moved, neighbour):
        guest.wait_ready()
    for kind in ("qemu", "network"):
        (tmp_path / kind).mkdir()
        for path in (LIBVIRT / kind).glob("*.xml"):
            shutil.copy(path, tmp_path / kind)
    status = tmp_path / "qemu" / "g1.xml"
    text = status.read_text()
    assert text.count("</actual>") == 1
    status.write_text(text.replace("</actual>", "<vlan><tag id='42'/></vlan></actual>"))
    return tmp_path, moved, neighbour


def test_a_guest_comes_back_into_its_vlan(
    files: tuple[Path, Guest, Guest], bridge: HostBridge, lan: Lan, lan42: Lan, macmgr: Macmgr
) -> None:
    run_dir, moved, neighbour = files
    tap = moved.tap()

    def apply(*words: str) -> str:
        return macmgr("apply", "--run-dir", str(run_dir), *words).stdout.decode()

    assert "bridge vlan add dev" in apply("--vlans"), "the tap is where this libvirt puts it"
    until(lambda: lan42.ping("10.0.0.11", 1) == 1, "it is reached in its VLAN")
    assert lan.ping("10.0.0.12") == 3

    run("ip", "link", "set", tap, "nomaster")
    run("ip", "link", "set", tap, "master", bridge.name)
    neighbour.listen()
    moved.send(MOVED, BROADCAST, 0x88B6)
    until(lambda: neighbour.frames(src=MOVED, ethertype=0x88B6) == 1, "in the default VLAN, its neighbour hears it")
    apply("--vlans")
    neighbour.listen()
    moved.send(MOVED, BROADCAST, 0x88B6, count=20)
    until(lambda: lan42.ping("10.0.0.11", 1) == 1, "it is reached in its VLAN again")

    run("bridge", "vlan", "del", "dev", tap, "vid", "42")  # in no VLAN: nobody hears it
    moved.stream(BROADCAST)
    apply("--vlans")
    until(lambda: lan42.ping("10.0.0.11", 1) == 1, "it is reached in its VLAN once more")
    assert moved.streamed() > 0
    assert neighbour.frames(src=MOVED) == 0, "from the first repair on"
    vids = {row.get("vlan", 0) for row in bridge.fdb(MOVED) if row["ifname"] == tap and row.get("state") == "static"}
    assert vids == {0, 42}
    assert not bridge.flags(tap)["learning"]
    macmgr("release", "--cut", expect=None)
