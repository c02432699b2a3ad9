"""Captures what libvirtd in the lab gives to hooks and keeps in status files, for tests/unit/sources/test_captured.py.

Run inside the lab: python3 -m tests.lab.boot -- .venv/bin/python -m tests.captured.capture
The files land in .lab/results/captured; paths of the machine that captured them are replaced before they are kept.
"""

import os
import re
import shutil
from pathlib import Path

from tests.lab.test_lxc import CONTAINER
from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, run, until

RESULTS = Path(os.environ.get("LAB_RESULTS", "/run/lab/results")) / "captured"
DUMP = Path("/run/lab/dump")
HOOK = """#!/bin/sh
# one file a call: order, driver and operation in its name
n=$(ls /run/lab/dump | wc -l)
cat > "/run/lab/dump/$(printf %02d "$n")-$(basename "$(dirname "$0")" .d)-$2.xml"
"""
PORTGROUPS = """  <portgroup name='staff' default='yes' trustGuestRxFilters='yes'/>
  <portgroup name='guests'><port isolated='yes'/></portgroup>
"""
METADATA = """<macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1' lock='yes'>
  <macmgr:interface mac='52:54:00:aa:00:02' manager='kernel'/>
</macmgr:macTable>"""


def main() -> None:
    """Start, restart and end a guest and a container, with a hook in every place that writes down what it was given."""
    DUMP.mkdir(parents=True)
    for driver in ("qemu", "lxc", "network", "daemon"):
        directory = Path(f"/etc/libvirt/hooks/{driver}.d")
        directory.mkdir(parents=True)
        (directory / "10-dump").write_text(HOOK)
        (directory / "10-dump").chmod(0o755)
    HostBridge().create()
    Lan().up()
    libvirt = Libvirt()
    libvirt.start()
    Network.on_host_bridge(libvirt, inside=PORTGROUPS).define().start()
    nics = [
        Nic("52:54:00:aa:00:01", network="lan"),
        Nic("52:54:00:aa:00:02", network="lan", portgroup="guests"),
        Nic("52:54:00:aa:00:03", bridge="br0"),
    ]
    guest = Guest(libvirt, "g one", nics, METADATA).define().start()
    _keep_status("running")
    libvirt.restart()
    until(lambda: any("reconnect" in file.name for file in DUMP.iterdir()), "libvirtd has run the reconnect hook")
    guest.suspend()
    _keep_status("suspended")
    guest.resume()
    guest.destroy()
    guest.start(paused=True)
    _keep_status("paused")
    guest.destroy()
    Path("/run/lab/c1.xml").write_text(CONTAINER)
    run("virsh", "-c", "lxc:///system", "define", "/run/lab/c1.xml")
    run("virsh", "-c", "lxc:///system", "start", "c1")
    _keep_status("container")
    run("virsh", "-c", "lxc:///system", "destroy", "c1")
    libvirt.virsh("net-destroy", "lan")
    _copy(DUMP, "hooks")


def _keep_status(moment: str) -> None:
    _copy(Path("/run/libvirt"), f"status-{moment}")


def _copy(source: Path, name: str) -> None:
    for file in source.rglob("*.xml"):
        target = RESULTS / name / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
        target.write_text(re.sub(r"(<(?:kernel|initrd)>)[^<]*/", r"\1/var/lib/lab/", target.read_text()))


if __name__ == "__main__":
    main()
