"""The mark that a memory was written in this boot. It is in /run, so that who loses the memory still has the mark.

Without it a memory that was lost is no other than one that never was, and macmgr's own work would be taken for what was
there before (docs/adr/0004).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from macmgr import paths
from macmgr.state.ownfiles import Broken, read_own, write_own

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_SMALL = 256
_WHOLE, _LOST = "whole", "lost"


def mark_of(path: Path) -> Path:
    """Where the mark of a memory is."""
    return paths.REMEMBERED if path == paths.STATE else path.parent.with_name(f"{path.parent.name}.remembered")


def is_lost(mark: Path, *, there: bool) -> bool:
    """Whether something that was to be remembered in this boot is not in the memory, which is ``there`` or not."""
    try:
        booted, _, how = (read_own(mark, _SMALL) or b"").decode("ascii").partition(" ")
        return booted == boot() and (how == _LOST or not there)
    except (Broken, OSError, ValueError):
        return False


def leave_mark(mark: Path, *, lost: bool) -> None:
    """Say that a memory was written, or ``lost`` that it could not be; where that fails, it is not known later."""
    with suppress(Broken, OSError):
        text = f"{boot()} {_LOST if lost else _WHOLE}"
        if read_own(mark, _SMALL) != text.encode():
            write_own(mark, text, mode=0o755)


def boot() -> str:
    """The kernel's id of this boot."""
    return _BOOT_ID.read_text(encoding="ascii").strip()
