"""Nothing happens before it is said: installed, with hooks and daemon, on a host that nobody told to manage anything.

What libvirt does by itself is the control: the same guest is started once without macmgr, and the bridge has to look
the same afterwards. What needs no start is watched with a netlink monitor: not one event. Twenty guests run meanwhile.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.daemon import Watch
from tests.lab.macmgr_command import CONFIG, HOOK_TIMEOUT, Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, run, until

STATE = Path("/var/lib/macmgr/state.json")
SPY = Path("/etc/libvirt/hooks/daemon.d/99-zz-after-macmgr")
CALLED = Path("/run/lab/daemon-hook-called")
CROWD = 20


class Idler(Guest):
    """A guest that finds nothing to boot: its NIC is all that matters, and its CPU has nothing to do."""

    def xml(self) -> str:
        return re.sub(r"\n *<(kernel|initrd|cmdline)>.*", "", super().xml())


@pytest.fixture
def installed(libvirt: Libvirt) -> Iterator[Macmgr]:
    """What README says: install, and let libvirtd look for hooks."""
    macmgr = Macmgr()
    yield macmgr
    SPY.unlink(missing_ok=True)
    macmgr("uninstall")
    CONFIG.unlink(missing_ok=True)
    libvirt.restart()


@pytest.fixture
def crowd(libvirt: Libvirt, bridge: HostBridge, network: Network) -> Iterator[list[Guest]]:
    """Guests that run on the network's bridge all the time."""
    nics = [Nic(f"52:54:00:bb:00:{number:02x}", network=network.name) for number in range(CROWD)]
    guests: list[Guest] = [Idler(libvirt, f"crowd{each}", [nic], memory=8) for each, nic in enumerate(nics)]
    for guest in guests:
        guest.define().start()
    yield guests
    for guest in guests:
        guest.undefine()
        bridge.forget(guest.nics[0].mac)


def state(bridge: HostBridge, guest: Guest) -> tuple[Any, ...]:
    """All that macmgr could have changed; taps are numbered anew at each start."""
    tap = guest.tap()
    entries = {
        (row["mac"], row.get("vlan", 0), "tap" if row["ifname"] == tap else row["ifname"], tuple(row["flags"]))
        for row in bridge.fdb()
        if row["state"] == "static"
    }
    ports = json.loads(run("bridge", "-j", "-d", "link", "show").stdout)
    names = ("learning", "flood", "isolated", "locked")
    flags = {("tap" if row["ifname"] == tap else row["ifname"]): [row.get(name) for name in names] for row in ports}
    filtering = bridge.port(bridge.name)["linkinfo"]["info_data"]["vlan_filtering"]
    return entries, flags, filtering, bridge.promiscuity()


def reload(libvirt: Libvirt) -> None:
    """What `systemctl reload libvirtd` does, until its hooks have run: ours, and after it the spy."""
    CALLED.unlink(missing_ok=True)
    libvirt.reload()
    until(CALLED.exists, "libvirtd has called the daemon hooks", 60)


def test_nothing_is_changed_until_somebody_says_manage(
    installed: Macmgr, crowd: list[Guest], libvirt: Libvirt, bridge: HostBridge, lan: Lan, make_guest: MakeGuest
) -> None:
    macmgr, guest = installed, make_guest(1)
    guest.start().wait_ready()
    alone = state(bridge, guest)
    guest.destroy()
    bridge.forget(guest.nics[0].mac)

    said = macmgr("install").stdout.decode()
    assert f"Observed only: br0 (network lan: macTableManager, {CROWD} ports); nothing is changed" in " ".join(
        said.split()
    )
    assert len({port for _, _, port, _ in alone[0]}) == CROWD + 1
    with CONFIG.open("a") as config:
        config.write(HOOK_TIMEOUT)
    SPY.write_text(f"#!/bin/sh\ntouch {CALLED}\n")
    SPY.chmod(0o755)
    libvirt.restart()

    guest.start().wait_ready()  # the hooks do their work themselves
    assert state(bridge, guest) == alone
    with bridge.untouched():
        reload(libvirt)
        macmgr("apply", expect=1)
        planned = macmgr("plan", expect=1)
        assert planned.stdout.startswith(b"# br0 is only observed: "), planned.stderr
    with Watch() as daemon:
        with bridge.untouched():
            reload(libvirt)
            assert f"br0 is only observed: {CROWD + 1} changes would be made".encode() in macmgr("audit").stdout
            status = json.loads(macmgr("status", "--json", expect=None).stdout)
        assert [each["mode"] for each in status["managed"]["bridges"]] == ["observe"]
        assert status["repairs"]["count"] == 0
        guest.destroy()
        bridge.forget(guest.nics[0].mac)
        guest.start().wait_ready()  # and here the daemon does it for them
        assert state(bridge, guest) == alone
        assert "on br0 (observed): would put 1 entry" in daemon.said()
    kept = json.loads(STATE.read_text())["namespaces"] if STATE.exists() else {}
    assert [port for memory in kept.values() for port in memory["ports"]] == []
    assert lan.ping("10.0.0.11") == 3

    CONFIG.write_text(CONFIG.read_text().replace('\nmode = "observe"', '\nmode = "manage"'))
    with Watch():
        until(lambda: not macmgr.codes(), "it manages once that is said")
    assert state(bridge, guest) != alone
    assert lan.ping("10.0.0.11") == 3
    macmgr("release")
