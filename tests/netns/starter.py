"""Starts macmgr by fork(2) of a process that has imported it: an interpreter and its imports take a third of a second.

The child enters a host's mount and network namespace, as nsenter(1) does, and runs what `python -m macmgr` runs: the
same main(), with arguments, an environment and descriptors of its own. What its first instants are like is seen where
the real program starts: test_cli.py, test_fixes.py, the shims of test_watch_hooks.py, test_watch_unit.py.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import gc
import json
import os
import select
import selectors
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import NoReturn, Protocol

_STATUS = struct.Struct("=i")
_LARGEST = 1 << 17  # of a request: it is one datagram
_READ_AT_START = ("PYTHON", "LC_", "LANG", "TZ")  # variables that an interpreter heeds only when it starts


class Process(Protocol):
    """What the tests use of a `subprocess.Popen`."""

    pid: int

    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, sig: int) -> None: ...
    def kill(self) -> None: ...
    def terminate(self) -> None: ...


class Forked:
    """A child of the starter. The starter reports its end."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.pid = _STATUS.unpack(connection.recv(_STATUS.size))[0]
        self._returncode: int | None = None

    def poll(self) -> int | None:
        if self._returncode is None and not select.select([self._connection], [], [], 0)[0]:
            return None
        return self.wait()

    def wait(self, timeout: float | None = None) -> int:
        if self._returncode is None:
            self._connection.settimeout(timeout)
            try:
                self._returncode = _STATUS.unpack(self._connection.recv(_STATUS.size))[0]
            except TimeoutError:
                raise TimeoutError(f"process {self.pid} still runs") from None
            self._connection.close()
        return self._returncode

    def send_signal(self, sig: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, sig)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def can_start(environment: Mapping[str, str]) -> bool:
    """True if an interpreter that starts with this environment would be like the starter."""
    return _heeded(environment) == _heeded(_starter()[1])


def start(
    keeper: int, words: Sequence[str], environment: Mapping[str, str], stdin: int, stdout: int, stderr: int
) -> Forked:
    """Starts macmgr with these words in the namespaces of process ``keeper``."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        request = json.dumps([keeper, list(words), dict(environment)]).encode()
        assert len(request) < _LARGEST
        descriptors = array.array("i", [theirs.fileno(), stdin, stdout, stderr])
        _starter()[0].sendmsg([request], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
    return Forked(ours)


def _heeded(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(_READ_AT_START)}


@cache
def _starter() -> tuple[socket.socket, dict[str, str]]:
    """The starter of this test process, and the environment that it started with. It ends when its socket closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = dict(os.environ)
    with theirs:
        # from another directory, so that it imports the macmgr that is installed, as nsenter(1) would
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())], pass_fds=[theirs.fileno()], cwd="/", env=environment
        )

    def end() -> None:
        ours.close()
        process.wait(30)

    atexit.register(end)
    return ours, environment


# The other side: the starter itself


def _serve(requests: socket.socket) -> None:
    """Forks for each request, and reports each child's end; ends with all its children when nobody can ask any more."""
    children: dict[int, tuple[int, socket.socket]] = {}  # by their descriptors
    selector = selectors.DefaultSelector()
    selector.register(requests, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is not requests:
                selector.unregister(key.fd)
                pid, connection = children.pop(key.fd)
                _, status = os.waitpid(pid, 0)
                os.close(key.fd)
                with suppress(OSError), connection:  # nobody may wait for it
                    connection.send(_STATUS.pack(os.waitstatus_to_exitcode(status)))
                continue
            data, descriptors, _, _ = socket.recv_fds(requests, _LARGEST, 4)
            if not data:
                for child, _ in children.values():
                    os.kill(child, signal.SIGKILL)
                return
            pid = os.fork()
            if pid == 0:
                _become_macmgr(data, descriptors[1:])
            for descriptor in descriptors[1:]:
                os.close(descriptor)
            connection = socket.socket(fileno=descriptors[0])
            with suppress(OSError):
                connection.send(_STATUS.pack(pid))
            watched = os.pidfd_open(pid)
            children[watched] = pid, connection
            selector.register(watched, selectors.EVENT_READ)


def _become_macmgr(data: bytes, descriptors: Sequence[int]) -> NoReturn:
    code = 70
    try:
        keeper, words, environment = json.loads(data)
        namespaces = [os.open(f"/proc/{keeper}/ns/{name}", os.O_RDONLY) for name in ("mnt", "net")]
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        setns = ctypes.CDLL(None, use_errno=True).setns
        assert not any(setns(namespace, 0) for namespace in namespaces), os.strerror(ctypes.get_errno())
        os.chdir("/")
        os.closerange(3, 1024)
        os.environ.clear()
        os.environ.update(environment)
        sys.argv = ["macmgr", *words]
        from macmgr.__main__ import main

        code = main()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # noqa: BLE001 - it ends here, whatever it is
        os.write(2, f"starter: {error!r}\n".encode())
    finally:
        os._exit(code)


def _import_all() -> None:
    import macmgr

    for module in walk_packages(macmgr.__path__, "macmgr."):
        if not module.name.endswith("__main__"):
            with suppress(ImportError):  # a library that is optional
                import_module(module.name)


if __name__ == "__main__":
    sys.path[0] = str(Path("/"))  # what `python -m` has there, and nothing of the tests
    _import_all()
    gc.collect()
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        _serve(asked)
