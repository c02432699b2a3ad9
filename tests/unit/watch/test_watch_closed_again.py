"""A port that somebody opened is closed as a plan would close it, or it is left to a look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.changes import SetFlags
from macmgr.model.flags import PortFlags
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.known import Memory
from macmgr.model.snapshot import Bridge, BridgePort, Entry
from macmgr.reconcile import apply, look
from macmgr.state.lock import WriterLock
from macmgr.view import View
from macmgr.watch.closedagain import closed_again, entries_behind
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC = "52:54:00:00:00:01"
GUEST = GuestPort("vnet1", "br0", "g1", "uuid-g1", (MAC,), policy=Policy(manager=Manager.LIBVIRT))
INTENT = Intent((GUEST,), {"br0": "a test says so"})
CLOSED = PortFlags(learning=False, unicast_flood=False)
OPENED = {
    "learning": PortFlags(unicast_flood=False),
    "flood": PortFlags(learning=False),
    "both": PortFlags(),
}


def settled(intent: Intent = INTENT) -> tuple[FakeKernel, View, Memory]:
    ports = [
        BridgePort(name, 10 + number, "br0", f"fe:00:00:00:00:{number:02x}", vids=(1,), pvid=1)
        for number, name in enumerate(("eth0", "vnet1"))
    ]
    kernel, notes = FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", True)], ports, ())), Notebook()
    outcome = apply(WriterLock(), lambda: intent, kernel, notes=notes)
    assert outcome.complete
    return kernel, outcome.view, notes.memory


@pytest.mark.parametrize("now", OPENED.values(), ids=OPENED)
def test_it_is_what_a_plan_does(now: PortFlags) -> None:
    kernel, view, memory = settled()
    kernel.ports["vnet1"] = replace(kernel.ports["vnet1"], flags=now)
    planned = look(lambda: INTENT, kernel, known=replace(view.known, memory=memory)).plan.changes
    assert planned == (closed_again(view, "vnet1", now, memory),)


def test_the_entries_by_which_its_guest_is_reached_must_be_there() -> None:
    _, view, memory = settled()
    change = closed_again(view, "vnet1", PortFlags(), memory)
    assert isinstance(change, SetFlags)
    assert entries_behind(view, change) == {("br0", MAC, vid): Entry(MAC, vid, "vnet1", sticky=True) for vid in (0, 1)}


def _with_guests(view: View, *guests: GuestPort) -> View:
    return replace(view, intent=replace(view.intent, ports=guests))


LEFT = {
    "a guest that waits": lambda view: _with_guests(view, replace(GUEST, running=False)),
    "a guest that is left to the kernel": lambda view: _with_guests(view, replace(GUEST, policy=Policy())),
    "a guest that is left as it is": lambda view: _with_guests(
        view, replace(GUEST, policy=replace(GUEST.policy, incomplete=True))
    ),
    "two guests that name one tap": lambda view: _with_guests(view, GUEST, replace(GUEST, domain="g2", uuid="uuid-g2")),
    "no guest": _with_guests,
    "a change that was skipped": lambda view: replace(view, skipped=(SetFlags("eth0", CLOSED, PortFlags()),)),
}


@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_a_look_decides_about(left: object) -> None:
    _, view, memory = settled()
    assert callable(left)
    assert closed_again(left(view), "vnet1", PortFlags(), memory) is None


def test_a_look_decides_about_other_flags_and_about_what_was_given_back() -> None:
    _, view, memory = settled()
    assert closed_again(view, "vnet1", CLOSED, memory) is None
    assert closed_again(view, "vnet1", replace(CLOSED, locked=True), memory) is None
    assert closed_again(view, "vnet1", PortFlags(isolated=True), memory) is None
    assert closed_again(view, "vnet1", PortFlags(), replace(memory, ports=())) is None
    assert closed_again(view, "vnet1", PortFlags(), replace(memory, closed=())) is None
