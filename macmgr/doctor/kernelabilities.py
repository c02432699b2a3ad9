"""Lists what the kernel is able to do about promiscuous ports. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from macmgr.model.devices import Features
from macmgr.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Ability:
    """One ability of the kernel. ``has`` is None if nothing that was read could show it."""

    name: str
    since: str
    has: bool | None
    text: str


def abilities(features: Features, snapshot: Snapshot) -> Iterator[Ability]:
    """Reads the kernel's abilities from the attributes of bridges and ports, and from the entries present."""
    sticky = any(entry.sticky for entry in snapshot.fdb)
    recent = features.locked is True
    yield Ability(
        "VLAN filtering",
        "3.9",
        features.vlan_filtering,
        "lets uplinks leave promiscuous mode; CONFIG_BRIDGE_VLAN_FILTERING",
    )
    yield Ability(
        "sticky entries", "4.20", True if sticky or features.ring_state else None, "no frame moves a guest's entry"
    )
    yield Ability(
        "NIC lists for late ports",
        "5.14",
        True if recent else None,
        "an uplink that joins later learns the guests' MACs",
    )
    yield Ability("locked ports", "5.18", features.locked, "drops frames with a spoofed source MAC")
    yield Ability(
        "limit of learned entries", "6.7", features.learned_limit, "a flood of source MACs cannot fill the table"
    )
