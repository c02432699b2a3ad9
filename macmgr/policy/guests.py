"""Turns libvirt's domains into the intent: each NIC's port, its policy, and findings about unreadable XML."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from macmgr import virsh
from macmgr.errors import XmlError
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import (
    OWN,
    GuestMac,
    GuestPort,
    Intent,
    Manager,
    NicFacts,
    Policy,
    PortlessNic,
    Settings,
)
from macmgr.model.mac import ZERO
from macmgr.options import quoted
from macmgr.policy.precedence import PolicySources, decide, managed_bridges, on_bridge
from macmgr.policy.sharing import with_shared
from macmgr.readers.domain import Domain, Nic
from macmgr.readers.network import Network

# The reason why a NIC of a type has no port on a Linux bridge.
_PORTLESS = {
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


def why_portless(nic: Nic, sources: PolicySources) -> str:
    """Returns the reason why a NIC has no port on a Linux bridge; empty if it has one, or may have one (ethernet)."""
    virtualport = sources.inherit(nic, "virtualport")
    if nic.mac == ZERO:
        return "its address is zero, for which a bridge can have no entry"
    if nic.kind in _PORTLESS:
        return _PORTLESS[nic.kind]
    if nic.kind == "ethernet":
        return "" if nic.tap else "it has no tap yet"
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


def kind_of(nic: Nic) -> str:
    """Returns the interface type for display: one of libvirt's words, and no other text from the XML."""
    return nic.kind if nic.kind in ("bridge", "network", "ethernet", *_PORTLESS) else "unknown"


@dataclass(frozen=True, slots=True)
class _Decided:
    ports: tuple[GuestPort, ...]
    portless: tuple[PortlessNic, ...]
    findings: tuple[Finding, ...]


class Decisions:
    """The decisions for each domain, kept between looks: only new domains are decided anew.

    A decision holds while the domain's record is the very same object and the policy's sources are equal.
    """

    def __init__(self) -> None:
        self._basis: tuple[object, ...] = ()
        self._known: dict[int, tuple[Domain, _Decided]] = {}

    def of(self, domains: Iterable[Domain], sources: PolicySources) -> list[_Decided]:
        """Returns the decisions for ``domains``, in their order, and forgets those of all other domains."""
        basis = sources.networks, sources.bridges, sources.ports
        if basis != self._basis:
            self._basis, self._known = basis, {}
        before, self._known = self._known, {}
        for domain in domains:
            known = before.get(id(domain))  # the table keeps the record, so no other record can get its id
            self._known[id(domain)] = known or (domain, _decided(domain, sources))
        return [decided for _, decided in self._known.values()]


def build_intent(
    domains: Iterable[Domain],
    sources: PolicySources,
    *,
    departed: Collection[Domain] = (),
    ran: Iterable[Domain] = (),
    findings: Iterable[Finding] = (),
    decisions: Decisions | None = None,
) -> Intent:
    """Returns the intent of this host.

    ``departed`` are domains that no longer run here. ``ran`` are those of them whose status files libvirt has not
    removed yet.
    """
    decided = (decisions or Decisions()).of(domains, sources)
    found = [port for each in decided for port in each.ports]
    ports, contested = without_contested([port for port in found if not port.facts.ethernet])
    left = [sources.bridge(nic) for domain in departed for nic in domain.nics]
    managed = managed_bridges(sources, [*(port.bridge for port in ports), *left])
    for port in ports:  # after a network is destroyed under its guests, only their NICs name its bridge
        if port.managed:
            managed.setdefault(port.bridge, port.policy.reason)
    problems = (*findings, *(finding for each in decided for finding in each.findings), *contested)
    portless = tuple(nic for each in decided for nic in each.portless)
    ended = (port for domain in ran if domain.running for port in _decided(domain, sources).ports)
    were = [port for port in ended if port.managed and not port.facts.ethernet]
    for port in were:
        managed.setdefault(port.bridge, port.policy.reason)
    gone = tuple(domain.name for domain in departed)
    unplaced = tuple(port for port in found if port.facts.ethernet)
    return Intent(tuple(ports), managed, problems, portless, sources.bridges, gone, tuple(were), unplaced=unplaced)


def placed(guest: GuestPort, bridge: str, sections: Mapping[str, Settings]) -> GuestPort:
    """Returns the port of a NIC whose XML names no bridge, on the one where its tap is."""
    policy = on_bridge(guest.policy, bridge, sections, trusted=guest.facts.trust)
    macs = _macs(guest.facts.configured_mac, guest.facts.said_mac, policy)
    return replace(guest, bridge=bridge, policy=policy, macs=macs)


def without_contested(ports: Sequence[GuestPort]) -> tuple[list[GuestPort], list[Finding]]:
    """Leaves a port as it is if several NICs name it: no policy is carried out on such a tap.

    Then one status file is out of date, or belongs to another libvirt, or a tenant names a tap of somebody else.
    """
    claims: dict[str, list[GuestPort]] = {}
    for port in ports:
        claims.setdefault(port.port, []).append(port)
    found: list[GuestPort] = []
    findings: list[Finding] = []
    for port in ports:
        claimants = claims[port.port]
        if len(claimants) > 1:
            domains = sorted({each.domain for each in claimants})
            who = (
                f"NICs of {' and of '.join(domains)}" if len(domains) > 1 else f"{len(claimants)} NICs of {domains[0]}"
            )
            problem = f"{port.port} is named by {who}"
            if any(each.managed for each in claimants):
                findings.append(
                    Finding(
                        Code.SHARED_TAP,
                        f"{problem}, but can be the tap of one only: until that is fixed, it is left as it is",
                        port.bridge,
                        port.port,
                        port.domain,
                        port.macs[0],
                        mends=(virsh.list_nics(port.domain),),
                        note="and the same for the others: one file is out of date, or one domain must give up the tap",
                    )
                )
            policy = replace(port.policy, manager=Manager.KERNEL, problem=problem)
            port = replace(port, policy=policy, entry_comes=False)
        found.append(port)
    return found, findings


def _decided(domain: Domain, sources: PolicySources) -> _Decided:
    ports: list[GuestPort] = []
    portless: list[PortlessNic] = []
    problems = list(_metadata_problem(domain))
    for nic in domain.nics:
        try:
            found = guest_port(domain, nic, sources)
        except XmlError as error:
            text = f"domain {domain.name}: {error}"
            problems.append(Finding(Code.UNREADABLE_XML, text, domain=domain.name, mac=nic.mac))
            continue
        if isinstance(found, GuestPort):
            ports.append(found)
            problems += _network_problem(found, sources)
        else:
            portless.append(found)
    unplaced = [port for port in ports if port.facts.ethernet]  # their bridges are not known yet
    on_bridges = [port for port in ports if not port.facts.ethernet]
    ports = [*(with_shared(on_bridges) if len(on_bridges) > 1 else on_bridges), *unplaced]
    return _Decided(tuple(ports), tuple(portless), tuple(problems))


def guest_port(domain: Domain, nic: Nic, sources: PolicySources) -> GuestPort | PortlessNic:
    """Returns the bridge port of a NIC on this host, or the reason why it has none."""
    why = why_portless(nic, sources)
    if why:
        return PortlessNic(domain.name, nic.mac, kind_of(nic), why, nic.alias)
    policy = decide(domain, nic, sources)
    said = nic.current_mac if nic.current_mac != nic.mac else ""
    ethernet = nic.kind == "ethernet"
    return GuestPort(
        port=nic.tap,
        bridge="" if ethernet else sources.bridge(nic),
        domain=domain.name,
        uuid=domain.uuid,
        macs=_macs(nic.mac, said, policy),
        alias=nic.alias,
        network=nic.network,
        portgroup=sources.portgroup(nic),
        state=domain.state,
        running=domain.running,
        entry_comes=_libvirt_puts_the_entry(domain, nic, policy),
        policy=policy,
        facts=NicFacts(
            vlan=sources.inherit(nic, "vlan"),
            vlan_live=sources.live(nic, "vlan") is not None,
            isolated=bool(sources.inherit(nic, "isolated")),
            isolated_live=bool(sources.live(nic, "isolated")),
            trust=sources.trusts(nic),
            filter=nic.filter,
            teaming=nic.teaming,
            ethernet=ethernet,
            container=domain.driver == "lxc",
            configured_mac=nic.mac,
            current_mac=said,
            said_mac=said,
            link_down=nic.link_down,
        ),
    )


def _macs(mac: str, said: str, policy: Policy) -> tuple[str, ...]:
    own = said if said and policy.guest_mac is GuestMac.FOLLOW else mac
    exact = (pattern for pattern in policy.allow if not pattern.endswith("*") and pattern != OWN)
    return tuple(dict.fromkeys([own, *exact]))


def _metadata_problem(domain: Domain) -> Iterable[Finding]:
    if domain.problem:
        yield Finding(
            Code.UNREADABLE_XML,
            f"{domain.problem}; until that is fixed, the ports of {domain.name} are left as they are",
            domain=domain.name,
            mends=(virsh.edit_metadata(domain.name),),
            note="and again with --config, for its next start",
        )


def metadata_findings(networks: Iterable[Network], reported: Iterable[Finding]) -> Iterator[Finding]:
    """Reports networks whose metadata alone is not understood. ``reported`` already reports the wholly unread ones."""
    known = {finding.message for finding in reported}
    for network in networks:
        if network.problem and network.problem not in known:
            yield Finding(
                Code.UNREADABLE_XML,
                f"{network.problem}; until that is fixed, the ports of network {network.name} are left as they are",
                network.bridge,
                mends=(virsh.edit_network_metadata(network.name),),
                note="and again with --config; "
                f"before libvirt 9.7: {virsh.shown(virsh.edit_network(network.name))}, and a restart of the network",
            )


def _network_problem(guest: GuestPort, sources: PolicySources) -> Iterable[Finding]:
    """Reports a port left as it is because of its network. The finding names the guest, for users who ask about it."""
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


def _libvirt_puts_the_entry(domain: Domain, nic: Nic, policy: Policy) -> bool:
    """libvirt will have put the NIC's entry when the CPUs start here.

    Its QEMU driver puts entries for NICs whose own source asks for it; its LXC driver never does. It adds with
    NLM_F_EXCL and takes EEXIST for success (virNetDevBridgeFDBAddDel). So for an incoming migration the add has no
    effect: the uplink has learned the MAC of the guest, which still runs elsewhere. A guest that has suspended itself
    wakes up without libvirt, which only notes that it runs (qemuProcessHandlePMWakeup).
    """
    asked = nic.manager == Manager.LIBVIRT and policy.manager is Manager.LIBVIRT
    starts_by_libvirt = domain.reason != "migration" and domain.state != "pmsuspended"
    return domain.driver == "qemu" and asked and starts_by_libvirt
