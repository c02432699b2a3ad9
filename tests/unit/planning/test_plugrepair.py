"""A managed port is brought to how libvirt plugged it, before anything else, and `release` undoes that."""

from __future__ import annotations

from dataclasses import replace

from macmgr.model.changes import SetFlags, bridge_command, requests
from macmgr.model.findings import Code
from macmgr.model.intent import EVERYTHING, GuestPort, Intent, Manager, NicFacts, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome
from macmgr.watch.backoff import Backoff
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

LOCK = WriterLock()
MACS = ("52:54:00:00:00:01", "52:54:00:00:00:02")
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
APART = NicFacts(isolated=True, isolated_live=True)


def guest(number: int, facts: NicFacts = APART, **policy: object) -> GuestPort:
    said = replace(Policy(Manager.LIBVIRT), **policy)  # type: ignore[arg-type]
    name = f"web{number}"
    return GuestPort(f"vnet{number}", "br0", name, f"u-{name}", (MACS[number],), policy=said, facts=facts)


def host(flags: PortFlags = OPEN, *entries: Entry, uplink: PortFlags = OPEN) -> Snapshot:
    taps = [BridgePort(f"vnet{n}", 7 + n, "br0", f"fe:54:00:00:00:0{n}", flags, (1,), 1) for n in range(2)]
    eth0 = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", uplink, (1,), 1)
    return make_snapshot([Bridge("br0", 2, "02:00:00:00:00:02", True)], [*taps, eth0], entries)


def intent(*guests: GuestPort) -> Intent:
    return Intent(guests or (guest(0), guest(1)), {"br0": "a test"})


def applied(kernel: FakeKernel, notes: Notebook, *guests: GuestPort) -> Outcome:
    return apply(LOCK, lambda: intent(*guests), kernel, notes=notes)


def commands(planned: Plan) -> list[str]:
    return [" ".join(bridge_command(request)) for change in planned.changes for request in requests(change)]


def isolation(planned: Plan) -> list[str]:
    return [command for command in commands(planned) if "isolated" in command]


def test_all_are_isolated_before_anything_else_is_done() -> None:
    planned = plan(intent(), host())
    assert commands(planned)[:2] == [f"bridge link set dev vnet{n} isolated on" for n in range(2)]
    closing = [change for change in planned.changes if isinstance(change, SetFlags) and change.closes]
    assert [change.before.isolated for change in closing] == [True, True], "it says nothing of isolation again"
    told = [finding for finding in planned.findings if finding.code is Code.NOT_ISOLATED]
    assert [finding.changes for finding in told] == [(change,) for change in planned.changes[:2]]
    kernel = FakeKernel(host())
    assert applied(kernel, Notebook()).complete
    assert {kernel.ports[f"vnet{n}"].flags for n in range(2)} == {replace(CLOSED, isolated=True)}
    assert kernel.frame("vnet0", MACS[0], MACS[1]) == set()


def test_who_is_not_isolated() -> None:
    """A guest whose XML does not say so live, one that is not managed, and one whose network is not active."""
    for who in (
        guest(0, NicFacts(isolated=True)),
        guest(0, manager=Manager.KERNEL),
        guest(0, incomplete=True),
    ):
        assert isolation(plan(intent(who), host())) == []


def test_an_uplink_that_is_isolated_would_not_reach_it() -> None:
    planned = plan(intent(), host(uplink=replace(OPEN, isolated=True)))
    assert isolation(planned) == []
    notes = {finding.note for finding in planned.findings if finding.code is Code.NOT_ISOLATED}
    assert all(note.startswith("first end the isolation of the uplink eth0") for note in notes)


def test_a_kernel_without_isolation_is_told_once() -> None:
    old = PortFlags(locked=None, isolated=None)
    planned = plan(intent(), host(old))
    assert isolation(planned) == []
    told = [finding for finding in planned.findings if finding.code in (Code.UNSUPPORTED, Code.NOT_ISOLATED)]
    assert [(finding.code, finding.message) for finding in told] == [
        (
            Code.UNSUPPORTED,
            "<port isolated='yes'/> is asked for vnet0 of web0, vnet1 of web1, but this kernel lacks isolated ports "
            "(Linux 4.18): guests on br0 hear each other",
        )
    ]


def test_release_puts_back_what_was_there() -> None:
    kernel, notes = FakeKernel(host()), Notebook()
    applied(kernel, notes)
    assert release(LOCK, intent, kernel, EVERYTHING, notes).complete
    assert {kernel.ports[f"vnet{n}"].flags for n in range(2)} == {OPEN}
    apart = replace(OPEN, isolated=True)  # as libvirt left it, and lost since
    kernel, notes = FakeKernel(host(apart)), Notebook()
    applied(kernel, notes)
    kernel.set_flags("vnet0", OPEN)
    applied(kernel, notes)
    assert kernel.ports["vnet0"].isolated
    assert release(LOCK, intent, kernel, EVERYTHING, notes).complete
    assert {kernel.ports[f"vnet{n}"].flags for n in range(2)} == {apart}


def test_without_a_memory_isolation_stays_as_it_is() -> None:
    for isolated in (False, True):
        pinned = Entry(MACS[0], 0, "vnet0", sticky=True), Entry(MACS[0], 1, "vnet0", sticky=True)
        kernel = FakeKernel(host(replace(CLOSED, isolated=isolated), *pinned))
        release(LOCK, lambda: intent(guest(0, NicFacts())), kernel, EVERYTHING, Notebook())
        assert kernel.ports["vnet0"].flags == replace(OPEN, isolated=isolated)


def test_an_administrator_who_ends_it_again_and_again_is_not_fought() -> None:
    """And the port is opened and closed meanwhile as ever."""
    isolate = plan(intent(guest(0)), host()).changes[0]
    backoff = Backoff(limit=3)
    for second in range(5):
        backoff.note([isolate], float(second))
    assert backoff.skips(4.5)(isolate)
    opening = SetFlags("vnet0", CLOSED, OPEN, "br0", "web0", Code.CLOSED_WITHOUT_ENTRY)
    assert not backoff.skips(4.5)(opening)
