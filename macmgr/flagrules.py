"""When a guest's port is closed (learning and unicast flood off) and when it must be open.

Only unicast flood is ever touched: multicast flood carries neighbour discovery, broadcast flood ARP and DHCP.
"""

from __future__ import annotations

from dataclasses import replace

from macmgr.changes import SetFlags
from macmgr.draft import Draft
from macmgr.findings import Code
from macmgr.intent import GuestPort
from macmgr.snapshot import BridgePort


def plan_closed(guest: GuestPort, port: BridgePort, draft: Draft) -> None:
    """Learning and unicast flood off, and ``locked`` on where policy asks for it and an entry is there to allow it."""
    flags = port.flags
    lock = guest.policy.lock and guest.running
    problems = []
    if flags.learning:
        problems.append((Code.LEARNING_ON, "learns source addresses", "learning off"))
    if flags.unicast_flood:
        problems.append((Code.FLOOD_ON, "gets every frame with an unknown destination", "flood off"))
    if lock and flags.locked is False:
        problems.append((Code.UNLOCKED, "accepts frames from any source address, policy says lock='yes'", "locked on"))
    if lock and flags.locked is None:
        text = f"lock='yes' is asked for {port.name} of {guest.domain}; this kernel has no locked ports, Linux 5.18 has"
        draft.find(Code.UNSUPPORTED, guest, text)
    for code, text, words in problems:
        draft.find(code, guest, f"{port.name} of {guest.domain} {text}", fix=f"bridge link set dev {port.name} {words}")
    if problems:
        locked = flags.locked if flags.locked is None else flags.locked or lock
        closed = replace(flags, learning=False, unicast_flood=False, locked=locked)
        draft.closes.append(SetFlags(port.name, flags, closed, guest.bridge, guest.domain, problems[0][0]))


def plan_open(guest: GuestPort, port: BridgePort, draft: Draft) -> None:
    """A port whose entry nobody will put when the CPUs start: open is slow, closed without an entry is an outage."""
    flags = port.flags
    opened = replace(flags, learning=True, unicast_flood=True, locked=None if flags.locked is None else False)
    if opened == flags:
        return
    words = "learning on flood on" + (" locked off" if flags.locked else "")
    draft.find(
        Code.CLOSED_WITHOUT_ENTRY,
        guest,
        f"{port.name} of {guest.domain} ({guest.state}) is closed, and nobody would put its entry when the guest's "
        "CPUs start: it would be cut off",
        fix=f"bridge link set dev {port.name} {words}",
    )
    draft.opens.append(SetFlags(port.name, flags, opened, guest.bridge, guest.domain, Code.CLOSED_WITHOUT_ENTRY))
