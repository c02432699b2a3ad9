"""`macmgr install` and `uninstall`: the hooks on this host, beside everybody else's, undone without a trace.

A hook goes to ``<hooks>/<driver>.d/50-macmgr`` (libvirt 6.5.0 and newer run every executable file there). The main
hook file is the administrator's and is never touched. Only files that carry our mark are replaced or removed.

The configuration is the administrator's from the moment on that it is there: it is written once, never replaced, and
removed only while it is what was written, which a checksum beside it tells (``sha256sum -c`` understands it).
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from macmgr import paths
from macmgr.errors import NoPermission, NotThere

DRIVERS = ("qemu", "network", "lxc", "daemon")
NAME = "50-macmgr"
MARK = b"# installed by macmgr"
_MADE = ".made-by-macmgr"
_CHECKSUM = ".macmgr.toml.sha256"
_PLACEHOLDER = "macmgr=macmgr"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that install or uninstall did, or found done."""

    path: Path
    what: str


def install_hooks(hooks_dir: Path = paths.LIBVIRT_HOOKS, program: Path | None = None) -> Iterator[Step]:
    """Put the four shims in place; a second call changes nothing."""
    program = program or find_program()
    source = _source()
    for driver in DRIVERS:
        shim = _shim((source / driver).read_text(encoding="utf-8"), program)
        target = hooks_dir / f"{driver}.d" / NAME
        try:
            yield _put(target, shim)
        except PermissionError:
            raise NoPermission(f"{target}: may not be written; installing hooks needs root") from None
        except OSError as error:
            raise NotThere(f"{target}: cannot be written: {error.strerror}") from None


def uninstall_hooks(hooks_dir: Path = paths.LIBVIRT_HOOKS) -> Iterator[Step]:
    """Remove what `install_hooks` put, and the directories it made where they are empty."""
    for driver in DRIVERS:
        target = hooks_dir / f"{driver}.d" / NAME
        try:
            if target.is_file() and not target.is_symlink() and MARK in target.read_bytes():
                target.unlink()
                yield Step(target, "removed")
            made = target.parent / _MADE
            if made.exists():
                made.unlink()
                if not any(target.parent.iterdir()):
                    target.parent.rmdir()
        except PermissionError:
            raise NoPermission(f"{target}: may not be removed; uninstalling hooks needs root") from None
    made = hooks_dir / _MADE
    if made.exists():
        made.unlink()
        if not any(hooks_dir.iterdir()):
            hooks_dir.rmdir()


def install_config(target: Path = paths.CONFIG) -> Step:
    """Put the commented default configuration in place, where none is."""
    if os.path.lexists(target):
        return Step(target, "already there")
    text = _default_config().read_bytes()
    try:
        if not target.parent.is_dir():
            target.parent.mkdir(parents=True, mode=0o755)
            (target.parent / _MADE).touch()
        checksum = target.with_name(_CHECKSUM)
        checksum.write_text(f"{hashlib.sha256(text).hexdigest()}  {target.name}\n", encoding="utf-8")
        with target.open("xb") as file:
            file.write(text)
        target.chmod(0o644)
    except PermissionError:
        raise NoPermission(f"{target}: may not be written; installing the configuration needs root") from None
    except OSError as error:
        raise NotThere(f"{target}: cannot be written: {error.strerror}") from None
    return Step(target, "installed")


def uninstall_config(target: Path = paths.CONFIG) -> Iterator[Step]:
    """Remove the configuration if it is still what `install_config` wrote, and the directory if it made that."""
    checksum, made = target.with_name(_CHECKSUM), target.parent / _MADE
    try:
        if checksum.is_file():
            written = checksum.read_text(encoding="utf-8").split()[:1]
            checksum.unlink()
            if target.is_file() and not target.is_symlink():
                if [hashlib.sha256(target.read_bytes()).hexdigest()] == written:
                    target.unlink()
                    yield Step(target, "removed")
                else:
                    yield Step(target, "kept: changed")
        if made.exists():
            made.unlink()
            if not any(target.parent.iterdir()):
                target.parent.rmdir()
    except PermissionError:
        raise NoPermission(f"{target}: may not be removed; uninstalling the configuration needs root") from None


def find_program() -> Path:
    """The macmgr that this process was started as, by its absolute path: a hook's PATH is not the administrator's."""
    invoked = Path(sys.argv[0])
    if invoked.name == "macmgr" and invoked.exists():
        return invoked.resolve()
    found = shutil.which("macmgr") or str(Path(sys.executable).with_name("macmgr"))
    if not Path(found).exists():
        raise NotThere("the macmgr program was not found on PATH; name it with --program")
    return Path(found).resolve()


def _source() -> Path:
    """The shims: inside the installed package, or at the top of the checkout."""
    packaged = Path(__file__).parent / "_hooks"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "hooks"


def _default_config() -> Path:
    packaged = Path(__file__).parent / "_macmgr.toml"
    return packaged if packaged.is_file() else Path(__file__).parent.parent / "packaging" / "macmgr.toml"


def _shim(text: str, program: Path) -> str:
    if text.count(_PLACEHOLDER) != 1:
        raise NotThere("the hook shim of this installation is damaged; install macmgr again")
    return text.replace(_PLACEHOLDER, f"macmgr={shlex.quote(str(program))}")


def _put(target: Path, shim: str) -> Step:
    if target.is_symlink() or (target.exists() and MARK not in target.read_bytes()):
        raise NotThere(f"{target}: exists and is not macmgr's; move it away first")
    for directory in (target.parent.parent, target.parent):
        if not directory.is_dir():
            directory.mkdir(parents=True, mode=0o755)
            (directory / _MADE).touch()
    if target.exists() and target.read_text(encoding="utf-8") == shim and os.access(target, os.X_OK):
        return Step(target, "already there")
    replaced = target.exists()
    # libvirt may run any executable file in the directory at any time: the new one appears whole, by rename
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".macmgr-")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(shim)
        file.flush()
        os.fsync(file.fileno())
        os.fchmod(file.fileno(), 0o755)
    Path(temporary).replace(target)
    return Step(target, "replaced" if replaced else "installed")
