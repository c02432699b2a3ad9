"""A burst of marks is one batch, and what is taken is taken."""

from __future__ import annotations

from macmgr.model.hookcall import HookCall
from macmgr.readers.hookdata import HookInput
from macmgr.wanted import WaitingCall
from macmgr.watch.pending import Pending

HEARD = WaitingCall(HookCall("daemon", "-", "start"), HookInput())


def test_a_burst_is_one_batch_with_each_reason_once() -> None:
    pending: Pending[int] = Pending()
    for _ in range(3):
        pending.mark("status file qemu/g1.xml")
        pending.mark("vnet0: learning is on")
    assert pending.take().reasons == ("status file qemu/g1.xml", "vnet0: learning is on")
    assert pending.take().reasons == ()


def test_calls_are_answered_in_their_order() -> None:
    pending: Pending[int] = Pending()
    for ticket in range(3):
        pending.hear(HEARD, ticket)
    assert [ticket for _, ticket in pending.take().calls] == [0, 1, 2]
    assert pending.take().calls == ()


def test_a_storm_keeps_a_few_reasons() -> None:
    pending: Pending[int] = Pending()
    for number in range(10_000):
        pending.mark(f"vnet{number}")
    assert 1 < len(pending.take().reasons) < 100
