"""What --domain, --bridge and --network name is shown, counted and judged, and nothing else; no verdict on nothing."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from tests.cli.conftest import Host
from tests.cli.test_verbs import SCHEMA

on = pytest.mark.case
IN_SYNC, DRIFT = 0, 1


def document(host: Host, *words: str) -> dict[str, Any]:
    found = json.loads(host.macmgr("audit", "--json", *words).stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(found)
    return dict(found)


def shown(host: Host, verb: str, *words: str) -> list[str]:
    """The ports in the tree."""
    lines = host.macmgr(verb, *words).stdout.splitlines()
    return [line.split()[1] for line in lines if line.startswith((" ├─", " └─"))]


@on("drift")
def test_one_domain_of_a_host_with_drift(host: Host) -> None:
    """web2, which has no entry, is not in the answer about web1, nor is the uplink; neither is counted."""
    said = host.macmgr("audit", "--domain", "web1")
    assert said.code == DRIFT
    assert "web2" not in said.stdout
    assert said.stdout.splitlines()[0] == (
        "Nobody is cut off. 'macmgr apply --domain=web1' fixes both errors; 1 warning. "
        "1 guest can be cut off by one frame from the LAN: web1."
    )
    for verb in ("audit", "show"):
        assert shown(host, verb, "--domain", "web1") == ["vnet0"]
        assert shown(host, verb, "--domain", "web3") == ["vnet2", "vnet3"]
    found = document(host, "--domain", "web1")
    assert [(bridge["name"], len(bridge["ports"])) for bridge in found["bridges"]] == [("br0", 1)]
    assert found["summary"] == {"bridges": 1, "ports": 1, "managed": 1, "error": 2, "warning": 1, "info": 0}
    assert {finding["domain"] for finding in found["findings"]} == {"web1"}


@on("drift")
def test_a_domain_that_is_well_beside_one_that_is_not(host: Host) -> None:
    """It is in sync, and its neighbour shows no ok that was not looked at."""
    assert host.macmgr("apply", "--domain", "web1").code == IN_SYNC
    said = host.macmgr("audit", "--domain", "web1")
    assert (said.code, said.stdout.splitlines()[0]) == (
        IN_SYNC,
        "In sync: 1 managed port, 0 errors, 0 warnings, 0 info.",
    )
    assert said.stdout.count(" ok") == 1
    assert document(host, "--domain", "web1")["in_sync"] is True
    assert document(host)["in_sync"] is False


@on("observed-host")
def test_one_bridge_of_two(host: Host) -> None:
    host.config.write_text('[bridge."br-*"]\nmac_table_manager = "libvirt"\n')
    managed, other = host.macmgr("audit", "--bridge", "br-a"), host.macmgr("audit", "--bridge", "br0")
    assert (managed.code, "web1" in managed.stdout, "br0" in managed.stdout) == (IN_SYNC, False, False)
    assert (other.code, "web2" in other.stdout, "br-a" in other.stdout) == (DRIFT, False, False)
    for words in (("--bridge", "br0"), ("--network", "lan")):
        found = document(host, *words)
        assert [bridge["name"] for bridge in found["bridges"]] == ["br0"]
        assert found["summary"]["managed"] == 1
        assert found["verdict"] == "drift"
    found = document(host, "--bridge", "br-a", "--domain", "web2")
    assert [port["domain"] for bridge in found["bridges"] for port in bridge["ports"]] == ["web2"]
    assert document(host, "--bridge", "br-a", "--domain", "web1")["bridges"] == []


@on("configuration")
def test_a_domain_on_two_bridges(host: Host) -> None:
    """Both of its bridges are shown with its own ports; a bridge beside the domain narrows that."""
    view = document(host)
    of_domain: dict[str, set[str]] = {}
    for bridge in view["bridges"]:
        for port in bridge["ports"]:
            if port["domain"]:
                of_domain.setdefault(port["domain"], set()).add(bridge["name"])
    assert max(len(bridges) for bridges in of_domain.values()) > 1
    for domain, bridges in of_domain.items():
        found = document(host, "--domain", domain)
        assert {bridge["name"] for bridge in found["bridges"]} == bridges
        assert {port["domain"] for bridge in found["bridges"] for port in bridge["ports"]} == {domain}
        assert {finding["domain"] for finding in found["findings"]} <= {domain}


@on("types-without-a-port")
def test_nics_without_a_port_are_a_domains_and_no_bridges(host: Host) -> None:
    assert document(host)["portless"]
    assert document(host, "--bridge", "br0")["portless"] == []
    assert {nic["domain"] for nic in document(host, "--domain", "every")["portless"]} == {"every"}


@on("unreadable-files")
def test_a_file_of_another_domain_is_outside_of_a_domains_scope(host: Host) -> None:
    every = document(host)["findings"]
    names = {finding["domain"] for finding in every if finding["code"] == "unreadable-xml"}
    assert names
    for name in filter(None, names):
        assert {finding["domain"] for finding in document(host, "--domain", name)["findings"]} == {name}
    assert document(host, "--bridge", "br0")["findings"] == [each for each in every if each["bridge"] in (None, "br0")]


@on("nothing-managed")
def test_nothing_managed_is_said_in_words(host: Host) -> None:
    said = host.macmgr("audit")
    assert (said.code, said.stdout) == (
        IN_SYNC,
        "Nothing is managed here: 2 guests on br0, virbr0 are left to the kernel. "
        "'macmgr show' lists bridges and guests.\n",
    )
    found = document(host)
    assert (found["in_sync"], found["verdict"]) == (True, "nothing-managed")
    assert [(each["code"], each["severity"]) for each in found["findings"]] == [("nothing-managed", "info")]
    for words, who in ((("--domain", "web1"), "web1 on br0"), (("--bridge", "virbr0"), "web2 on virbr0")):
        said = host.macmgr("audit", *words)
        assert said.stdout.startswith(f"Nothing is managed in what was asked about: {who} is left to the kernel. ")
        assert (document(host, *words)["verdict"], document(host, *words)["findings"]) == ("nothing-managed", [])
    for verb in ("plan", "apply"):
        assert "In sync" not in host.macmgr(verb).stdout
        assert "Nothing is managed here: 2 guests" in host.macmgr(verb).stdout


@on("kernel-managed-beside")
def test_a_domain_that_is_left_to_the_kernel_on_a_managed_bridge(host: Host) -> None:
    kernels = [
        port["domain"]
        for bridge in document(host)["bridges"]
        for port in bridge["ports"]
        if bridge["managed"] and port["manager"] == "kernel"
    ]
    assert kernels
    said = host.macmgr("audit", "--domain", kernels[0])
    assert "In sync" not in said.stdout
    assert f"Nothing is managed in what was asked about: {kernels[0]} on br0 is left to the kernel." in said.stdout
    assert document(host, "--domain", kernels[0])["verdict"] == "nothing-managed"


@on("no-such-bridge")
def test_a_bridge_that_is_not_here_is_told_with_what_was_meant(host: Host) -> None:
    host.config.write_text('[bridge."brq1243"]\nmac_table_manager = "libvirt"\n')
    said = host.macmgr("audit")
    assert said.code == IN_SYNC
    assert "; did you mean brq1234?" in said.stdout
    assert "Nothing is managed here: web1 on brq1234 is left" in said.stdout
    assert host.macmgr("audit", "--strict").code == DRIFT
    assert "no-such-bridge" not in host.macmgr("audit", "--domain", "web1").stdout
    host.config.write_text('[bridge."brq*"]\nmac_table_manager = "libvirt"\n')
    said = host.macmgr("audit")
    assert (said.code, "no-such-bridge" in said.stdout) == (DRIFT, False)
    assert 'managed ([bridge."brq*"] in the configuration)' in said.stdout


@on("observed-host")
def test_everything_observed_is_not_called_in_sync(host: Host) -> None:
    """It drifts, exit code 1, and nobody is told to run what would change nothing."""
    host.config.write_text('[defaults]\nmode = "observe"\n')
    said = host.macmgr("audit")
    assert said.code == DRIFT
    assert said.stdout.splitlines()[0] == (
        "br0 is only observed: 2 changes would be made ('macmgr plan'); nobody is cut off now."
    )
    assert "only observed (network lan: macTableManager)" in said.stdout
    found = document(host)
    assert (found["in_sync"], found["verdict"]) == (False, "drift")
    assert {bridge["name"]: bridge["observed"] for bridge in found["bridges"]} == {"br-a": False, "br0": True}
    assert host.macmgr("apply").code == DRIFT
    assert host.kernel.sent == []
    assert host.macmgr("apply", "--bridge", "br0").code == IN_SYNC
    said = host.macmgr("audit")
    assert (said.code, said.stdout.splitlines()[0]) == (
        IN_SYNC,
        "br0 is only observed: nothing would be changed; nobody is cut off now.",
    )
    assert document(host)["verdict"] == "observed"
    assert "br0 is only observed" in host.macmgr("explain", "vnet0").stdout
    assert "only observed (network lan: macTableManager)" in host.macmgr("doctor", "br0").stdout


@on("observed-host")
def test_naming_the_network_is_not_naming_the_bridge(host: Host) -> None:
    """apply --network lan acts by what the configuration says."""
    said = host.macmgr("apply", "--network", "lan")
    assert (said.code, host.kernel.sent) == (DRIFT, [])
    commands = json.loads(host.macmgr("plan", "--json").stdout)
    assert (len(commands["commands"]), len(commands["observed"])) == (0, 2)
    commands = json.loads(host.macmgr("plan", "--json", "--bridge", "br0").stdout)
    assert (len(commands["commands"]), len(commands["observed"])) == (2, 0)


@on("at-risk")
@pytest.mark.parametrize(("words", "code"), [((), IN_SYNC), (("--strict",), DRIFT)])
def test_an_entry_that_one_frame_can_move_is_not_ok(host: Host, words: tuple[str, ...], code: int) -> None:
    said = host.macmgr("audit", *words)
    assert said.code == code
    rows = {line.split()[1]: line.rstrip() for line in said.stdout.splitlines() if line.startswith((" ├─", " └─"))}
    assert rows["vnet0"].endswith(" at risk")
    assert rows["vnet1"].endswith(" ok")
    assert said.stdout.splitlines()[0].startswith("At risk: 2 managed ports, ")
    assert (document(host)["in_sync"], document(host)["verdict"]) == (True, "at-risk")
    assert document(host, "--domain", "web2")["verdict"] == "in-sync"
    host.config.write_text('[bridge.br0]\npin = "static"\n')
    said = host.macmgr("audit", "--domain", "web1")
    assert "In sync: 1 managed port" in said.stdout, "nobody is warned of what was asked for"
