"""The demo: real commands on a real libvirtd, each printed before its output, and a summary of what was checked.

Runs inside the lab (`sudo ./run demo`). First libvirt alone, then macmgr on the same running guests. `sudo ./run demo
migration` shows two hosts.
"""

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tests.lab import demo_migration
from tests.lab.stage import Stage
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
    stage.command("macmgr install --manage")
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
    stage.pings(when, pings, PINGS, PINGS)


def _ping_web1(stage: Stage, when: str, lan: Lan, expected: int) -> None:
    stage.pings(when, {"lan -> web1": partial(lan.ping, ADDRESSES["web1"], PINGS)}, expected, PINGS)


def _show_promiscuity(stage: Stage, bridge: HostBridge) -> int:
    stage.command(f"ip -d link show {bridge.uplink} | grep -o 'promiscuity [0-9]*'")
    return bridge.promiscuity()


def _port_of(bridge: HostBridge, mac: str) -> str | None:
    """The port that the guests' VLAN (VID 1, the default) reaches a MAC through."""
    return next((entry["ifname"] for entry in bridge.fdb(mac) if entry.get("vlan") == 1), None)


def start(words: list[str]) -> int:
    """The demo that was asked for."""
    demos = {(): main, ("migration",): demo_migration.main}
    demo = demos.get(tuple(words))
    if demo is None:
        print("demo: there are 'demo' and 'demo migration'", file=sys.stderr)
        return 2
    return demo()


if __name__ == "__main__":
    sys.exit(start(sys.argv[1:]))
