"""Decides which port is closed again without another look at the host: a drift on one port costs that port. Pure.

The last look found the port closed, with the entries that its guest is reached by, and nothing on the host to be done.
Since then somebody has turned its learning or unicast flood on, and nothing else has changed. So what was right then is
right now. Everything else is the business of a look.
"""

from __future__ import annotations

from dataclasses import replace

from macmgr.model.changes import SetFlags
from macmgr.model.findings import Code
from macmgr.model.flags import PortFlags
from macmgr.model.known import Memory
from macmgr.model.snapshot import Entry, EntryState, Key
from macmgr.view import View


def closed_again(view: View, port: str, now: PortFlags, memory: Memory) -> SetFlags | None:
    """Returns the change that closes a port whose flags are these ``now``; None if a look must decide.

    ``memory`` is what is remembered now: of a port that was given back since, a look remembers how it was.
    """
    was, guests = view.snapshot.ports[port], [guest for guest in view.intent.ports if guest.port == port]
    if view.plan.changes or view.skipped or len(guests) != 1:
        return None
    guest = guests[0]
    looked_after = guest.managed and guest.running and not guest.frozen and guest.bridge == was.bridge
    opened = replace(was.flags, learning=now.learning, unicast_flood=now.unicast_flood) == now
    remembered = (port, was.ifindex) in memory.closed and any(
        (each.port, each.ifindex) == (port, was.ifindex) for each in memory.ports
    )
    if not (looked_after and opened and remembered) or was.auto or now == was.flags:
        return None
    because = Code.LEARNING_ON if now.learning else Code.FLOOD_ON
    return SetFlags(port, now, was.flags, guest.bridge, guest.domain, because)


def entries_behind(view: View, change: SetFlags) -> dict[Key, Entry | None]:
    """Returns the static entries by which the guest of a port was reached at the look, as they must still be."""
    fdb, bridge = view.snapshot.fdb, change.bridge
    macs = {mac for guest in view.intent.ports if guest.port == change.port for mac in guest.macs}
    return {
        (bridge, mac, vid): entry
        for mac in macs
        for vid, entry in fdb.of_mac(bridge, mac).items()
        if entry.port == change.port and entry.state is EntryState.STATIC
    }
