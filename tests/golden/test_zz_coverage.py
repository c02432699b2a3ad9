"""The last word of the cases: every field, every option value and every finding code occurs in one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from macmgr.findings import Code
from macmgr.intent import NicFacts, Settings
from macmgr.options import OPTIONS
from macmgr.readers.domain import Domain, Nic
from macmgr.readers.network import Inherited, Network, NetworkPort
from tests.golden.case import Case
from tests.golden.test_golden import read_all

# What no case can bring about yet, each with its reason.
CANNOT_OCCUR = {
    Code.UPLINK_NO_UNICAST_FILTER: "told by `macmgr doctor`, which asks the device; a snapshot does not know it",
}

Records = list[Any]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return read_all(tmp_path_factory.mktemp("cases"))


def settings_by_place(cases: list[Case]) -> dict[str, list[Settings]]:
    """What the metadata of domains, interfaces and portgroups and the configuration say, in all cases."""
    metadata = [domain.metadata for case in cases for domain in case.domains]
    return {
        "the domain's metadata": [each.domain for each in metadata],
        "the interface's metadata": [says for each in metadata for says in each.interfaces.values()],
        "the portgroup's metadata": [
            says for case in cases for network in case.networks for says in network.metadata.values()
        ],
        "the configuration": [says for case in cases for says in case.config.bridges.values()],
    }


def records(cases: list[Case]) -> dict[type, Records]:
    domains = [domain for case in cases for domain in case.domains]
    networks = [network for case in cases for network in case.networks]
    inherited = [each for network in networks for each in (network.inherited, *network.portgroups.values())]
    return {
        Domain: domains,
        Nic: [nic for domain in domains for nic in domain.nics],
        Network: networks,
        Inherited: inherited,
        NetworkPort: [port for case in cases for port in case.ports],
        NicFacts: [guest.facts for case in cases for guest in case.view.intent.ports],
        Settings: [says for places in settings_by_place(cases).values() for says in places],
    }


def unexercised(record: type, found: Records) -> Iterable[str]:
    """The fields of a record that have their default in every case."""
    for field in fields(record):
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        silent = (None, "", (), {}) if default is MISSING else (default,)
        if all(getattr(each, field.name) in silent for each in found):
            yield f"{record.__name__}.{field.name}"


def test_every_field_is_exercised(cases: list[Case]) -> None:
    missing = [name for record, found in records(cases).items() for name in unexercised(record, found)]
    assert missing == []


def test_yes_and_no_are_exercised_where_both_can_be_said(cases: list[Case]) -> None:
    found = records(cases)
    for record, names in ((Nic, ("isolated", "trust")), (Inherited, ("isolated", "trust")), (NetworkPort, ("trust",))):
        for name in names:
            assert {getattr(each, name) for each in found[record]} == {True, False, None}, f"{record.__name__}.{name}"


def test_every_option_value_is_exercised_in_every_place(cases: list[Case]) -> None:
    missing = [
        f"{option.xml}='{word}' in {place}"
        for place, found in settings_by_place(cases).items()
        for option in OPTIONS
        for word, value in option.values.items()
        if not any(getattr(says, option.field) == value for says in found)
    ]
    assert missing == []


def test_allow_is_exercised_where_it_can_stand(cases: list[Case]) -> None:
    places = settings_by_place(cases)
    for place in ("the interface's metadata", "the portgroup's metadata", "the configuration"):
        assert any(says.allow for says in places[place]), place
    patterns = [pattern for found in places.values() for says in found for pattern in says.allow]
    assert {pattern.endswith(":*") for pattern in patterns} == {True, False}


def test_every_interface_type_is_exercised(cases: list[Case]) -> None:
    """libvirt's types (virDomainNetType), as asked for and as what became of them, and one it may have tomorrow."""
    nics = records(cases)[Nic]
    assert {nic.configured for nic in nics} == {
        *("network", "bridge", "ethernet", "direct", "hostdev", "vhostuser", "user", "vdpa", "server", "client"),
        *("mcast", "udp", "internal", "null", "vds", "tomorrow"),
    }
    assert {nic.kind for nic in nics if nic.configured == "network"} == {"network", "bridge", "direct", "hostdev"}


def test_every_finding_code_occurs_or_has_a_reason(cases: list[Case]) -> None:
    occurs = {finding.code for case in cases for finding in case.view.plan.findings}
    assert set(Code) - occurs == set(CANNOT_OCCUR)


def test_every_case_has_all_its_golden_files(cases: list[Case]) -> None:
    names = {"intent.json", "plan.txt", "audit.json", "audit.txt", "explain.txt", "snapshot.json"}
    here = Path(__file__).parent
    folders = [path for path in here.iterdir() if path.is_dir() and path.name != "__pycache__"]
    assert len(folders) == len(cases)
    for folder in folders:
        assert names <= {path.name for path in folder.iterdir()}, folder.name
