"""The network namespaces that are measured in, each gone afterwards, and the references beside macmgr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import crowd

BRIDGE_FDB = ("-j", "fdb", "show")
BRIDGE_LINK = ("-j", "-d", "link", "show")
_FLOOR = Path(__file__).with_name("floor.c")


@contextmanager
def world(ports: int = 1, entries: int = 0) -> Iterator[str]:
    """A namespace with a bridge, taps vnet1, vnet2…, and static entries on the first one."""
    name = f"macmgr-bench-{os.getpid()}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        crowd.add_bridge(name)
        crowd.add_taps(name, (crowd.CrowdGuest(number).tap for number in range(1, ports + 1)))
        crowd.bridge(name, put_lines(entries))
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def put_lines(entries: int, port: str = "vnet1") -> list[str]:
    return [f"fdb replace {crowd.stray_mac(number)} dev {port} master static" for number in range(entries)]


def flush(namespace: str, port: str = "vnet1") -> None:
    """Take the entries off a port by taking the port off the bridge."""
    crowd.ip(namespace, [f"link set {port} nomaster", f"link set {port} master br0"])


def bridge(namespace: str, *words: str) -> bytes:
    return subprocess.run(["bridge", "-n", namespace, *words], check=True, stdout=subprocess.PIPE).stdout


def bridge_json(namespace: str, *words: str) -> Any:
    return json.loads(bridge(namespace, *words))


def build_floor(directory: Path) -> Path:
    """The C reader, compiled here and now for this machine."""
    program = directory / "floor"
    subprocess.run(["gcc", "-O2", "-Wall", "-o", program, _FLOOR], check=True)
    return program


def floor_seconds(program: Path, namespace: str, entries: int) -> float:
    """How long the C reader took, by its own clock."""
    said = subprocess.run([program, f"/run/netns/{namespace}"], check=True, stdout=subprocess.PIPE, text=True).stdout
    found, nanoseconds = map(int, said.split())
    assert found >= entries
    return nanoseconds / 1e9


def python(*words: str, stdin: str = "") -> str:
    """Run this Python on a module, as a process of its own that may keep its byte code, as an installed one does."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, check=False, env=environment, input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(words)}: exit {done.returncode}: {done.stderr[-400:]}"
    return done.stdout
