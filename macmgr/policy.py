"""Who manages a port's MAC table: the first of these that speaks wins, and its reason is kept.

1. the ``macTableManager`` attribute: the NIC's own source, else the network's ``<bridge>``;
2. ``[bridge."NAME"]`` in the configuration (this is how ``<interface type='bridge'>`` gets a policy);
3. the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from macmgr.errors import XmlError
from macmgr.findings import Finding
from macmgr.intent import BridgePolicy, GuestPort, Intent, Manager, Policy
from macmgr.readers.domain import Domain, DomainStatus, Nic
from macmgr.readers.network import Network

# The NICs that have a tap or veth end on a Linux bridge. `network` stands for a NIC whose <actual> is not known yet.
_ON_A_BRIDGE = ("bridge", "network", "ethernet")


def build_intent(
    domains: Iterable[DomainStatus],
    networks: Iterable[Network],
    bridges: Mapping[str, BridgePolicy],
    *,
    departed: Iterable[Domain] = (),
    findings: Iterable[Finding] = (),
) -> Intent:
    """The intent of this host. ``departed`` are domains that do not run here any more."""
    by_name = {network.name: network for network in networks}
    ports = [
        port
        for status in domains
        for port in guest_ports(status.domain, by_name, bridges, state=status.state, running=status.running)
    ]
    managed = managed_bridges(by_name.values(), bridges)
    for port in ports:  # a network that was destroyed under its guests is known only from their NICs
        if port.managed:
            managed.setdefault(port.bridge, port.policy.reason)
    gone = {nic.mac: domain.name for domain in departed for nic in domain.nics}
    return Intent(tuple(ports), managed, gone, tuple(findings))


def decide(nic: Nic, networks: Mapping[str, Network], bridges: Mapping[str, BridgePolicy]) -> Policy:
    """The policy of one NIC, with the reason that a person can check."""
    network = networks.get(nic.network)
    configured = bridges.get(_bridge(nic, networks), BridgePolicy())
    if nic.manager:
        if nic.manager not in tuple(Manager):
            raise XmlError(f"macTableManager is {nic.manager[:40]!r}; allowed: kernel, libvirt")
        named = f"network {nic.network}: " if nic.network else ""
        return Policy(Manager(nic.manager), f"{named}macTableManager", configured.pin)
    if network is not None and network.manager:
        return Policy(Manager(network.manager), f"network {network.name}: macTableManager", configured.pin)
    if configured.manager is not None:
        return Policy(configured.manager, f'[bridge."{_bridge(nic, networks)}"] in the configuration', configured.pin)
    return Policy()


def guest_ports(
    domain: Domain,
    networks: Mapping[str, Network],
    bridges: Mapping[str, BridgePolicy],
    *,
    state: str,
    running: bool,
) -> Iterable[GuestPort]:
    """The bridge ports that a domain's NICs have on this host; NICs without a tap on a Linux bridge have none."""
    for nic in domain.nics:
        bridge = _bridge(nic, networks)
        if nic.kind not in _ON_A_BRIDGE or nic.virtualport or not bridge or not nic.tap:
            continue
        policy = decide(nic, networks, bridges)
        yield GuestPort(
            port=nic.tap,
            bridge=bridge,
            domain=domain.name,
            uuid=domain.uuid,
            macs=(nic.mac,),
            alias=nic.alias,
            state=state,
            running=running,
            entry_comes=_libvirt_puts_the_entry(domain, nic, policy),
            policy=policy,
        )


def managed_bridges(networks: Iterable[Network], bridges: Mapping[str, BridgePolicy]) -> dict[str, str]:
    """The bridges that a network or the configuration hands to macmgr, each with the reason."""
    managed = {
        network.bridge: f"network {network.name}: macTableManager"
        for network in networks
        if network.bridge and network.manager == Manager.LIBVIRT
    }
    for name, policy in bridges.items():
        if policy.manager is Manager.LIBVIRT:
            managed.setdefault(name, f'[bridge."{name}"] in the configuration')
    return managed


def _bridge(nic: Nic, networks: Mapping[str, Network]) -> str:
    if nic.bridge:
        return nic.bridge
    network = networks.get(nic.network)
    return network.bridge if network else ""


def _libvirt_puts_the_entry(domain: Domain, nic: Nic, policy: Policy) -> bool:
    """libvirt's QEMU driver adds an entry at CPU start for the NICs whose own source says so; its LXC driver never."""
    return domain.driver == "qemu" and nic.manager == Manager.LIBVIRT and policy.manager is Manager.LIBVIRT
