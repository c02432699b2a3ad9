"""The demo: real commands on a real libvirtd, each printed before its output, and a summary of what was checked.

Runs inside the lab (`sudo ./run demo`). First libvirt alone, then macmgr on the same running guests.
"""

import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, until

MACS = {name: f"52:54:00:aa:00:0{number}" for number, name in enumerate(("web1", "web2", "db1"), 1)}
ADDRESSES = {name: f"10.0.0.1{number}" for number, name in enumerate(MACS, 1)}
PINGS = 5

CONFIG = """\
# policy for the guests that are on br0 without a libvirt network (<interface type='bridge'>)
[bridge."br0"]
mac_table_manager = "libvirt"
"""


@dataclass
class Stage:
    """Where the demo is seen: commands with their output, and checks that are counted."""

    results: list[tuple[bool, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def chapter(self, title: str) -> None:
        """A heading."""
        print(f"\n\033[1m── {title} ─{'─' * (100 - len(title))}\033[0m", flush=True)

    def say(self, text: str) -> None:
        """A sentence for the person who watches."""
        print(f"\n{text}", flush=True)

    def command(self, line: str, expect: int | None = 0, show: bool = True) -> str:
        """Run a command as a person would type it, and check its exit code; its output."""
        print(f"\n\033[1m# {line}\033[0m", flush=True)
        done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=120, check=False)
        if show or done.returncode != expect:
            print((done.stdout + done.stderr).rstrip(), flush=True)
        if expect is not None:
            self.check(f"{line}: exit {expect}", done.returncode == expect)
        return done.stdout

    def check(self, what: str, holds: bool) -> None:
        """Count one thing that must hold; say so at once when it does not."""
        self.results.append((holds, what))
        if not holds:
            print(f"\033[31m✗ {what}\033[0m", flush=True)

    def pings(self, who: str, ping: Callable[[], int], expected: int) -> None:
        """Ping and show how many of the pings were answered."""
        answered = ping()
        mark = "\033[32m✓\033[0m" if answered == expected else "\033[31m✗\033[0m"
        print(f"  ping {who:<28} {answered} of {PINGS} answered  {mark}", flush=True)
        self.check(f"ping {who}: {expected} of {PINGS}", answered == expected)

    def summary(self) -> int:
        """What was checked, and the exit code."""
        failed = [what for holds, what in self.results if not holds]
        self.chapter("Summary")
        for holds, what in self.results:
            print(f"  {'✓' if holds else '✗'} {what}")
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        print(f"\n{len(self.results)} checks, {len(failed)} failed, in {minutes} min {seconds} s.", flush=True)
        return 1 if failed else 0


def main() -> int:
    """The whole demo; 1 when a check failed."""
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    stage = Stage()
    bridge, lan, libvirt = HostBridge().create(), Lan().up(), Libvirt()
    Path("/run/lab/lan.xml").write_text(Network.on_host_bridge(libvirt).xml)
    libvirt.start()
    guests = _libvirt_alone(stage, bridge, lan, libvirt)
    _macmgr_on_running_guests(stage, bridge, lan)
    _hooks(stage, lan, libvirt, guests)
    _drift(stage, lan, guests)
    _nothing_stale(stage, bridge, guests)
    return stage.summary()


def _libvirt_alone(stage: Stage, bridge: HostBridge, lan: Lan, libvirt: Libvirt) -> dict[str, Guest]:
    stage.chapter("1. libvirt alone: a network whose MAC table libvirt manages, and a guest beside it")
    stage.command("cat /run/lab/lan.xml")
    stage.command("virsh net-define /run/lab/lan.xml")
    stage.command("virsh net-start lan")
    guests = {
        name: Guest(
            libvirt,
            name,
            [Nic(MACS[name], f"{ADDRESSES[name]}/24", **({"bridge": "br0"} if name == "db1" else {"network": "lan"}))],
        ).define()
        for name in MACS
    }
    stage.say("web1 and web2 are on the network; db1 has a plain <interface type='bridge'>.")
    for name in guests:
        stage.command(f"virsh start {name}")
    for guest in guests.values():
        guest.wait_ready()
    _all_pings(stage, lan, guests)
    stage.say("The uplink is promiscuous: db1's tap learns and floods, and libvirt never manages it.")
    stage.check("libvirt alone: the uplink is promiscuous", _show_promiscuity(stage, bridge) > 0)

    stage.say(f"A LAN host sends one frame with web1's MAC ({MACS['web1']}) as its source:")
    lan.send(src=MACS["web1"], dst="ff:ff:ff:ff:ff:ff")
    until(lambda: _port_of(bridge, MACS["web1"]) == bridge.uplink, "the entry moves to the uplink")
    stage.command(f"sh -c 'bridge fdb show br br0 | grep {MACS['web1']}'")
    stage.say("libvirt's entry has moved to the uplink and stays there: web1 is cut off, and no timer brings it back.")
    stage.pings("lan -> web1", lambda: lan.ping(ADDRESSES["web1"], PINGS), 0)
    return guests


def _macmgr_on_running_guests(stage: Stage, bridge: HostBridge, lan: Lan) -> None:
    stage.chapter("2. macmgr: look, repair, and look again, under running guests")
    Path("/etc/macmgr").mkdir(exist_ok=True)
    Path("/etc/macmgr/macmgr.toml").write_text(CONFIG)
    stage.command("cat /etc/macmgr/macmgr.toml")
    findings = stage.command("macmgr audit", expect=1)
    stage.check("audit names the stolen entry", "stolen-entry" in findings)
    stage.command("macmgr apply")
    stage.command("macmgr audit")
    stage.pings("lan -> web1", lambda: lan.ping(ADDRESSES["web1"], PINGS), PINGS)
    stage.say("The uplink has left promiscuous mode:")
    stage.check("with macmgr: the uplink is not promiscuous", _show_promiscuity(stage, bridge) == 0)

    stage.say("The LAN host sends its frame again. The entry is sticky now:")
    lan.send(src=MACS["web1"], dst="ff:ff:ff:ff:ff:ff", count=3)
    stage.pings("lan -> web1", lambda: lan.ping(ADDRESSES["web1"], PINGS), PINGS)
    stage.command(f"sh -c 'bridge fdb show br br0 | grep {MACS['web1']}'")
    stage.check("macmgr's entry holds against the spoofed frame", _port_of(bridge, MACS["web1"]) != bridge.uplink)
    stage.command("macmgr audit", show=False)


def _hooks(stage: Stage, lan: Lan, libvirt: Libvirt, guests: dict[str, Guest]) -> None:
    stage.chapter("3. Hooks: from virsh start to a proven MAC table, with no command of ours")
    stage.command("macmgr install")
    stage.say("libvirtd looks for hooks when it starts:")
    libvirt.restart()
    for name in ("web2", "db1"):
        guests[name].destroy()
        stage.command(f"virsh start {name}")
    for name in ("web2", "db1"):
        guests[name].wait_ready()
    stage.command("macmgr show")
    stage.command("macmgr audit")
    _all_pings(stage, lan, guests)


def _drift(stage: Stage, lan: Lan, guests: dict[str, Guest]) -> None:
    stage.chapter("4. Drift: a script meddles with two ports, somebody deletes an entry")
    stage.command(f"bridge link set dev {guests['web1'].tap()} learning on flood on")
    stage.command(f"bridge fdb del {MACS['db1']} dev {guests['db1'].tap()} master")
    findings = stage.command("macmgr audit", expect=1)
    for code in ("learning-on", "flood-on", "missing-entry"):
        stage.check(f"audit names {code}", code in findings)
    stage.say("The same as bridge(8) commands, for those who want to see them first:")
    stage.command("macmgr plan", expect=1)
    stage.command("macmgr apply")
    stage.command("macmgr audit")
    _all_pings(stage, lan, guests)


def _nothing_stale(stage: Stage, bridge: HostBridge, guests: dict[str, Guest]) -> None:
    stage.chapter("5. The end of a guest: nothing stale is left")
    stage.say("web1's MAC is put on the uplink by hand, as libvirt's stolen entries are; then the guest ends.")
    stage.command(f"bridge fdb replace {MACS['web1']} dev {bridge.uplink} master static")
    stage.command("virsh destroy web1")
    stage.command("virsh destroy db1")
    until(lambda: not guests["web1"].taps(), "web1 has no tap")
    left = [entry for name in ("web1", "db1") for entry in bridge.fdb(MACS[name]) if entry.get("state") == "static"]
    stage.check("no entry of an ended guest is left on the bridge", not left)
    stage.command("macmgr show")
    stage.command("macmgr audit", show=False)


def _all_pings(stage: Stage, lan: Lan, guests: dict[str, Guest]) -> None:
    print(flush=True)
    for name, guest in guests.items():
        stage.pings(f"lan -> {name}", lambda ip=ADDRESSES[name]: lan.ping(ip, PINGS), PINGS)  # type: ignore[misc]
        stage.pings(f"{name} -> lan", lambda guest=guest: guest.ping(lan.ip, PINGS), PINGS)  # type: ignore[misc]
    stage.pings("web1 -> db1", lambda: guests["web1"].ping(ADDRESSES["db1"], PINGS), PINGS)


def _show_promiscuity(stage: Stage, bridge: HostBridge) -> int:
    stage.command(f"sh -c 'ip -d link show {bridge.uplink} | grep -o \"promiscuity [0-9]*\"'")
    return bridge.promiscuity()


def _port_of(bridge: HostBridge, mac: str) -> str | None:
    """The port that the guests' VLAN (VID 1, the default) reaches a MAC through."""
    return next((entry["ifname"] for entry in bridge.fdb(mac) if entry.get("vlan") == 1), None)


if __name__ == "__main__":
    sys.exit(main())
