"""The last word of the cases: every field, every option value and every finding code occurs in one of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import pytest

from macmgr.config import AUDIT_NAMES, DAEMON_NAMES, HOOK_NAMES, Config, DaemonSettings, HookSettings
from macmgr.model.findings import Code
from macmgr.model.intent import NicFacts, Policy, PortlessNic, Settings, Vlan
from macmgr.options import OPTIONS
from macmgr.readers.domain import STATES, Domain, Nic
from macmgr.readers.network import Inherited, Network, NetworkPort
from tests.golden.case import CASES, Case
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
        "the domain's metadata": [each[""] for each in metadata if "" in each],
        "the interface's metadata": [says for each in metadata for mac, says in each.items() if mac],
        "the portgroup's metadata": [
            says for case in cases for network in case.networks for says in network.metadata.values()
        ],
        "the configuration": [says for case in cases for says in case.config.bridges.values()],
    }


def records(cases: list[Case]) -> dict[type, Records]:
    domains = [domain for case in cases for domain in case.domains]
    networks = [network for case in cases for network in case.networks]
    inherited = [each for network in networks for each in (network.inherited, *network.portgroups.values())]
    holders: Records = [*(nic for domain in domains for nic in domain.nics), *inherited]
    return {
        Domain: domains,
        Vlan: [vlan for holder in holders for vlan in (holder.vlan,) if vlan is not None],
        Policy: [guest.policy for case in cases for guest in case.view.intent.ports],
        PortlessNic: [nic for case in cases for nic in case.view.intent.portless],
        Config: [case.config for case in cases],
        HookSettings: [case.config.hook for case in cases],
        DaemonSettings: [case.config.daemon for case in cases],
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


def test_what_no_case_exercises_is_named() -> None:
    """The test before this one can fail, for each field of each record."""
    assert [*unexercised(DaemonSettings, [DaemonSettings()])] == [
        f"DaemonSettings.{field.name}" for field in fields(DaemonSettings)
    ]
    assert [*unexercised(Vlan, [Vlan((1, 2), trunk=True), Vlan((3,))])] == ["Vlan.native", "Vlan.native_tagged"]
    assert [*unexercised(Domain, [Domain("d", "", "qemu", ())])] == [
        f"Domain.{field}" for field in ("uuid", "nics", "metadata", "problem", "state", "reason", "pid")
    ]


def test_every_table_of_the_configuration_is_in_a_case(cases: list[Case]) -> None:
    """The names of the options are those of the fields, so an option without a field is seen here."""
    assert {field.name for field in fields(DaemonSettings)} == set(DAEMON_NAMES)
    texts = [(folder / "config.toml").read_text() for folder in CASES if (folder / "config.toml").exists()]
    for name in (*HOOK_NAMES, *DAEMON_NAMES, *AUDIT_NAMES, "mode", *(option.toml for option in OPTIONS)):
        assert any(f"\n{name} = " in text for text in texts), name


def test_every_state_of_a_domain_is_exercised(cases: list[Case]) -> None:
    """All but shutoff, which no status file says: libvirt removes it."""
    states = {guest.state for case in cases for guest in case.view.intent.ports}
    assert {*STATES, "unknown", "starting"} - states <= {"shutoff"}


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
