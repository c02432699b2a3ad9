"""What should be: the bridge ports that libvirt's domains ask for, and what policy says of each.

Plain records between the readers and the policy, which fill them, and the planner. DESIGN, section 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from macmgr.findings import Finding


class Manager(StrEnum):
    """Who manages the MAC table of a port: the values of libvirt's ``macTableManager`` (since 1.2.11)."""

    KERNEL = "kernel"
    LIBVIRT = "libvirt"


class Pin(StrEnum):
    """sticky: no frame seen elsewhere moves the entry. static: one can (for hosts that run EVPN)."""

    STICKY = "sticky"
    STATIC = "static"


@dataclass(frozen=True, slots=True)
class Policy:
    """The answer of the precedence for one NIC, and which step gave it."""

    manager: Manager = Manager.KERNEL
    reason: str = "nothing asks for it: the kernel manages by default"
    pin: Pin = Pin.STICKY
    lock: bool = False


@dataclass(frozen=True, slots=True)
class BridgePolicy:
    """What the configuration says of the guest ports on one bridge; ``manager`` None where it is silent."""

    manager: Manager | None = None
    pin: Pin = Pin.STICKY


@dataclass(frozen=True, slots=True)
class GuestPort:
    """A bridge port that a domain's NIC has, or will have, and what is wanted of it.

    ``state`` is libvirt's word for the domain; ``running`` whether its CPUs run *here*, the only case in which
    its MAC may have an entry. ``entry_comes`` says that somebody puts the entry when the CPUs start (libvirt
    for its own managed NICs): without that, and without an entry, the port stays open.
    """

    port: str
    bridge: str
    domain: str
    uuid: str
    macs: tuple[str, ...]
    alias: str = ""
    state: str = "running"
    running: bool = True
    entry_comes: bool = False
    policy: Policy = Policy()

    @property
    def managed(self) -> bool:
        return self.policy.manager is Manager.LIBVIRT


@dataclass(frozen=True, slots=True)
class Intent:
    """All that is wanted on this host.

    ``managed_bridges`` maps a bridge to the reason why it is managed. ``departed`` maps the MACs of guests that
    have just left this host to their domain: a static entry for one of them is stale. ``findings`` are what
    reading the sources found.
    """

    ports: tuple[GuestPort, ...] = ()
    managed_bridges: Mapping[str, str] = field(default_factory=dict)
    departed: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
