"""The daemon with no more of root's powers than its unit leaves it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.netns.conftest import LONG, Namespace, eventually
from tests.netns.house import MANAGED, house, mac_of

UNIT = (Path(__file__).parents[2] / "packaging" / "macmgr.service").read_text()


def test_the_powers_that_the_unit_leaves_are_enough(ns: Namespace, tmp_path: Path) -> None:
    """Reading libvirt's status files, repairing, and serving hooks and status; sightings are on by default."""
    found = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", UNIT)
    assert found
    bounds = "-all," + ",".join(f"+{each.removeprefix('CAP_').lower()}" for each in found[1].split())
    with house(ns, tmp_path) as host:
        host.config.write_text(MANAGED + "[hook]\ntimeout = 20\n")  # a busy machine is no reason to give up
        host.guest(1)
        words = ["setpriv", "--no-new-privs", "--bounding-set", bounds, sys.executable, "-m", "macmgr", "watch"]
        with (tmp_path / "daemon.log").open("wb") as log:
            daemon = subprocess.Popen(
                host.command("sh", "-c", 'umask 0077; exec "$@"', "sh", *words, "--config", str(host.config)),
                stderr=log, stdout=log,
            )  # fmt: skip
        try:
            eventually(lambda: host.managed(1) or daemon.poll() is not None, "the guest is managed")
            assert daemon.poll() is None, host.log
            powers = re.search(r"(?m)^CapEff:\s*(\w+)$", Path(f"/proc/{daemon.pid}/status").read_text())
            assert powers
            assert int(powers[1], 16).bit_count() == len(found[1].split())
            ns.bridge(f"fdb del {mac_of(1)} dev vnet1 master")
            eventually(lambda: host.managed(1), "the drift is repaired")
            assert host.status()["in_sync"]
            xml = host.status_file("g1", "vnet1", mac_of(1))
            assert host.macmgr("hook", "qemu", "g1", "started", "begin", "-", stdin=xml.encode()).returncode == 0
            assert not re.search(r"(?i)cannot|denied|not permitted|needs root", host.log), host.log
        finally:
            daemon.terminate()
            daemon.wait(LONG)
