"""`macmgr watch` on the real kernel: what happens to a guest's port is right again, by itself and soon."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import LONG, Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        yield made


@pytest.fixture
def watched(host: House) -> Iterator[House]:
    """A host with two guests, and the daemon."""
    host.guest(1)
    host.guest(2)
    with host.daemon():
        assert host.managed(1)
        assert host.managed(2)
        yield host


def test_what_was_wrong_at_its_start_is_mended_before_it_says_that_it_is_ready(watched: House) -> None:
    assert watched.audit() == set()
    assert watched.status()["in_sync"]


def test_a_guest_that_appears_is_managed_and_one_that_leaves_is_forgotten(watched: House) -> None:
    mac = watched.guest(3)
    eventually(lambda: watched.managed(3), "the new guest is managed")
    watched.ns.bridge(f"fdb replace {mac} dev up0 master static")  # as a theft would leave it
    watched.remove("qemu/g3.xml")
    watched.ns.ip("link del vnet3")
    eventually(lambda: watched.ns.port_of(mac) is None, "no entry is left")


def test_guests_that_policy_leaves_to_the_kernel_are_given_back(host: House) -> None:
    """One by its metadata, then the other with its bridge; an administrator who closes a port after that is let."""
    kernels = "<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' manager='kernel'/></metadata>"
    host.guest(1)
    host.guest(2)
    with host.daemon() as daemon:
        domain = host.status_file("g1", "vnet1", mac_of(1)).replace("<devices>", f"{kernels}<devices>")
        host.write("qemu/g1.xml", f"<domstatus state='running' pid='1'>{domain}</domstatus>")
        eventually(lambda: host.flags("vnet1") == (True, True), "the port is the kernel's")
        assert host.managed(2)
        assert host.audit() == set()
        host.config.write_text("# nothing\n")
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: host.flags("vnet2") == (True, True), "so is the other")
        assert host.audit() == set()
        host.ns.bridge("link set dev vnet1 learning off")
        host.config.write_text(MANAGED)
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: host.managed(2), "the bridge is managed again")
        assert host.flags("vnet1") == (False, True)
        assert host.log.count("the policy now leaves the port to the kernel") == 4


def test_a_guest_that_is_suspended_has_no_entry_and_gets_it_back(watched: House) -> None:
    watched.status_file("g1", "vnet1", mac_of(1), "paused")
    eventually(lambda: watched.ns.port_of(mac_of(1)) is None, "the entry is gone")
    assert watched.flags("vnet1") == (True, True)
    watched.status_file("g1", "vnet1", mac_of(1), "running")
    eventually(lambda: watched.managed(1), "it runs, and is managed")


@pytest.mark.parametrize(
    "line",
    [
        "link set dev vnet1 learning on",
        "link set dev vnet1 flood on",
        f"fdb del {mac_of(1)} dev vnet1 master",
        f"fdb replace {mac_of(1)} dev vnet1 master static",
        f"fdb replace {mac_of(1)} dev up0 master static",
        f"fdb replace {mac_of(1)} dev vnet2 master static sticky",
        f"fdb replace {mac_of(1)} dev vnet1 master local",
        "fdb replace 52:54:00:bb:00:01 dev vnet1 master static",
    ],
)
def test_drift_is_repaired(watched: House, line: str) -> None:
    watched.ns.bridge(line)
    eventually(lambda: watched.managed(1) and watched.managed(2) and watched.audit() == set(), f"repaired: {line}")


def test_a_tap_that_leaves_its_bridge_and_comes_back(watched: House) -> None:
    watched.ns.ip("link set vnet1 nomaster")
    watched.ns.ip("link set vnet1 master br0")
    eventually(lambda: watched.managed(1), "the port is managed again")


def test_a_bridge_that_is_made_again(watched: House) -> None:
    watched.ns.ip("link del br0")
    watched.ns.add_bridge()
    for port in ("up0", "vnet1", "vnet2"):
        watched.ns.ip(f"link set {port} master br0")
    eventually(lambda: watched.managed(1) and watched.managed(2), "all ports are managed again")


def test_its_own_writes_do_not_wake_it(watched: House) -> None:
    def rounds() -> int:
        return int(watched.status()["rounds"]["count"])

    before = rounds()
    watched.ns.bridge("link set dev vnet1 learning on flood on")
    eventually(lambda: watched.managed(1), "repaired")
    watched.status_file("g2", "vnet2", mac_of(2), "running")  # a last mark: when it is digested, all before it are
    eventually(lambda: rounds() >= before + 2, "both rounds are counted")
    assert rounds() <= before + 3  # the two flags may be seen one after the other


def test_two_programs_that_fight_burn_no_core_and_a_line_says_so(host: House) -> None:
    host.config.write_text(MANAGED + "[daemon]\nrepairs_per_minute = 3\n")
    host.guest(1)
    with host.daemon() as daemon:
        fight = "while :; do bridge link set dev vnet1 learning on; done"
        other = subprocess.Popen(host.command("timeout", f"{3 * LONG:g}", "sh", "-c", fight), process_group=0)
        try:
            eventually(lambda: "another program undoes this change" in host.log, "it stands back")
            eventually(lambda: bool(host.status()["standing_back"]["now"]), "and status says so")
        finally:
            other.terminate()
            other.wait()
        eventually(lambda: host.managed(1), "the other has gone, and the port is right again")
        assert daemon.poll() is None


def test_a_guest_whose_entry_is_taken_away_again_and_again_is_reached_through_its_open_port(host: House) -> None:
    host.config.write_text(MANAGED + "[daemon]\nrepairs_per_minute = 3\n")
    host.ns.add_cable("vnet1")
    host.status_file("g1", "vnet1", mac_of(1))

    def open_and_without() -> bool:
        return host.flags("vnet1") == (True, True) and host.ns.port_of(mac_of(1)) is None

    def frame_arrives() -> bool:
        host.ns.send_frame("up0-far", "52:54:00:bb:00:01", mac_of(1))
        try:
            return guest.recv(2048)[:6] == bytes.fromhex(mac_of(1).replace(":", ""))
        except TimeoutError:
            return False

    with host.daemon() as daemon, host.ns.packet_socket("vnet1-far") as guest:
        guest.settimeout(0.1)
        assert host.managed(1)
        fight = f"while :; do bridge fdb del {mac_of(1)} dev vnet1 master; done 2>/dev/null"
        other = subprocess.Popen(host.command("timeout", f"{3 * LONG:g}", "sh", "-c", fight), process_group=0)
        try:
            eventually(open_and_without, "its port is open, and has no entry")
            eventually(frame_arrives, "the guest is reached")
        finally:
            other.terminate()
            other.wait()
        eventually(lambda: host.managed(1), "the other has gone, and the port is right again")
        assert daemon.poll() is None


def test_what_is_only_observed_is_told_and_not_touched(host: House) -> None:
    host.config.write_text(MANAGED + "mode = 'observe'\n")
    host.guest(1)
    with host.daemon() as daemon:
        assert "observed only" in host.log
        assert not host.managed(1)
        assert host.flags("vnet1") == (True, True)
        host.config.write_text(MANAGED)
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: host.managed(1), "after the change of the configuration it is managed")


def test_observing_names_the_addresses_that_would_be_cut_off(host: House) -> None:
    """Somebody runs a second machine behind a guest's port: that is to be known before the port is managed."""
    host.config.write_text(MANAGED + "mode = 'observe'\n")
    host.ns.add_cable("vnet1")
    host.status_file("g1", "vnet1", mac_of(1))
    host.ns.send_frame("vnet1-far", "52:54:00:bb:00:01")
    eventually(lambda: host.ns.port_of("52:54:00:bb:00:01") == "vnet1", "the bridge learns it")
    with host.daemon():
        line = next(line for line in host.log.splitlines() if "52:54:00:bb:00:01" in line)
        assert "is in use behind vnet1" in line
        assert host.ns.port_of("52:54:00:bb:00:01") == "vnet1"


def test_systemd_hears_when_it_is_ready_and_that_it_lives(host: House, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LONG)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "300000"}

        def until(word: str) -> None:
            while word not in manager.recv(4096).decode():
                pass

        with host.daemon(environment=environment) as daemon:
            until("READY=1")
            until("WATCHDOG=1")
            daemon.send_signal(signal.SIGHUP)
            until("RELOADING=1")
            until("READY=1")
            daemon.send_signal(signal.SIGTERM)
            until("STOPPING=1")
            assert daemon.wait(LONG) == 0


def test_observe_changes_nothing_anywhere(host: House) -> None:
    host.guest(1)
    with host.daemon("--observe"):
        assert "missing-entry" in host.audit()
        host.ns.bridge("link set dev vnet1 flood off")
        host.guest(2)
        eventually(lambda: "g2" in host.log, "it is seen")
        assert host.flags("vnet1") == (True, False)
        assert not host.managed(2)


def test_a_configuration_that_is_wrong_stops_no_daemon(watched: House) -> None:
    watched.config.write_text("[bridge.br0]\nmac_table_manger = 'libvirt'\n")
    pid = int(watched.status()["pid"])
    subprocess.run(["kill", "-HUP", str(pid)], check=True)
    eventually(lambda: "did you mean 'mac_table_manager'" in watched.log, "the mistake is told")
    watched.ns.bridge("link set dev vnet1 learning on")
    watched.config.write_text(MANAGED)  # for the audit, which is another process
    eventually(lambda: watched.managed(1), "it goes on with what it knew")


def test_a_daemon_with_an_older_configuration_does_not_undo_what_apply_made_by_the_new_one(host: House) -> None:
    host.config.write_text("# nothing yet\n")
    host.guest(1)
    with host.daemon():
        host.config.write_text(MANAGED)
        assert host.macmgr("apply").returncode == 0
        assert host.managed(1)
        host.guest(2)  # a reason to look
        told = "the configuration has changed since it was read"
        eventually(lambda: told in host.log, "it says why it leaves the port alone")
        assert host.managed(1)
        subprocess.run(["kill", "-HUP", str(host.status()["pid"])], check=True)
        eventually(lambda: host.managed(2), "it goes by the new one")
        assert host.managed(1)
        assert host.log.count(told) == 1


def test_libvirt_that_comes_later(host: House) -> None:
    """No /run/libvirt at the start: nothing to do, and nothing to complain of twice."""
    subprocess.run(host.command("rm", "-r", "/run/libvirt"), check=True)
    with host.daemon():
        mac = mac_of(1)
        host.ns.add_tap("vnet1")
        host.status_file("g1", "vnet1", mac)
        eventually(lambda: host.managed(1), "the guest is found")
        assert host.log.count("no such directory") == 1


def test_a_second_daemon_is_refused(watched: House) -> None:
    second = watched.macmgr("watch")
    assert second.returncode == 75
    assert len(second.stderr.splitlines()) == 1
    assert watched.status()["in_sync"]


def test_metrics_as_a_file_and_on_loopback(host: House) -> None:
    place = host.root / "macmgr.prom"
    host.ns.ip("link set lo up")
    host.config.write_text(MANAGED + f"[daemon]\nmetrics_file = '{place}'\nmetrics_port = 9177\n")
    host.guest(1)

    def asked() -> str:
        script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:9177/metrics').read().decode())"
        return subprocess.run(host.command(sys.executable, "-c", script), capture_output=True, text=True).stdout

    with host.daemon() as daemon:
        eventually(lambda: "macmgr_in_sync 1" in asked(), "the metrics on loopback")
        eventually(lambda: place.exists() and "macmgr_" in place.read_text(), "the metrics in the file")
        host.config.write_text(MANAGED)
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: not asked(), "the port is closed when the configuration says nothing of it any more")


def test_what_is_optional_and_cannot_be_had_is_told_and_left_out(host: House) -> None:
    host.config.write_text(MANAGED + "[daemon]\nmetrics_file = '/no/such/directory/m.prom'\nlibvirt_events = 'yes'\n")
    host.guest(1)
    with host.daemon():
        eventually(lambda: "metrics_file /no/such/directory/m.prom: No such file or directory" in host.log, "told")
        assert host.managed(1)


def test_status_and_audit_know_the_same_conflicts(host: House) -> None:
    """A network is edited while it is active: the daemon reports at once what an audit reports."""
    definition = host.root / "etc/libvirt/qemu/networks/lan.xml"
    status = host.root / "run/libvirt/network/lan.xml"
    for path in (definition, status):
        path.parent.mkdir(parents=True)
    network = "<network><name>lan</name><uuid>n</uuid><bridge name='br0' macTableManager='libvirt'/></network>"
    status.write_text(f"<networkstatus>{network}</networkstatus>")
    definition.write_text(network)
    where = ("--run-dir", str(host.root / "run/libvirt"))
    with host.daemon(*where):
        assert "conflicting-settings" not in host.status()["findings"]
        definition.with_suffix(".new").write_text(network.replace("'libvirt'", "'kernel'"))
        definition.with_suffix(".new").rename(definition)
        eventually(lambda: host.status()["findings"].get("conflicting-settings") == 1, "the daemon knows it")
        found = json.loads(host.macmgr("audit", "--json", *where).stdout)["findings"]
        assert dict(Counter(each["code"] for each in found)) == host.status()["findings"]
