"""What libvirt says of one host, whether its status files or its API were asked: one record, one pipeline after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from macmgr.findings import Finding
from macmgr.readers.domain import DomainStatus
from macmgr.readers.network import Network, NetworkPort


@dataclass(frozen=True, slots=True)
class Sources:
    """The domains that run, the active networks and their ports by uuid.

    ``definitions`` are the persistent definitions of the active networks, which hold from their next start on.
    A document that is not understood becomes a finding, and the rest goes on.
    """

    domains: tuple[DomainStatus, ...] = ()
    networks: tuple[Network, ...] = ()
    findings: tuple[Finding, ...] = ()
    ports: Mapping[str, NetworkPort] = field(default_factory=dict)
    definitions: tuple[Network, ...] = ()
