"""libvirt's daemons in the lab, and the networks they serve."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import libvirt

from tests.lab.wait import run, until

Answer = TypeVar("Answer")

libvirt.registerErrorHandler(lambda _context, _error: None, None)  # or it prints what is raised, too


@dataclass(frozen=True)
class Daemon:
    """One of libvirt's daemons, by its program. Files of it have its name."""

    program: str

    @property
    def name(self) -> str:
        """The name of its process."""
        return Path(self.program).name

    @property
    def log(self) -> Path:
        """Where it says why it gave up."""
        return Path(f"/var/log/libvirt/{self.name}.log")

    @property
    def pid(self) -> int | None:
        """Its process, None when there is none."""
        try:
            pid = int(self._pid_file.read_text())
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if name == self.name else None

    @property
    def running(self) -> bool:
        """True while its process exists."""
        return self.pid is not None

    def start(self, *options: str) -> None:
        """Start it, unless it runs. (QEMU's output goes to files: virtlogd is not needed.)"""
        if not self.running:
            run(self.program, "-d", *options)

    def end(self, number: signal.Signals) -> None:
        """Send it a signal, and wait for its end; guests stay alive."""
        pid = self.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        until(lambda: self.pid != pid, f"{self.name} {pid} ends after {number.name}", 60)
        self._pid_file.unlink(missing_ok=True)

    @property
    def _pid_file(self) -> Path:  # libvirt's own default, which macmgr reads too
        return Path(f"/run/{self.name}.pid")


# The programs, in the order of their start: libvirtd, or daemons that share its work.
DAEMONS = tuple(Daemon(program) for program in os.environ.get("MACMGR_LAB_DAEMONS", "libvirtd").split())


class Libvirt:
    """The lab's libvirt: not started at boot, so that a test can start, stop, kill and restart it."""

    uri = "qemu:///system"
    daemons = DAEMONS
    _connection: Any = None

    def start(self) -> None:
        """Start the daemons that do not run, and wait until they serve."""
        if all(daemon.running for daemon in self.daemons):
            return
        for daemon in self.daemons:
            daemon.start()
        self.wait()

    def wait(self) -> None:
        """Wait until the daemons serve: their drivers are up, and the running guests are known again."""
        self.hang_up()  # one daemon may have kept the line to another, which has ended
        until(self._serves, "libvirt serves", 120)

    def stop(self) -> None:
        """End the daemons as an administrator would; guests stay alive."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End the daemons without a chance to tidy up; guests stay alive."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start: what a package upgrade does."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """SIGHUP: the daemons look again which hooks there are."""
        for daemon in self.daemons:
            if (pid := daemon.pid) is not None:
                os.kill(pid, signal.SIGHUP)

    def virsh(self, *arguments: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run one virsh command on the system connection."""
        return run("virsh", "-c", self.uri, *arguments, check=check, timeout=timeout)

    def ask(self, question: Callable[[Any], Answer]) -> Answer:
        """Ask the daemon through its library: each start of virsh costs an emulated machine a hundred such calls."""
        try:
            if self._connection is None:
                self._connection = libvirt.open(self.uri)
            return question(self._connection)
        except libvirt.libvirtError as error:
            if self._connection is None or self._connection.isAlive():
                raise RuntimeError(f"{self.uri}: {error}") from None
        self._connection = None  # it was to a daemon that has ended meanwhile
        return self.ask(question)

    def hang_up(self) -> None:
        """Close the connection of `ask`: who has a client is not idle."""
        if self._connection is not None:
            with contextlib.suppress(libvirt.libvirtError):
                self._connection.close()
            self._connection = None

    def _serves(self) -> bool:
        with contextlib.suppress(RuntimeError):
            self.ask(lambda daemon: (daemon.listAllDomains(), daemon.listAllNetworks()))
            return True
        for daemon in self.daemons:
            if not daemon.running:
                raise RuntimeError(f"{daemon.name} gave up: {daemon.log.read_text()}")
        return False

    def _end(self, number: signal.Signals) -> None:
        self.hang_up()
        for daemon in reversed(self.daemons):
            daemon.end(number)


@dataclass
class Network:
    """A libvirt network: defined from `xml`, driven by virsh."""

    libvirt: Libvirt
    name: str
    xml: str

    @classmethod
    def on_host_bridge(  # the one network of most tests
        cls,
        libvirt: Libvirt,
        name: str = "lan",
        bridge: str = "br0",
        manager: str | None = "libvirt",
        inside: str = "",
    ) -> "Network":
        """A network on a bridge of the host; `inside` is further XML: portgroups, metadata, …"""
        attribute = f" macTableManager='{manager}'" if manager else ""
        return cls(
            libvirt,
            name,
            f"<network>\n  <name>{name}</name>\n  <forward mode='bridge'/>\n"
            f"  <bridge name='{bridge}'{attribute}/>\n{inside}</network>\n",
        )

    @property
    def active(self) -> bool:
        """True while the network is started."""
        return self.name in self.libvirt.virsh("net-list", "--name").stdout.split()

    def define(self) -> "Network":
        """net-define; on an existing network: change its definition."""
        path = Path(f"/run/lab/{self.name}.network.xml")
        path.write_text(self.xml)
        self.libvirt.virsh("net-define", str(path))
        return self

    def start(self) -> "Network":
        """net-start."""
        self.libvirt.virsh("net-start", self.name)
        return self

    def destroy(self) -> None:
        """net-destroy, if it is active."""
        if self.active:
            self.libvirt.virsh("net-destroy", self.name)

    def undefine(self) -> None:
        """net-undefine, destroyed before."""
        self.destroy()
        self.libvirt.virsh("net-undefine", self.name, check=False)
