"""`macmgr hook`: the program behind libvirt's hook shims. It never blocks, kills or refuses a guest by accident.

libvirt waits for a hook without a limit, until every process that inherited its output has gone. A non-zero exit at
`started` kills the running guest. So a child without inherited output does the work. This process only waits, for a
bounded time, and reports the result in one line. It reads no file but its own stat: the child also reads the
configuration, which has the time limit. Source: libvirt hooks.html, src/util/virhook.c.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from macmgr import paths
from macmgr.config import MAX_TIMEOUT, HookSettings, load_config
from macmgr.errors import MacmgrError, unexpected
from macmgr.model.hookcall import MAX_INPUT, TRIED, HookCall

# The exit code that the shim turns into a refusal; an interpreter that fails to start exits with 1, 2 or 127.
REFUSED = 10
# The end of the child's message: the first for success, the second for a failure, neither if the child died.
_WELL, _NOT_WELL = b"+", b"-"
_AUDIT = "run 'macmgr audit' to see what is left to do"


@dataclass(frozen=True, slots=True)
class Handed:
    """The facts from a shim that first offered its call to a daemon.

    ``since`` is the time from which libvirt waits, by the clock that does not jump. ``begun`` is the descriptor of the
    input's first part; 0 if nothing was read.
    """

    since: float
    begun: int

    @classmethod
    def of(cls, since: str, begun: str) -> Handed | None:
        """Reads the shim's words. None if they make no sense: then the call is like any other."""
        try:
            return cls(float(since), int(begun))
        except ValueError:
            return None


@dataclass(slots=True)
class _ChildReport:
    """The child's message so far: ``TIMEOUT REFUSE`` once it knows the configuration, a line, and its end.

    Until the first part arrives, the default limit holds, counted anew: on a busy host the interpreter's start alone
    may take all of the time.
    """

    since: float
    limit: float = field(init=False)
    settings: HookSettings = field(default_factory=HookSettings)
    data: bytes = b""
    late: bool = False

    def __post_init__(self) -> None:
        self.limit = max(self.since, time.monotonic()) + self.settings.timeout

    def more(self, chunk: bytes) -> None:
        known = b"\n" in self.data
        self.data += chunk
        if not known and b"\n" in self.data:
            said = self.data.partition(b"\n")[0].split()
            if said:
                self.settings = HookSettings(said[1] == b"1", float(said[0]))
            self.limit = self.since + self.settings.timeout

    def verdict(self) -> tuple[str, bool]:
        """Returns the line to report, and True if the call failed."""
        if self.late:
            return f"gave up after {self.settings.timeout:g} s; {_AUDIT}", True
        words = self.data.partition(b"\n")[2]
        message = words[:-1].decode("utf-8", "replace").strip()
        if words[-1:] == _WELL:
            return message, False
        return message if words[-1:] == _NOT_WELL and message else f"ended abnormally; {_AUDIT}", True


def run_hook(
    call: HookCall,
    config_path: Path | None = None,
    run_dir: Path = paths.LIBVIRT_RUN,
    netns: str | None = None,
    handed: Handed | None = None,
) -> int:
    """Does the operation's work within the configured time. The exit code is for libvirt, and nearly always 0."""
    since = process_started()
    if handed is not None and 0 <= since - handed.since <= MAX_TIMEOUT:
        since = handed.since
    if call.operation == TRIED:
        return _can_work()
    if not call.relevant:
        return 0
    report = _ChildReport(since)
    try:
        _guarded(call, config_path, run_dir, netns, report, handed.begun if handed else 0)
        message, failed = report.verdict()
    except OSError as error:  # no process, descriptor or memory left
        message, failed = f"the work could not be started: {error.strerror}; {_AUDIT}", True
    except Exception as error:  # noqa: BLE001 - libvirt must not see a traceback, whatever it is
        message, failed = f"{unexpected(error)}; {_AUDIT}", True
    if message:
        say(call.line(message))
    return REFUSED if failed and report.settings.refuse and call.refusable else 0


def _can_work() -> int:
    """Loads what a hook needs, and does nothing. 1, and one line, if that fails: it is no call of libvirt's."""
    try:
        from macmgr.hook.work import act  # noqa: F401
    except Exception as error:  # noqa: BLE001 - a library for another Python may fail in any way
        os.write(2, f"{unexpected(error)}\n".encode("utf-8", "backslashreplace"))
        return 1
    return 0


def process_started() -> float:
    """Returns when this process started, by a clock that does not jump: it may have been stopped, or starved, since."""
    try:
        stat = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(stat[19]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        age = time.process_time()
    return time.monotonic() - max(0.0, age)


def _guarded(
    call: HookCall, config_path: Path | None, run_dir: Path, netns: str | None, report: _ChildReport, begun: int
) -> None:
    """Lets a child do the work and reads its message. A child that is late, or dies, is only a failure."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(call, config_path, run_dir, netns, report.since, begun, writer)
    signal.setitimer(signal.ITIMER_REAL, 0)  # from here on this process keeps the limit
    os.close(writer)
    while select.select([reader], [], [], max(0.0, report.limit - time.monotonic()))[0]:
        chunk = os.read(reader, 65536)
        if not chunk:
            break
        report.more(chunk)
    else:
        report.late = True
        os.kill(child, signal.SIGKILL)
    os.close(reader)
    # Never wait for the child: one that is stuck in the kernel must not hold the guest. init reaps it.
    with suppress(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


def _work(
    call: HookCall,
    config_path: Path | None,
    run_dir: Path,
    netns: str | None,
    since: float,
    begun: int,
    writer: int,
) -> NoReturn:
    """The child: it writes only to the pipe, and never returns to the caller."""
    line, end, known = "", _NOT_WELL, False
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        config = load_config(config_path)
        os.write(writer, f"{config.hook.timeout!r} {int(config.hook.refuse)}\n".encode())
        known = True
        data = _read_input(begun)
        from macmgr.hook.work import act  # its imports take 0.1 s, and may fail: inside the guard

        line = act(call, data, config, run_dir, netns, since + config.hook.timeout)
        end = _WELL
    except MacmgrError as error:
        line = str(error)
    except BaseException as error:  # noqa: BLE001 - libvirt must not see a traceback, whatever it is
        line = f"{unexpected(error)}; run 'macmgr audit' to see the state"
    begin = b"" if known else b"\n"  # no settings: the default holds
    with suppress(OSError):
        os.write(writer, begin + " ".join(line.split()).encode("utf-8", "backslashreplace")[:8192] + end)
    os._exit(0)


def _read_input(begun: int) -> bytes:
    """Reads the shim's part of the input and the rest, at most one byte more than a document may have."""
    chunks, size = [], 0
    for source in (begun, 0):
        while size <= MAX_INPUT and (chunk := os.read(source, 1 << 20)):
            chunks.append(chunk)
            size += len(chunk)
    return b"".join(chunks)


def say(line: str) -> None:
    """Writes one line to standard error, which libvirt reads, and to the system log, which people read."""
    data = line.encode("utf-8", "backslashreplace")
    with suppress(OSError):
        os.write(2, data + b"\n")
    with suppress(OSError):
        import socket

        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)  # a full log must not block
        with log:
            log.connect("/dev/log")
            log.send(b"<28>" + data)  # facility daemon, severity warning (RFC 3164)
