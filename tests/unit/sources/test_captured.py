"""What a real libvirtd (9.0.0, captured by tests/captured/capture.py) gives to hooks and keeps in its status files."""

import os
from pathlib import Path

import pytest

from macmgr.model.intent import GuestPort
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.domain import Domain
from macmgr.readers.hookdata import read_hook_input
from macmgr.sources.statusfiles import LibvirtState, StatusFiles, directories

CAPTURED = Path(__file__).parents[2] / "captured" / "libvirt-9.0.0"
HOOKS = sorted((CAPTURED / "hooks").glob("*.xml"))
MACS = ("52:54:00:aa:00:01", "52:54:00:aa:00:02", "52:54:00:aa:00:03")


def _hook_domain(operation: str) -> Domain:
    path = next(path for path in HOOKS if path.stem.endswith(operation))
    domain = read_hook_input(path.stem.split("-")[1], path.read_bytes()).domain
    assert domain is not None
    return domain


def _status(moment: str) -> LibvirtState:
    sources = StatusFiles(CAPTURED / f"status-{moment}").read()
    assert sources.findings == ()
    return sources


@pytest.mark.parametrize("path", HOOKS, ids=lambda path: path.stem)
def test_every_hook_input_is_understood(path: Path) -> None:
    """Its subject is found: a domain, or a network with the port in question; nothing for the daemon's hook."""
    _, driver, operation = path.stem.split("-", 2)
    given = read_hook_input(driver, path.read_bytes())
    if driver == "daemon":
        assert path.read_bytes() == b""
        return
    if driver == "network":
        assert given.network is not None
        assert (given.network.name, given.network.bridge, given.network.manager) == ("lan", "br0", "libvirt")
        assert (given.port is not None) == operation.startswith("port-")
        return
    assert given.domain is not None
    assert given.domain.driver == driver
    assert given.domain.name == ("g one" if driver == "qemu" else "c1")


def test_the_inactive_forms_have_the_macs_and_no_tap() -> None:
    """prepare, stopped and release: what is known of a guest that is not here yet, or not any more."""
    for operation in ("qemu-prepare", "qemu-stopped", "qemu-release"):
        assert [(nic.mac, nic.tap) for nic in _hook_domain(operation).nics] == [(mac, "") for mac in MACS]


def test_live_form_and_status_form_of_a_nic_are_one_record() -> None:
    """A NIC of a managed host bridge reads type='bridge' in the hook and type='network' with <actual> in the file."""
    live = _hook_domain("qemu-started")
    (status,) = _status("running").domains
    keep = ("mac", "kind", "bridge", "network", "portgroup", "tap", "alias", "manager", "port_id")
    assert [[getattr(nic, name) for name in keep] for nic in live.nics] == [
        [getattr(nic, name) for name in keep] for nic in status.nics
    ]
    assert live.metadata == status.metadata


def test_states() -> None:
    """Only a guest whose CPUs run is running: not a suspended one, not one started with --paused."""
    states = {moment: _status(moment).domains[0] for moment in ("running", "suspended", "paused", "container")}
    assert {moment: status.running for moment, status in states.items()} == {
        "running": True,
        "suspended": False,
        "paused": False,
        "container": True,
    }
    assert states["container"].driver == "lxc"


def test_the_policy_of_the_captured_guest() -> None:
    """Network, portgroup, metadata and plain bridge, each decided where it should be."""
    ports = {port.macs[0]: port for port in _intent_ports("running")}
    first, second, third = (ports[mac] for mac in MACS)
    assert (first.policy.manager, first.policy.reason) == ("libvirt", "network lan: macTableManager")
    assert first.policy.lock
    assert first.portgroup == "staff"
    assert first.facts.trust
    assert first.entry_comes
    assert second.policy.manager == "kernel"
    assert second.policy.reason == f"domain g one: <macmgr:interface mac='{MACS[1]}'>"
    assert (second.portgroup, second.facts.trust) == ("guests", False)
    assert third.policy.manager == "kernel"
    assert not third.entry_comes


def test_trust_is_read_from_the_network_port() -> None:
    """Where the network no longer says so, the port still knows what was resolved when the NIC was plugged."""
    sources = _status("running")
    ports = {port.mac: port for port in sources.ports.values()}
    assert (ports[MACS[0]].trust, ports[MACS[1]].trust) == (True, None)


def _intent_ports(moment: str) -> list[GuestPort]:
    sources = _status(moment)
    domains: tuple[Domain, ...] = sources.domains
    return list(build_intent(domains, PolicySources(sources.networks, {}, sources.ports)).ports)


def test_what_is_read_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of this host trusts somebody: else its ports would be watched and not read."""
    run_dir, read = CAPTURED / "status-running", set()
    listdir = os.listdir

    def listed(path: str | Path) -> list[str]:
        read.add(Path(path))
        return listdir(path)

    monkeypatch.setattr(os, "listdir", listed)
    StatusFiles(run_dir).read()
    watched = {each.path for each in directories(run_dir) if each.files}
    assert read == watched
    assert run_dir / "network/lan/ports" in read
