"""The kernel's state of a port and of addresses in words, for `macmgr explain`."""

from __future__ import annotations

from collections.abc import Sequence

from macmgr.model.flags import FLAGS, Flag
from macmgr.model.intent import GuestPort
from macmgr.model.snapshot import BridgePort, Snapshot
from macmgr.model.vids import fold_vids


def kernel_says(guest: GuestPort, port: BridgePort | None, snapshot: Snapshot) -> list[str]:
    if port is None:
        master = snapshot.masters.get(guest.port, "")
        if guest.port not in snapshot.masters:
            return [f"{guest.port} does not exist"]
        return [f"{guest.port} is on {master}, which is no bridge" if master else f"{guest.port} is on no bridge"]
    vlans = ""
    if guest.facts.vlan is not None or snapshot.bridges[port.bridge].vlan_filtering:
        pvid = f", PVID {port.pvid}" if port.pvid else ""
        vlans = f", VID {fold_vids(port.vids)}{pvid}" if port.vids else ", no VID"
    # An unmanaged guest: if its bridge's table was not read, only its own address was asked for.
    macs = guest.macs if guest.managed or snapshot.lists(port.bridge) else guest.macs[:1]
    return [port_words(port, guest.facts.isolated) + vlans, *entry_lines(snapshot, port.bridge, macs)]


def entry_lines(snapshot: Snapshot, bridge: str, macs: Sequence[str]) -> list[str]:
    lines = []
    for mac in macs:
        groups: dict[tuple[str, str], list[int]] = {}
        for vid, entry in sorted(snapshot.fdb.of_mac(bridge, mac).items()):
            groups.setdefault((entry.port, entry.in_words), []).append(vid)
        lines += [
            f"{mac} -> {port} in VID {fold_vids(sorted(vids))}, {words}" for (port, words), vids in groups.items()
        ] or [f"no entry for {mac} on {bridge}"]
    return lines


def port_words(port: BridgePort, isolated: bool = False) -> str:
    """Returns a port's flags and state; ``isolated``: its XML asks for isolation."""
    words = [
        *(_flag_words(flag, port.flags.value(flag)) for flag in FLAGS),
        "not isolated" if isolated and not port.isolated else "",
        "promiscuous" if port.promiscuity else "not promiscuous",
        "down" if not port.up else "" if port.relay.carrier else "no carrier",
        f"{port.relay.state} (STP)" if port.up and not port.forwarding else "",
    ]
    return ", ".join(word for word in words if word)


def _flag_words(flag: Flag, value: bool | None) -> str:
    """A flag that shuts the port when off is always named; any other only when on."""
    return flag.says(value) if flag.shut is False else flag.words * bool(value)
