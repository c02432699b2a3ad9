"""Who manages a port's MAC table, and how: six places are asked in order, and each answer keeps its reason.

1. ``<macmgr:interface mac='..'>`` in the domain's metadata;
2. ``<macmgr:macTable>`` itself, there;
3. ``<macmgr:portgroup name='..'>`` in the network's metadata;
4. the ``macTableManager`` attribute: the NIC's own source, else the network's ``<bridge>``;
5. ``[bridge."NAME"]`` in the configuration (this is how ``<interface type='bridge'>`` gets a policy);
6. the kernel.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from macmgr.errors import XmlError
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import (
    GuestMac,
    GuestPort,
    Intent,
    Manager,
    NicFacts,
    Pin,
    Policy,
    PortlessNic,
    Settings,
    Step,
)
from macmgr.model.mac import ZERO
from macmgr.options import MAC_TABLE_MANAGER, quoted, wrong_word
from macmgr.readers.domain import Domain, DomainStatus, Nic
from macmgr.readers.metadata import NAMESPACE
from macmgr.readers.network import Inherited, Network, NetworkPort

_SILENT = Settings()

# Why a NIC of a type has no port on a Linux bridge.
_PORTLESS = {
    "ethernet": "libvirt does not say which bridge its tap is on: somebody else's script decides",
    "direct": "a macvtap: its address is in the own list of the device below it",
    "hostdev": "a PCI device passed to the guest: it has no tap",
    "vdpa": "a vDPA device: its frames do not pass a bridge of this host",
    "vhostuser": "a vhost-user socket: the switch behind it has a MAC table of its own",
    "user": "user-mode networking: its frames do not pass a bridge",
    "server": "a socket between QEMU processes",
    "client": "a socket between QEMU processes",
    "mcast": "a socket between QEMU processes",
    "udp": "a socket between QEMU processes",
    "internal": "a network inside another hypervisor",
    "null": "not connected to anything",
    "vds": "a VMware distributed switch",
}
# libvirt's other types of <virtualport> (virNetDevVPort in src/util/virnetdevvportprofile.c)
_VIRTUALPORTS = ("802.1Qbg", "802.1Qbh", "midonet")


class PolicySources:
    """What policy is decided from: the networks, their ports by uuid, and the configuration's bridges.

    ``configured``: whether there is a configuration at all; one that is just being replaced may be missing.
    """

    def __init__(
        self,
        networks: Iterable[Network],
        bridges: Mapping[str, Settings],
        ports: Mapping[str, NetworkPort] | None = None,
        *,
        configured: bool = True,
    ) -> None:
        self.networks = {network.name: network for network in networks}
        self.bridges = bridges
        self.ports = ports or {}
        self.configured = configured

    def bridge(self, nic: Nic) -> str:
        """The bridge that the NIC's tap is to be on, empty where no source names one."""
        network = self.networks.get(nic.network)
        return nic.bridge or (network.bridge if network else "")

    def portgroup(self, nic: Nic) -> str:
        """The portgroup of the NIC, which is the network's default one where it names none."""
        network = self.networks.get(nic.network)
        return nic.portgroup or (network.default_portgroup if network else "")

    def inherit(self, nic: Nic, name: str) -> Any:
        """A setting that the NIC, its port, its portgroup or its network names, in this order; None where none does."""
        network = self.networks.get(nic.network)
        group = network.portgroups.get(self.portgroup(nic), Inherited()) if network else Inherited()
        whole = network.inherited if network else Inherited()
        for place in (nic, self.ports.get(nic.port_id), group, whole):
            value = getattr(place, name, None)
            if value not in (None, ""):
                return value
        return None


@dataclass(frozen=True, slots=True)
class _Decided:
    """What became of one domain's NICs."""

    ports: tuple[GuestPort, ...]
    portless: tuple[PortlessNic, ...]
    findings: tuple[Finding, ...]


class Decisions:
    """What was decided for each domain, for those who ask again and again: only what is new is decided anew.

    A decision holds as long as the record of the domain is the very same, and all that policy is decided from equal.
    """

    def __init__(self) -> None:
        self._basis: tuple[object, ...] = ()
        self._known: dict[int, tuple[DomainStatus, _Decided]] = {}

    def of(self, domains: Iterable[DomainStatus], sources: PolicySources) -> list[_Decided]:
        """The decisions for ``domains``, in their order; those for all others are forgotten."""
        basis = sources.networks, sources.bridges, sources.ports
        if basis != self._basis:
            self._basis, self._known = basis, {}
        before, self._known = self._known, {}
        for status in domains:
            known = before.get(id(status))  # kept with the record: no other one can have its id
            self._known[id(status)] = known or (status, _decided(status, sources))
        return [decided for _, decided in self._known.values()]


def build_intent(
    domains: Iterable[DomainStatus],
    sources: PolicySources,
    *,
    departed: Iterable[Domain] = (),
    findings: Iterable[Finding] = (),
    decisions: Decisions | None = None,
) -> Intent:
    """The intent of this host. ``departed`` are domains that do not run here any more."""
    decided = (decisions or Decisions()).of(domains, sources)
    ports = [port for each in decided for port in each.ports]
    managed = managed_bridges(sources)
    for port in ports:  # a network that was destroyed under its guests is known only from their NICs
        if port.managed:
            managed.setdefault(port.bridge, port.policy.reason)
    gone = {nic.mac: domain.name for domain in departed for nic in domain.nics}
    problems = (*findings, *(finding for each in decided for finding in each.findings))
    portless = tuple(nic for each in decided for nic in each.portless)
    return Intent(tuple(ports), managed, gone, problems, portless)


def _decided(status: DomainStatus, sources: PolicySources) -> _Decided:
    ports: list[GuestPort] = []
    portless: list[PortlessNic] = []
    problems = list(_metadata_problem(status.domain))
    for nic in status.domain.nics:
        try:
            found = guest_port(status, nic, sources)
        except XmlError as error:
            text = f"domain {status.domain.name}: {error}"
            problems.append(Finding(Code.UNREADABLE_XML, text, domain=status.domain.name, mac=nic.mac))
            continue
        if isinstance(found, GuestPort):
            ports.append(found)
            problems += _network_problem(found, sources)
        else:
            portless.append(found)
    return _Decided(tuple(ports), tuple(portless), tuple(problems))


def guest_port(status: DomainStatus, nic: Nic, sources: PolicySources) -> GuestPort | PortlessNic:
    """The bridge port that a NIC has on this host, or why it has none."""
    domain = status.domain
    why = _why_portless(nic, sources)
    if why:
        return PortlessNic(domain.name, nic.mac, _kind(nic), why, nic.alias)
    policy = decide(domain, nic, sources)
    follows = policy.guest_mac is GuestMac.FOLLOW and nic.current_mac
    own = nic.current_mac if follows else nic.mac
    exact = [pattern for pattern in policy.allow if not pattern.endswith("*")]
    return GuestPort(
        port=nic.tap,
        bridge=sources.bridge(nic),
        domain=domain.name,
        uuid=domain.uuid,
        macs=tuple(dict.fromkeys([own, *exact])),
        alias=nic.alias,
        network=nic.network,
        portgroup=sources.portgroup(nic),
        state=status.state,
        running=status.running,
        entry_comes=_libvirt_puts_the_entry(status, nic, policy),
        policy=policy,
        facts=NicFacts(
            vlan=sources.inherit(nic, "vlan"),
            isolated=bool(sources.inherit(nic, "isolated")),
            trust=_trust(nic, sources),
            filter=nic.filter,
            teaming=nic.teaming,
            configured_mac=nic.mac,
            current_mac=nic.current_mac,
        ),
    )


def decide(domain: Domain, nic: Nic, sources: PolicySources) -> Policy:
    """The policy of one NIC, with every step that was asked; XmlError for a macTableManager that is none.

    Where one of the places is not understood, none of them decides: without its lock, or its ``manager='kernel'``, the
    others would be wrong.
    """
    network = sources.networks.get(nic.network)
    problem = domain.metadata.problem or (network.problem if network else "")
    if problem:
        return Policy(reason="left as it is: what decides about it is not understood", problem=problem)
    steps = tuple(_steps(domain, nic, sources))

    def first(option: str, default: Any) -> Any:
        return next((value for step in steps if (value := getattr(step.says, option)) is not None), default)

    return Policy(
        manager=first("manager", Manager.KERNEL),
        reason=next((step.place for step in steps if step.says.manager is not None), Policy().reason),
        pin=first("pin", Pin.STICKY),
        lock=first("lock", False),
        guest_mac=first("guest_mac", GuestMac.FOLLOW if _trust(nic, sources) else GuestMac.ALERT),
        allow=tuple(dict.fromkeys(pattern for step in steps for pattern in step.says.allow)),
        steps=steps,
        incomplete=_incomplete(nic, network, sources, steps),
    )


def _incomplete(nic: Nic, network: Network | None, sources: PolicySources, steps: Iterable[Step]) -> bool:
    """Whether a place that may have something to say is not there now: the NIC's network, or a NIC's only one."""
    if nic.network:
        return network is None
    return not sources.configured and not any(step.says.manager for step in steps)


def managed_bridges(sources: PolicySources) -> dict[str, str]:
    """The bridges that a network or the configuration hands to macmgr, each with the reason."""
    managed = {
        network.bridge: f"network {network.name}: macTableManager"
        for network in sources.networks.values()
        if network.bridge and network.manager == Manager.LIBVIRT
    }
    for name, settings in sources.bridges.items():
        if settings.manager is Manager.LIBVIRT:
            managed.setdefault(name, f'[bridge."{name}"] in the configuration')
    return managed


def _steps(domain: Domain, nic: Nic, sources: PolicySources) -> Iterable[Step]:
    network = sources.networks.get(nic.network)
    group, bridge = sources.portgroup(nic), sources.bridge(nic)
    yield Step(f"domain {domain.name}: <macmgr:interface mac='{nic.mac}'>", domain.settings(nic.mac) or _SILENT)
    yield Step(f"domain {domain.name}: <macmgr:macTable>", domain.metadata.domain)
    if network is not None and group:
        says = network.metadata.get(group, _SILENT)
        yield Step(f"network {network.name}: <macmgr:portgroup name='{group}'>", says)
    else:
        yield Step("<macmgr:portgroup> (the NIC has none)", _SILENT)
    manager = nic.manager or (network.manager if network else "")
    if manager and manager not in tuple(Manager):
        raise XmlError(wrong_word(MAC_TABLE_MANAGER, manager, Manager, xml=True))
    named = f"network {nic.network}: " if nic.network else ""
    yield Step(f"{named}macTableManager", Settings(Manager(manager)) if manager else _SILENT)
    yield Step(f'[bridge."{bridge}"] in the configuration', sources.bridges.get(bridge, _SILENT))


def _why_portless(nic: Nic, sources: PolicySources) -> str:
    """Why a NIC has no port on a Linux bridge; empty where it has one."""
    virtualport = sources.inherit(nic, "virtualport")
    if nic.mac == ZERO:
        return "its address is zero, for which a bridge can have no entry"
    if nic.kind in _PORTLESS:
        return _PORTLESS[nic.kind]
    if nic.kind not in ("bridge", "network"):
        return "an interface type that macmgr does not know to have a port on a Linux bridge"
    if virtualport == "openvswitch":
        return "an Open vSwitch port: Open vSwitch has a MAC table of its own"
    if virtualport:
        what = quoted(virtualport, _VIRTUALPORTS, other="unknown")
        return f"a virtual port of type {what}, which is not a Linux bridge's"
    if not sources.bridge(nic):
        return "no bridge is known for it: its network is not active, or has none"
    return "" if nic.tap else "it has no tap yet"


def _metadata_problem(domain: Domain) -> Iterable[Finding]:
    if domain.metadata.problem:
        name = shlex.quote(domain.name)
        yield Finding(
            Code.UNREADABLE_XML,
            f"{domain.metadata.problem}; until that is mended, the ports of {domain.name} are left as they are",
            domain=domain.name,
            fix=f"virsh metadata {name} {NAMESPACE} --key macmgr --edit --live  # and again with --config, for its "
            "next start",
        )


def _network_problem(guest: GuestPort, sources: PolicySources) -> Iterable[Finding]:
    """That a guest's port is left as it is because of its network, told of the guest, for those who ask about it."""
    network = sources.networks.get(guest.network)
    if network is not None and network.problem and guest.policy.problem == network.problem:
        yield Finding(
            Code.UNREADABLE_XML,
            f"{guest.port} of {guest.domain} is left as it is, because its network {network.name} is not understood: "
            f"{network.problem}",
            guest.bridge,
            guest.port,
            guest.domain,
            guest.macs[0],
        )


def _kind(nic: Nic) -> str:
    """The interface type as it may be shown: libvirt's word, and not whatever stands in its place."""
    return nic.kind if nic.kind in ("bridge", "network", *_PORTLESS) else "unknown"


def _trust(nic: Nic, sources: PolicySources) -> bool:
    return bool(sources.inherit(nic, "trust"))


def _libvirt_puts_the_entry(status: DomainStatus, nic: Nic, policy: Policy) -> bool:
    """Whether libvirt will have put the NIC's entry when the CPUs start here.

    Its QEMU driver does for the NICs whose own source says so, its LXC driver never. It adds with NLM_F_EXCL and takes
    EEXIST for success (virNetDevBridgeFDBAddDel), so for an incoming migration the add comes to nothing: the uplink
    has learned the MAC of a guest that still runs elsewhere. A guest that has suspended itself wakes up without a word
    from libvirt, which then only notes that it runs (qemuProcessHandlePMWakeup).
    """
    asked = nic.manager == Manager.LIBVIRT and policy.manager is Manager.LIBVIRT
    starts_by_libvirt = status.reason != "migration" and status.state != "pmsuspended"
    return status.domain.driver == "qemu" and asked and starts_by_libvirt
