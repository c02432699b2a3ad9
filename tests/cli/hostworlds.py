"""Hosts with many guests, as golden cases are written: twenty with eleven drifts, three hundred with one error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

UPLINK, BRIDGE = "eno1", "br0"
_NETWORK = """<networkstatus>
  <network>
    <name>lan</name>
    <uuid>00000000-0000-4000-8000-0000000000ff</uuid>
    <forward mode='bridge'/>
    <bridge name='br0' macTableManager='libvirt'/>
  </network>
</networkstatus>
"""
_GUEST = """<domstatus state='{state}' reason='booted' pid='{pid}'>
  <domain type='kvm' id='{number}'>
    <name>{name}</name>
    <uuid>00000000-0000-4000-8000-{number:012d}</uuid>
    <devices>
      <interface type='{kind}'>
        <mac address='{mac}'/>
        {source}
        {vlan}
        <target dev='{tap}'/>
        <alias name='net0'/>
      </interface>
    </devices>
  </domain>
</domstatus>
"""
_MANAGED = "<source network='lan'/><actual type='bridge'><source bridge='br0' macTableManager='libvirt'/></actual>"


@dataclass
class GuestWorld:
    """A guest, and how its port and its entry are, not as they are to be."""

    name: str
    number: int
    state: str = "running"
    managed: bool = True
    vlan: str = ""
    flags: str = ""
    entry: str = "static sticky"
    entry_on: str = ""
    bridge: str | None = BRIDGE
    tap_is_there: bool = True
    readable: bool = True
    more: list[str] = field(default_factory=list)

    @property
    def tap(self) -> str:
        return f"vnet{self.number}"

    @property
    def mac(self) -> str:
        return f"52:54:00:00:{self.number >> 8:02x}:{self.number & 255:02x}"

    @property
    def entries(self) -> Iterable[str]:
        if self.entry and self.tap_is_there and self.bridge:
            yield f"{self.mac} dev {self.entry_on or self.tap} vid 0,1 {self.entry}"
        yield from self.more

    def status(self) -> str:
        text = _GUEST.format(
            state=self.state,
            pid=1,  # a process that is there
            number=self.number,
            name=self.name,
            mac=self.mac,
            tap=self.tap,
            kind="network" if self.managed else "bridge",
            source=_MANAGED if self.managed else f"<source bridge='{BRIDGE}'/>",
            vlan=self.vlan,
        )
        return text if self.readable else text[: len(text) // 2]


def written(folder: Path, guests: Iterable[GuestWorld]) -> Path:
    """Returns the folder with the files of the case."""
    guests = list(guests)
    taps = [guest for guest in guests if guest.tap_is_there]
    snapshot: dict[str, Any] = {
        "bridges": {BRIDGE: {"mac": "02:00:00:00:00:b0"}},
        "ports": {
            UPLINK: {
                "bridge": BRIDGE,
                "mac": "02:00:00:00:00:e0",
                "promiscuity": 1,
                "kind": "",
                "flags": "learning flood",
            }
        }
        | {
            guest.tap: {
                "bridge": guest.bridge,
                "mac": f"fe{guest.mac[2:]}",
                "kind": "tun",
                "flags": guest.flags if guest.managed else "learning flood",
            }
            for guest in taps
            if guest.bridge
        },
        "on no bridge": [guest.tap for guest in taps if not guest.bridge],
        "entries": [line for guest in guests for line in guest.entries],
    }
    (folder / "network").mkdir(parents=True)
    (folder / "status").mkdir()
    (folder / "network" / "lan.xml").write_text(_NETWORK)
    for guest in guests:
        (folder / "status" / f"{guest.name}.xml").write_text(guest.status())
    (folder / "snapshot.json").write_text(json.dumps(snapshot))
    return folder


def twenty_guests(folder: Path) -> Path:
    """Eleven drifts: apply repairs seven. ci01 and metrics01 are cut off too, and need a person."""
    names = (
        *("web01", "db01", "mail01", "app01", "cache01", "log01", "proxy01", "ci01", "metrics01", "broken01"),
        *("build01", "ldap01", "wiki01", "dns01", "vpn01", "cron01", "git01", "chat01", "shop01", "auth01"),
    )
    guests = {name: GuestWorld(name, number) for number, name in enumerate(names, 1)}
    guests["web01"].entry, guests["web01"].entry_on = "static", UPLINK
    guests["db01"].entry = ""
    guests["mail01"].entry = "permanent"
    guests["app01"].flags = "learning flood"
    guests["cache01"].more = [f"52:54:00:99:00:01 dev {guests['cache01'].tap} vid 0,1 static"]
    guests["log01"].state = "paused"
    guests["proxy01"].vlan = "<vlan><tag id='42'/></vlan>"
    guests["ci01"].bridge = None
    guests["metrics01"].tap_is_there = False
    guests["broken01"].readable = False
    for name in ("build01", "ldap01", "wiki01", "dns01", "vpn01"):
        guests[name].managed, guests[name].entry = False, ""
    guests["cron01"].entry = "static"
    return written(folder, guests.values())


def three_hundred_guests(folder: Path) -> Path:
    """One of them is cut off: its entry is on the uplink."""
    guests = [GuestWorld(f"vm{number:03d}", number) for number in range(1, 301)]
    guests[216].entry, guests[216].entry_on = "static", UPLINK
    return written(folder, guests)


WORLDS = {"twenty-guests": twenty_guests, "three-hundred-guests": three_hundred_guests}
