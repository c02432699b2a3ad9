"""A host where virtqemud and virtnetworkd run in place of libvirtd: hooks, files, and the names that macmgr gives.

tests/lab/split_daemons.sh builds them. `tox -e lab-split` runs other tests of the lab on them too.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.daemon import Watch
from tests.lab.hypervisor import DAEMONS
from tests.lab.macmgr_command import CONFIG, Macmgr
from tests.lab.topology import HostBridge, Lan, Libvirt, Network, run, until

DAEMON = {daemon.name: daemon for daemon in DAEMONS}
QEMU, NETWORK = "virtqemud", "virtnetworkd"
pytestmark = pytest.mark.skipif(set(DAEMON) != {QEMU, NETWORK}, reason="libvirt's split daemons: tox -e lab-split")

HOOKS = Path("/etc/libvirt/hooks")
RUN = Path("/run/libvirt")
CALLS = Path("/run/lab/hook-calls")
SPY = f'#!/bin/sh\necho "$(cat /proc/$PPID/comm) {{driver}} $1 $2" >>{CALLS}\n'
MAC, ADDRESS = "52:54:00:aa:00:01", "10.0.0.11"


@pytest.fixture
def spies(hooks: None, libvirt: Libvirt) -> Iterator[None]:
    """Hooks that write down who calls them; they come after macmgr's."""
    placed = [HOOKS / f"{driver}.d" / "99-zz-spy" for driver in ("qemu", "network", "daemon")]
    for spy in placed:
        spy.write_text(SPY.format(driver=spy.parent.stem))
        spy.chmod(0o755)
    CALLS.write_text("")
    libvirt.restart()
    yield
    for spy in placed:
        spy.unlink()
    libvirt.restart()


def calls(driver: str, subject: str) -> set[tuple[str, str]]:
    """The calls of a driver's hooks for one subject: (daemon, operation)."""
    rows = (line.split() for line in CALLS.read_text().splitlines())
    return {(daemon, operation) for daemon, name, about, operation in rows if (name, about) == (driver, subject)}


def test_each_daemon_calls_its_hooks(
    spies: None, network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """A network and a guest from start to stop: in the table, reached, and gone."""
    network.destroy()
    network.start()
    guest = make_guest(1).start().wait_ready()
    pinned = [row for row in bridge.fdb(MAC) if row["ifname"] == guest.tap() and "sticky" in row["flags"]]
    assert {row.get("vlan", 0) for row in pinned} == {0, 1}
    assert lan.ping(ADDRESS) == 3
    macmgr("audit", "--strict")
    macmgr("audit", "--strict", "--source", "libvirt")
    assert macmgr("net", "get", "lan").stdout.startswith(b"libvirt")
    guest.destroy()
    assert [row for row in bridge.fdb(MAC) if row["state"] == "static"] == []
    macmgr("audit")

    assert calls("daemon", "-") == {(daemon, each) for daemon in DAEMON for each in ("shutdown", "start")}
    assert calls("qemu", "g1") == {(QEMU, each) for each in ("prepare", "start", "started", "stopped", "release")}
    operations = {"start", "started", "stopped", "port-created", "port-deleted"}
    assert calls("network", "lan") == {(NETWORK, each) for each in operations}


def test_files_are_where_libvirtd_has_them(network: Network, make_guest: MakeGuest) -> None:
    """Status files and processes; the sockets have names of their own, and libvirtd's is not there."""
    make_guest(1).start()
    for name in (QEMU, NETWORK):
        assert (RUN / f"{name}-sock").is_socket()
        assert Path(f"/run/{name}.pid").read_text().strip() == str(DAEMON[name].pid)
    assert not (RUN / "libvirt-sock").exists()
    assert (RUN / "qemu" / "g1.xml").exists()
    assert (RUN / "network" / "lan.xml").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
@pytest.mark.parametrize("name", [QEMU, NETWORK])
def test_a_daemon_ends_under_a_guest(
    name: str,
    number: signal.Signals,
    hooks: None,
    network: Network,
    libvirt: Libvirt,
    bridge: HostBridge,
    lan: Lan,
    make_guest: MakeGuest,
    macmgr: Macmgr,
) -> None:
    """The guest is reached without it, what was lost is put back without it, and all is well when it is back."""
    with CONFIG.open("a") as config:
        config.write('[daemon]\nlibvirt_events = "yes"\n')  # a connection that breaks, or one that does not notice
    guest = make_guest(1).start().wait_ready()
    tap = guest.tap()
    with Watch():
        DAEMON[name].end(number)
        bridge.set_flags(tap, learning="on", flood="on")
        run("bridge", "fdb", "del", MAC, "dev", tap, "master")
        until(lambda: not macmgr.codes(), "macmgr's daemon has repaired the port")
        assert lan.ping(ADDRESS) == 3
        libvirt.start()
        macmgr("audit", "--strict")
        assert lan.ping(ADDRESS) == 3


def test_idle_daemons_end_by_themselves(
    hooks: None, network: Network, libvirt: Libvirt, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """As their units start them, with a --timeout: one that has a guest or an active network stays."""
    libvirt.stop()
    for daemon in libvirt.daemons:
        daemon.start("--timeout", "3")
    guest = make_guest(1)
    libvirt.wait()
    guest.start()
    libvirt.hang_up()
    guest.wait_ready()  # which takes longer
    assert DAEMON[QEMU].running
    assert DAEMON[NETWORK].running
    guest.destroy()
    libvirt.hang_up()
    until(lambda: not DAEMON[QEMU].running, "virtqemud, without a guest, ends")
    assert DAEMON[NETWORK].running
    macmgr("audit", "--strict")
    run("virsh", "-c", "network:///system", "net-destroy", network.name)
    until(lambda: not DAEMON[NETWORK].running, "virtnetworkd, without a network, ends")
    macmgr("audit")
    libvirt.start()
    network.start()
    guest.start().wait_ready()
    assert lan.ping(ADDRESS) == 3


def test_the_daemons_are_named(hooks: None, network: Network, libvirt: Libvirt, macmgr: Macmgr) -> None:
    """install names those that have to look for hooks; doctor names the one that cannot execute them."""
    assert b"'systemctl reload virtqemud virtnetworkd'" in macmgr("install").stdout
    assert b"libvirt cannot execute" not in macmgr("doctor").stdout
    DAEMON[QEMU].end(signal.SIGTERM)
    script = f"mount --bind {HOOKS} {HOOKS} && mount -o remount,bind,noexec {HOOKS} && exec {DAEMON[QEMU].program} -d"
    run("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
    try:
        until(lambda: DAEMON[QEMU].running, "virtqemud runs")
        said = macmgr("doctor").stdout.decode()
        assert f"libvirt cannot execute it ({HOOKS}, as virtqemud sees it, is mounted noexec)" in said
    finally:
        DAEMON[QEMU].end(signal.SIGTERM)
        libvirt.start()
