"""A network that is active with other settings than its definition has: told, with both, from files alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from macmgr.model.findings import Code, Severity, fix_of
from macmgr.planning.conflicts import definition_findings
from macmgr.readers.network import Network
from macmgr.sources.statusfiles import StatusFiles

NETWORK = "<network><name>{name}</name>{inside}<forward mode='{mode}'/><bridge name='br0'{attribute}/></network>"
STAFF = """<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1'>
  <m:portgroup name='staff' lock='yes'/></m:macTable></metadata>"""
LIBVIRT, KERNEL = " macTableManager='libvirt'", " macTableManager='kernel'"


def network(name: str = "lan", attribute: str = "", inside: str = "", mode: str = "bridge") -> str:
    return NETWORK.format(name=name, attribute=attribute, inside=inside, mode=mode)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A copy of a host's directories, without networks."""
    for directory in ("run/libvirt/network", "etc/libvirt/qemu/networks"):
        (tmp_path / directory).mkdir(parents=True)
    return tmp_path


def write(host: Path, active: str, definition: str, name: str = "lan") -> None:
    status = f"<networkstatus>{active}</networkstatus>"
    (host / f"run/libvirt/network/{name}.xml").write_text(status)
    (host / f"etc/libvirt/qemu/networks/{name}.xml").write_text(f"<!-- do not edit -->\n{definition}")


def messages(host: Path) -> list[str]:
    return [finding.message for finding in definition_findings(*both(host))]


def both(host: Path) -> tuple[tuple[Network, ...], tuple[Network, ...]]:
    state = StatusFiles(host / "run/libvirt").read()
    return state.networks, state.definitions


def test_another_attribute_waits_for_the_next_start(host: Path) -> None:
    write(host, network(), network(attribute=LIBVIRT))
    (finding,) = definition_findings(*both(host))
    assert (finding.code, finding.severity, finding.bridge) == (
        Code.CONFLICTING_SETTINGS,
        Severity.WARNING,
        "br0",
    )
    assert finding.message == (
        "network lan is active with macTableManager kernel, but its definition says libvirt: the definition takes "
        "effect at the next start"
    )
    assert fix_of(finding).text == (
        "see first who would be cut off by VLAN filtering: 'macmgr doctor br0'; then virsh net-destroy lan && virsh "
        "net-start lan"
    )
    write(host, network(attribute=LIBVIRT), network())
    (finding,) = definition_findings(*both(host))
    assert fix_of(finding).text == "virsh net-destroy lan && virsh net-start lan"


def test_restarting_a_bridge_of_libvirts_own_costs_the_guests_their_connection(host: Path) -> None:
    write(host, network("my net", LIBVIRT, mode="nat"), network("my net", mode="nat"), "my net")
    (finding,) = definition_findings(*both(host))
    assert fix_of(finding).text == (
        "virsh net-destroy 'my net' && virsh net-start 'my net'  # cuts its guests off until their NICs are plugged "
        "again"
    )


def test_other_metadata_waits_too(host: Path) -> None:
    write(host, network(attribute=LIBVIRT), network(attribute=LIBVIRT, inside=STAFF))
    assert messages(host) == [
        "network lan is active with other policy for its portgroups than its definition has in <metadata>: the "
        "definition takes effect at the next start"
    ]


def test_the_default_is_the_kernel(host: Path) -> None:
    """macTableManager='kernel' and no attribute at all are one setting."""
    write(host, network(), network(attribute=KERNEL))
    assert messages(host) == []


@pytest.mark.parametrize("definition", ["", "<network><name>lan</name>", "<domain/>", "\0", "<network/>"])
def test_a_definition_that_is_not_understood_is_passed_over(host: Path, definition: str) -> None:
    write(host, network(), network())
    (host / "etc/libvirt/qemu/networks/lan.xml").write_text(definition)
    assert messages(host) == []


def test_a_transient_network_and_a_host_without_definitions(host: Path) -> None:
    write(host, network(), network())
    (host / "etc/libvirt/qemu/networks/lan.xml").unlink()
    assert messages(host) == []
    (host / "etc/libvirt/qemu/networks").rmdir()
    assert messages(host) == []


def test_no_file_elsewhere_is_read(host: Path) -> None:
    """A name is not a path, whatever a status file says."""
    write(host, network("../../secret"), network())
    (host / "etc/libvirt/secret.xml").write_text(network("../../secret", LIBVIRT))
    assert messages(host) == []


def test_the_definitions_are_found_from_a_linked_run_directory(host: Path) -> None:
    """/var/run is a link to /run."""
    write(host, network(), network(attribute=LIBVIRT))
    (host / "var").mkdir()
    (host / "var/run").symlink_to(host / "run")
    state = StatusFiles(host / "var/run/libvirt").read()
    assert len(list(definition_findings(state.networks, state.definitions))) == 1


def test_a_mistake_in_the_definition_alone_is_told_before_it_acts(host: Path) -> None:
    """libvirt starts the network with it; then the ports of its guests would be left as they are."""
    text = network(attribute=LIBVIRT, inside=STAFF)
    write(host, text, text.replace("lock='yes'", "lock='yess'"))
    assert messages(host) == [
        "network lan is active with policy for its portgroups, but its definition has a mistake in <metadata>: the "
        "definition takes effect at the next start"
    ]


@pytest.mark.parametrize("slip", [("lock='yes'", "lock='yess'"), ("libvirt'/>", "libvird'/>")])
def test_a_network_that_is_not_understood_is_compared_with_nothing(host: Path, slip: tuple[str, str]) -> None:
    """What it says of its manager may be nothing but what stands for what could not be read."""
    text = network(attribute=LIBVIRT, inside=STAFF)
    assert text != text.replace(*slip)
    write(host, text.replace(*slip), text)
    assert StatusFiles(host / "run/libvirt").read().networks[0].problem
    assert messages(host) == []
