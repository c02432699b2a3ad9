"""What the doctor tells people to type can be typed, whatever a tenant calls its tap: ``<target dev='x;id>p'/>``."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import replace

from macmgr.doctor.diagnose import diagnose
from macmgr.doctor.vlancheck import who_would_be_cut
from macmgr.model.devices import Device, DeviceFacts
from macmgr.model.intent import Intent, Manager, NicFacts, Vlan
from macmgr.model.snapshot import Entry, EntryState, Snapshot
from macmgr.model.vids import PortVids
from tests.doctorworld import CLOSED, OPEN, WEB, World, device, guest, renamed, tap, uplink

ODD = {
    "br0": "b;r",
    "up0": "u>p",
    "up1": "$(id)",
    "nic0": "n;c",
    "vnet0": "x;id>p",
    "vnet1": "a'b",
    "vnet2": "a&b",
    "vnet3": "`id`",
    "vnet4": "|x",
}
APART = replace(OPEN, isolated=True)
IN_A_SENTENCE = re.compile(r"'((?:bridge|ip|macmgr) .*?)' (?:gives|adds|puts|takes|says)")


class Troubled(World):
    """A bridge with something wrong of each kind that the doctor has a command for; its VLAN filtering is off."""

    def __init__(self) -> None:
        super().__init__()
        self.bridge = replace(self.bridge, vlan_filtering=False, promiscuity=1)
        uplinks = [uplink(promiscuity=2, flags=APART), uplink("up1", ifindex=4, flags=APART)]
        uplinks.append(uplink("nic0", ifindex=5, kind="dummy"))
        self.ports = [*uplinks, tap(), *(tap(f"vnet{number}", OPEN) for number in range(1, 5))]
        vlan = Vlan((5, 6), None, trunk=True)
        self.guests = [guest(), guest("vnet1", Manager.KERNEL, "52:54:00:00:00:02", facts=NicFacts(vlan=vlan))]
        self.entries = [Entry(WEB, 0, "vnet0", sticky=True), Entry("52:54:00:00:00:09", 0, "vnet2", EntryState.DYNAMIC)]
        self.devices = {
            "up0": device(self.ports[0], "e1000e", administrator=True),
            "br0": replace(self.facts.devices["br0"], administrator=True),
            "br0.5": Device("br0.5", 60, kind="vlan", lower="br0", vid=5),
        }
        plain = PortVids((1,), 1, (1,))
        self.vlans = {"br0": plain, "up0": plain, "up1": plain, "vnet0": plain, "vnet1": plain}
        self.vlans |= dict.fromkeys(("nic0", "vnet2", "vnet3", "vnet4"), PortVids())


class AtRest(World):
    """An uplink that has left promiscuous mode, and whose filter lacks the guest."""

    def __init__(self) -> None:
        super().__init__()
        self.ports = [uplink(), tap(flags=CLOSED)]
        self.devices = {"up0": device(self.ports[0], "e1000e", addresses=(), up=True)}


def typed(world: World, names: Mapping[str, str]) -> list[str]:
    """Each command that is told, in steps and inside of sentences."""
    intent: Intent = renamed(Intent(tuple(world.guests), world.managed), names)
    snapshot: Snapshot = renamed(world.snapshot, names)
    facts: DeviceFacts = renamed(world.facts, names)
    bridge = names.get("br0", "br0")
    (found,) = diagnose(intent, snapshot, facts, [], bridge).bridges
    sentences = [*who_would_be_cut(bridge, intent, snapshot, facts), *(step.text for step in found.steps)]
    steps = [command for step in found.steps for command in step.commands]
    return [*steps, *(command for sentence in sentences for command in IN_A_SENTENCE.findall(sentence))]


def test_every_command_names_an_odd_device_as_one_word() -> None:
    kinds = set()
    for world in (Troubled(), AtRest()):
        plain, odd = typed(world, {}), typed(world, ODD)
        assert odd == [shlex.join(ODD.get(word, word) for word in command.split()) for command in plain]
        kinds |= {re.sub(r"(vnet|up|nic)\d|\d\d:\S+", "*", command) for command in plain}
    assert kinds >= {
        "macmgr apply --bridge br0",
        "macmgr apply --vlan-filtering br0",
        "bridge fdb replace * dev * vlan 1 master static sticky",
        "bridge link set dev * learning off flood off",
        "bridge link set dev * isolated off",
        "bridge vlan add dev * vid 1 pvid untagged",
        "bridge vlan add dev * vid 5",
        "bridge vlan add dev br0 vid 5 self",
        "ip link set dev * promisc off",
        "ip link set dev br0 promisc off",
        "ip link set dev br0 promisc on",
    }
