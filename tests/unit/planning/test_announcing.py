"""Entries that are put again, unchanged, for a control plane to read: which, and when."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from macmgr.execution import execute
from macmgr.model.changes import SetEntries, requests
from macmgr.model.intent import GuestPort, Intent, Manager, Pin, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState
from macmgr.planning.announcements import Announced, announcements
from macmgr.state.lock import WriterLock
from macmgr.watch.announcing import INTERVALS, Announcing
from tests.fake_kernel import FakeKernel, make_snapshot

MAC, SECOND, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:03"
GUEST = GuestPort("vnet1", "br0", "g1", "u1", (MAC, SECOND), policy=Policy(Manager.LIBVIRT))
HERE = Announced("br0", MAC, 10)


def host(*entries: Entry, learns: bool = False, vids: tuple[int, ...] = (1, 10)) -> FakeKernel:
    tunnel = BridgePort("vx10", 9, "br0", "fe:00:00:00:00:09", vids=(1,), kind="vxlan", tunnel_learning=learns)
    tap = BridgePort("vnet1", 10, "br0", "fe:00:00:00:00:01", vids=vids, kind="tun")
    return FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", True)], [tunnel, tap], entries))


def own(mac: str = MAC, vids: tuple[int, ...] = (0, 1, 10), *, sticky: bool = False) -> list[Entry]:
    return [Entry(mac, vid, "vnet1", sticky=sticky) for vid in vids]


def found(kernel: FakeKernel, guest: GuestPort = GUEST) -> dict[Announced, SetEntries]:
    return announcements(Intent((guest,), {"br0": "a test"}), kernel.read_snapshot())


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("vids", [(0, 1, 10), (1, 10), (0, 1), (1,)], ids=str)
def test_what_is_there_is_put_as_it_is_and_nothing_else(vids: tuple[int, ...], sticky: bool) -> None:
    """Without a VID a put is one for all VIDs of the port: where one of them is missing, it would come to be."""
    kernel = host(*own(vids=vids, sticky=sticky), *own(OTHER))
    before = dict(kernel.fdb)
    again = found(kernel)
    assert set(again) == {HERE}
    made, failures = execute(WriterLock(), list(again.values()), kernel, kernel.read_snapshot())
    assert (len(made), failures) == (1, ())
    assert kernel.fdb == before
    assert {request.mac for request in kernel.sent if hasattr(request, "mac")} == {MAC}


def test_an_entry_that_was_taken_and_put_back_is_put_as_our_own() -> None:
    """It keeps the control plane's mark, and a put with that mark is one that the kernel tells nobody of."""
    kernel = host(*(entry._replace(extern_learn=True) for entry in own()))
    before = dict(kernel.fdb)
    (change,) = found(kernel).values()
    sent = [request for request in requests(change) if isinstance(request, Entry)]
    assert [(request.vid, request.extern_learn) for request in sent] == [(0, False)]
    kernel.send(sent, kernel.read_snapshot())
    assert kernel.fdb == before


def test_on_a_bridge_without_vids_it_is_vid_0() -> None:
    kernel = host(*own(vids=(0,)), vids=())
    (change,) = found(kernel).values()
    assert [request.vid for request in requests(change) if hasattr(request, "vid")] == [0]


@pytest.mark.parametrize(
    ("kernel", "guest"),
    [
        (host(*own(), learns=True), GUEST),
        (host(*own()), replace(GUEST, running=False, state="paused")),
        (host(*own()), replace(GUEST, policy=Policy(Manager.KERNEL, pin=Pin.STATIC))),
        (host(*own()), replace(GUEST, bridge="br1")),
        (host(*own()), replace(GUEST, port="vnet2")),
        (host(*(entry._replace(state=EntryState.DYNAMIC) for entry in own())), GUEST),
        (host(*(entry._replace(port="vx10", extern_learn=True) for entry in own())), GUEST),
        (host(), GUEST),
    ],
    ids=["no control plane", "waits", "the kernel's", "another bridge", "no port", "dynamic", "taken", "no entry"],
)
def test_what_is_not_announced(kernel: FakeKernel, guest: GuestPort) -> None:
    assert found(kernel, guest) == {}


def all_times(schedule: Announcing, now: float = 0.0) -> list[float]:
    times = []
    while (due := schedule.next_due()) is not None:
        assert due > now
        assert not schedule.take((now + due) / 2)
        now = due
        assert schedule.take(now) == {HERE}
        times.append(now)
    return times


def test_a_new_one_is_announced_soon_and_then_more_rarely_until_three_minutes() -> None:
    schedule = Announcing()
    assert schedule.next_due() is None
    schedule.note({HERE}, (), 100.0)
    times = all_times(schedule, 100.0)
    assert [after - before for before, after in pairwise([100.0, *times])] == list(INTERVALS)
    assert times[-1] == 100.0 + 180.0
    schedule.note({HERE}, (), 400.0)  # nothing is new
    assert schedule.next_due() is None


def test_it_begins_anew_where_something_was_put() -> None:
    schedule = Announcing()
    schedule.note({HERE}, (), 0.0)
    all_times(schedule)
    entry = Entry(MAC, 1, "vnet1")
    put = SetEntries(MAC, (entry._replace(port="vx10"),), (entry,), "br0", "g1")
    for other in (replace(put, bridge="br1"), replace(put, mac=OTHER), replace(put, after=())):
        schedule.note({HERE}, [other], 300.0)
        assert schedule.next_due() is None
    schedule.note({HERE}, [put], 300.0)
    assert schedule.next_due() == 301.0


def test_who_has_left_is_not_announced_and_who_comes_back_is() -> None:
    schedule = Announcing()
    schedule.note({HERE}, (), 0.0)
    schedule.note((), (), 0.5)
    assert schedule.next_due() is None
    assert not schedule.take(10.0)
    schedule.note({HERE}, (), 20.0)
    assert schedule.next_due() == 21.0


def test_a_tap_that_was_made_again_is_another() -> None:
    schedule = Announcing()
    schedule.note({HERE}, (), 0.0)
    all_times(schedule)
    schedule.note({HERE._replace(ifindex=11)}, (), 300.0)
    assert schedule.next_due() == 301.0


def test_a_clock_that_was_late_makes_up_for_nothing() -> None:
    """A suspended host: what was due is done once, and the next after its interval."""
    schedule = Announcing()
    schedule.note({HERE}, (), 0.0)
    assert schedule.take(1000.0) == {HERE}
    assert not schedule.take(1000.0)
    assert schedule.next_due() == 1002.0
