"""The intent: the bridge ports that libvirt's domains ask for, each with its policy; and the part of it asked about.

Plain records: the readers and the policy fill them, and the planner reads them. `sections_of` and `Modes` are here and
not in the policy, because the configuration needs them, and the hook reads that without the readers and their library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import TypeVar

from macmgr.model.changes import Change
from macmgr.model.findings import Code, Finding

Says = TypeVar("Says")


class Manager(StrEnum):
    """The manager of a port's MAC table: the values of libvirt's ``macTableManager`` (since 1.2.11)."""

    KERNEL = "kernel"
    LIBVIRT = "libvirt"


class Pin(StrEnum):
    """sticky: no frame seen elsewhere moves the entry. static: one can.

    auto becomes one of the two, depending on the rest of the bridge: `macmgr.planning.draft`.
    """

    AUTO = "auto"
    STICKY = "sticky"
    STATIC = "static"


class GuestMac(StrEnum):
    """The reaction to a MAC change inside the guest: the entry follows, or macmgr reports it, or ignores it."""

    FOLLOW = "follow"
    ALERT = "alert"
    IGNORE = "ignore"


OWN = "own"
"""The word under ``allow`` for the addresses of the domain's other NICs on the bridge."""


class Vlans(StrEnum):
    """What happens to a port whose VIDs are not those of its live ``<vlan>``: it is reported, or put right."""

    TELL = "tell"
    REPAIR = "repair"


@dataclass(frozen=True, slots=True)
class Settings:
    """The options that one place (metadata, portgroup, configuration) sets for a NIC; None if it is silent.

    ``allow`` holds further MACs of the NIC, prefix patterns (``00:00:5e:00:01:*``), and `OWN`.
    """

    manager: Manager | None = None
    pin: Pin | None = None
    lock: bool | None = None
    guest_mac: GuestMac | None = None
    allow: tuple[str, ...] = ()
    vlans: Vlans | None = None


def is_pattern(name: str) -> bool:
    """A section's name may fit several bridges: ``br-*``, ``tenant?``."""
    return "*" in name or "?" in name


def sections_of(bridge: str, sections: Mapping[str, Says]) -> Iterator[tuple[str, Says]]:
    """Yields the sections about a bridge: the one with its very name first, then the patterns, in written order.

    The first of them that names an option decides it.
    """
    if bridge in sections:
        yield bridge, sections[bridge]
    for name, says in sections.items():
        if name != bridge and is_pattern(name) and _expression(name).fullmatch(bridge):
            yield name, says


@lru_cache(256)
def _expression(name: str) -> re.Pattern[str]:
    """``*`` is any letters, ``?`` one. Nothing else is special: an interface's name may hold nearly all."""
    parts = (".*" if letter == "*" else "." if letter == "?" else re.escape(letter) for letter in name)
    return re.compile("".join(parts), re.DOTALL)


@dataclass(frozen=True, slots=True)
class Modes:
    """The bridges on which nothing is changed: ``named`` by section, ``default`` if no section says.

    ``named`` has only the sections with a mode: True to observe, False to manage.
    """

    default: bool = False
    named: tuple[tuple[str, bool], ...] = ()

    def observes(self, bridge: str) -> bool:
        return next((observe for _, observe in sections_of(bridge, dict(self.named))), self.default)


MANAGE_ALL, OBSERVE_ALL = Modes(), Modes(default=True)


@dataclass(frozen=True, slots=True)
class Step:
    place: str
    says: Settings


@dataclass(frozen=True, slots=True)
class Policy:
    """The answer of the precedence for one NIC. ``steps`` are all that were asked, in order, for `explain`.

    The first step that names a manager decides it (``reason`` is its place). The first step that names another option
    decides that one, and ``allow`` holds the addresses that any step allows. ``problem`` describes a place that is not
    understood: then the port is left as it is. ``incomplete``: the NIC's network or the configuration is missing now,
    and might have decided otherwise. Then the port stays as macmgr made it or found it (`macmgr.planning.closing`).
    """

    manager: Manager = Manager.KERNEL
    reason: str = "nothing asks for it: the kernel manages by default"
    pin: Pin = Pin.AUTO
    lock: bool = False
    guest_mac: GuestMac = GuestMac.ALERT
    allow: tuple[str, ...] = ()
    vlans: Vlans = Vlans.TELL
    steps: tuple[Step, ...] = ()
    problem: str = ""
    incomplete: bool = False

    def place_of(self, option: str) -> str:
        """Returns the place of the step that decided an option; empty if it is a default."""
        return next((step.place for step in self.steps if getattr(step.says, option) not in (None, ())), "")

    def place_that_allows(self, mac: str) -> str:
        """Returns the place of the step that allows an exact address; empty if none does."""
        return next((step.place for step in self.steps if mac in step.says.allow), "")


@dataclass(frozen=True, slots=True)
class Vlan:
    """A NIC's ``<vlan>``: its tags, and the native one, whose frames the guest sends untagged.

    The guest gets those untagged too, unless they are ``native_tagged``.
    """

    vids: tuple[int, ...]
    native: int | None = None
    trunk: bool = False
    native_tagged: bool = False


@dataclass(frozen=True, slots=True)
class NicFacts:
    """The facts in the XML about a NIC that can conflict with the policy.

    ``vlan_live`` and ``isolated_live``: the NIC's live XML or its network port says so, so libvirt has set it on the
    port. A setting that only the network has may be newer. ``ethernet``: the XML names no bridge, so the kernel says
    where the tap is. ``container``: the domain is one. ``configured_mac`` is the address in the NIC's ``<mac>``,
    ``current_mac`` the one that the guest uses now. ``said_mac`` is libvirt's ``currentAddress`` if it differs
    (11.2.0); a status file has it as of libvirt's last save. ``link_down``: the guest is to see no link.
    """

    vlan: Vlan | None = None
    vlan_live: bool = False
    isolated: bool = False
    isolated_live: bool = False
    trust: bool = False
    filter: str = ""
    teaming: str = ""
    ethernet: bool = False
    container: bool = False
    configured_mac: str = ""
    current_mac: str = ""
    said_mac: str = ""
    link_down: bool = False


@dataclass(frozen=True, slots=True)
class GuestPort:
    """A bridge port that a domain's NIC has, or will have, and the wishes for it.

    ``macs`` begins with the NIC's own address; the others are allowed ones. ``roaming`` ones are written down nowhere,
    but were seen here. Their entries are plain static ones, whatever the pin, because they may turn up elsewhere
    (docs/adr/0009). ``moved`` addresses were seen here and have since turned up elsewhere, or had to make room: none of
    them keeps a static entry. ``shared`` are the addresses and prefixes that the domain's NICs on the bridge may use of
    each other, as a bond inside the guest does. Each address is on one NIC, where the guest last sent from it:
    ``unlisted`` ones were seen here in addition to the NIC's present address, and nothing lets them in.
    ``borrowed`` are those in ``macs`` that are in writing for another NIC, ``lent`` those that another one uses now.
    ``state`` is libvirt's word for the domain. ``running``: its CPUs run *here*, and only
    then may its MACs have entries. ``entry_comes``: another program puts the NIC's entry when the CPUs start (libvirt
    for its own managed NICs).
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
    shared: tuple[str, ...] = ()
    borrowed: tuple[str, ...] = ()
    lent: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()

    def __hash__(self) -> int:
        """Hashes the identity of the port: the planner keeps ports in tables, and a policy takes long to hash."""
        return hash((self.port, self.bridge, self.domain))

    @property
    def own_macs(self) -> tuple[str, ...]:
        """The addresses that are in writing for the domain alone, and in use here: not those that it is allowed."""
        return (*(mac for mac in self.macs[:1] if mac not in self.lent), *self.borrowed)

    @property
    def may_wait_closed(self) -> bool:
        """The port may be closed before the CPUs run: all that it needs comes with them.

        libvirt puts only the address in its XML, no allowed or changed one. A port with such an address would be closed
        without an entry, so it stays open.
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
    """A NIC that has no port on a Linux bridge of this host, and the reason."""

    domain: str
    mac: str
    kind: str
    why: str
    alias: str = ""


@dataclass(frozen=True, slots=True)
class Intent:
    """All wishes for this host.

    ``managed_bridges`` maps a bridge to the reason why it is managed. ``sections`` are the configuration's, by bridge
    or pattern. ``findings`` come from reading the sources. ``gone_domains`` have left this host, as a hook call says.
    ``gone_ports`` are those of their ports that their status files still list as managed ports of running guests.
    ``without_process`` has the process of each domain that libvirt lists, if it is not on this host. ``unplaced`` are
    ports whose bridge no XML names, until their taps are found on one (`macmgr.planning.ethernetnics`).
    ``start_filtering`` are networks, each with its host's bridge: libvirt turns VLAN filtering on there at their start.
    """

    ports: tuple[GuestPort, ...] = ()
    managed_bridges: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    portless: tuple[PortlessNic, ...] = ()
    sections: Mapping[str, Settings] = field(default_factory=dict)
    gone_domains: tuple[str, ...] = ()
    gone_ports: tuple[GuestPort, ...] = ()
    without_process: Mapping[str, int] = field(default_factory=dict)
    unplaced: tuple[GuestPort, ...] = ()
    start_filtering: tuple[tuple[str, str], ...] = ()

    @property
    def named(self) -> tuple[str, ...]:
        """The bridges that the configuration names, without patterns."""
        return tuple(name for name in self.sections if not is_pattern(name))


def skip_nothing(_change: Change) -> bool:
    return False


def observe_nothing(_bridge: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the host that a person or a hook named; None is all of it.

    ``skips`` names changes that are seen and not made. If it skips a port's entry it must skip its closing too: a guest
    without its entry behind a closed port is cut off. ``observes`` names the bridges on which no change is made.
    """

    domain: str | None = None
    bridges: frozenset[str] | None = None
    skips: Callable[[Change], bool] = skip_nothing
    observes: Callable[[str], bool] = observe_nothing

    @property
    def whole(self) -> bool:
        return self.domain is None and self.bridges is None

    def holds(self, domain: str | None, bridge: str) -> bool:
        """A fact about a domain (None: about none) and a bridge is in scope.

        An empty ``bridge`` is unknown, as in a file that is not understood: it may be any.
        """
        on_it = self.bridges is None or not bridge or bridge in self.bridges
        return on_it and self.domain in (None, domain)

    def covers(self, item: Change | Finding) -> bool:
        if isinstance(item, Finding) and item.code is Code.NOTHING_MANAGED:
            return self.whole  # it is about the whole host
        return self.holds(item.domain, item.bridge)

    def leaves_out(self, change: Change) -> bool:
        """A change in scope is seen and not made."""
        return self.observes(change.bridge) or self.skips(change)


EVERYTHING = Scope()
