"""A guest on another host, behind a vxlan: `macmgr explain` says on which, and a capture of the host says the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import LONG, Namespace
from tests.netns.house import House, house

FAR, FAR6, HERE = "52:54:00:cc:00:01", "52:54:00:cc:00:02", "52:54:00:cc:00:03"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """A vxlan of each family, as a control plane has it."""
    with house(ns, tmp_path) as made:
        for name, far, local, mac in (("vx0", "10.0.0.2", "10.0.0.1", FAR), ("vx6", "fd00::2", "fd00::1", FAR6)):
            options = f"id 1{len(far)} local {local} dstport 4789 nolearning"
            ns.ip(f"link add {name} type vxlan {options}", f"link set {name} master br0 up")
            ns.bridge(f"fdb append {mac} dev {name} dst {far} self static")
            ns.bridge(f"fdb replace {mac} dev {name} master extern_learn")
        ns.bridge("fdb append 00:00:00:00:00:00 dev vx0 dst 10.0.0.9 self")
        ns.bridge(f"fdb replace {HERE} dev up0 master static")
        yield made


def answer(host: House, *words: str) -> str:
    (said,) = json.loads(host.macmgr("explain", *words, "--json").stdout)["explanations"]
    return str(said["answer"])


def test_explain_says_on_which_host_it_is(host: House) -> None:
    assert answer(host, FAR).endswith("It is on another host: vx0 leads to it on 10.0.0.2 (VTEP).")
    assert answer(host, FAR6).endswith("It is on another host: vx6 leads to it on fd00::2 (VTEP).")
    assert "another host" not in answer(host, HERE)
    assert "vx0 leads to it on 10.0.0.2 (VTEP)" in host.macmgr("explain", FAR, "-v").stdout.decode()


def test_a_capture_says_it_too(host: House, tmp_path: Path) -> None:
    assert host.macmgr("capture", str(tmp_path / "h1")).returncode == 0
    command = [sys.executable, "-m", "macmgr", "explain", FAR, "--json", "--replay", str(tmp_path / "h1")]
    replayed = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=LONG)
    (said,) = json.loads(replayed.stdout)["explanations"]
    assert said["answer"] == answer(host, FAR)
    assert host.macmgr("capture", "--anonymous", str(tmp_path / "h2")).returncode == 0
    texts = "".join(path.read_text() for path in (tmp_path / "h2").rglob("*.json"))
    assert "10.0.0.2" not in texts
    assert "fd00::2" not in texts
