"""`macmgr status` prints the daemon's own account: what it manages, repaired and saw.

It reads no bridge and no XML; `macmgr audit` checks that the answer is right.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

from macmgr import errors, hookcheck, paths
from macmgr.errors import MacmgrError, NoPermission, NotThere
from macmgr.oneline import harmless_json
from macmgr.state.lock import Process, process

_TIMEOUT = 5.0  # seconds; the daemon answers alongside its rounds, which take a tenth of one
_LARGEST = 16 << 20
_CREDENTIALS = struct.Struct("=iii")  # struct ucred: pid, uid, gid
_NEVER_CAME = (
    "they are installed, but none was called for the {} guests that came since the daemon's first look: libvirt looks "
    "for hooks when it starts or reloads, and SELinux or AppArmor may forbid it to run them (ausearch -m avc)"
)


class NoDaemon(NotThere):
    """Nobody listens on the daemon's socket."""


def status(arguments: argparse.Namespace) -> int:
    """Ask the daemon and print its answer. Raises NotThere if none runs.

    If the daemon does not know the state, the exit code is that of the error that keeps it from looking.
    """
    problems = hookcheck.problems(paths.LIBVIRT_HOOKS, unit=paths.UNITS / hookcheck.UNIT)
    try:
        document = ask(paths.HOOK_SOCKET)
    except NotThere as error:
        raise NotThere("; ".join((str(error), *problems))) from None
    hooks = document["hooks"]  # the daemon may be older
    if hooks.get("never_came") and not problems and any(hookcheck.installed(paths.LIBVIRT_HOOKS)):
        problems = (_NEVER_CAME.format(hooks["guests_started"]),)
    hooks["problems"] = list(problems)
    if arguments.format == "json":
        print(harmless_json(json.dumps(document, indent=2, ensure_ascii=False)))
    else:
        from macmgr.report.statustext import print_status  # rich is slow to import, and JSON does not need it
        from macmgr.report.terminal import console

        color = not arguments.no_color and "NO_COLOR" not in os.environ and sys.stdout.isatty()
        print_status(console(color), document, verbose=arguments.verbose)
    if document["in_sync"] is None:
        unknown = document.get("unknown")
        return int(unknown["exit_code"]) if unknown else NotThere.exit_code
    return errors.IN_SYNC if document["in_sync"] else errors.DRIFT


def ask(path: Path, timeout: float = _TIMEOUT) -> dict[str, Any]:
    """Returns the daemon's status document (docs/adr/0006, the hook's protocol)."""
    who: Process | None = None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as daemon:
            daemon.settimeout(timeout)
            daemon.connect(str(path))
            credentials = daemon.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            who = process(_CREDENTIALS.unpack(credentials)[0])
            daemon.sendall(b"status\0")
            daemon.shutdown(socket.SHUT_WR)
            answer = _read(daemon)
    except (FileNotFoundError, ConnectionRefusedError):
        raise NoDaemon(
            f"no daemon runs here: nobody listens on {path}; start it with 'systemctl start macmgr', or look without "
            "one: 'macmgr audit'"
        ) from None
    except PermissionError:
        raise NoPermission(f"{path}: only root may ask the daemon") from None
    except TimeoutError:
        what = f"the daemon ({who.in_words})" if who else "the daemon"
        raise NotThere(f"{what} does not answer within {timeout:g} s on {path}; see 'journalctl -u macmgr'") from None
    except OSError as error:
        raise NotThere(f"the daemon cannot be asked on {path}: {error.strerror or error}") from None
    return _understood(answer, path)


def daemon_runs() -> bool:
    """Returns True for one that does not answer, too: it has its configuration."""
    try:
        ask(paths.HOOK_SOCKET)
    except NoDaemon:
        return False
    except MacmgrError:
        pass
    return True


def _read(daemon: socket.socket) -> bytes:
    chunks, size = [], 0
    while size <= _LARGEST and (chunk := daemon.recv(1 << 16)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def _understood(answer: bytes, path: Path) -> dict[str, Any]:
    """Parses a status of version 1, else raises NotThere: the daemon may be older or newer than this program."""
    try:
        document = json.loads(answer)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("version") != 1:
        raise NotThere(
            f"the answer on {path} is no status that this macmgr understands; after an update, restart the "
            "daemon: 'systemctl restart macmgr'"
        )
    return document
