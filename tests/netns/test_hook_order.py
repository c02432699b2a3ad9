"""Hooks of others that change the port of a guest that starts: libvirt runs the files of a directory in their order.

macmgr looks at what all of them have made, and the guest is reached; without a daemon nobody would look again.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.air import Air, Station
from tests.netns.conftest import LONG, Namespace, require
from tests.netns.hooked import HOOK, install
from tests.netns.house import MANAGED, House, house, mac_of

LAN, LAN_42 = "02:00:00:00:00:99", "02:00:00:00:00:42"
STATIONS = [
    Station("lan", "up0-far", LAN),
    Station("lan42", "up0-far", LAN_42, vid=42),
    Station("g1", "vnet1-far", mac_of(1)),
]
VLAN_42 = "bridge vlan del dev vnet1 vid 1\nbridge vlan add dev vnet1 vid 42 pvid untagged\n"
# What others' hooks do with the port of a guest that starts, and who must reach the guest then
THEIRS = {
    "an access VLAN": (VLAN_42, "lan42"),
    "a further VLAN": ("bridge vlan add dev vnet1 vid 42\n", "lan"),
    "back on its bridge": ("ip link set vnet1 nomaster\nip link set vnet1 master br0\n", "lan"),
    "to be on its bridge at all": ("ip link set vnet1 nomaster\nip link set vnet1 master br0\n" + VLAN_42, "lan42"),
}


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    require("bridge VLAN filtering", ns.accepts("link add probe type bridge vlan_filtering 1"))
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED + HOOK)
        ns.ip("link set br0 type bridge vlan_filtering 1")
        ns.bridge("vlan add dev up0 vid 42")
        ns.add_cable("vnet1")
        install(made)
        yield made


def start(host: House, theirs: str, name: str) -> None:
    """What libvirt does when a guest runs: the status file, and each hook of the directory, in the order of names."""
    directory = host.root / "hooks" / "qemu.d"
    (directory / name).write_text(f"#!/bin/sh\nset -e\n{theirs}")
    (directory / name).chmod(0o755)
    xml = host.status_file("g1", "vnet1", mac_of(1))
    for hook in sorted(path for path in directory.iterdir() if os.access(path, os.X_OK)):
        words = host.command(
            "env", "-i", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", str(hook), "g1", "started", "begin", "-"
        )
        said = subprocess.run(words, input=xml.encode(), capture_output=True, check=True, cwd="/", timeout=LONG)
        assert (said.stdout, said.stderr) == (b"", b"")


@pytest.mark.full_kernel
@pytest.mark.parametrize(("what", "name"), [(next(iter(THEIRS)), "20-vlan"), *((what, "60-vlan") for what in THEIRS)])
def test_a_guest_is_reached_whatever_other_hooks_do_to_its_port(host: House, what: str, name: str) -> None:
    theirs, who = THEIRS[what]
    start(host, theirs, name)
    air = Air(host.ns, STATIONS)
    try:
        air.until({(who, "g1"), ("g1", who)}, Air.AFTER)
    finally:
        air.close()
    assert host.audit() == set()
