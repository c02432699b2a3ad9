"""libvirt's API by its test driver: a real libvirt that needs no daemon and no privilege."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from macmgr.errors import NotThere
from macmgr.model.findings import Code
from macmgr.policy.guests import metadata_findings
from macmgr.sources.hypervisor import (
    Hypervisor,
    connect,
    define_network,
    read_definition,
    read_guests,
    read_host,
    read_sources,
)

libvirt = pytest.importorskip("libvirt")

NIC = """<interface type='network'><mac address='52:54:00:aa:00:{number:02x}'/><source network='lan'/></interface>"""
DOMAIN = """<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'><name>{name}</name>
  <memory>1000</memory><os><type>hvm</type></os><devices>{nic}<graphics type='vnc' passwd='hunter2'/></devices>
  <test:runstate>{state}</test:runstate></domain>"""
NETWORKS = """
<network><name>lan</name><forward mode='bridge'/><bridge name='br0' macTableManager='libvirt'/>
  <metadata><macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1'>
    <macmgr:portgroup name='staff' manager='kernel'/></macmgr:macTable></metadata>
  <portgroup name='staff'/></network>
<network><name>home</name><forward mode='nat'/><bridge name='virbr0'/><ip address='192.168.9.1'/></network>"""
RUNNING, PAUSED, SHUTOFF = 1, 3, 5


def node(path: Path, *domains: tuple[str, int], networks: str = NETWORKS) -> str:
    """The URI of a host with these domains, in these states (virDomainState)."""
    texts = [
        DOMAIN.format(name=name, nic=NIC.format(number=number), state=state)
        for number, (name, state) in enumerate(domains, 1)
    ]
    file = path / "node.xml"
    file.write_text(f"<node>{''.join(texts)}{networks}</node>")
    return f"test://{file}"


@pytest.fixture
def hypervisor(tmp_path: Path) -> Iterator[Hypervisor]:
    """A host with two guests, of which one is paused, and two networks; the test driver forgets it afterwards."""
    with connect(node(tmp_path, ("web1", RUNNING), ("a b", PAUSED), ("off", SHUTOFF))) as hypervisor:
        yield hypervisor


def test_domains_and_networks_become_the_records_of_the_status_files(hypervisor: Hypervisor) -> None:
    """In the order of the status files' names; a domain that does not run is not there."""
    sources = read_sources(hypervisor)
    assert [(status.name, status.state, status.running) for status in sources.domains] == [
        ("a b", "paused", False),
        ("web1", "running", True),
    ]
    assert [(nic.mac, nic.network) for nic in sources.domains[1].nics] == [("52:54:00:aa:00:01", "lan")]
    assert [(network.name, network.bridge, network.manager) for network in sources.networks] == [
        ("home", "virbr0", ""),
        ("lan", "br0", "libvirt"),
    ]
    assert sources.networks[1].metadata.keys() == {"staff"}
    assert sources.findings == ()


def test_guests_are_read_alone_too(hypervisor: Hypervisor) -> None:
    assert [status.name for status in read_guests(hypervisor)] == ["a b", "web1"]


def test_a_guest_that_waits_for_its_migration_says_so() -> None:
    """Only that reason matters: libvirt's own entry for it comes to nothing."""

    class Incoming:
        def name(self) -> str:
            return "web1"

        def XMLDesc(self, flags: int) -> str:  # noqa: N802 (libvirt's name)
            return DOMAIN.format(name="web1", nic="", state=PAUSED)

        def state(self) -> list[int]:
            return [libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_MIGRATION]

    (status,) = read_guests(_with_domains(lambda: [Incoming()]))
    assert (status.state, status.reason) == ("paused", "migration")


@pytest.mark.parametrize("undefined", [False, True], ids=["it is defined still", "it is unknown"])
def test_a_domain_that_ends_while_it_is_read_is_not_there(hypervisor: Hypervisor, undefined: bool) -> None:
    def listed() -> list[Any]:
        domains = hypervisor.connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
        ended = next(domain for domain in domains if domain.name() == "web1")
        ended.destroy()
        if undefined:
            ended.undefine()
        return list(domains)

    assert [status.name for status in read_guests(_with_domains(listed))] == ["a b"]


def test_a_document_that_is_not_understood_is_a_finding_and_the_rest_goes_on(tmp_path: Path) -> None:
    wrong = NETWORKS.replace("manager='kernel'", "manager='kernal'")
    sources = read_host(node(tmp_path, ("web1", RUNNING), networks=wrong))
    assert [(network.name, bool(network.problem)) for network in sources.networks] == [("home", False), ("lan", True)]
    assert len(sources.domains) == 1
    (finding,) = metadata_findings(sources.networks, sources.findings)
    assert finding.code is Code.UNREADABLE_XML
    assert "network 'lan'" in finding.message
    assert "did you mean 'kernel'?" in finding.message


def test_no_password_is_asked_for(hypervisor: Hypervisor) -> None:
    """libvirt gives it with VIR_DOMAIN_XML_SECURE only, which a read-only connection may not even ask for."""
    domain = hypervisor.connection.lookupByName("web1")
    assert "hunter2" in domain.XMLDesc(libvirt.VIR_DOMAIN_XML_SECURE)
    assert "hunter2" not in domain.XMLDesc(0)
    assert "hunter2" not in repr(read_sources(hypervisor))


def test_an_inactive_network_has_its_definition_alone(hypervisor: Hypervisor) -> None:
    network = hypervisor.connection.networkLookupByName("lan")
    network.destroy()
    definition = read_definition(hypervisor, "lan")
    assert (definition.active, definition.transient) == ("", False)
    assert definition.persistent == network.XMLDesc(0)
    define_network(hypervisor, "lan", definition.persistent.replace("br0", "br7"))
    assert "<bridge name='br7'" in read_definition(hypervisor, "lan").persistent


def test_the_test_driver_shows_no_definition_of_an_active_network(hypervisor: Hypervisor) -> None:
    """It knows no VIR_NETWORK_XML_INACTIVE: nothing is guessed."""
    definition = read_definition(hypervisor, "lan")
    assert "<name>lan</name>" in definition.active
    assert (definition.persistent, definition.transient) == ("", False)
    assert read_sources(hypervisor).definitions == ()


def test_a_transient_network_has_no_definition(hypervisor: Hypervisor) -> None:
    hypervisor.connection.networkCreateXML("<network><name>now</name><bridge name='br5'/></network>")
    definition = read_definition(hypervisor, "now")
    assert (definition.persistent, definition.transient) == ("", True)


Failing = Callable[[], object]


@pytest.mark.parametrize(
    ("fails", "words"),
    [
        pytest.param(lambda: _opened("test://elsewhere/"), "cannot connect: ", id="no such host"),
        pytest.param(
            lambda: _opened("qemu+unix:///system?socket=/nowhere"), "Failed to connect socket", id="no daemon"
        ),
        pytest.param(lambda: _defined("<network/>"), "network 'n': missing name information", id="no name"),
        pytest.param(
            lambda: _defined(
                "<network><name>n</name><forward mode='vepa'/><bridge macTableManager='libvirt'/></network>"
            ),
            "bridge macTableManager setting not allowed in vepa mode",
            id="no table in this mode",
        ),
        pytest.param(lambda: _read("nix"), "network 'nix': Network not found", id="no such network"),
        pytest.param(lambda: read_host("qemu+ssh://h2/system"), "qemu+ssh://h2/system is another host", id="remote"),
    ],
)
def test_libvirts_words_come_in_one_line_with_the_uri(
    fails: Failing, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Exit code 69, and libvirt prints nothing by itself."""
    with pytest.raises(NotThere) as caught:
        fails()
    assert words in str(caught.value)
    assert "://" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_without_the_package_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "libvirt", None)
    with pytest.raises(NotThere, match=r"libvirt-python is not there .*python3-libvirt, or with pip macmgr\[libvirt\]"):
        _opened("test:///default")


def test_the_connection_is_closed() -> None:
    with connect("test:///default") as hypervisor:
        assert hypervisor.connection.isAlive()
    with pytest.raises(libvirt.libvirtError):
        hypervisor.connection.isAlive()


def _with_domains(listed: Callable[[], list[Any]]) -> Hypervisor:
    class Connection:
        def listAllDomains(self, flags: int) -> list[Any]:  # noqa: N802 (libvirt's name)
            return listed()

    return Hypervisor("test:///default", Connection())


def _opened(uri: str) -> None:
    with connect(uri):
        pass


def _defined(text: str) -> None:
    with connect("test:///default") as hypervisor:
        define_network(hypervisor, "n", text)


def _read(name: str) -> None:
    with connect("test:///default") as hypervisor:
        read_definition(hypervisor, name)
