"""Checks that libvirt can run a hook here, and that the hook's programs work, for install, doctor and status.

libvirt takes each regular file with an x among its mode bits for a hook (virFileIsExecutable). If execve() refuses one,
the hook counts as failed: libvirt then starts no guest, and ends running ones when it restarts (`reconnect`). So
obstacles to execution are checked before a hook is put, and a hook is tried before libvirt can find it.

Nothing here changes anything. SELinux's rules are read from the kernel: a hook that an administrator's shell starts
runs under other rules than one that libvirt starts.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import signal
import stat
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from macmgr.model.hookcall import TRIED
from macmgr.phrases import system_words
from macmgr.safefiles import open_regular, read_regular
from macmgr.selinux import SELinux

DRIVERS = ("qemu", "network", "lxc", "daemon")
NAME = "99-macmgr"  # libvirt runs the hooks of a directory in the order of their names: ours sees what others have made
FORMER = "50-macmgr"
UNIT = "macmgr.service"
MARK = b"# installed by macmgr"
LIBVIRT_DAEMONS = ("libvirtd", "virtqemud", "virtnetworkd", "virtlxcd")
PID_FILES = Path("/run")  # each daemon writes its process there as NAME.pid
# An operation that libvirt does not have: shims and the daemon silently do nothing with it, and `macmgr hook` loads
# what it needs, and does nothing more.
TRIAL = ("-", TRIED, "begin", "-")
# The environment of a hook: what libvirt passes on of its own (virCommandAddEnvPassCommon), and what it sets.
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_TIMEOUT = 10.0  # seconds until a program counts as hanging
_LONGEST = 1 << 20  # bytes of a shim; a real one has two thousand


@dataclass(frozen=True, slots=True)
class Shim:
    """An installed hook of ours, and the paths of the programs that it starts."""

    path: Path
    named: dict[str, Path]


def refusal(hooks_dir: Path, *started: Path, selinux: SELinux | None = None) -> str:
    """Returns the obstacle to hooks below ``hooks_dir`` that start the programs ``started``; empty if there is none."""
    for driver in DRIVERS:
        if place := _noexec_for_libvirt(hooks_dir / f"{driver}.d"):
            return f"{hooks_dir / f'{driver}.d'}: {place} is mounted noexec, so libvirt can execute no hook there"
    if forbidden := (selinux or SELinux()).forbids(hooks_dir):
        return f"{hooks_dir}: {forbidden}"
    return next((f"{each}: {why}" for each in started if (why := unstartable(each))), "")


def unstartable(program: Path) -> str:
    """Returns the reason why execve() would refuse a program or its first line's interpreter; empty if none."""
    for _ in range(4):  # as deep as the kernel goes (BINPRM_MAX_RECURSION, exec_binprm)
        try:
            mode = program.stat().st_mode
        except OSError as error:
            return "it is gone" if error.errno in (errno.ENOENT, errno.ENOTDIR) else system_words(error)
        if not stat.S_ISREG(mode):
            return "it is no regular file"
        if not mode & 0o111:
            return "it is not executable"
        if place := _noexec(program):
            return f"it cannot be executed: {place} is mounted noexec"
        interpreter = _interpreter(program)
        if interpreter is None:
            return ""
        if not interpreter.exists():
            return f"its interpreter {interpreter} is gone"
        program = interpreter
    return ""


def tried(words: Sequence[str | Path], timeout: float = _TIMEOUT) -> str:
    """Starts a command as libvirt starts a hook; the command is to do nothing. Returns its fault.

    It must end with 0, in time and silently; then the result is empty.
    """
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
    except OSError as error:
        why = unstartable(Path(words[0])) or system_words(error)
        return why if why.startswith("it cannot") else f"it cannot be executed: {why.removeprefix('it is ')}"
    with process:
        try:
            said, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            return f"it does not end within {timeout:g} s"
    last = said.decode("utf-8", "replace").strip().rpartition("\n")[2][:300]
    if process.returncode:
        return f"it fails (exit {process.returncode}{': ' if last else ''}{last})"
    return f"it must be silent, but says: {last}" if said else ""


def program_fails(program: Path) -> str:
    """Returns the reason why `macmgr hook` fails: program gone, not executable, or its Python lacks a library now."""
    return unstartable(program) or tried([program, "hook", "daemon", *TRIAL])


def installed(hooks_dir: Path) -> Iterator[Shim]:
    """Yields our installed hooks, as libvirt would find them."""
    for path in (hooks_dir / f"{driver}.d" / name for driver in DRIVERS for name in (NAME, FORMER)):
        text = shim_text(path)
        if text is not None:
            found = re.findall(rf"(?m)^({'|'.join(_CHECKS)})=(.*)$", text.decode("utf-8", "replace"))
            yield Shim(path, {name: Path("".join(_unquoted(word)[:1])) for name, word in found})


def shim_text(path: Path) -> bytes | None:
    """Returns the text of a hook of ours; None if it is another's, no regular file, or unreadable."""
    with suppress(OSError):
        text = read_regular(path, _LONGEST, follow=False)
        return text if MARK in text else None
    return None


def cannot_run(shim: Shim, selinux: SELinux | None = None) -> str:
    """Returns the reason why libvirt cannot execute an installed hook; empty if it can, or sees no hook in it."""
    with suppress(OSError):
        if not shim.path.stat().st_mode & 0o111:
            return ""
    if place := _noexec_for_libvirt(shim.path):
        return f"{place} is mounted noexec"
    return (selinux or SELinux()).forbids(shim.path) or tried([shim.path, *TRIAL])


def problems(hooks_dir: Path, selinux: SELinux | None = None, unit: Path | None = None) -> tuple[str, ...]:
    """Returns the problems of the installed hooks, one line for each cause. If libvirt fails, only that.

    ``unit`` is the daemon's: what it starts may be gone too, and a daemon that runs does not notice.
    """
    shims = list(installed(hooks_dir))
    for shim in shims:
        if why := cannot_run(shim, selinux):
            return (
                f"{shim.path}: libvirt cannot execute it ({why}), counts it as failed, and will end running guests "
                "when it restarts: run 'macmgr install', which removes what cannot run, or 'macmgr uninstall', now",
            )
    lines = [
        f"{shim.path}: it is not executable, so libvirt ignores it: run 'macmgr install'"
        for shim in shims
        if not shim.path.stat().st_mode & 0o111
    ]
    for name, path in dict.fromkeys(item for shim in shims for item in shim.named.items()):
        if why := _CHECKS[name](path):
            lines.append(f"{path}: the hooks start it and do nothing, because {why}: fix it, or run 'macmgr install'")
    program = started_by(unit) if unit is not None else None
    if program and program not in {shim.named.get("macmgr") for shim in shims} and (why := program_fails(program)):
        lines.append(f"{program}: {unit} starts it, and no daemon can start, because {why}: run 'macmgr install'")
    return tuple(lines)


def started_by(unit: Path) -> Path | None:
    """Returns the program that a unit of ours starts; None if it is another's, or not there."""
    found = re.search(rb'(?m)^ExecStart=(?:"([^"\n]*)"|(\S+))', shim_text(unit) or b"")
    return Path(os.fsdecode((found[1] or found[2]).replace(b"%%", b"%"))) if found else None


def _gone(script: Path) -> str:
    return "" if script.is_file() else "it is gone"


_CHECKS = {"python": unstartable, "handover": _gone, "macmgr": program_fails}


def _unquoted(word: str) -> list[str]:
    try:
        return shlex.split(word)
    except ValueError:
        return []


def _interpreter(program: Path) -> Path | None:
    """Returns the interpreter in a script's first line; None for another program, or an unreadable one."""
    with suppress(OSError):
        descriptor, _ = open_regular(program)
        try:
            line = os.read(descriptor, 256).partition(b"\n")[0]
        finally:
            os.close(descriptor)
        if line.startswith(b"#!") and (words := line[2:].split()):
            return Path(os.fsdecode(words[0]))
    return None


def _noexec_for_libvirt(path: Path) -> str:
    """As `_noexec`, also for libvirt's running daemons: a unit may give them mounts of their own."""
    if place := _noexec(path):
        return place
    for name in LIBVIRT_DAEMONS:
        with suppress(OSError, ValueError):
            pid = int(read_regular(PID_FILES / f"{name}.pid", 100))
            if place := _noexec(path, Path(f"/proc/{pid}")):
                return f"{place}, as {name} sees it,"
    return ""


def _noexec(path: Path, process: Path = Path("/proc/self")) -> str:
    """Returns the mount point of the filesystem for ``path`` if a process has it noexec; empty otherwise."""
    root, there = process / "root", path.resolve()
    try:
        while not (root / there.relative_to("/")).exists() and there != there.parent:
            there = there.parent
        if not os.statvfs(root / there.relative_to("/")).f_flag & os.ST_NOEXEC:
            return ""
        mounts = (process / "mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    # proc(5): octal escapes stand for spaces and similar letters there.
    places = (re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), line.split()[4]) for line in mounts)
    return max((place for place in places if there.is_relative_to(place)), key=len, default=str(there))
