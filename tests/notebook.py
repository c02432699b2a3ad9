"""The memory, without a file."""

from __future__ import annotations

from dataclasses import dataclass

from macmgr.planning.remembered import NOTHING, Memory


@dataclass
class Notebook:
    """What `macmgr.state.memory.StateFile` is, for a test that is not about files."""

    memory: Memory = NOTHING

    def read(self) -> Memory:
        return self.memory

    def keep(self, memory: Memory) -> None:
        self.memory = memory
