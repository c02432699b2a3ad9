"""Bridges whose addresses a control plane puts: how entries are pinned there, and what of them is left alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import pytest

from macmgr.model.changes import requests
from macmgr.model.findings import Code, Severity
from macmgr.model.intent import GuestPort, Intent, Manager, Pin, Policy, Scope, Settings, Step
from macmgr.model.known import KeptMac, Memory
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.planning.remembering import what_is_left
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook, remembers_gone

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
CLOSED = PortFlags(learning=False, unicast_flood=False)
LOCK = WriterLock()
THEIRS = [Entry(MAC, vid, "vx10", EntryState.STATIC, sticky=True) for vid in (0, 1)]


def guest(pin: Pin = Pin.AUTO, *, running: bool = True) -> GuestPort:
    steps = (Step("a place", Settings(pin=pin)),)
    policy = Policy(Manager.LIBVIRT, pin=pin, steps=steps)
    state = "running" if running else "paused"
    return GuestPort("vnet1", "br0", "g1", "u1", (MAC,), policy=policy, running=running, state=state)


def host(*entries: Entry, learns: bool | None = False, kind: str = "vxlan", bridge: str = "br0") -> FakeKernel:
    """br0 with the closed tap vnet1, br1 with an uplink; the tunnel is on one of them."""
    tunnel = BridgePort("vx10", 9, bridge, "fe:00:00:00:00:09", PortFlags(learning=False), (1,), 1)
    tunnel = replace(tunnel, kind=kind, tunnel_learning=learns)
    tap = BridgePort("vnet1", 10, "br0", "fe:00:00:00:00:01", CLOSED, (1,), 1, kind="tun")
    uplink = BridgePort("eth1", 5, "br1", "fe:00:00:00:00:05", vids=(1,), pvid=1)
    bridges = [Bridge("br0", 1, "fe:00:00:00:01:00", True), Bridge("br1", 2, "fe:00:00:00:01:01", True)]
    return FakeKernel(make_snapshot(bridges, [tunnel, tap, uplink], entries))


def wanted(*guests: GuestPort) -> Intent:
    return Intent(guests, {"br0": "a test says so"})


def planned(kernel: FakeKernel, *guests: GuestPort, departed: dict[str, str] | None = None) -> Plan:
    return plan(wanted(*guests), kernel.read_snapshot(), remembers_gone(departed or {}, "br0"))


def words(kernel: FakeKernel, mac: str = MAC) -> set[tuple[str, str]]:
    return {(entry.port, entry.in_words) for entry in kernel.fdb.values() if entry.mac == mac}


def codes(steps: Plan) -> set[Code]:
    return {finding.code for finding in steps.findings if finding.severity is not Severity.INFO}


@pytest.mark.parametrize(
    ("kernel", "sticky"),
    [
        (host(), False),
        (host(learns=True), True),  # as the tunnel of an Ubuntu Fan bridge
        (host(learns=None), True),  # a kernel that does not say
        (host(learns=None, kind="veth"), True),
        (host(bridge="br1"), True),  # it is another bridge's
    ],
    ids=["a control plane's", "one that learns", "nobody knows", "no tunnel", "on another bridge"],
)
@pytest.mark.parametrize("before", [[], [Entry(MAC, 0, "vnet1"), Entry(MAC, 1, "vnet1", sticky=True)]])
def test_auto_is_static_where_a_control_plane_puts_addresses(
    kernel: FakeKernel, sticky: bool, before: Iterable[Entry]
) -> None:
    kernel = FakeKernel(kernel.read_snapshot())
    for entry in before:
        kernel.set_entry(entry)
    assert apply(LOCK, lambda: wanted(guest()), kernel, notes=Notebook()).complete
    assert words(kernel) == {("vnet1", "static sticky" if sticky else "static")}


@pytest.mark.parametrize("pin", [Pin.STICKY, Pin.STATIC])
def test_what_policy_says_goes_first_and_sticky_is_told(pin: Pin) -> None:
    kernel = host()
    assert apply(LOCK, lambda: wanted(guest(pin)), kernel, notes=Notebook()).complete
    assert words(kernel) == {("vnet1", "static sticky" if pin is Pin.STICKY else "static")}
    told = [each for each in planned(kernel, guest(pin)).findings if each.code is Code.PIN_AGAINST_CONTROL_PLANE]
    assert [(each.port, each.domain, "a place" in each.message) for each in told] == [("vnet1", "g1", True)] * (
        pin is Pin.STICKY
    )
    assert Code.PIN_AGAINST_CONTROL_PLANE.severity is Severity.WARNING
    assert codes(planned(host(learns=True), guest(pin))) == {Code.MISSING_ENTRY}


@pytest.mark.parametrize("learns", [False, True])
def test_another_hosts_sticky_entry_is_left_where_no_guest_runs(learns: bool) -> None:
    """Of a guest that has left, of one that waits, and of one that is away while its address turned up elsewhere."""
    kernel = host(*THEIRS, learns=learns)
    for intent in (
        wanted(),
        wanted(guest(running=False)),
        wanted(replace(guest(), macs=(OTHER,), moved=(MAC,))),
    ):
        outcome = apply(
            LOCK, partial(replace, intent), kernel, notes=Notebook(remembers_gone({MAC: "g1"}, "br0").memory)
        )
        assert outcome.complete
        assert words(kernel) == {("vx10", "static sticky")}
        assert codes(outcome.view.plan) == set()


@pytest.mark.parametrize(
    "entry",
    [
        Entry(MAC, 1, "vx10"),  # libvirt's own, or one that a frame has moved: nothing sticky was
        Entry(MAC, 1, "eth0"),  # no tunnel
    ],
    ids=["on the tunnel", "on an uplink"],
)
def test_what_is_no_control_planes_is_stale_as_ever(entry: Entry) -> None:
    kernel = host()
    kernel.ports["eth0"] = BridgePort("eth0", 6, "br0", "fe:00:00:00:00:06", vids=(1,), pvid=1)
    kernel.masters["eth0"] = "br0"
    kernel.set_entry(entry)
    assert codes(planned(kernel, departed={MAC: "g1"})) == {Code.STALE_ENTRY}


def test_a_guest_that_runs_here_gets_its_entry_back_from_another_host() -> None:
    kernel = host(*THEIRS)
    steps = planned(kernel, guest())
    assert codes(steps) == {Code.STOLEN_ENTRY}
    for change in steps.changes:
        kernel.send(list(requests(change)), kernel.read_snapshot())
    assert words(kernel) == {("vnet1", "static")}


def test_an_entry_in_a_vid_that_the_tunnel_has_lost_is_nobody_elses_to_flush() -> None:
    kernel = host(Entry(MAC, 20, "vx10", sticky=True), Entry(OTHER, 20, "vx10"))
    assert planned(kernel, departed={MAC: "g1", OTHER: "g2"}).changes == ()
    assert codes(planned(kernel, departed={MAC: "g1"})) == set()


def test_release_leaves_it_too() -> None:
    """Of a guest that is gone, and of one that runs here while another host's control plane has its address."""
    kernel, notes = host(), Notebook()
    apply(LOCK, lambda: wanted(guest()), kernel, notes=notes)
    for entry in THEIRS:
        kernel.set_entry(entry)
    release(LOCK, lambda: replace(wanted(), gone_domains=("g1",)), kernel, Scope(), notes)
    assert words(kernel) == {("vx10", "static sticky")}

    kernel, notes = host(), Notebook()
    apply(LOCK, lambda: wanted(guest()), kernel, notes=notes)
    for entry in THEIRS:
        kernel.set_entry(entry)
    release(LOCK, lambda: wanted(guest()), kernel, Scope(), notes)
    assert words(kernel) == {("vx10", "static sticky")}
    assert not notes.memory.ports


def test_without_a_memory_release_knows_our_mark_by_what_auto_is_there() -> None:
    for kernel, sticky in ((host(), False), (host(learns=True), True)):
        for vid in (0, 1):
            kernel.set_entry(Entry(MAC, vid, "vnet1", sticky=sticky))
        released = release(LOCK, lambda: wanted(guest()), kernel, Scope(), Notebook())
        assert [each.port for each in released.ports] == ["vnet1"]


def test_a_guest_that_is_now_another_hosts_is_forgotten() -> None:
    """No entry of it is ours, and none can become ours: no frame moves a sticky one."""
    memory = Memory(macs=(KeptMac(MAC, "br0", "g1", "vnet1", 77),))
    assert what_is_left(memory, Intent(), host(*THEIRS).read_snapshot()).macs == ()
    plain = [entry._replace(sticky=False) for entry in THEIRS]
    moved = [entry._replace(extern_learn=True) for entry in plain]  # ours, which zebra took to the tunnel
    for entries in (plain, moved):
        assert what_is_left(memory, Intent(), host(*entries).read_snapshot()).macs == memory.macs
