"""The demo: real commands on a real libvirtd, each printed before its output, and a summary of what was checked.

Runs inside the lab (`sudo ./run demo`). First libvirt alone, then macmgr on the same running guests.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, until

MACS = {name: f"52:54:00:aa:00:0{number}" for number, name in enumerate(("web1", "web2", "db1"), 1)}
ADDRESSES = {name: f"10.0.0.1{number}" for number, name in enumerate(MACS, 1)}
PINGS = 5

CONFIG = """\
# policy for the guests that are on br0 without a libvirt network (<interface type='bridge'>)
[bridge."br0"]
mac_table_manager = "libvirt"

# an emulated machine is slow; on a real one the default, 2 seconds, is plenty
[hook]
timeout = 20
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

    def command(self, line: str, expect: int = 0) -> str:
        """Run a command as a person would type it; its output. An exit code that was not expected is a failure."""
        print(f"\n\033[1m# {line}\033[0m", flush=True)
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120, check=False)
        if output := (done.stdout + done.stderr).rstrip():
            print(output, flush=True)
        if done.returncode != expect:
            self.check(f"{line}: exit {done.returncode}, {expect} was expected", False)
        return done.stdout

    def audit(self, expect: int, when: str, codes: tuple[str, ...] = ()) -> None:
        """macmgr audit, its verdict, and the differences it must name."""
        output = self.command("macmgr audit", expect)
        self.check(
            f"{when}: audit says {'drift' if expect else 'in sync'}", ("Drift:" if expect else "In sync:") in output
        )
        for code in codes:
            self.check(f"{when}: audit names {code}", code in output)

    def check(self, what: str, holds: bool) -> None:
        """Count one thing that must hold; say so at once when it does not."""
        self.results.append((holds, what))
        if not holds:
            print(f"\033[31m✗ {what}\033[0m", flush=True)

    def pings(self, when: str, pings: dict[str, Callable[[], int]], expected: int = PINGS) -> None:
        """Ping, show how many were answered, and check that each is what was expected."""
        print(flush=True)
        right = True
        for who, ping in pings.items():
            answered = ping()
            right &= answered == expected
            print(f"  ping {who:<16} {answered} of {PINGS} answered", flush=True)
        self.check(f"{when}: {expected} of {PINGS} pings answered, {', '.join(pings)}", right)

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
        name: Guest(libvirt, name, [_nic(name, on={"bridge": "br0"} if name == "db1" else {"network": "lan"})]).define()
        for name in MACS
    }
    stage.say("web1 and web2 are on the network; db1 has a plain <interface type='bridge'>.")
    for name in guests:
        stage.command(f"virsh start {name}")
    for guest in guests.values():
        guest.wait_ready()
    _all_pings(stage, "libvirt alone", lan, guests)
    stage.say("The uplink is promiscuous: db1's tap learns and floods, and libvirt never manages it.")
    stage.check("libvirt alone: the uplink is promiscuous", _show_promiscuity(stage, bridge) > 0)

    stage.say(f"A LAN host sends one frame with web1's MAC ({MACS['web1']}) as its source:")
    lan.send(src=MACS["web1"], dst="ff:ff:ff:ff:ff:ff")
    until(lambda: _port_of(bridge, MACS["web1"]) == bridge.uplink, "the entry moves to the uplink")
    stage.command(f"bridge fdb show br br0 | grep {MACS['web1']}")
    stage.say("libvirt's entry has moved to the uplink and stays there: web1 is cut off, and no timer brings it back.")
    _ping_web1(stage, "libvirt alone, after one spoofed frame", lan, 0)
    return guests


def _macmgr_on_running_guests(stage: Stage, bridge: HostBridge, lan: Lan) -> None:
    stage.chapter("2. macmgr: look, repair, and look again, under running guests")
    Path("/etc/macmgr").mkdir(exist_ok=True)
    Path("/etc/macmgr/macmgr.toml").write_text(CONFIG)
    stage.command("cat /etc/macmgr/macmgr.toml")
    stage.audit(1, "before macmgr", ("stolen-entry", "learning-on", "flood-on", "missing-entry"))
    stage.command("macmgr apply")
    stage.audit(0, "with macmgr")
    _ping_web1(stage, "with macmgr", lan, PINGS)
    stage.say("The uplink has left promiscuous mode:")
    stage.check("with macmgr: the uplink is not promiscuous", _show_promiscuity(stage, bridge) == 0)

    stage.say("The LAN host sends its frame again. The entry is sticky now:")
    lan.send(src=MACS["web1"], dst="ff:ff:ff:ff:ff:ff", count=3)
    _ping_web1(stage, "with macmgr, after the same spoofed frame", lan, PINGS)
    stage.command(f"bridge fdb show br br0 | grep {MACS['web1']}")
    stage.check("with macmgr: the entry holds against the frame", _port_of(bridge, MACS["web1"]) != bridge.uplink)


def _hooks(stage: Stage, lan: Lan, libvirt: Libvirt, guests: dict[str, Guest]) -> None:
    stage.chapter("3. Hooks: from virsh start to a proven MAC table, with no command of ours")
    stage.command("macmgr install")
    stage.say("libvirtd is restarted, to find the hooks. Then two guests are started anew.")
    libvirt.restart()
    for name in ("web2", "db1"):
        guests[name].destroy()
        stage.command(f"virsh start {name}")
    for name in ("web2", "db1"):
        guests[name].wait_ready()
    stage.command("macmgr show")
    stage.audit(0, "hooks alone")
    _all_pings(stage, "hooks alone", lan, guests)


def _drift(stage: Stage, lan: Lan, guests: dict[str, Guest]) -> None:
    stage.chapter("4. Drift: a script meddles with a port, somebody deletes an entry")
    stage.command(f"bridge link set dev {guests['web1'].tap()} learning on flood on")
    stage.command(f"bridge fdb del {MACS['db1']} dev {guests['db1'].tap()} master")
    stage.audit(1, "drift", ("learning-on", "flood-on", "missing-entry"))
    stage.say("The same as bridge(8) commands, for those who want to see them first:")
    stage.command("macmgr plan", expect=1)
    stage.command("macmgr apply")
    stage.audit(0, "repaired")
    _all_pings(stage, "repaired", lan, guests)


def _nothing_stale(stage: Stage, bridge: HostBridge, guests: dict[str, Guest]) -> None:
    stage.chapter("5. The end of a guest: nothing stale is left")
    stage.say("web1's MAC is put on the uplink by hand, as libvirt's stolen entries are; then the guests end.")
    stage.command(f"bridge fdb replace {MACS['web1']} dev {bridge.uplink} master static")
    stage.command("virsh destroy web1")
    stage.command("virsh destroy db1")
    left = [entry for name in ("web1", "db1") for entry in bridge.fdb(MACS[name]) if entry.get("state") == "static"]
    stage.check("the end: no entry of an ended guest is left on the bridge", not left)
    stage.command("macmgr show")
    stage.audit(0, "the end")


def _nic(name: str, on: dict[str, str]) -> Nic:
    return Nic(MACS[name], f"{ADDRESSES[name]}/24", **on)


def _all_pings(stage: Stage, when: str, lan: Lan, guests: dict[str, Guest]) -> None:
    pings: dict[str, Callable[[], int]] = {}
    for name, guest in guests.items():
        pings[f"lan -> {name}"] = partial(lan.ping, ADDRESSES[name], PINGS)
        pings[f"{name} -> lan"] = partial(guest.ping, lan.ip, PINGS)
    pings["web1 -> db1"] = partial(guests["web1"].ping, ADDRESSES["db1"], PINGS)
    stage.pings(when, pings)


def _ping_web1(stage: Stage, when: str, lan: Lan, expected: int) -> None:
    stage.pings(when, {"lan -> web1": partial(lan.ping, ADDRESSES["web1"], PINGS)}, expected)


def _show_promiscuity(stage: Stage, bridge: HostBridge) -> int:
    stage.command(f"ip -d link show {bridge.uplink} | grep -o 'promiscuity [0-9]*'")
    return bridge.promiscuity()


def _port_of(bridge: HostBridge, mac: str) -> str | None:
    """The port that the guests' VLAN (VID 1, the default) reaches a MAC through."""
    return next((entry["ifname"] for entry in bridge.fdb(mac) if entry.get("vlan") == 1), None)


if __name__ == "__main__":
    sys.exit(main())
