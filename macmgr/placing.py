"""Files that `macmgr install` puts on a host: whole or not at all, marked as ours, and removed without a trace.

Only a file with our mark is replaced or removed. A directory is removed only if we made it and nobody else uses it.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from macmgr.errors import NoPermission, NotThere
from macmgr.hookcheck import MARK, shim_text
from macmgr.safefiles import read_regular

LARGEST = 1 << 20  # bytes of a file that may be ours
TEMPORARY = ".macmgr-"  # prefix of temporary names
_MADE = ".made-by-macmgr"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that install or uninstall did, or found done."""

    path: Path
    what: str


def refuse_others(target: Path) -> None:
    """Raises NotThere for a file that is not ours; it is then neither replaced nor removed."""
    try:
        ours = not os.path.lexists(target) or MARK in read_regular(target, LARGEST, follow=False)
    except PermissionError:
        raise NoPermission(f"{target}: may not be read; installing needs root") from None
    except OSError:  # a link or a directory, for example
        ours = False
    if not ours:
        raise NotThere(f"{target}: exists and is not macmgr's; move it away first")


@contextmanager
def errors_name(target: Path) -> Iterator[None]:
    """Turns the kernel's refusal into an error that names the file."""
    try:
        yield
    except PermissionError:
        raise NoPermission(f"{target}: may not be written; installing needs root") from None
    except OSError as error:
        raise NotThere(f"{target}: cannot be written: {error.strerror}") from None


def put(target: Path, text: str, mode: int) -> Step:
    if is_already(target, text, mode):
        return Step(target, "already there")
    with errors_name(target):
        make(target.parent)
        replaced = target.exists()
        descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=TEMPORARY)
        os.close(descriptor)
        try:
            write(Path(temporary), text, mode)
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)  # an interrupt may come when it has its name already
            raise
    return Step(target, "replaced" if replaced else "installed")


def is_already(target: Path, text: str, mode: int) -> bool:
    return shim_text(target) == text.encode() and stat.S_IMODE(target.stat().st_mode) == mode


def write(path: Path, text: str, mode: int) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), mode)


def make(directory: Path) -> None:
    """Makes a directory and those above it, each with a mark for `unmake`."""
    if not directory.is_dir():
        make(directory.parent)
        directory.mkdir(mode=0o755)
        (directory / _MADE).touch()


def unmake(directory: Path) -> bool:
    """Removes the directory if `make` made it and nobody uses it. Returns True if it is gone."""
    made = directory / _MADE
    if not made.exists():
        return False
    made.unlink()
    if any(directory.iterdir()):
        return False
    directory.rmdir()
    return True


def unmake_empty(directory: Path) -> None:
    with suppress(OSError):
        while [each.name for each in directory.iterdir()] == [_MADE] and unmake(directory):
            directory = directory.parent


def unmake_upwards(directory: Path) -> None:
    while unmake(directory):
        directory = directory.parent


def remove_leftovers(directory: Path) -> None:
    for left in directory.glob(f"{TEMPORARY}*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)
        elif shim_text(left) is not None:
            left.unlink()
