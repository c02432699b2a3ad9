"""`macmgr install` and `uninstall`: hooks, configuration and unit on this host, removed without a trace.

A hook goes to ``<hooks>/<driver>.d/99-macmgr`` (libvirt 6.5.0 and newer run every executable file there, by the order
of their names). The main hook file is the administrator's and is never touched. Only files with our mark are replaced
or removed.

On a host with systemd, the daemon's unit goes to ``/etc/systemd/system``, unless a package brought it. The
administrator decides if and when the daemon runs: nothing is enabled, started or stopped.

Once it exists, the configuration is the administrator's. It is written once and never replaced. It is removed only if
it is unchanged, by a checksum in its directory (``sha256sum -c`` understands it).
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
from macmgr.hookcheck import DRIVERS, FORMER, NAME, TRIAL, UNIT, cannot_run, installed, refusal, shim_text, tried
from macmgr.placing import (
    LARGEST,
    TEMPORARY,
    Step,
    errors_name,
    is_already,
    make,
    put,
    refuse_others,
    remove_leftovers,
    unmake,
    unmake_empty,
    unmake_upwards,
    write,
)
from macmgr.safefiles import read_regular
from macmgr.selinux import SELinux
from macmgr.state.memory import is_another_macmgrs, managed_ports, remove

# Debian's profile for libvirtd lets a hook start programs in /usr/bin, free of the profile, and no others (adr/0008).
# Other Python installations do not matter: the script needs no library of its interpreter.
PYTHON = Path("/usr/bin/python3")
_TIMEOUT = 10.0  # seconds until an interpreter counts as hanging


_INSTEAD = (
    "libvirt starts no guest, and ends running ones, if it cannot execute a hook, so none is left there; fix that, or "
    "run 'macmgr install --no-hooks': the daemon does nearly all without hooks"
)


class _Unusable(Exception):
    """Hooks would fail here."""


def install_hooks(
    hooks_dir: Path = paths.LIBVIRT_HOOKS, program: Path | None = None, selinux: SELinux | None = None
) -> list[Step]:
    """Puts the four shims in place after each was seen to run. A second call changes nothing.

    All or none: a host with half of its hooks is worse than one without. None at all if libvirt could not execute them:
    it would end guests because of them. So an earlier call's hooks are removed then too.
    """
    program, python = program or find_program(), find_python()
    source = _packaged("_hooks", "hooks")
    texts = {hooks_dir / f"{driver}.d" / NAME: _shim(_text(source / driver), program, python) for driver in DRIVERS}
    for target in texts:
        refuse_others(target)
    try:
        _ask(hooks_dir, python, selinux)
        return [*_put_tried(texts), *_remove_shims(hooks_dir, FORMER)]
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
    """Writes and tries each shim in a directory where libvirt looks for none, and then renames them all into place."""
    staged: dict[Path, Path] = {}
    steps = []
    try:
        for target, text in texts.items():
            with errors_name(target):
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
            with errors_name(target):
                if target in staged:
                    staged[target].replace(target)
            steps.append(Step(target, what))
    finally:
        for path in staged.values():
            shutil.rmtree(path.parent, ignore_errors=True)
    return steps


def _take_away(hooks_dir: Path, selinux: SELinux | None) -> str:
    """Removes our hooks that libvirt cannot execute. Returns the words about it."""
    shims = [shim for shim in installed(hooks_dir) if cannot_run(shim, selinux)]
    try:
        for shim in shims:
            shim.path.unlink()
    except OSError as error:
        return f"; {shim.path} could not be removed ({error.strerror}): remove it before libvirt restarts"
    return "; those that were there are removed" if shims else ""


def uninstall_hooks(hooks_dir: Path = paths.LIBVIRT_HOOKS) -> Iterator[Step]:
    """Removes the hooks of `install_hooks`, and the directories it made if they are empty."""
    yield from _remove_shims(hooks_dir, NAME)
    yield from _remove_shims(hooks_dir, FORMER)
    for directory in (hooks_dir / f"{driver}.d" for driver in DRIVERS):
        try:
            remove_leftovers(directory)
            unmake(directory)
        except PermissionError:
            raise NoPermission(f"{directory}: may not be removed; uninstalling hooks needs root") from None
    unmake_upwards(hooks_dir)


def _remove_shims(hooks_dir: Path, name: str) -> Iterator[Step]:
    for target in (hooks_dir / f"{driver}.d" / name for driver in DRIVERS):
        try:
            if shim_text(target) is not None:
                target.unlink()
                yield Step(target, "removed")
        except PermissionError:
            raise NoPermission(f"{target}: may not be removed; that needs root") from None


def install_unit(units_dir: Path = paths.UNITS, program: Path | None = None) -> Step:
    """Puts the unit in place, unless a package has one for the same program: that is then the only one."""
    target, line = units_dir / UNIT, _exec_line(program or find_program())
    if (packaged := _packaged_unit(units_dir, line)) is not None:
        return _leave_to(packaged, target)
    text = _text(_packaged("_macmgr.service", "packaging/macmgr.service"))
    refuse_others(target)
    return put(target, re.sub(r"(?m)^ExecStart=.*$", lambda _: line, text), 0o644)


def check_unit(units_dir: Path, program: Path) -> None:
    """Raises NotThere if somebody else's unit is in the place of ours. Hiding or masking a package's unit is fine."""
    if _packaged_unit(units_dir, _exec_line(program)) is None:
        refuse_others(units_dir / UNIT)


def _packaged_unit(units_dir: Path, line: str) -> Path | None:
    """Returns the unit that a package brought to this host for the program of the ``line``."""
    packaged = paths.PACKAGED_UNITS / UNIT
    text = shim_text(packaged) if units_dir == paths.UNITS else None
    return packaged if text is not None and line.encode() in text.splitlines() else None


def _leave_to(packaged: Path, target: Path) -> Step:
    """Removes the unit of an earlier macmgr, which would hide the package's. A daemon that was enabled stays so."""
    if shim_text(target) is None:
        return Step(packaged, "already there")
    with errors_name(target):
        target.unlink()
        for link in _enabling(target):
            link.unlink()
            link.symlink_to(packaged)
    return Step(target, "removed")


def _enabling(target: Path) -> list[Path]:
    """Returns the links by which systemctl enabled the unit."""
    links = (wants / UNIT for wants in target.parent.glob("*.wants"))
    return [link for link in links if link.is_symlink() and link.readlink() == target]


def _exec_line(program: Path) -> str:
    return f"ExecStart={_word(program)} watch"


def uninstall_unit(units_dir: Path = paths.UNITS) -> Iterator[Step]:
    """Removes the unit of `install_unit`, and the links by which systemctl enabled it."""
    target = units_dir / UNIT
    try:
        if shim_text(target) is not None:
            target.unlink()
            yield Step(target, "removed")
            for link in _enabling(target):
                link.unlink()
                yield Step(link, "removed")
        unmake_upwards(units_dir)
    except PermissionError:
        raise NoPermission(f"{target}: may not be removed; uninstalling the daemon's unit needs root") from None


def install_config(target: Path = paths.CONFIG, *, manage: bool = False) -> Step:
    """Puts the commented default configuration in place if there is none. It observes unless it is to ``manage``."""
    if os.path.lexists(target):
        return Step(target, "already there")
    text = default_config(manage=manage)
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


def default_config(*, manage: bool) -> bytes:
    text = read_regular(_packaged("_macmgr.toml", "packaging/macmgr.toml"), LARGEST)
    return text.replace(b'\nmode = "observe"\n', b'\nmode = "manage"\n') if manage else text


def uninstall_config(target: Path = paths.CONFIG) -> Iterator[Step]:
    """Removes the configuration if it is unchanged since `install_config`, and the directory if that made it."""
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
    """Removes the memory, unless it holds the former state of ports that were not released yet."""
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
    """Returns the absolute path of the running macmgr: a hook's PATH is not the administrator's."""
    invoked = Path(sys.argv[0])
    if invoked.name == "macmgr" and invoked.exists():
        return invoked.resolve()
    found = shutil.which("macmgr") or str(Path(sys.executable).with_name("macmgr"))
    if not Path(found).exists():
        raise NotThere("the macmgr program was not found on PATH; name it with --program")
    return Path(found).resolve()


def named_program(named: Path) -> Path:
    """Returns the absolute path of the program that a person named. Links stay: they may lead to the next version."""
    program = named.absolute()
    if not program.is_file() or not os.access(program, os.X_OK):
        raise NotThere(f"{program}: is not an executable file; name the macmgr to start with --program")
    return program


def find_python() -> Path:
    """Returns the interpreter for the hooks: the host's own, or ours. NotThere if neither runs their script.

    Ours is named by the target of its link: a virtual environment's may well lead to one in /usr/bin.
    """
    ours = Path(sys.executable).resolve()
    for python in (PYTHON, ours):
        if _runs(python):
            return python
    raise NotThere(
        f"neither {PYTHON} nor {ours} runs {_handover()}: hooks could do nothing; install Python 3.6 or newer"
    )


def _runs(python: Path) -> bool:
    """The interpreter starts as a shim starts it, and understands the script."""
    words: list[str | Path] = [python, "-ISE", _handover()]
    try:
        tried = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=_TIMEOUT)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return tried.returncode == 0


def _packaged(name: str, place: str) -> Path:
    """Returns the packaged file ``name``, or in a checkout the one at ``place``."""
    packaged = Path(__file__).parent / name
    return packaged if packaged.exists() else Path(__file__).parent.parent / place


def _text(path: Path) -> str:
    return read_regular(path, LARGEST).decode()


def _handover() -> Path:
    return Path(__file__).with_name("handover.py").resolve()


def _word(program: Path) -> str:
    """Quotes a program's path for a unit's command line (systemd.service(5), systemd.syntax(7))."""
    text = str(program)
    if not text.isprintable() or re.search(r"[\\'\"]", text):
        raise NotThere(f"{text!r}: systemd starts no program with such a name; name another one with --program")
    text = text.replace("%", "%%")
    return f'"{text}"' if " " in text else text


def _shim(text: str, program: Path, python: Path) -> str:
    for name, path in (("macmgr", program), ("handover", _handover()), ("python", python)):
        line = f"{name}={shlex.quote(str(path))}".replace("\\", r"\\")
        text, found = re.subn(rf"(?m)^{name}=.*$", line, text)
        if found != 1:
            raise NotThere("the hook shim of this installation is damaged; install macmgr again")
    return text
