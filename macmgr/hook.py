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
from pathlib import Path
from typing import NoReturn

from macmgr import paths
from macmgr.config import Config, load_config
from macmgr.errors import MacmgrError
from macmgr.hookcall import MAX_INPUT, HookCall

# The exit code that the shim turns into a refusal; an interpreter that fails to start exits with 1, 2 or 127.
REFUSED = 10
_FAILED = 1


def run_hook(
    call: HookCall, config_path: Path | None = None, run_dir: Path = paths.LIBVIRT_RUN, netns: str | None = None
) -> int:
    """Do what the operation asks for, within the configured time; the exit code is for libvirt, and nearly always 0."""
    started = time.monotonic() - time.process_time()  # what the interpreter took to start is part of the time
    if not call.relevant:
        return 0
    problem = None
    try:
        config = load_config(config_path)
    except MacmgrError as error:
        config, problem = Config(), str(error)
    if problem is None:
        deadline = started + config.hook.timeout
        message, failed = _guarded(call, config, run_dir, netns, deadline)
    else:
        message, failed = problem, True
    if message:
        _say(call.line(message))
    return REFUSED if failed and config.hook.refuse and call.refusable else 0


def _guarded(call: HookCall, config: Config, run_dir: Path, netns: str | None, deadline: float) -> tuple[str, bool]:
    """Let a child do the work and bring back its line; a child that is late, or dies, is a failure and no more."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _work(call, config, run_dir, netns, deadline, writer)
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


def _work(call: HookCall, config: Config, run_dir: Path, netns: str | None, deadline: float, writer: int) -> NoReturn:
    """The child: no output of its own but the pipe, no way back into the caller."""
    code = _FAILED
    line = ""
    try:
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        data = _read_input()
        from macmgr.hookwork import act  # what it imports takes 0.1 s, and may fail: inside the guard

        line = act(call, data, config, run_dir, netns, deadline)
        code = 0
    except MacmgrError as error:
        line = str(error)
    except BaseException as error:  # noqa: BLE001 - libvirt must not see a traceback, whatever it is
        line = f"failed unexpectedly ({type(error).__name__}); please report it; run 'macmgr audit' to see the state"
    with suppress(OSError):
        os.write(writer, " ".join(line.split()).encode()[:8192])
    os._exit(code)


def _read_input() -> bytes:
    """Standard input, at most one byte more than a document may have."""
    chunks, size = [], 0
    while size <= MAX_INPUT and (chunk := os.read(0, 1 << 20)):
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
