"""Where a verb reads a host: the host itself, or a capture of it. All that differs between the two is here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeAlias

from macmgr.capture.recordedkernel import RecordedKernel
from macmgr.config import Config
from macmgr.kernel import Kernel
from macmgr.model.known import Memory
from macmgr.sources.statusfiles import Files, LibvirtState, StatusFiles
from macmgr.state.observedfile import Read

AnyKernel: TypeAlias = Kernel | RecordedKernel


@dataclass(frozen=True, slots=True)
class Origin:
    """Each of these reads anew, or from the capture. ``memory`` and ``hooks`` come with lines about problems.

    ``name`` is the host's, ``now`` the time of the look. ``has_process`` says whether a domain's process is still here;
    None for this machine's processes.
    """

    name: str
    now: Callable[[], datetime]
    run_dir: Path
    files: Files
    config: Callable[[], Config]
    kernel: Callable[[], AnyKernel]
    memory: Callable[[], tuple[Memory, str]]
    seen: Callable[[], Read]
    hooks: Callable[[], tuple[str, ...]]
    has_process: Callable[[int], bool] | None = None

    def read_libvirt(self) -> Callable[[], LibvirtState]:
        """Returns the reader of libvirt's status files. It remembers what it has read."""
        return StatusFiles(self.run_dir, self.has_process, self.files).read
