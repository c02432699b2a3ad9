"""A guest on a trunk of all VIDs: what is said and done for it grows with the VIDs, never with their square."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from macmgr.commands import make_parser
from macmgr.model import changes
from macmgr.model import findings as fixes
from macmgr.model.changes import Change, Request, SetEntries
from macmgr.model.findings import Code, Fixes
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope
from macmgr.model.known import Held, KeptMac, Known, Memory, PortBefore
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Fdb, PortFlags
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.planning.release import plan_release
from macmgr.reconcile import apply, look
from macmgr.report.auditdocument import audit_document
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook, remembers_gone

ALL = 4094
MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:99"
CLOSED = PortFlags(learning=False, unicast_flood=False)
RUNNING = GuestPort("vnet1", "br0", "web 1", "u1", (MAC,), policy=Policy(manager=Manager.LIBVIRT))
PAUSED = replace(RUNNING, state="paused", running=False)
KERNELS = replace(RUNNING, policy=Policy())


@dataclass(frozen=True)
class Case:
    """One trouble of a guest on a trunk: whose entries are in all VIDs and in VID 0, and which VIDs the ports carry."""

    entries: tuple[Entry, ...] = ()
    guest: GuestPort = RUNNING
    departed: bool = False
    lost: tuple[str, ...] = ()
    returning: tuple[Entry, ...] | None = None

    def kernel(self, size: int) -> FakeKernel:
        vids = Counted(range(1, size + 1))
        names = {"eth0": PortFlags(), "vnet1": CLOSED}
        ports = [
            BridgePort(name, number, "br0", f"fe:00:00:00:00:{number:02x}", flags, vids, 1)
            for number, (name, flags) in enumerate(names.items(), 5)
        ]
        ports = [replace(port, vids=(1,)) if port.name in self.lost else port for port in ports]
        entries = [each._replace(vid=vid) for each in self.entries for vid in (0, *vids)]
        return FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", True)], ports, entries))

    def intent(self) -> Intent:
        return Intent((self.guest,), {"br0": "a test"})

    def known(self, size: int) -> Known:
        known = remembers_gone({OTHER: "gone"} if self.departed else {}, "br0")
        if self.returning is None:
            return known
        held = tuple(Held(each.mac, each.sticky, tuple(range(size + 1))) for each in self.returning)
        before = PortBefore("vnet1", 6, "fe:00:00:00:00:06", "br0", 1, "web 1", "u1", PortFlags(), held)
        kept = KeptMac(MAC, "br0", "web 1", "vnet1", 6)
        return Known(Memory((before,), (kept,)))

    def plan(self, size: int) -> Plan:
        return plan(self.intent(), self.kernel(size).read_snapshot(), self.known(size))


class Counted(tuple[int, ...]):
    """VIDs that count how often they are walked, or searched."""

    walks = 0

    def __iter__(self) -> Iterator[int]:
        Counted.walks += 1
        return super().__iter__()

    def __contains__(self, vid: object) -> bool:
        Counted.walks += 1
        return super().__contains__(vid)


STATIC = Entry(MAC, 0, "vnet1")
STICKY = Entry(MAC, 0, "vnet1", sticky=True)
CASES = {
    "in order": Case((STICKY,)),
    "missing": Case(),
    "not sticky": Case((STATIC,)),
    "stolen": Case((STATIC._replace(port="eth0"),)),
    "paused": Case((STICKY,), PAUSED),
    "paused, and a control plane has its MAC": Case((STATIC._replace(extern_learn=True),), PAUSED),
    "stale": Case((STATIC._replace(port="eth0"),), PAUSED),
    "another address": Case((STICKY, STATIC._replace(mac=OTHER))),
    "learned behind it": Case((STICKY, Entry(OTHER, 0, "vnet1", EntryState.DYNAMIC))),
    "departed": Case((STICKY, Entry(OTHER, 0, "eth0")), departed=True),
    "moved on": Case((STICKY, Entry(OTHER, 0, "eth0")), replace(RUNNING, moved=(OTHER,))),
    "lost its VIDs": Case((STICKY,), lost=("vnet1",)),
    "lost its VIDs, paused": Case((STICKY,), PAUSED, lost=("vnet1",)),
    "departed, and the uplink lost its VIDs": Case((STICKY, Entry(OTHER, 0, "eth0")), departed=True, lost=("eth0",)),
    "left to the kernel": Case((STICKY,), KERNELS, returning=()),
    "left to the kernel, paused": Case((STICKY,), replace(PAUSED, policy=Policy()), returning=()),
    "left to the kernel, which had entries": Case((STICKY,), KERNELS, returning=(STATIC,)),
}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@cases
def test_no_finding_of_thousands_is_longer_than_a_line(case: Case) -> None:
    """One guest made a document of a gigabyte, when each finding had the commands for all VIDs."""
    size = ALL
    view = look(case.intent, case.kernel(size), known=case.known(size))
    findings, made = view.plan.findings, Fixes()
    assert len(findings) <= 2 * (size + 1) + 10
    assert max((len(made.of(finding).text) for finding in findings), default=0) <= 1000
    assert len(json.dumps(audit_document(view, "host", "now"))) < 4_000_000


def test_an_audit_looks_at_the_entries_of_a_mac_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each of its findings: each look is at as many entries."""
    looks, static_on = list[str](), Fdb.static_on

    def counted(fdb: Fdb, port: str, bridge: str, mac: str) -> dict[int, Entry]:
        looks.append(mac)
        return static_on(fdb, port, bridge, mac)

    case = CASES["not sticky"]
    view = look(case.intent, case.kernel(200), known=case.known(200))
    assert len([finding for finding in view.plan.findings if finding.code is Code.NOT_STICKY]) > 200
    monkeypatch.setattr(Fdb, "static_on", counted)
    audit_document(view, "host", "now")
    assert looks == [MAC]


@cases
def test_a_change_is_put_into_words_once(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands that are written down for the fixes of a plan are those that it has, and no more."""
    written = 0

    def counted(change: Change) -> Iterator[Request]:
        nonlocal written
        for request in changes.requests(change):
            written += 1
            yield request

    monkeypatch.setattr(fixes, "requests", counted)
    steps, made = case.plan(200), Fixes()
    assert all(made.of(finding).text or not finding.mends for finding in steps.findings)
    assert written <= sum(1 for change in steps.changes for _ in changes.requests(change))


@cases
def test_the_vids_of_a_port_are_walked_as_often_for_many_as_for_few(case: Case) -> None:
    def walks(size: int) -> int:
        kernel, intent, known = case.kernel(size), case.intent(), case.known(size)
        Counted.walks = 0
        look(lambda: intent, kernel, known=known)
        plan_release(intent, kernel.read_snapshot(), known)
        return Counted.walks

    assert walks(200) == walks(100)


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> list[SetEntries]:
    """The changes that were hashed, once for each time: it is the hash of all their entries."""
    hashed: list[SetEntries] = []
    of_all = SetEntries.__hash__

    def noted(change: SetEntries) -> int:
        hashed.append(change)
        return of_all(change)

    monkeypatch.setattr(SetEntries, "__hash__", noted)
    return hashed


@pytest.mark.parametrize("trouble", ["refuses_puts", "forgets_puts"])
def test_a_change_that_fails_in_every_vid_fails_once(trouble: str, hashes: list[SetEntries]) -> None:
    """Its hash was taken for each of its entries."""

    def failing(size: int) -> int:
        hashes.clear()
        case = CASES["missing"]
        kernel, intent = case.kernel(size), case.intent()
        kernel.ports["eth0"] = replace(kernel.ports["eth0"], vids=tuple(range(1, size)))  # so, each VID by itself
        setattr(kernel, trouble, {"vnet1"})
        outcome = apply(WriterLock(), lambda: intent, kernel, notes=Notebook())
        assert len(outcome.failures) >= 1
        return len(hashes)

    assert failing(200) == failing(100) > 0


def test_changes_that_are_left_out_are_compared_with_the_plan_once(hashes: list[SetEntries]) -> None:
    """On a bridge that is only observed, with many guests that have no entry yet."""
    macs = [f"52:54:00:00:01:{number:02x}" for number in range(150)]
    guests = tuple(
        replace(RUNNING, port=f"vnet{number}", domain=f"g{number}", uuid=f"u{number}", macs=(mac,))
        for number, mac in enumerate(macs)
    )
    ports = [
        BridgePort(guest.port, number, "br0", f"fe:00:00:00:01:{number:02x}", PortFlags(), tuple(range(1, 20)), 1)
        for number, guest in enumerate(guests)
    ]
    kernel = FakeKernel(make_snapshot([Bridge("br0", 1000, "fe:00:00:00:02:00", True)], ports))
    intent = Intent(guests, {"br0": "a test"})
    view = look(lambda: intent, kernel, Scope(observes={"br0"}.__contains__))
    assert len(view.skipped) >= 150
    assert 0 < len(hashes) <= 5 * len(view.skipped)


def test_what_a_flush_would_take_is_looked_up_once_for_a_port(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    of_port = Fdb.of_port

    def counted(fdb: Fdb, port: str) -> list[Entry]:
        nonlocal looks
        looks += 1
        return of_port(fdb, port)

    monkeypatch.setattr(Fdb, "of_port", counted)
    assert CASES["lost its VIDs"].plan(200).changes
    assert looks <= 5


# What the fix is, where commands are too many to be typed


def fix(case: str, code: Code, size: int) -> str:
    made = Fixes()
    (text,) = {made.of(finding).text for finding in CASES[case].plan(size).findings if finding.code is code}
    return text


def test_three_commands_are_typed_and_four_are_an_apply_for_that_guest() -> None:
    three = fix("paused", Code.EARLY_ENTRY, 2)
    assert three.count(" && ") == 2
    assert three.endswith(f"bridge fdb del {MAC} dev vnet1 master")
    four = fix("paused", Code.EARLY_ENTRY, 3)
    assert four == "macmgr apply --bridge br0 --domain 'web 1'  # 4 commands: 'macmgr plan' shows them"
    back = fix("left to the kernel, paused", Code.NOT_GIVEN_BACK, 100)
    assert back.startswith("macmgr apply --bridge br0 --domain 'web 1'  # ")


def test_one_command_for_all_vids_is_typed() -> None:
    assert fix("missing", Code.MISSING_ENTRY, ALL) == f"bridge fdb replace {MAC} dev vnet1 master static sticky"


def test_a_guest_that_has_left_is_no_domain_that_an_apply_would_find() -> None:
    assert fix("departed", Code.STALE_ENTRY, 100).startswith("macmgr apply --bridge br0  # ")


def test_the_apply_is_one_that_the_command_line_takes() -> None:
    words = shlex.split(fix("paused", Code.EARLY_ENTRY, 100), comments=True)
    arguments = make_parser().parse_args(words[1:])
    assert (arguments.bridge, arguments.domain) == ("br0", "web 1")


def test_an_apply_of_the_fix_is_told_as_what_would_be_done() -> None:
    """What an observed bridge would have done to it is no thing that is left to a person."""
    assert {bool(finding.changes) for finding in CASES["paused"].plan(100).findings if finding.mac == MAC} == {True}
