"""What a run learns between two looks, each lesson by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.changes import Change, SetEntries, SetFlags
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope
from macmgr.model.known import NOTHING_KNOWN, Known, Memory
from macmgr.model.snapshot import Bridge, BridgePort, Entry, Feature, PortFlags
from macmgr.planning.draft import Plan
from macmgr.reconcile import Run, apply, left_out, look, puts, release, remembering, with_lacks, with_refused
from macmgr.state.lock import WriterLock
from macmgr.view import View
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC = "52:54:00:00:00:01"
STICKY, FLUSH = frozenset({Feature.STICKY}), frozenset({Feature.FLUSH})
GUEST = GuestPort("vnet1", "br0", "web1", "u1", (MAC,), policy=Policy(manager=Manager.LIBVIRT))
INTENT = Intent((GUEST,), {"br0": "a test"})
PUT = SetEntries(MAC, (), (Entry(MAC, 0, "vnet1"), Entry(MAC, 1, "vnet1")), "br0", "web1")
NOTHING_YET = Run(NOTHING_KNOWN)


def a_kernel() -> FakeKernel:
    ports = [
        BridgePort(name, number, "br0", f"fe:00:00:00:00:0{number}", kind="tun" if name == "vnet1" else "")
        for number, name in ((5, "eth0"), (6, "vnet1"))
    ]
    return FakeKernel(make_snapshot([Bridge("br0", 1, "02:00:00:00:00:01")], ports, []))


def test_a_missing_feature_is_believed_at_once() -> None:
    assert with_lacks(NOTHING_YET, FLUSH).known.lacks == FLUSH


def test_missing_sticky_is_believed_the_second_time_in_a_row() -> None:
    once = with_lacks(NOTHING_YET, STICKY)
    assert once.known.lacks == frozenset()
    assert with_lacks(once, STICKY).known.lacks == STICKY
    # another program's replace looks the same, and it does not happen twice
    assert with_lacks(with_lacks(once, frozenset()), STICKY).known.lacks == frozenset()


def test_what_was_found_missing_stays_so() -> None:
    known = Known(Memory(lacks=STICKY))
    assert with_lacks(Run(known), frozenset()).known.lacks == STICKY


def test_an_entry_that_was_put_and_is_to_be_put_again_was_put_in_vain() -> None:
    run = replace(NOTHING_YET, put=puts([PUT]))
    again = replace(PUT, after=(Entry(MAC, 1, "vnet1"), Entry(MAC, 7, "vnet1")))
    assert with_refused(run, [again]).known.refused == {("vnet1", MAC, 1)}
    assert with_refused(NOTHING_YET, [again]).known.refused == frozenset()
    assert with_refused(run, []).known.refused == frozenset()


def test_what_the_daemon_knows_to_be_refused_stays_so() -> None:
    run = Run(Known(refused=frozenset({("vnet9", MAC, 0)})), put=puts([PUT]))
    assert with_refused(run, [PUT]).known.refused == puts([PUT]) | {("vnet9", MAC, 0)}


def test_how_a_port_was_is_written_down_before_it_is_changed() -> None:
    kernel, notes = a_kernel(), Notebook()
    run = remembering(NOTHING_YET, look(lambda: INTENT, kernel), notes)
    assert not kernel.sent
    assert [(port.port, port.flags) for port in notes.memory.ports] == [("vnet1", PortFlags())]
    assert run.known.memory == notes.memory


def test_an_apply_sends_nothing_before_the_memory_is_written() -> None:
    kernel, sent_before = a_kernel(), []

    class Written(Notebook):
        def keep(self, memory: Memory) -> None:
            sent_before.append(len(kernel.sent))
            super().keep(memory)

    assert apply(WriterLock(), lambda: INTENT, kernel, notes=Written()).complete
    assert kernel.sent
    assert sent_before[0] == 0


OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
BACK: tuple[Change, ...] = (
    SetFlags("vnet1", CLOSED, OPEN, "br0", "web1", Code.NOT_GIVEN_BACK),
    SetEntries(MAC, (Entry(MAC, 0, "vnet1"),), (), "br0", "web1", Code.NOT_GIVEN_BACK),
)
OTHER: tuple[Change, ...] = (
    SetFlags("vnet2", OPEN, CLOSED, "br0", "web2", Code.LEARNING_ON),
    SetEntries(MAC, (Entry(MAC, 0, "vnet2"),), (), "br0", "web2", Code.STALE_ENTRY),
)


@pytest.mark.parametrize("skipped", BACK, ids=["its opening", "its entry"])
def test_a_port_is_given_back_all_or_nothing(skipped: Change) -> None:
    scope = Scope(skips=lambda change: change == skipped)
    assert tuple(left_out((*BACK, *OTHER), scope)) == BACK


def test_of_any_other_port_only_what_is_skipped_is_left_out() -> None:
    scope = Scope(skips=lambda change: change == OTHER[1])
    assert tuple(left_out((*BACK, *OTHER), scope)) == (OTHER[1],)
    assert tuple(left_out((*BACK, *OTHER), Scope())) == ()


def test_a_view_knows_what_follows_from_the_memory_that_it_was_made_with() -> None:
    kernel, notes = a_kernel(), Notebook()
    apply(WriterLock(), lambda: INTENT, kernel, notes=notes)
    left = Intent((replace(GUEST, policy=Policy()),), {"br0": "a test"})
    view = look(lambda: left, kernel, known=Known(notes.memory))
    assert [port.port for port in view.to_release] == ["vnet1"]
    assert View(left, view.snapshot, Plan()).to_release == ()


def test_a_release_is_the_same_loop() -> None:
    kernel, notes = a_kernel(), Notebook()
    apply(WriterLock(), lambda: INTENT, kernel, notes=notes)
    done = release(WriterLock(), lambda: INTENT, kernel, Scope(), notes)
    assert done.complete
    assert [port.port for port in done.ports] == ["vnet1"]
    assert kernel.ports["vnet1"].flags == PortFlags()
    assert notes.memory.released == (("vnet1", 6),)
