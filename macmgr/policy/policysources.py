"""Policy is decided from what a NIC says itself, what its network says for it, and the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from macmgr.model.intent import Settings
from macmgr.readers.domain import Nic
from macmgr.readers.network import Inherited, Network, NetworkPort


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

    def trusts(self, nic: Nic) -> bool:
        """Whether the guest may change the address of this NIC (``trustGuestRxFilters``)."""
        return bool(self.inherit(nic, "trust"))

    def live(self, nic: Nic, name: str) -> Any:
        """What the live XML of the NIC, or its port, says itself; None where it is silent."""
        found = (getattr(place, name, None) for place in (nic, self.ports.get(nic.port_id)))
        return next((value for value in found if value is not None), None)

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
