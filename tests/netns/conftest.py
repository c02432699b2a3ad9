"""Network namespaces as ``with`` blocks, with bridges, ports and raw frames inside. All of it needs root.

Nothing here waits for a time: `eventually` looks again until what must come has come.
"""

from __future__ import annotations

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
from typing import Any

import pytest
from pyroute2 import netns

_NUMBERS = count(1)
_ALL_PROTOCOLS = 3  # ETH_P_ALL
_LACKS = "this kernel lacks "
_EXPERIMENTAL = b"\x88\xb5"  # an EtherType nobody listens to
BROADCAST = "ff:ff:ff:ff:ff:ff"


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
        made.run("sysctl", "-q", "-w", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
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


def eventually(true: Callable[[], bool], what: str) -> None:
    """Look until ``true``; a machine may be busy, so half a minute at most."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.01)


@dataclass(frozen=True)
class Namespace:
    """A network namespace, and iproute2 inside it."""

    name: str

    def run(self, *words: str, check: bool = True) -> str:
        return _run("ip", "netns", "exec", self.name, *words, check=check)

    def ip(self, line: str) -> None:
        _run("ip", "-n", self.name, *line.split())

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
        self.ip(f"link add {name} address 02:b0:00:00:00:{_last_byte(name)} type bridge {options}")
        self.ip(f"link set {name} up")
        return name

    def add_tap(self, name: str, bridge: str = "br0") -> str:
        """A guest's port, without a guest: it has no carrier, and the bridge hears of that up to a second later."""
        self.ip(f"tuntap add {name} mode tap")
        self.ip(f"link set {name} address fe:00:00:00:00:{_last_byte(name)} master {bridge}")
        self.ip(f"link set {name} up")
        return name

    def add_cable(self, name: str, bridge: str = "br0") -> str:
        """A port that forwards, and NAME-far, the other end of its cable."""
        self.ip(f"link add {name} type veth peer name {name}-far")
        self.ip(f"link set {name} address fe:01:00:00:00:{_last_byte(name)} master {bridge}")
        self.ip(f"link set {name}-far up")
        self.ip(f"link set {name} up")
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
            opened.send(frame)

    def packet_socket(self, interface: str) -> socket.socket:
        """A raw socket on ``interface``, opened by a thread that enters the namespace and ends."""
        made: list[socket.socket] = []

        def make() -> None:
            netns.setns(self.name, flags=0)
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PROTOCOLS))
            opened.bind((interface, 0))
            made.append(opened)

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        return made[0]


def _last_byte(name: str) -> str:
    return f"{sum(name.encode()) & 0xFF:02x}"


def _run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, check=False, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.strip()}"
    return done.stdout
