"""The memory, without a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from macmgr.model.known import NOTHING, KeptMac, Known, Memory


@dataclass
class Notebook:
    """What `macmgr.state.memory.StateFile` is, for a test that is not about files."""

    memory: Memory = NOTHING

    def read(self) -> Memory:
        return self.memory

    def keep(self, memory: Memory) -> None:
        self.memory = memory


def remembers_gone(macs: Mapping[str, str], *bridges: str) -> Known:
    """macmgr had entries for these MACs, each of the domain behind it, on taps that are no more."""
    kept = (KeptMac(mac, bridge, domain, "no-more", 999) for mac, domain in macs.items() for bridge in bridges)
    return Known(Memory(macs=tuple(kept)))
