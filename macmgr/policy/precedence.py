"""Decides the manager of a port's MAC table and its options. It asks six places in order and keeps each reason.

1. ``<macmgr:interface mac='..'>`` in the domain's metadata;
2. ``<macmgr:macTable>`` itself, there;
3. ``<macmgr:portgroup name='..'>`` in the network's metadata;
4. the ``macTableManager`` attribute: the NIC's own source, else the network's ``<bridge>``;
5. ``[bridge."NAME"]`` in the configuration (this is how ``<interface type='bridge'>`` gets a policy), the bridge's own
   section first, then those whose NAME is a pattern that fits it;
6. the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from macmgr.errors import XmlError
from macmgr.model.intent import GuestMac, Manager, Policy, Settings, Step, is_pattern, sections_of
from macmgr.options import MAC_TABLE_MANAGER, OPTIONS, wrong_word
from macmgr.readers.domain import Domain, Nic
from macmgr.readers.network import Inherited, Network, NetworkPort


class PolicySources:
    """The sources of policy: the networks, their ports by uuid, and the configuration's bridges.

    ``configured``: a configuration exists. It may be missing for a moment while somebody replaces it.
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
        """Returns the bridge for the NIC's tap; empty if no source names one."""
        network = self.networks.get(nic.network)
        return nic.bridge or (network.bridge if network else "")

    def portgroup(self, nic: Nic) -> str:
        """Returns the NIC's portgroup, or the network's default one if the NIC names none."""
        network = self.networks.get(nic.network)
        return nic.portgroup or (network.default_portgroup if network else "")

    def trusts(self, nic: Nic) -> bool:
        """The guest may change the address of this NIC (``trustGuestRxFilters``)."""
        return bool(self.inherit(nic, "trust"))

    def live(self, nic: Nic, name: str) -> Any:
        """Returns the setting from the NIC's own live XML or its port; None if both are silent."""
        found = (getattr(place, name, None) for place in (nic, self.ports.get(nic.port_id)))
        return next((value for value in found if value is not None), None)

    def inherit(self, nic: Nic, name: str) -> Any:
        """Returns a setting of the NIC, its port, its portgroup or its network, in this order; None if none has it."""
        network = self.networks.get(nic.network)
        group = network.portgroups.get(self.portgroup(nic), Inherited()) if network else Inherited()
        whole = network.inherited if network else Inherited()
        for place in (nic, self.ports.get(nic.port_id), group, whole):
            value = getattr(place, name, None)
            if value not in (None, ""):
                return value
        return None


_SILENT = Settings()


def decide(domain: Domain, nic: Nic, sources: PolicySources) -> Policy:
    """Returns the policy of one NIC, with every step that was asked. XmlError for an unknown macTableManager.

    If one of the places is not understood, none of them decides: the unread one may hold a lock, or
    ``manager='kernel'``, and the others would then be wrong.
    """
    network = sources.networks.get(nic.network)
    problem = domain.problem or (network.problem if network else "")
    if problem:
        return Policy(reason="left as it is: what decides about it is not understood", problem=problem)
    steps = tuple(_steps(domain, nic, sources))
    return _together(steps, sources.trusts(nic), incomplete=_incomplete(nic, network, sources, steps))


def on_bridge(policy: Policy, bridge: str, sections: Mapping[str, Settings], *, trusted: bool) -> Policy:
    """Returns the policy of a NIC whose XML names no bridge, by what the configuration says of the one it is on."""
    if policy.problem:
        return policy
    steps = (*policy.steps, *_configured(bridge, sections))
    return _together(steps, trusted, incomplete=policy.incomplete)


def _together(steps: tuple[Step, ...], trusted: bool, *, incomplete: bool) -> Policy:
    nobody = Policy(guest_mac=GuestMac.FOLLOW if trusted else GuestMac.ALERT)

    def first(option: str) -> Any:
        said = (value for step in steps if (value := getattr(step.says, option)) is not None)
        return next(said, getattr(nobody, option))

    return Policy(
        **{option.field: first(option.field) for option in OPTIONS},
        reason=next((step.place for step in steps if step.says.manager is not None), nobody.reason),
        allow=tuple(dict.fromkeys(pattern for step in steps for pattern in step.says.allow)),
        steps=steps,
        incomplete=incomplete,
    )


def _incomplete(nic: Nic, network: Network | None, sources: PolicySources, steps: Iterable[Step]) -> bool:
    """A place that may have a say is missing now: the NIC's network, or the configuration if only that decides."""
    if nic.network:
        return network is None
    return not sources.configured and not any(step.says.manager for step in steps)


def managed_bridges(sources: PolicySources, known: Iterable[str] = ()) -> dict[str, str]:
    """Returns the bridges that a network or the configuration hands to macmgr, each with the reason.

    A pattern stands for the bridges that it fits: among the ``known`` ones and those of networks.
    """
    managed = {
        network.bridge: f"network {network.name}: macTableManager"
        for network in sources.networks.values()
        if network.bridge and network.manager == Manager.LIBVIRT
    }
    named = [name for name in sources.bridges if not is_pattern(name)]
    for name in dict.fromkeys([*named, *known, *(network.bridge for network in sources.networks.values())]):
        if name and (section := managing_section(name, sources.bridges)):
            managed.setdefault(name, section)
    return managed


def managing_section(bridge: str, sections: Mapping[str, Settings]) -> str:
    """Returns the configuration's section that hands a bridge to macmgr; empty if none does."""
    found = ((section, says.manager) for section, says in sections_of(bridge, sections) if says.manager)
    section, manager = next(found, ("", None))
    return _section(section) if manager is Manager.LIBVIRT else ""


def _section(name: str) -> str:
    return f'[bridge."{name}"] in the configuration'


def _steps(domain: Domain, nic: Nic, sources: PolicySources) -> Iterable[Step]:
    network = sources.networks.get(nic.network)
    group = sources.portgroup(nic)
    yield Step(f"domain {domain.name}: <macmgr:interface mac='{nic.mac}'>", domain.metadata.get(nic.mac, _SILENT))
    yield Step(f"domain {domain.name}: <macmgr:macTable>", domain.metadata.get("", _SILENT))
    if network is not None and group:
        says = network.metadata.get(group, _SILENT)
        yield Step(f"network {network.name}: <macmgr:portgroup name='{group}'>", says)
    elif nic.network and network is None:
        yield Step(f"network {nic.network}: <macmgr:portgroup> (it is not active)", _SILENT)
    else:
        yield Step("<macmgr:portgroup> (the NIC has none)", _SILENT)
    manager = nic.manager or (network.manager if network else "")
    if manager and manager not in tuple(Manager):
        raise XmlError(wrong_word(MAC_TABLE_MANAGER, manager, Manager, xml=True))
    named = f"network {nic.network}: " if nic.network else ""
    yield Step(f"{named}macTableManager", Settings(Manager(manager)) if manager else _SILENT)
    if nic.kind != "ethernet":  # its bridge is not known yet
        yield from _configured(sources.bridge(nic), sources.bridges)


def _configured(bridge: str, sections: Mapping[str, Settings]) -> Iterator[Step]:
    found = list(sections_of(bridge, sections)) or [(bridge, _SILENT)]
    yield from (Step(_section(name), says) for name, says in found)
