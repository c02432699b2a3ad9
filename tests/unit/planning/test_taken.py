"""A guest's own address that somebody on the LAN uses too: its entry is put, and audit tells who loses by it."""

from __future__ import annotations

from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Policy
from macmgr.model.known import Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState
from macmgr.planning.remembering import after_release, what_is_left
from macmgr.reconcile import apply, look
from macmgr.state.lock import WriterLock
from macmgr.state.statedocument import document_of, parse_document
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

ROUTER = "02:00:00:00:00:fe"
PORTS = (
    BridgePort("up0", 2, "br0", "02:00:00:00:00:01", kind="veth"),
    BridgePort("vnet1", 3, "br0", "fe:54:00:aa:00:01", kind="tun"),
)
GUEST = GuestPort(
    "vnet1", "br0", "g1", "u1", (ROUTER,), policy=Policy(Manager.LIBVIRT), facts=NicFacts(configured_mac=ROUTER)
)
INTENT = Intent((GUEST,), {"br0": "a test"})


def a_kernel(port: str = "up0", state: EntryState = EntryState.DYNAMIC) -> FakeKernel:
    return FakeKernel(make_snapshot([Bridge("br0", 1, "02:00:00:00:00:00")], PORTS, [Entry(ROUTER, 0, port, state)]))


def told(kernel: FakeKernel, notes: Notebook) -> list[str]:
    view = look(lambda: INTENT, kernel, known=Known(notes.memory))
    return [finding.message for finding in view.plan.findings if finding.code is Code.ADDRESS_IN_USE]


def applied(kernel: FakeKernel) -> Notebook:
    notes = Notebook()
    assert apply(WriterLock(), lambda: INTENT, kernel, notes=notes).complete
    return notes


def test_who_goes_on_using_it_is_told() -> None:
    kernel = a_kernel()
    notes = applied(kernel)
    assert told(kernel, notes) == []  # an arriving guest was learned on the uplink as well
    kernel.frame("up0", ROUTER, "ff:ff:ff:ff:ff:ff")
    (message,) = told(kernel, notes)
    assert "was in use on up0" in message
    assert look(lambda: INTENT, kernel, known=Known(notes.memory)).plan.changes == ()


def test_an_address_that_nobody_had_is_a_matter_of_the_daemon_alone() -> None:
    kernel = a_kernel(state=EntryState.STATIC)  # as a frame has moved libvirt's own entry
    notes = applied(kernel)
    kernel.frame("up0", ROUTER, "ff:ff:ff:ff:ff:ff")
    assert told(kernel, notes) == []


def test_an_entry_that_is_put_again_begins_anew() -> None:
    kernel = a_kernel()
    notes = applied(kernel)
    kernel.frame("up0", ROUTER, "ff:ff:ff:ff:ff:ff")
    kernel.lose_entry("br0", ROUTER, 0)
    apply(WriterLock(), lambda: INTENT, kernel, notes=notes)
    assert told(kernel, notes) == []
    kernel.frame("up0", ROUTER, "ff:ff:ff:ff:ff:ff")
    assert len(told(kernel, notes)) == 1


def test_it_is_written_down_and_forgotten_with_the_port() -> None:
    kernel = a_kernel()
    memory = applied(kernel).memory
    (taken,) = memory.taken
    assert parse_document(document_of({"": memory}, "boot"), "boot")[0][""].taken == (taken,)
    assert after_release(memory, {("vnet1", 3)}).taken == ()
    kernel.remove_port("vnet1")
    assert what_is_left(memory, Intent(), kernel.read_snapshot()).taken == ()
