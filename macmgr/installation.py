"""`macmgr install` and `uninstall`: hooks, configuration and unit on this host, undone without a trace.

A hook goes to ``<hooks>/<driver>.d/50-macmgr`` (libvirt 6.5.0 and newer run every executable file there). The main
hook file is the administrator's and is never touched. Only files that carry our mark are replaced or removed.

Where systemd runs the host, the daemon's unit goes to ``/etc/systemd/system``. Whether and when the daemon runs is the
administrator's to say: nothing is enabled, started or stopped.

The configuration is the administrator's from the moment on that it is there: it is written once, never replaced, and
removed only while it is what was written, which a checksum beside it tells (``sha256sum -c`` understands it).
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from macmgr import paths
from macmgr.errors import NoPermission, NotThere
from macmgr.hookcheck import DRIVERS, NAME, TRIAL, cannot_run, installed, refusal, shim_text, tried
from macmgr.placing import (
    LARGEST,
    TEMPORARY,
    Step,
    is_already,
    make,
    put,
    refuse_others,
    remove_leftovers,
    told,
    unmake,
    unmake_empty,
    unmake_upwards,
    write,
)
from macmgr.regularfile import read_regular
from macmgr.selinux import SELinux
from macmgr.state.memory import is_another_macmgrs, managed_ports, remove

UNIT = "macmgr.service"
# Debian's profile for libvirtd lets a hook start what is in /usr/bin, free of the profile, and nothing else (adr/0008).
# What else is installed does not matter: the script needs no library of its interpreter.
PYTHON = Path("/usr/bin/python3")
_PATIENCE = 10.0  # seconds until an interpreter counts as one that does not start


_INSTEAD = (
    "because of a hook that cannot be executed libvirt starts no guest and ends running ones, so none is left there; "
    "mend that, or 'macmgr install --no-hooks': the daemon does nearly all without them"
)


class _Unusable(Exception):
    """Hooks would fail here."""


def install_hooks(
    hooks_dir: Path = paths.LIBVIRT_HOOKS, program: Path | None = None, selinux: SELinux | None = None
) -> list[Step]:
    """Put the four shims in place, each once it was seen to run; a second call changes nothing.

    All or none: a host with half of its hooks is worse than one without. And none at all where libvirt could not
    execute them: there it would end guests because of them, so what an earlier call left is taken away too.
    """
    program, python = program or find_program(), find_python()
    source = _packaged("_hooks", "hooks")
    texts = {hooks_dir / f"{driver}.d" / NAME: _shim(_text(source / driver), program, python) for driver in DRIVERS}
    for target in texts:
        refuse_others(target)
    try:
        _ask(hooks_dir, python, selinux)
        return _put_tried(texts)
    except _Unusable as error:
        gone = _take_away(hooks_dir, selinux)
        raise NotThere(f"{error}; {_INSTEAD}{gone}") from None
    finally:
        for target in texts:
            unmake_empty(target.parent)


def _ask(hooks_dir: Path, python: Path, selinux: SELinux | None) -> None:
    if why := refusal(hooks_dir, python, selinux=selinux):
        raise _Unusable(why)


def _put_tried(texts: dict[Path, str]) -> list[Step]:
    """Write and try each shim where libvirt looks for none, a directory beside its place, and then rename them all."""
    staged: dict[Path, Path] = {}
    steps = []
    try:
        for target, text in texts.items():
            with told(target):
                if not is_already(target, text, 0o755):
                    make(target.parent)
                    remove_leftovers(target.parent)
                    directory = Path(tempfile.mkdtemp(dir=target.parent, prefix=TEMPORARY))
                    staged[target] = directory / NAME
                    write(staged[target], text, 0o755)
            if why := tried([staged.get(target, target), *TRIAL]):
                raise _Unusable(f"{target}: {why}")
        for target in texts:
            what = "already there" if target not in staged else "replaced" if target.exists() else "installed"
            with told(target):
                if target in staged:
                    staged[target].replace(target)
            steps.append(Step(target, what))
    finally:
        for path in staged.values():
            shutil.rmtree(path.parent, ignore_errors=True)
    return steps


def _take_away(hooks_dir: Path, selinux: SELinux | None) -> str:
    """Remove the hooks of ours that libvirt cannot execute; what to say of it."""
    shims = [shim for shim in installed(hooks_dir) if cannot_run(shim, selinux)]
    try:
        for shim in shims:
            shim.path.unlink()
    except OSError as error:
        return f"; {shim.path} could not be taken away ({error.strerror}): do that before libvirt restarts"
    return "; what was there of them is taken away" if shims else ""


def uninstall_hooks(hooks_dir: Path = paths.LIBVIRT_HOOKS) -> Iterator[Step]:
    """Remove what `install_hooks` put, and the directories it made where they are empty."""
    for driver in DRIVERS:
        target = hooks_dir / f"{driver}.d" / NAME
        try:
            if shim_text(target) is not None:
                target.unlink()
                yield Step(target, "removed")
            remove_leftovers(target.parent)
            unmake(target.parent)
        except PermissionError:
            raise NoPermission(f"{target}: may not be removed; uninstalling hooks needs root") from None
    unmake_upwards(hooks_dir)


def install_unit(units_dir: Path = paths.UNITS, program: Path | None = None) -> Step:
    """Put the daemon's unit in place; a second call changes nothing."""
    target = units_dir / UNIT
    text = _text(_packaged("_macmgr.service", "packaging/macmgr.service"))
    line = f"ExecStart={_word(program or find_program())} watch"
    refuse_others(target)
    return put(target, re.sub(r"(?m)^ExecStart=.*$", lambda _: line, text), 0o644)


def uninstall_unit(units_dir: Path = paths.UNITS) -> Iterator[Step]:
    """Remove what `install_unit` put, and the links by which systemctl enabled it."""
    target = units_dir / UNIT
    try:
        if shim_text(target) is not None:
            target.unlink()
            yield Step(target, "removed")
            for link in (wants / UNIT for wants in units_dir.glob("*.wants")):
                if link.is_symlink() and link.readlink() == target:
                    link.unlink()
                    yield Step(link, "removed")
        unmake_upwards(units_dir)
    except PermissionError:
        raise NoPermission(f"{target}: may not be removed; uninstalling the daemon's unit needs root") from None


def install_config(target: Path = paths.CONFIG, *, manage: bool = False) -> Step:
    """Put the commented default configuration in place, where none is: it observes unless it is to ``manage``."""
    if os.path.lexists(target):
        return Step(target, "already there")
    text = read_regular(_packaged("_macmgr.toml", "packaging/macmgr.toml"), LARGEST)
    if manage:
        text = text.replace(b'\nmode = "observe"\n', b'\nmode = "manage"\n')
    try:
        make(target.parent)
        checksum = target.with_name(paths.CHECKSUM)
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
    checksum = target.with_name(paths.CHECKSUM)
    try:
        if checksum.is_file():
            written = read_regular(checksum, LARGEST).decode("utf-8", "replace").split()[:1]
            checksum.unlink()
            if target.is_file() and not target.is_symlink():
                if [hashlib.sha256(read_regular(target, LARGEST)).hexdigest()] == written:
                    target.unlink()
                    yield Step(target, "removed")
                else:
                    yield Step(target, "kept: changed")
        unmake_upwards(target.parent)
    except PermissionError:
        raise NoPermission(f"{target}: may not be removed; uninstalling the configuration needs root") from None


def uninstall_memory(target: Path = paths.STATE, *, purge: bool = False) -> Iterator[Step]:
    """Remove what is remembered, unless that is how ports were before macmgr and they were not given back."""
    if not purge and (managed_ports(target) or is_another_macmgrs(target)):
        yield Step(target, "kept")
        return
    try:
        for removed in remove(target):
            yield Step(removed, "removed")
    except PermissionError:
        raise NoPermission(f"{target}: may not be removed; uninstalling needs root") from None
    except OSError as error:
        raise NotThere(f"{target}: cannot be removed: {error.strerror}") from None


def find_program() -> Path:
    """The macmgr that this process was started as, by its absolute path: a hook's PATH is not the administrator's."""
    invoked = Path(sys.argv[0])
    if invoked.name == "macmgr" and invoked.exists():
        return invoked.resolve()
    found = shutil.which("macmgr") or str(Path(sys.executable).with_name("macmgr"))
    if not Path(found).exists():
        raise NotThere("the macmgr program was not found on PATH; name it with --program")
    return Path(found).resolve()


def named_program(named: Path) -> Path:
    """The program that a person named, by its absolute path; links are kept, as they may lead to the next version."""
    program = named.absolute()
    if not program.is_file() or not os.access(program, os.X_OK):
        raise NotThere(f"{program}: is no executable file; name the macmgr to start with --program")
    return program


def find_python() -> Path:
    """The interpreter for the hooks: the host's own, or else ours; NotThere where neither runs what they start.

    Ours is named as what it is a link to: a virtual environment's leads to one that may well be in /usr/bin.
    """
    ours = Path(sys.executable).resolve()
    for python in (PYTHON, ours):
        if _runs(python):
            return python
    raise NotThere(f"neither {PYTHON} nor {ours} runs {_handover()}: hooks could do nothing; Python 3.6 or newer does")


def _runs(python: Path) -> bool:
    """Whether an interpreter starts as a shim starts it, and understands the script."""
    words: list[str | Path] = [python, "-ISE", _handover()]
    try:
        tried = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_PATIENCE)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def _packaged(name: str, place: str) -> Path:
    """What is installed with the package under ``name``, and in a checkout lies at ``place``."""
    packaged = Path(__file__).parent / name
    return packaged if packaged.exists() else Path(__file__).parent.parent / place


def _text(path: Path) -> str:
    return read_regular(path, LARGEST).decode()


def _handover() -> Path:
    return Path(__file__).with_name("handover.py").resolve()


def _word(program: Path) -> str:
    """A program's path at the beginning of a unit's command line (systemd.service(5), systemd.syntax(7))."""
    text = str(program)
    if not text.isprintable() or re.search(r"[\\'\"]", text):
        raise NotThere(f"{text!r}: systemd starts no program of such a name; name another one with --program")
    text = text.replace("%", "%%")
    return f'"{text}"' if " " in text else text


def _shim(text: str, program: Path, python: Path) -> str:
    """The shim with this host's paths in it."""
    for name, path in (("macmgr", program), ("handover", _handover()), ("python", python)):
        line = f"{name}={shlex.quote(str(path))}".replace("\\", r"\\")
        text, found = re.subn(rf"(?m)^{name}=.*$", line, text)
        if found != 1:
            raise NotThere("the hook shim of this installation is damaged; install macmgr again")
    return text
