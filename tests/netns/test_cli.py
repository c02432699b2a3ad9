"""`macmgr` as a process in a network namespace and a /run of its own: what takes root, or root without its powers."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import pytest

from tests.netns.conftest import Namespace, eventually

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "audit-v1.schema.json").read_text())
MAC = "52:54:00:aa:00:01"
MANAGED = "[bridge.br0]\nmac_table_manager = 'libvirt'\n"
# The lock and what macmgr remembers are the box's own: nothing of this host is read or written.
_ENTER = 'mount -t tmpfs -o mode=0755 none /run && mount -t tmpfs -o mode=0755 none /var/lib && exec "$@"'


@dataclass(frozen=True)
class Box:
    """A host: a namespace for its kernel, a directory for its files, and a lock that no other host shares."""

    ns: Namespace
    root: Path

    @property
    def run_dir(self) -> Path:
        return self.root / "libvirt"

    @property
    def config(self) -> Path:
        return self.root / "macmgr.toml"

    def guest(self, name: str, tap: str, mac: str = MAC, state: str = "running") -> str:
        """A domain with one NIC on br0: its status file and its tap; its XML as hooks get it."""
        nic = f"<interface type='bridge'><mac address='{mac}'/><source bridge='br0'/><target dev='{tap}'/></interface>"
        domain = f"<domain type='kvm'><name>{name}</name><uuid>u</uuid><devices>{nic}</devices></domain>"
        (self.run_dir / "qemu" / f"{name}.xml").write_text(f"<domstatus state='{state}' pid='1'>{domain}</domstatus>")
        self.ns.add_tap(tap)
        return domain

    def macmgr(
        self, *words: str, stdin: bytes = b"", powerless: bool = False, named: bool = True
    ) -> subprocess.CompletedProcess[bytes]:
        """Run macmgr on this host; powerless is root without a single capability, whom a file's mode binds too."""
        places = ["--run-dir", str(self.run_dir), "--config", str(self.config)] if named else []
        command = [sys.executable, "-m", "macmgr", *words[:1], *places, *words[1:]]
        if powerless:
            command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
        entered = ["ip", "netns", "exec", self.ns.name, "unshare", "--mount", "sh", "-c", _ENTER, "sh", *command]
        return subprocess.run(entered, input=stdin, capture_output=True, check=False, timeout=60)


@pytest.fixture
def box(ns: Namespace) -> Iterator[Box]:
    """A host of its own directory, whose modes are ours to set."""
    with tempfile.TemporaryDirectory(prefix="macmgr-box-") as directory:
        made = Box(ns, Path(directory))
        made.root.chmod(0o755)
        (made.run_dir / "qemu").mkdir(parents=True)
        made.config.write_text(f"{MANAGED}[hook]\ntimeout = 30\n")  # a busy machine is no reason to give up
        yield made


def assert_one_line(done: subprocess.CompletedProcess[bytes], code: int, words: str) -> None:
    assert (done.returncode, done.stdout) == (code, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("macmgr: ")
    assert words in line


def test_a_host_without_a_bridge_is_not_called_in_sync(box: Box) -> None:
    """The configuration names br0, and that is not here: this is told, and nothing was compared."""
    nothing = "Nothing is managed here: no guest has a port on a bridge. 'macmgr show' lists bridges and guests."
    missing = 'br0 is not here, but policy names it ([bridge."br0"] in the configuration)'
    audit = box.macmgr("audit")
    assert (audit.returncode, audit.stdout.decode()) == (0, f"{nothing}\n\nwarning no-such-bridge          {missing}\n")
    assert box.macmgr("audit", "--strict").returncode == 1
    assert box.macmgr("show").stdout == b"There is no bridge here.\n"
    assert box.macmgr("plan").stdout.decode() == f"# {nothing}\n"
    assert box.macmgr("apply").stdout.decode() == f"{nothing}\n"


def test_drift_is_found_told_and_repaired(box: Box) -> None:
    box.ns.add_bridge()
    box.guest("web1", "vnet0")
    found = box.macmgr("audit", "--json")
    document = json.loads(found.stdout)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert found.returncode == 1
    assert {each["code"] for each in document["findings"] if each["severity"] == "error"} == {
        *("missing-entry", "learning-on", "flood-on")
    }
    assert box.macmgr("apply").returncode == 0
    assert box.ns.port_of(MAC) == "vnet0"
    repaired = box.macmgr("audit", "--json")
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(repaired.stdout))
    assert repaired.returncode == 0


def test_the_printed_plan_is_the_plan(box: Box) -> None:
    """Somebody who types what `plan` prints gets what `apply` makes."""
    box.ns.add_bridge()
    box.guest("web1", "vnet0")
    for line in box.macmgr("plan").stdout.decode().splitlines():
        if command := line.split("#")[0].split():
            box.ns.bridge(" ".join(command[1:]))
    assert box.macmgr("plan").returncode == 0


@pytest.mark.parametrize("verb", ["audit", "plan", "show", "explain", "trace"])
def test_looking_changes_nothing(box: Box, verb: str) -> None:
    """A netlink monitor beside it sees no event, though there is much to repair."""
    box.ns.add_bridge()
    box.guest("web1", "vnet0")
    with events(box.ns) as seen:
        assert box.macmgr(verb, *{"explain": ["web1"], "trace": ["--to", MAC]}.get(verb, [])).returncode in (0, 1)
    assert [line for line in seen if "vnet0" in line or MAC in line] == []


@contextmanager
def events(ns: Namespace) -> Iterator[list[str]]:
    """All that ip(8) and bridge(8) are told while the block runs, between two events of our own."""
    seen: list[str] = []
    words = ["ip", "netns", "exec", ns.name, "bridge", "monitor", "all"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as monitor:
        assert monitor.stdout is not None
        os.set_blocking(monitor.stdout.fileno(), False)
        text = bytearray()

        def told(name: str) -> bool:
            text.extend(monitor.stdout.read() or b"")  # type: ignore[union-attr]
            return name.encode() in text

        def says(mac: str) -> None:
            def tried() -> bool:  # the monitor listens some time after it is started
                ns.bridge(f"fdb replace {mac} dev br0 self permanent")
                ns.bridge(f"fdb del {mac} dev br0 self")
                return told(mac)

            eventually(tried, "the monitor sees our own event")

        says("02:00:00:00:be:01")
        text.clear()
        yield seen
        says("02:00:00:00:ed:01")
        monitor.terminate()
    seen += text.decode().splitlines()


@pytest.mark.parametrize(
    "stdin",
    [b"", b"<domain", b" " * (20 << 20), b"<!DOCTYPE d [<!ENTITY a 'b'>]><domain>&a;</domain>", bytes(range(256)) * 64],
    ids=["empty", "truncated", "20 MiB", "entities", "bytes"],
)
def test_a_hook_with_bad_input_changes_nothing(box: Box, stdin: bytes) -> None:
    box.ns.add_bridge()
    box.guest("web1", "vnet0")
    with events(box.ns) as seen:
        done = box.macmgr("hook", "qemu", "web1", "started", "begin", "-", stdin=stdin)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (0, b"", 1)
    assert [line for line in seen if "vnet0" in line or MAC in line] == []


def test_a_hook_with_good_input_does_its_job(box: Box) -> None:
    box.ns.add_bridge()
    domain = box.guest("web1", "vnet0")
    done = box.macmgr("hook", "qemu", "web1", "started", "begin", "-", stdin=domain.encode())
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert box.ns.port_of(MAC) == "vnet0"
    assert box.macmgr("audit").returncode == 0


def test_a_hook_for_a_paused_guest_puts_nothing(box: Box) -> None:
    box.ns.add_bridge()
    domain = box.guest("web1", "vnet0", state="paused")
    done = box.macmgr("hook", "qemu", "web1", "started", "begin", "-", stdin=domain.encode())
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"vnet0 on br0 stays open" in done.stderr
    assert box.ns.port_of(MAC) is None


@pytest.mark.parametrize("verb", ["audit", "plan", "show", "apply"])
def test_a_bridge_that_is_not_there_is_69(box: Box, verb: str) -> None:
    assert_one_line(box.macmgr(verb, "--bridge", "br9"), 69, "bridge 'br9' does not exist here")


def test_a_namespace_that_is_not_there_is_69(box: Box) -> None:
    assert_one_line(box.macmgr("audit", "--netns", "nowhere"), 69, "network namespace 'nowhere' does not exist")


def test_changing_needs_a_capability(box: Box) -> None:
    """77, and nothing is changed; looking needs none."""
    box.ns.add_bridge()
    box.guest("web1", "vnet0")
    assert_one_line(box.macmgr("apply", powerless=True), 77, "CAP_NET_ADMIN is needed")
    assert box.ns.port_of(MAC) is None
    assert box.macmgr("audit", powerless=True).returncode == 1


@pytest.mark.parametrize("place", ["libvirt", "libvirt/qemu", "libvirt/qemu/web1.xml"])
def test_status_files_that_may_not_be_read_are_77(box: Box, place: str) -> None:
    box.ns.add_bridge()
    box.guest("web1", "vnet0")
    (box.root / place).chmod(0)
    assert_one_line(box.macmgr("audit", powerless=True), 77, "may not be read; libvirt's status files need root")


def test_a_configuration_that_may_not_be_read_is_78(box: Box) -> None:
    box.config.chmod(0)
    assert_one_line(box.macmgr("audit", powerless=True), 78, "macmgr.toml: cannot be read: Permission denied")


def test_another_writer_is_75(box: Box, tmp_path: Path) -> None:
    """The lock of a host is one file; this test gives two processes one /run to share it in."""
    lock = tmp_path / "lock"
    lock.touch(mode=0o600)
    script = _ENTER.replace("exec", "mkdir /run/macmgr && mount --bind $(dirname $1) /run/macmgr && shift && exec")
    command = [sys.executable, "-m", "macmgr", "apply", "--run-dir", str(box.run_dir), "--config", str(box.config)]
    entered = ["ip", "netns", "exec", box.ns.name, "unshare", "--mount", "sh", "-c", script, "sh", str(lock), *command]
    with lock.open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = subprocess.run(entered, capture_output=True, check=False, timeout=60)
    holder = f"/run/macmgr/lock is held by process {os.getpid()}, "
    assert_one_line(done, 75, f"another macmgr is writing ({holder}")
    assert b"nothing was changed, try again" in done.stderr
    assert subprocess.run(entered, capture_output=True, check=False, timeout=60).returncode == 0
