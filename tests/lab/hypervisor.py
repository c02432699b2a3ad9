"""libvirtd in the lab, and the networks it serves."""

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

SOCKET = Path("/run/libvirt/libvirt-sock")
PID_FILE = Path("/run/libvirtd.pid")
LOG = Path("/var/log/libvirt/libvirtd.log")
Answer = TypeVar("Answer")

libvirt.registerErrorHandler(lambda _context, _error: None, None)  # or it prints what is raised, too


class Libvirt:
    """The lab's libvirtd: not started at boot, so that a test can start, stop, kill and restart it."""

    uri = "qemu:///system"
    _connection: Any = None

    @property
    def running(self) -> bool:
        """True while the daemon's process exists."""
        return self.pid is not None

    @property
    def pid(self) -> int | None:
        """The daemon's process, None when there is none."""
        try:
            pid = int(PID_FILE.read_text())
            name = Path(f"/proc/{pid}/comm").read_text().strip()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if name == "libvirtd" else None

    def start(self) -> None:
        """Start the daemon and wait until it serves. (QEMU's output goes to files: virtlogd is not needed.)"""
        if self.running:
            return
        run("libvirtd", "-d", "--pid-file", str(PID_FILE))
        # The first answer comes when the drivers are up and the running guests are known again.
        until(self._serves, "libvirtd serves", 120)

    def stop(self) -> None:
        """End the daemon as an administrator would; guests stay alive."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End the daemon without a chance to tidy up; guests stay alive."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop and start: what a package upgrade does."""
        self.stop()
        self.start()

    def reload(self) -> None:
        """SIGHUP: the daemon looks again which hooks there are."""
        if (pid := self.pid) is not None:
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

    def _serves(self) -> bool:
        with contextlib.suppress(RuntimeError):
            self.ask(lambda daemon: daemon.listAllDomains())
            return True
        if not self.running:
            raise RuntimeError(f"libvirtd gave up: {LOG.read_text()}")
        return False

    def _end(self, number: signal.Signals) -> None:
        pid = self.pid
        if pid is None:
            return
        self._connection = None
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        until(lambda: self.pid != pid, f"libvirtd {pid} ends after {number.name}", 60)
        PID_FILE.unlink(missing_ok=True)


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
