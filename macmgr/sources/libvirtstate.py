"""libvirt's state on one host. Status files and API fill the same record, so one pipeline follows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from macmgr import virsh
from macmgr.model.findings import Code, Finding
from macmgr.readers.domain import DomainStatus
from macmgr.readers.network import Network, NetworkPort


@dataclass(frozen=True, slots=True)
class LibvirtState:
    """The running domains, the active networks and their ports by uuid.

    ``definitions`` are the persistent definitions of the active networks, which hold from their next start on. A
    document that macmgr does not understand becomes a finding, and reading goes on. Such a network keeps its name and
    problem: its NICs are known, and their policy is not.
    """

    domains: tuple[DomainStatus, ...] = ()
    networks: tuple[Network, ...] = ()
    findings: tuple[Finding, ...] = ()
    ports: Mapping[str, NetworkPort] = field(default_factory=dict)
    definitions: tuple[Network, ...] = ()


def unread_network(name: str, problem: str) -> Network:
    """Returns the stand-in for a network whose document is not understood."""
    return Network(name, "", problem=problem)


def metadata_findings(networks: Iterable[Network], reported: Iterable[Finding]) -> Iterator[Finding]:
    """Reports networks whose metadata alone is not understood. ``reported`` already reports the wholly unread ones."""
    known = {finding.message for finding in reported}
    for network in networks:
        if network.problem and network.problem not in known:
            yield Finding(
                Code.UNREADABLE_XML,
                f"{network.problem}; until that is mended, the ports of network {network.name} are left as they are",
                network.bridge,
                mends=(virsh.edit_network_metadata(network.name),),
                note="and again with --config; "
                f"before libvirt 9.7: {virsh.shown(virsh.edit_network(network.name))}, and a restart of the network",
            )
