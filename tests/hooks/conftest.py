"""The real shims, installed by the real `macmgr install`, and run as libvirtd runs a hook.

libvirt gives a hook a scrubbed environment, ``/`` as its directory, XML on standard input, and waits until nobody holds
its output any more (virRunScript). `Host.hook` does the same. The shims know no options, so the program that they start
looks for configuration, status files and lock below the test's directory, and the shims for the daemon's socket; they
are the real ones in all else.
"""

from __future__ import annotations

import os
import resource
import runpy
import select
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import NoReturn

import pytest

import macmgr.hook.work  # noqa: F401 - in the forks of this process it is there already

SCRUBBED = {"LC_ALL": "C", "PATH": "/usr/bin:/bin"}
DRIVERS = ("qemu", "lxc", "network", "daemon")
TIMEOUT = 60  # seconds until a hook counts as hanging: the only limit by the wall clock, and no hook comes near it
BUDGET = 2.0  # seconds that a hook's processes may have a processor
# A hook's time counts from its start by the wall clock, and on a busy machine Python alone may take two seconds to
# start. So a test that is not about the limit has a long one, and who is about it writes its own.
UNHURRIED = "timeout = 30\n"
DEFAULT_TIME = "# the limit is that of an empty configuration\n"

_PROGRAM = """\
import sys
from pathlib import Path

from macmgr import paths

here = Path(__file__).parent
paths.CONFIG, paths.LIBVIRT_RUN = here / "macmgr.toml", here / "libvirt"
paths.LOCK = here / "lock"
paths.STATE = here / "state" / "state.json"
paths.OBSERVED, paths.REMEMBERED = here / "observed.json", here / "remembered"

from macmgr.__main__ import main

raise SystemExit(main())
"""


@dataclass(frozen=True)
class Said:
    """What libvirtd gets of a hook call.

    It is said once the last holder of the hook's output is gone. ``busy`` is the processor time of all its processes.
    """

    code: int
    stdout: bytes
    stderr: str
    busy: float = 0.0

    @property
    def lines(self) -> list[str]:
        return self.stderr.splitlines()


@dataclass(frozen=True)
class Host:
    """A host with libvirt's hooks directory, its status files, and a configuration."""

    root: Path
    installed: Path

    @property
    def hooks(self) -> Path:
        return self.root / "etc libvirt" / "hooks"

    @property
    def run(self) -> Path:
        """What is /run/macmgr elsewhere: no daemon of this machine is asked."""
        return self.root / "run"

    @property
    def socket(self) -> Path:
        return self.run / "hook.sock"

    def install(self, program: Path) -> None:
        """Put the shims there, as they are installed for a program that works, and have them start ``program``."""
        shutil.copytree(self.installed, self.hooks, dirs_exist_ok=True)
        for driver in DRIVERS:
            shim = self.hooks / f"{driver}.d" / "99-macmgr"
            text = shim.read_text().replace(" /run/macmgr ", f" {shlex.quote(str(self.run))} ")
            shim.write_text(text.replace("macmgr=/bin/true\n", f"macmgr={shlex.quote(str(program))}\n"))

    def program(self, *, script: str = "", name: str = "macmgr") -> Path:
        """The program that the hooks start: macmgr itself, with this host's paths, or a ``script`` for the shell."""
        (self.root / "program.py").write_text(_PROGRAM)
        path = self.root / name
        text = script or f'exec {sys.executable} {self.root}/program.py "$@"'
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    def configure(self, text: str) -> None:
        """Write the configuration; ``[hook]`` is its last table, where it has one."""
        if "timeout" not in text and text != DEFAULT_TIME:
            text += UNHURRIED if "[hook]" in text else f"[hook]\n{UNHURRIED}"
        (self.root / "macmgr.toml").write_text(text)

    def status_file(self, place: str, xml: str) -> None:
        path = self.root / "libvirt" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(xml)

    def hook(self, driver: str, *words: str | bytes, stdin: bytes | int = b"") -> Said:
        """Call the hook of ``driver`` as libvirtd does; ``stdin`` is what it writes, or a descriptor it gives."""
        command: list[str | bytes] = [str(self.hooks / f"{driver}.d" / "99-macmgr"), *words]
        before = _processor_time()
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            env=SCRUBBED,
        )
        # communicate() returns when both outputs are closed by everyone, which is what libvirt waits for
        try:
            output, errors = process.communicate(stdin if isinstance(stdin, bytes) else None, timeout=TIMEOUT)
        finally:
            process.kill()  # one that hangs must not hold the test too
        return Said(process.returncode, output, errors.decode(), _processor_time() - before)

    def macmgr(self, driver: str, *words: str, stdin: bytes = b"") -> Said:
        """`macmgr hook` as the shim starts it, in a fork of this process: it spares two starts of Python.

        For what the program does with what it reads. The shim, and who holds libvirt's pipes, are not in it.
        """
        with (self.root / "given").open("w+b") as given, TemporaryFile() as output, TemporaryFile() as errors:
            given.write(stdin)
            given.seek(0)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # of a fork where there are threads
                child = os.fork()
            if child == 0:
                self._be_the_hook([driver, *words], given.fileno(), output.fileno(), errors.fileno())
            end = os.pidfd_open(child)
            poll = select.poll()
            poll.register(end, select.POLLIN)
            hangs = not poll.poll(TIMEOUT * 1000)
            os.close(end)
            if hangs:
                os.kill(child, signal.SIGKILL)
            _, status, usage = os.wait4(child, 0)
            assert not hangs
            output.seek(0)
            errors.seek(0)
            code = os.waitstatus_to_exitcode(status)
            return Said(code, output.read(), errors.read().decode(), usage.ru_utime + usage.ru_stime)

    def _be_the_hook(self, words: list[str], *standard: int) -> NoReturn:
        try:
            for number, descriptor in enumerate(standard):
                os.dup2(descriptor, number)
            os.chdir("/")
            os.environ.clear()
            os.environ.update(SCRUBBED)
            sys.argv = ["macmgr", "hook", *words]
            runpy.run_path(str(self.root / "program.py"), run_name="__main__")
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 99)
        finally:
            os._exit(99)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the real `macmgr install` puts into a hooks directory: the same for each host, so made once."""
    hooks = tmp_path_factory.mktemp("installed") / "hooks"
    words = ["-m", "macmgr", "install", "--hooks-dir", str(hooks), "--program", "/bin/true"]
    hooks.mkdir()
    subprocess.run([sys.executable, *words], check=True, capture_output=True)
    return hooks


@pytest.fixture
def host(tmp_path: Path, installed: Path) -> Host:
    """A host on which macmgr's hooks are installed and libvirt has run."""
    made = Host(tmp_path, installed)
    (tmp_path / "libvirt" / "qemu").mkdir(parents=True)
    made.install(made.program())
    made.configure("")
    return made


def _processor_time() -> float:
    """Of all children that have ended, in seconds."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def open_pipe() -> Iterator[int]:
    """The reading end of a pipe that nobody writes to and nobody closes."""
    reader, writer = os.pipe()
    try:
        yield reader
    finally:
        os.close(reader)
        os.close(writer)


def domain(name: str, *, tap: str = "vnet-test0", bridge: str = "br-test0") -> str:
    """A domain with one NIC on a bridge, as hooks get it; neither the tap nor the bridge exist."""
    nic = (
        "<interface type='bridge'><mac address='52:54:00:aa:00:01'/>"
        f"<source bridge='{bridge}'/><target dev='{tap}'/><alias name='net0'/></interface>"
    )
    escaped = name.replace("&", "&amp;").replace("<", "&lt;")
    return f"<domain type='kvm'><name>{escaped}</name><devices>{nic}</devices></domain>"


def domstatus(name: str, state: str) -> str:
    return f"<domstatus state='{state}' reason='booted' pid='1'>{domain(name)}</domstatus>"
