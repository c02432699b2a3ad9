"""`macmgr hook`: what libvirt's hook shims start. It never blocks, kills or refuses a guest by accident.

libvirt waits for a hook without a limit, until every process that inherited its output has gone, and a non-zero exit
at `started` kills the running guest. So the work is done by a child with no inherited output, and this process only
waits, for a bounded time, and says in one line what happened. Source: libvirt hooks.html, src/util/virhook.c.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from macmgr import paths
from macmgr.config import MAX_TIMEOUT, Config, load_config
from macmgr.errors import MacmgrError
from macmgr.hook.call import MAX_INPUT, HookCall

# The exit code that the shim turns into a refusal; an interpreter that fails to start exits with 1, 2 or 127.
REFUSED = 10
_FAILED = 1


@dataclass(frozen=True, slots=True)
class Handed:
    """What the shim knows that handed its call to a daemon first: since when libvirt waits, by the clock that does not
    jump, and the descriptor where the first part of the input is; 0 where nothing was read.
    """

    since: float
    begun: int

    @classmethod
    def of(cls, since: str, begun: str) -> Handed | None:
        """As the shim's words say it; None where they make no sense: then the call is like any other."""
        try:
            return cls(float(since), int(begun))
        except ValueError:
            return None


def run_hook(
    call: HookCall,
    config_path: Path | None = None,
    run_dir: Path = paths.LIBVIRT_RUN,
    netns: str | None = None,
    handed: Handed | None = None,
) -> int:
    """Do what the operation asks for, within the configured time; the exit code is for libvirt, and nearly always 0."""
    started = time.monotonic() - time.process_time()  # what the interpreter took to start is part of the time
    if handed is not None and 0 <= started - handed.since <= MAX_TIMEOUT:
        started = handed.since
    if not call.relevant:
        return 0
    problem = None
    try:
        config = load_config(config_path)
    except MacmgrError as error:
        config, problem = Config(), str(error)
    if problem is None:
        deadline = started + config.hook.timeout
        message, failed = _guarded(call, config, run_dir, netns, deadline, handed.begun if handed else 0)
    else:
        message, failed = problem, True
    if message:
        _say(call.line(message))
    return REFUSED if failed and config.hook.refuse and call.refusable else 0


def _guarded(
    call: HookCall, config: Config, run_dir: Path, netns: str | None, deadline: float, begun: int
) -> tuple[str, bool]:
    """Let a child do the work and bring back its line; a child that is late, or dies, is a failure and no more."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(call, config, run_dir, netns, deadline, begun, writer)
    os.close(writer)
    chunks: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0 and select.select([reader], [], [], left)[0]:
        chunk = os.read(reader, 65536)
        if not chunk:
            break
        chunks.append(chunk)
    else:
        os.kill(child, signal.SIGKILL)
        # not waited for: a child stuck in the kernel must not hold the guest; init reaps it
        return f"gave up after {config.hook.timeout:g} s; run 'macmgr audit' to see what is left to do", True
    os.close(reader)
    _, status = os.waitpid(child, 0)
    message = b"".join(chunks).decode("utf-8", "replace").strip()
    if status == 0:
        return message, False
    return message or "ended abnormally; run 'macmgr audit' to see what is left to do", True


def _work(
    call: HookCall, config: Config, run_dir: Path, netns: str | None, deadline: float, begun: int, writer: int
) -> NoReturn:
    """The child: no output of its own but the pipe, no way back into the caller."""
    code = _FAILED
    line = ""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        data = _read_input(begun)
        from macmgr.hook.work import act  # what it imports takes 0.1 s, and may fail: inside the guard

        line = act(call, data, config, run_dir, netns, deadline)
        code = 0
    except MacmgrError as error:
        line = str(error)
    except BaseException as error:  # noqa: BLE001 - libvirt must not see a traceback, whatever it is
        line = f"failed unexpectedly ({type(error).__name__}); please report it; run 'macmgr audit' to see the state"
    with suppress(OSError):
        os.write(writer, " ".join(line.split()).encode()[:8192])
    os._exit(code)


def _read_input(begun: int) -> bytes:
    """What the shim has read and what is left of standard input, at most one byte more than a document may have."""
    chunks, size = [], 0
    for source in (begun, 0):
        while size <= MAX_INPUT and (chunk := os.read(source, 1 << 20)):
            chunks.append(chunk)
            size += len(chunk)
    return b"".join(chunks)


def _say(line: str) -> None:
    """One line on standard error, where libvirt picks it up, and in the system log, where people look."""
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
    with suppress(OSError):
        import socket

        log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)  # a full log must not block
        with log:
            log.connect("/dev/log")
            log.send(f"<28>{line}".encode())  # facility daemon, severity warning (RFC 3164)
