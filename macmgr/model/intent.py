"""The intent: the bridge ports that libvirt's domains ask for, and what policy says of each.

Plain records between the readers and the policy, which fill them, and the planner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from macmgr.model.findings import Finding


class Manager(StrEnum):
    """The manager of a port's MAC table: the values of libvirt's ``macTableManager`` (since 1.2.11)."""

    KERNEL = "kernel"
    LIBVIRT = "libvirt"


class Pin(StrEnum):
    """sticky: no frame seen elsewhere moves the entry. static: one can.

    auto is one of the two, by what else is on the bridge: `macmgr.planning.entryform`.
    """

    AUTO = "auto"
    STICKY = "sticky"
    STATIC = "static"


class GuestMac(StrEnum):
    """The answer to a MAC change inside the guest: the entry follows, or it is reported, or ignored."""

    FOLLOW = "follow"
    ALERT = "alert"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that one place (metadata, portgroup, configuration) sets for a NIC; None where it is silent.

    ``allow`` holds further MACs of the NIC, and prefix patterns (``00:00:5e:00:01:*``).
    """

    manager: Manager | None = None
    pin: Pin | None = None
    lock: bool | None = None
    guest_mac: GuestMac | None = None
    allow: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the precedence: where it looks, and what it found there."""

    place: str
    says: Settings


@dataclass(frozen=True, slots=True)
class Policy:
    """The answer of the precedence for one NIC. ``steps`` are all that were asked, in order, for `explain`.

    The first step that names a manager decides it (``reason`` is its place); each other option is decided by the
    first step that names it, and ``allow`` holds what all of them allow.
    ``problem`` says what is not understood of a place that was to be asked: then the port is left as it is.
    ``incomplete``: a place that might have said otherwise is not there now, the NIC's network or the configuration.
    Then the port stays as macmgr made it or found it (`macmgr.planning.closing`).
    """

    manager: Manager = Manager.KERNEL
    reason: str = "nothing asks for it: the kernel manages by default"
    pin: Pin = Pin.AUTO
    lock: bool = False
    guest_mac: GuestMac = GuestMac.ALERT
    allow: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    problem: str = ""
    incomplete: bool = False

    def place_of(self, option: str) -> str:
        """The place of the step that decided an option; empty where it is a default."""
        return next((step.place for step in self.steps if getattr(step.says, option) not in (None, ())), "")

    def place_that_allows(self, mac: str) -> str:
        """The place of the step that allows an exact address; empty where none does."""
        return next((step.place for step in self.steps if mac in step.says.allow), "")


@dataclass(frozen=True, slots=True)
class Vlan:
    """A NIC's ``<vlan>``: its tags, and the native one, whose frames the guest sends untagged.

    It gets them untagged too, unless they are ``native_tagged``.
    """

    vids: tuple[int, ...]
    native: int | None = None
    trunk: bool = False
    native_tagged: bool = False


@dataclass(frozen=True, slots=True)
class NicFacts:
    """The XML's word on a NIC, as far as it can conflict with the policy.

    ``vlan_live`` and ``isolated_live``: the live XML of the NIC, or its network port, says so itself, and so libvirt
    has set it on the port; what only the network says may have come later.
    ``configured_mac`` is the address its ``<mac>`` gives it, ``current_mac`` the one that the guest uses now.
    ``said_mac`` is libvirt's ``currentAddress`` where that is another (11.2.0); a status file has it as it was when
    libvirt last saved it.
    """

    vlan: Vlan | None = None
    vlan_live: bool = False
    isolated: bool = False
    isolated_live: bool = False
    trust: bool = False
    filter: str = ""
    teaming: str = ""
    configured_mac: str = ""
    current_mac: str = ""
    said_mac: str = ""


@dataclass(frozen=True, slots=True)
class GuestPort:
    """A bridge port that a domain's NIC has, or will have, and what is wanted of it.

    ``macs`` begins with the NIC's own address; the others are allowed ones. Those that nobody wrote down, and that are
    here because they were seen, are ``roaming``: their entries are plain static ones, whatever the pin, for they may
    turn up elsewhere (docs/adr/0009). ``moved`` are addresses that were seen here and have turned up elsewhere since,
    or had to make room: no static entry of theirs is to stay. ``state`` is libvirt's word for the domain; ``running``
    whether its CPUs run *here*, the only case in which its MACs may have entries. ``entry_comes`` says that somebody
    puts the NIC's entry when the CPUs start (libvirt for its own managed NICs).
    """

    port: str
    bridge: str
    domain: str
    uuid: str
    macs: tuple[str, ...]
    alias: str = ""
    network: str = ""
    portgroup: str = ""
    state: str = "running"
    running: bool = True
    entry_comes: bool = False
    policy: Policy = field(default_factory=Policy)
    facts: NicFacts = field(default_factory=NicFacts)
    roaming: tuple[str, ...] = ()
    moved: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """By what tells guests' ports apart: the planner keeps them in tables, and a policy is long to hash."""
        return hash((self.port, self.bridge, self.domain))

    @property
    def may_wait_closed(self) -> bool:
        """The port may be closed before the CPUs run: all that it needs comes with them.

        libvirt puts the address that its XML has, and no allowed or changed one: such a port would be closed without
        an entry, and stays open.
        """
        known = not self.facts.configured_mac or self.macs[0] == self.facts.configured_mac
        return self.entry_comes and known and len(self.macs) == 1

    @property
    def managed(self) -> bool:
        return self.policy.manager is Manager.LIBVIRT

    @property
    def frozen(self) -> bool:
        """The port is managed and stays as it is, because the NIC's network is not active."""
        return self.managed and self.policy.incomplete


@dataclass(frozen=True, slots=True)
class PortlessNic:
    """A NIC that has no port on a Linux bridge of this host, and why."""

    domain: str
    mac: str
    kind: str
    why: str
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """All that is wanted on this host.

    ``managed_bridges`` maps a bridge to the reason why it is managed. ``named`` are all bridges that the configuration
    names, patterns aside. ``findings`` are what reading the sources found. ``gone_domains`` are those that have left
    this host by the word of a hook call, ``gone_ports`` the ports of theirs that their status files still have, as
    managed ones of running guests.
    """

    ports: tuple[GuestPort, ...] = ()
    managed_bridges: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    portless: tuple[PortlessNic, ...] = ()
    named: tuple[str, ...] = ()
    gone_domains: tuple[str, ...] = ()
    gone_ports: tuple[GuestPort, ...] = ()
