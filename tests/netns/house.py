"""A host of its own for the daemon: a network namespace, a /run and a /var/lib of its own, and libvirt's files.

A process keeps the mount namespace; whatever runs on this host is started inside it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from macmgr.errors import NotThere
from macmgr.verbs.status import ask
from tests.netns import starter
from tests.netns.conftest import LONG, Namespace, eventually
from tests.netns.starter import Process

MANAGED = "[bridge.br0]\nmac_table_manager = 'libvirt'\n"
_PIPE = 1 << 16  # bytes that fit into a pipe
_KEEP = (
    "mount -t tmpfs -o mode=0755 none /run && mount -t tmpfs -o mode=0755 none /var/lib && mkdir -p /run/libvirt/qemu"
    # the definitions of networks belong to the libvirt of /run/libvirt
    " && { [ ! -d /etc/libvirt/qemu ] || mount -t tmpfs -o mode=0755 none /etc/libvirt/qemu; }"
    " && echo ready && exec sleep infinity"
)


@dataclass
class House:
    """The host. `guest` makes a guest's tap and status file, as libvirt would leave them."""

    ns: Namespace
    root: Path
    keeper: subprocess.Popen[str]

    @property
    def config(self) -> Path:
        return self.root / "macmgr.toml"

    @property
    def log(self) -> str:
        path = self.root / "daemon.log"
        return path.read_text() if path.exists() else ""

    def command(self, *words: str) -> list[str]:
        return ["nsenter", "-t", str(self.keeper.pid), "-m", "-n", *words]

    def macmgr_command(self, *words: str) -> list[str]:
        config = [] if words[:1] == ("status",) else ["--config", str(self.config)]  # it asks the daemon, and no file
        return self.command(sys.executable, "-m", "macmgr", *words[:1], *config, *words[1:])

    def macmgr(self, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run a verb on this host."""
        if len(stdin) > _PIPE:
            command = self.macmgr_command(*words)
            return subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=LONG)
        given, giving = os.pipe()
        with os.fdopen(given, "rb") as at_its_start, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with os.fdopen(giving, "wb") as end:
                end.write(stdin)
            process = self._start(words, dict(os.environ), at_its_start, out, err)
            try:
                code = process.wait(LONG)
            finally:
                process.kill()
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(["macmgr", *words], code, out.read(), err.read())

    def _start(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        stdin: IO[bytes],
        stdout: IO[bytes],
        stderr: IO[bytes],
        *,
        forked: bool = True,
    ) -> Process:
        """macmgr with these words; a new interpreter where the environment asks for another one than we are."""
        command = self.macmgr_command(*words)
        if forked and starter.can_start(environment):
            at = command.index("macmgr")
            files = stdin.fileno(), stdout.fileno(), stderr.fileno()
            return starter.start(self.keeper.pid, command[at + 1 :], environment, *files)
        return subprocess.Popen(command, stdin=stdin, stdout=stdout, stderr=stderr, env=environment)

    def audit(self) -> set[str]:
        """The codes of all errors."""
        said = self.macmgr("audit", "--json")
        assert said.stdout, said.stderr
        return {each["code"] for each in json.loads(said.stdout)["findings"] if each["severity"] == "error"}

    def status(self) -> dict[str, Any]:
        """What the daemon says of itself, asked without a process between it and us."""
        answers: list[dict[str, Any]] = []

        def answered() -> bool:
            with suppress(NotThere):  # a daemon with a short time for its hooks may give up on a slow asker, too
                answers.append(ask(Path(f"/proc/{self.keeper.pid}/root/run/macmgr/hook.sock"), timeout=LONG))
            return bool(answers)

        eventually(answered, lambda: f"it gives its status\n{self.log}")
        return answers[0]

    def write(self, place: str, text: str) -> None:
        """A file below /run/libvirt, as libvirt writes it: another name, then renamed."""
        self.write_bytes(place, text.encode())

    def write_bytes(self, place: str, data: bytes) -> None:
        path = Path(f"/proc/{self.keeper.pid}/root/run/libvirt/{place}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_name(path.name + ".new").write_bytes(data)
        path.with_name(path.name + ".new").rename(path)

    def remove(self, place: str) -> None:
        Path(f"/proc/{self.keeper.pid}/root/run/libvirt/{place}").unlink()

    def status_file(self, name: str, tap: str, mac: str, state: str = "running", bridge: str = "br0") -> str:
        """Write the domain's status file; its XML as hooks get it."""
        source = f"<source bridge='{bridge}'/><target dev='{tap}'/>"
        nic = f"<interface type='bridge'><mac address='{mac}'/>{source}</interface>"
        domain = f"<domain type='kvm'><name>{name}</name><uuid>u-{name}</uuid><devices>{nic}</devices></domain>"
        self.write(f"qemu/{name}.xml", f"<domstatus state='{state}' pid='1'>{domain}</domstatus>")
        return domain

    def guest(self, number: int, state: str = "running") -> str:
        """Guest gN with tap vnetN; its MAC."""
        mac = mac_of(number)
        self.ns.add_tap(f"vnet{number}")
        self.status_file(f"g{number}", f"vnet{number}", mac, state)
        return mac

    def flags(self, port: str) -> tuple[bool, bool]:
        """Learning, and unicast flood."""
        return next(
            (each["learning"], each["flood"]) for each in self.ns.bridge_json("-d link") if each["ifname"] == port
        )

    def managed(self, number: int) -> bool:
        """Whether the guest's entry is static and sticky on its tap, and the tap closed."""
        entries = [each for each in self.ns.fdb() if each["mac"] == mac_of(number)]
        good = [each for each in entries if each["ifname"] == f"vnet{number}" and "sticky" in each["flags"]]
        return bool(good) and len(good) == len(entries) and self.flags(f"vnet{number}") == (False, False)

    @contextmanager
    def daemon(
        self, *words: str, environment: Mapping[str, str] | None = None, forked: bool = True
    ) -> Iterator[Process]:
        """`macmgr watch` after its first round; ended with SIGTERM. If it is not forked, all its memory is its own."""
        pytest.importorskip("inotify_simple")
        with (self.root / "daemon.log").open("ab") as log, Path(os.devnull).open("rb") as nothing:
            env = {**os.environ, **(environment or {})}
            daemon = self._start(("watch", *words), env, nothing, log, log, forked=forked)
        before = self.log.count("watches")
        try:
            eventually(lambda: self.log.count("watches") > before or daemon.poll() is not None, "the daemon is ready")
            assert daemon.poll() is None, self.log
            yield daemon
        finally:
            if daemon.poll() is None:
                daemon.send_signal(signal.SIGTERM)
            daemon.wait(LONG)


def mac_of(number: int) -> str:
    return f"52:54:00:aa:{number >> 8:02x}:{number & 255:02x}"


@contextmanager
def house(ns: Namespace, root: Path) -> Iterator[House]:
    """A host with br0, an uplink up0, and macmgr told to manage br0."""
    words = ["ip", "netns", "exec", ns.name, "unshare", "--mount", "sh", "-c", _KEEP]
    keeper = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    try:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "ready\n"
        made = House(ns, root, keeper)
        made.config.write_text(MANAGED)
        ns.add_bridge()
        ns.add_cable("up0")
        yield made
    finally:
        keeper.kill()
        keeper.communicate()
