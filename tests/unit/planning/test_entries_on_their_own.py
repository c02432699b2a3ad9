"""Entries that prove nothing by being there: one that goes, one that comes back, one that a dump forgot."""

from __future__ import annotations

from dataclasses import replace

from macmgr.model.changes import SetEntries, SetFlags
from macmgr.model.flags import PortFlags
from macmgr.model.intent import Intent, Manager, Policy
from macmgr.model.known import Held, Known, Memory, PortBefore
from macmgr.model.snapshot import Entry, EntryState, Stacked
from macmgr.planning.planner import plan
from macmgr.planning.reading import suspects
from macmgr.planning.release import plan_release
from tests.two_guests import CLOSED, INTENT, PINNED, WEB, host

MANAGED = Intent(
    tuple(replace(guest, policy=Policy(manager=Manager.LIBVIRT)) for guest in INTENT.ports), {"br0": "a test says so"}
)
STRANGER = "52:54:00:0f:00:01"


def test_a_port_stays_open_whose_own_entry_in_a_vid_of_the_hosts_goes() -> None:
    """br0.10 has the guest's address: both get its frames in VLAN 10 as long as they are flooded."""
    there = host(
        True,
        (*(entry._replace(vid=1) for entry in PINNED), Entry(WEB, 10, "vnet1", sticky=True)),
        vnet1={"vids": (1, 10), "flags": PortFlags(learning=False, unicast_flood=True)},
    )
    made = plan(MANAGED, replace(there, stacked=(Stacked("br0", "br0.10", WEB, (10,)),)))
    assert not [change for change in made.changes if isinstance(change, SetFlags) and change.port == "vnet1"]


def test_a_strangers_entry_comes_back_in_its_own_vid_alone() -> None:
    """The port was closed and is again. What is in use elsewhere in another VID stays where it is."""
    given_back = Entry(STRANGER, 1, "vnet1", EntryState.STATIC)
    alive = Entry(STRANGER, 0, "eth0", EntryState.DYNAMIC)
    there = host(False, (*PINNED, given_back, alive), vnet1={"vids": (1,)})
    port = there.ports["vnet1"]
    held = (Held(STRANGER, sticky=False, vids=(1,)),)
    before = PortBefore("vnet1", port.ifindex, port.mac, "br0", 1, "web", "u1", CLOSED, held)
    made = plan_release(MANAGED, there, Known(Memory((before,))))
    assert STRANGER not in {change.mac for change in made.changes if isinstance(change, SetEntries)}


def test_what_an_opening_rests_on_is_looked_up_too() -> None:
    there = host(False)
    opening = SetFlags("vnet1", CLOSED, CLOSED.opened(), "br0", "web")
    assert suspects([opening], MANAGED, there) == [("br0", WEB, 0)]
