"""Network namespaces as ``with`` blocks, with bridges, ports and raw frames inside. All of it needs root.

Nothing here waits for a time: `eventually` looks again until what must come has come. What must not come is proven by
something that is sure to come after it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import pytest
from pyroute2 import netns

Made = TypeVar("Made")
_NUMBERS = count(1)
_ALL_PROTOCOLS = 3  # ETH_P_ALL
_LACKS = "this kernel lacks "
_EXPERIMENTAL = b"\x88\xb5"  # an EtherType nobody listens to
BROADCAST = "ff:ff:ff:ff:ff:ff"
LONG = 120.0  # seconds; who waits longer has waited in vain, however busy the machine is


@pytest.fixture(scope="session", autouse=True)
def _root() -> None:
    if os.geteuid() != 0:
        pytest.fail("tests/netns makes network namespaces: run it as root", pytrace=False)


@pytest.fixture
def ns() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture
def twin() -> Iterator[Namespace]:
    """A second namespace, to do the same by hand."""
    with namespace() as made:
        yield made


@contextmanager
def namespace() -> Iterator[Namespace]:
    made = Namespace(f"macmgr-test-{os.getpid()}-{next(_NUMBERS)}")
    _run("ip", "netns", "add", made.name)
    try:
        made.inside(_without_ipv6)
        yield made
    finally:
        _run("ip", "netns", "delete", made.name)


def require(feature: str, present: bool) -> None:
    """Skip, with the reason, where the kernel lacks ``feature``; fail where a full kernel was promised."""
    if present:
        return
    if os.environ.get("MACMGR_FULL_KERNEL") == "1":
        pytest.fail(f"this kernel was said to be complete, but it lacks {feature}", pytrace=False)
    pytest.skip(f"{_LACKS}{feature}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that a kernel may skip is one that the lab must run: no mark, no skip."""
    report = yield
    if report.skipped and _LACKS in report.longreprtext and item.get_closest_marker("full_kernel") is None:
        report.outcome, report.longrepr = "failed", f"{report.longreprtext}\nMark it full_kernel: the lab runs it then."
    return report


def eventually(true: Callable[[], bool], what: str | Callable[[], object]) -> None:
    """Look until ``true``, more and more rarely: what is looked at may need the processor."""
    end, pause = time.monotonic() + LONG, 0.01
    while not true():
        assert time.monotonic() < end, f"never happened: {what() if callable(what) else what}"
        time.sleep(pause)
        pause = min(0.1, 1.3 * pause)


def transmit(opened: socket.socket, frame: bytes) -> None:
    """Send a frame. On a busy machine a queue on its way may be full, and then the kernel says so."""

    def sent() -> bool:
        try:
            opened.send(frame)
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return False
        return True

    eventually(sent, "a frame is sent")


def _without_ipv6() -> None:
    """What the kernel sends by itself would be frames that no test expects."""
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")


@dataclass(frozen=True)
class Namespace:
    """A network namespace, and iproute2 inside it."""

    name: str

    def run(self, *words: str, check: bool = True) -> str:
        return _run("ip", "netns", "exec", self.name, *words, check=check)

    def ip(self, *lines: str) -> None:
        """Each line is a command; several of them cost no more than one."""
        if len(lines) == 1:
            _run("ip", "-n", self.name, *lines[0].split())
        else:
            _run("ip", "-n", self.name, "-batch", "-", stdin="\n".join(lines))

    def bridge(self, line: str) -> None:
        _run("bridge", "-n", self.name, *line.split())

    def accepts(self, line: str) -> bool:
        """Whether ip(8) can do this here: the probe for a kernel feature."""
        words = ["ip", "-n", self.name, *line.split()]
        return subprocess.run(words, check=False, capture_output=True).returncode == 0

    def links(self) -> dict[str, Any]:
        """What ``ip -d link`` says, by interface."""
        return {link["ifname"]: link for link in json.loads(_run("ip", "-n", self.name, "-j", "-d", "link"))}

    def bridge_json(self, line: str) -> list[dict[str, Any]]:
        said: list[dict[str, Any]] = json.loads(_run("bridge", "-n", self.name, "-j", *line.split()) or "[]")
        return said

    def fdb(self) -> list[dict[str, Any]]:
        """The bridges' own FDB entries: bridge(8) names the master of those."""
        return [entry for entry in self.bridge_json("fdb show") if "master" in entry]

    def port_of(self, mac: str) -> str | None:
        return next((entry["ifname"] for entry in self.fdb() if entry["mac"] == mac and not entry.get("vlan")), None)

    def add_bridge(self, name: str = "br0", options: str = "") -> str:
        self.ip(
            f"link add {name} address 02:b0:00:00:00:{_last_byte(name)} type bridge {options}", f"link set {name} up"
        )
        return name

    def add_tap(self, name: str, bridge: str = "br0") -> str:
        """A guest's port, without a guest: it has no carrier, and the bridge hears of that up to a second later."""
        self.ip(
            f"tuntap add {name} mode tap",
            f"link set {name} address fe:00:00:00:00:{_last_byte(name)} master {bridge}",
            f"link set {name} up",
        )
        return name

    def add_cable(self, name: str, bridge: str = "br0") -> str:
        """A port that forwards, and NAME-far, the other end of its cable."""
        self.ip(
            f"link add {name} type veth peer name {name}-far",
            f"link set {name} address fe:01:00:00:00:{_last_byte(name)} master {bridge}",
            f"link set {name}-far up",
            f"link set {name} up",
        )
        eventually(lambda: self.port_state(name) == "forwarding", f"{name} forwards")
        return name

    def settle(self) -> None:
        """Wait until every bridge has heard of its ports' carriers: before two readings are held against each other."""

        def settled(link: dict[str, Any]) -> bool:
            return "UP" not in link["flags"] or ("LOWER_UP" in link["flags"]) == (
                link["operstate"] in ("UP", "UNKNOWN")
            )

        eventually(lambda: all(map(settled, self.links().values())), "the carriers are known")

    def port_state(self, port: str) -> str:
        return next((link["state"] for link in self.bridge_json("-d link") if link["ifname"] == port), "")

    def send_frame(self, interface: str, source: str, destination: str = BROADCAST) -> None:
        frame = bytes.fromhex(destination.replace(":", "") + source.replace(":", "")) + _EXPERIMENTAL + bytes(46)
        with self.packet_socket(interface) as opened:
            transmit(opened, frame)

    def packet_socket(self, interface: str) -> socket.socket:
        """A raw socket on ``interface``."""

        def make() -> socket.socket:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
            opened.bind((interface, 0))
            return opened

        return self.inside(make)

    def inside(self, act: Callable[[], Made]) -> Made:
        """What ``act`` makes in a thread that enters the namespace and ends."""
        made: list[Made] = []

        def run() -> None:
            netns.setns(self.name, flags=0)
            made.append(act())

        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        return made[0]


def _last_byte(name: str) -> str:
    return f"{sum(name.encode()) & 0xFF:02x}"


def _run(*words: str, check: bool = True, stdin: str | None = None) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True, input=stdin)
    if check:
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout
