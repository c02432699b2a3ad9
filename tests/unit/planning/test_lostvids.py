"""Entries in VIDs that their port has lost: cleared one by one where that is possible, and nothing else with them."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.model.changes import DeleteEntry, FlushEntries, Request, SetEntries
from macmgr.model.findings import Code, Fixes, fix_of
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Feature, PortFlags, Snapshot
from macmgr.planning.planner import plan
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome
from tests.fake_kernel import FakeKernel, Refusal, make_snapshot, put_entry
from tests.notebook import Notebook

G1, G2, PARTNER, BYSTANDER = (f"52:54:00:00:00:{number:02x}" for number in (1, 2, 3, 99))
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
LOCK = WriterLock()
BOTH = Intent(
    tuple(
        GuestPort(port, "br0", port, f"uuid-{port}", (mac,), policy=Policy(Manager.LIBVIRT))
        for port, mac in (("vnet1", G1), ("vnet2", G2))
    ),
    {"br0": "a test says so"},
)


def port(name: str, number: int, *vids: int, **said: object) -> BridgePort:
    made = BridgePort(name, number, "br0", f"fe:00:00:00:00:{number:02x}", OPEN, vids or (1,), 1)
    return replace(made, **said)  # type: ignore[arg-type]


ETH0, VNET1, VNET2 = port("eth0", 10, 1, 30, 40), port("vnet1", 11), port("vnet2", 12)


def host(*entries: Entry, ports: Sequence[BridgePort] = (ETH0, VNET1, VNET2)) -> FakeKernel:
    pinned = [Entry(mac, vid, name, sticky=True) for mac, name in ((G1, "vnet1"), (G2, "vnet2")) for vid in (0, 1)]
    return FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", True)], ports, [*pinned, *entries]))


def stranded(*vids: int, mac: str = G1, at: str = "vnet1") -> list[Entry]:
    return [Entry(mac, vid, at, sticky=True) for vid in vids]


def applied(kernel: FakeKernel) -> Outcome:
    return apply(LOCK, lambda: BOTH, kernel, notes=Notebook())


def flushes(kernel: FakeKernel) -> list[Request]:
    return [request for request in kernel.sent if isinstance(request, FlushEntries)]


def drops(snapshot: Snapshot) -> list[SetEntries]:
    return [change for change in plan(BOTH, snapshot).changes if isinstance(change, SetEntries) and change.stranded]


def test_a_copy_is_moved_to_a_port_that_carries_its_vid_and_deleted_there() -> None:
    kernel = host(*stranded(30), Entry(BYSTANDER, 30, "vnet1"))
    (mine, others) = drops(kernel.read_snapshot())
    assert (mine.mac, others.mac, mine.by) == (G1, BYSTANDER, "eth0")
    outcome = applied(kernel)
    assert outcome.complete
    at = kernel.sent.index(put_entry("eth0", G1, 30, EntryState.DYNAMIC))
    assert kernel.sent[at + 1] == DeleteEntry("eth0", G1, 30)
    assert not flushes(kernel)
    assert {key[1] for key in kernel.fdb if key[2] == 30} == {ETH0.mac}
    assert kernel.deliver("br0", "eth0", G1, 1) == {"vnet1"}


def test_an_administrators_entry_of_another_address_in_that_vid_stays() -> None:
    """On the uplink, which has lost the VID; another uplink carries it."""
    entries = [Entry(G1, 50, "eth0"), Entry(BYSTANDER, 50, "eth0")]
    kernel = host(*entries, ports=(ETH0, port("bond0", 13, 1, 50), VNET1, VNET2))
    assert applied(kernel).complete
    assert {key[1] for key in kernel.fdb if key[2] == 50} == {BYSTANDER, "fe:00:00:00:00:0d"}


@pytest.mark.parametrize(
    "other",
    [
        replace(ETH0, up=False),
        replace(ETH0, relay=PortRelay(PortState.BLOCKING)),
        port("tap9", 13, 1, 30, kind="tun"),
        port("vxlan5", 13, 1, 30, kind="vxlan", tunnel_learning=False),
        replace(VNET2, vids=(1, 30)),
    ],
    ids=["down", "blocked", "an unknown tap", "a tunnel", "another guest's"],
)
def test_a_port_that_will_not_do_is_not_taken(other: BridgePort) -> None:
    ports = {each.name: each for each in (port("eth0", 10), VNET1, VNET2, other)}
    kernel = host(*stranded(30), ports=list(ports.values()))
    assert applied(kernel).complete
    assert flushes(kernel) == [FlushEntries("vnet1", 30)]
    assert {key[1] for key in kernel.fdb if key[2] == 30} <= {other.mac, G2}


def test_thousands_of_vids_are_one_change() -> None:
    vids = tuple(range(2000, 4095))
    kernel = host(*stranded(*vids), ports=(replace(ETH0, vids=(1, *vids)), VNET1, VNET2))
    (change,) = drops(kernel.read_snapshot())
    assert [entry.vid for entry in change.before] == list(vids)
    findings = [finding for finding in plan(BOTH, kernel.read_snapshot()).findings if finding.code is Code.EXTRA_ENTRY]
    made = Fixes()  # as each report keeps it: each of the 2095 has the same 4190 commands
    assert {made.of(finding).text for finding in findings} == {
        "macmgr apply --bridge br0 --domain vnet1  # 4190 commands: 'macmgr plan' shows them"
    }
    assert applied(kernel).complete


class HalfKernel(FakeKernel):
    """Where deletions come to nothing: the kernel refuses them, or we are killed before."""

    def _carry_out(self, request: Request, snapshot: Snapshot) -> Refusal | None:
        if isinstance(request, DeleteEntry):
            return Refusal(errno.ENOMEM, "no memory")
        return super()._carry_out(request, snapshot)


def test_a_deletion_that_fails_leaves_nothing_that_lasts() -> None:
    """Not for ever on the uplink: it ages, and moves with the first frame."""
    whole = host(*stranded(30))
    kernel = HalfKernel(whole.read_snapshot())
    applied(kernel)
    assert kernel.fdb["br0", G1, 30].state is EntryState.DYNAMIC
    kernel.frame("eth0", PARTNER, G1, 30)
    kernel.ports["bond0"] = port("bond0", 13, 1, 30)
    kernel.frame("bond0", G1, PARTNER, 30)
    assert kernel.fdb["br0", G1, 30].port == "bond0"
    assert kernel.deliver("br0", "eth0", G1, 1) == {"vnet1"}


def test_a_kernel_that_clears_them_itself_is_asked_for_nothing() -> None:
    kernel = host(*stranded(30))

    def cleared() -> None:
        kernel.lose_entry("br0", G1, 30)

    kernel.before_each_send = cleared
    assert applied(kernel).complete
    assert ("br0", G1, 30) not in kernel.fdb
    assert not drops(kernel.read_snapshot())


def test_what_only_a_person_can_clear_puts_no_guest_into_a_vlan() -> None:
    kernel = host(Entry(G1, 50, "eth0"), Entry(BYSTANDER, 50, "eth0"))
    outcome = applied(kernel)
    (finding,) = [finding for finding in outcome.view.plan.findings if finding.code is Code.STALE_ENTRY]
    assert not finding.changes
    text = fix_of(finding).text
    assert "vlan add dev macmgr-tmp vid 50 && " in text
    assert text.count("eth0") == text.count("vnet") == 0


@pytest.mark.parametrize("failing", [None, "ip link add", "bridge vlan add", "bridge fdb replace", "ip link del"])
def test_the_port_for_a_moment_goes_whichever_command_fails(failing: str | None, tmp_path: Path) -> None:
    """And the shell line says by its exit status that one failed."""
    outcome = applied(host(Entry(G1, 50, "eth0"), Entry(BYSTANDER, 50, "eth0")))
    (finding,) = [finding for finding in outcome.view.plan.findings if finding.code is Code.STALE_ENTRY]
    for program in ("ip", "bridge"):
        stub = f'#!/bin/sh\necho "{program} $*" >>{tmp_path}/ran\ncase "{program} $*" in "{failing} "*) exit 3;; esac\n'
        (tmp_path / program).write_text(stub)
        (tmp_path / program).chmod(0o755)
    done = subprocess.run(["/bin/sh", "-c", fix_of(finding).text], env={"PATH": str(tmp_path)}, check=False)
    ran = (tmp_path / "ran").read_text().splitlines()
    assert (done.returncode == 0) is (failing is None)
    assert ran.count("ip link del macmgr-tmp") == {"ip link add": 0, "ip link del": 2}.get(str(failing), 1)
    assert (ran[-1] == "ip link del macmgr-tmp") is (failing != "ip link add")


# release


def managed(*vids: int, entries: Sequence[Entry] = (), eth0: BridgePort = ETH0) -> tuple[FakeKernel, Notebook]:
    """After an apply with vnet1 in these VIDs, which it has lost since but for VID 1."""
    start = make_snapshot(
        [Bridge("br0", 1, "fe:00:00:00:01:00", True)], [eth0, replace(VNET1, vids=(1, *vids)), VNET2], entries
    )
    kernel, notes = FakeKernel(start), Notebook()
    assert apply(LOCK, lambda: BOTH, kernel, notes=notes).complete
    kernel.ports["vnet1"] = replace(kernel.ports["vnet1"], vids=(1,))
    return kernel, notes


def test_a_release_leaves_nothing_in_a_vid_that_the_port_has_lost() -> None:
    kernel, notes = managed(30, 40)
    assert ("br0", G1, 30) in kernel.fdb
    released = release(LOCK, lambda: BOTH, kernel, Scope(), notes)
    assert released.complete
    assert {each.port for each in released.ports} == {"vnet1", "vnet2"}
    assert [entry for entry in kernel.fdb.values() if entry.mac == G1 and entry.state is EntryState.STATIC] == []
    assert ("br0", G1, 30) not in kernel.fdb
    assert not flushes(kernel)


def test_what_was_there_before_macmgr_stays() -> None:
    """An administrator's, in a VID that the port had lost before."""
    kernel, notes = managed(30, entries=[Entry(G1, 40, "vnet1")])
    kernel.set_entry(Entry(G1, 40, "vnet1"))
    released = release(LOCK, lambda: BOTH, kernel, Scope(), notes)
    assert released.complete
    assert {entry.vid for entry in kernel.fdb.values() if entry.mac == G1 and entry.state is EntryState.STATIC} == {40}


def test_what_was_there_before_macmgr_stays_though_the_address_is_another_guests() -> None:
    """Nothing can clear it, for a flush takes the bystander's along. It is none of macmgr's, and ends no release."""
    there = [Entry(G2, 40, "vnet1"), Entry(BYSTANDER, 40, "vnet1")]
    kernel, notes = managed(40, entries=there, eth0=port("eth0", 10))
    for entry in there:
        kernel.set_entry(entry)
    released = release(LOCK, lambda: BOTH, kernel, Scope(), notes)
    assert [each.message for each in released.outcome.view.plan.findings if each.mac == G2] == []
    assert {each.mac for each in kernel.fdb.values() if each.vid == 40 and each.port == "vnet1"} >= {G2, BYSTANDER}


def test_a_release_says_what_it_cannot_clear_and_is_not_complete() -> None:
    kernel, notes = managed(30, eth0=port("eth0", 10))
    kernel.set_entry(Entry(BYSTANDER, 30, "vnet1"))
    released = release(LOCK, lambda: BOTH, kernel, Scope(), notes)
    assert not released.complete
    assert {each.port for each in released.ports} == {"vnet2"}
    (left,) = released.outcome.view.plan.findings
    assert left.message == (f"vnet1 still has the static entry of {G1}, in VID 30, which vnet1 no longer carries")
    assert "macmgr-tmp" in fix_of(left).text
    kernel.lose_entry("br0", BYSTANDER, 30)
    again = release(LOCK, lambda: BOTH, kernel, Scope(), notes)
    assert again.complete
    assert {each.port for each in again.ports} == {"vnet1"}


def test_a_release_on_a_kernel_that_cannot_flush_says_how_it_is_done_by_hand() -> None:
    kernel, notes = managed(30, eth0=port("eth0", 10))
    kernel.flushes = False
    for _ in range(2):
        released = release(LOCK, lambda: BOTH, kernel, Scope(), notes)
        notes.memory = replace(notes.memory, lacks=frozenset({Feature.FLUSH}))
    assert not released.complete
    assert [fix_of(each).text.startswith("ip link add macmgr-tmp") for each in released.outcome.view.plan.findings] == [
        True
    ]


def test_what_a_release_leaves_is_given_back_by_a_release() -> None:
    """An apply knows nothing of it: it would take the port again."""
    kernel, notes = managed(30, 40)
    kernel.refuses_puts.add("eth0")
    released = release(LOCK, lambda: BOTH, kernel, Scope(), notes)
    assert not released.complete
    fixes = {fix_of(each).text for each in released.outcome.view.plan.findings}
    assert fixes == {"macmgr release --bridge br0  # 4 commands"}


def test_a_guest_that_has_gone_leaves_nothing_in_such_a_vid_either() -> None:
    """Where a frame had moved its entry to the uplink, before that lost the VID."""
    kernel, notes = managed(30)
    kernel.ports["bond0"], kernel.masters["bond0"] = port("bond0", 13, 1, 50), "br0"
    kernel.set_entry(Entry(G1, 50, "eth0"))
    kernel.remove_port("vnet1")
    released = release(LOCK, lambda: replace(BOTH, ports=BOTH.ports[1:]), kernel, Scope(), notes)
    assert released.complete
    assert ("br0", G1, 50) not in kernel.fdb


def test_a_port_that_policy_leaves_to_the_kernel_is_given_back_in_such_a_vid_too() -> None:
    kernel, notes = managed(30)
    left = replace(BOTH.ports[0], policy=Policy(Manager.KERNEL))
    outcome = apply(LOCK, lambda: replace(BOTH, ports=(left, BOTH.ports[1])), kernel, notes=notes)
    assert outcome.complete
    assert ("br0", G1, 30) not in kernel.fdb
    assert "vnet1" not in {each.port for each in notes.memory.ports}
