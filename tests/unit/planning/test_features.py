"""A kernel that lacks something without saying so: found by writing and reading, remembered, and never fought with."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.changes import FlushEntries, SetEntries, SetFlags
from macmgr.model.findings import Code, Finding, fix_of
from macmgr.model.flags import LOCKED
from macmgr.model.intent import GuestPort, Intent, Manager, Pin, Policy, Scope
from macmgr.model.known import NOTHING, Known, Memory
from macmgr.model.snapshot import Bridge, BridgePort, Entry, Feature, PortFlags, Snapshot
from macmgr.planning.remembering import found_lacking
from macmgr.reconcile import apply, look, release
from macmgr.state.lock import WriterLock
from macmgr.state.statedocument import document_of, parse_document
from macmgr.view import Outcome
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

G1, G2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)
QUIET = PortFlags(learning=False)
LOCK = WriterLock()


def guest(port: str, mac: str, pin: Pin = Pin.STICKY, *, lock: bool = False) -> GuestPort:
    return GuestPort(port, "br0", port, f"uuid-{port}", (mac,), policy=Policy(Manager.LIBVIRT, pin=pin, lock=lock))


BOTH = Intent((guest("vnet1", G1), guest("vnet2", G2)), {"br0": "a test says so"})


def host(*entries: Entry, ports: tuple[str, ...] = ("eth0", "vnet1", "vnet2"), flags: PortFlags = OPEN) -> FakeKernel:
    made = [
        BridgePort(name, 10 + number, "br0", f"fe:00:00:00:00:{number:02x}", flags, (1,), 1)
        for number, name in enumerate(ports)
    ]
    return FakeKernel(make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", True)], made, entries))


def old_host(ports: tuple[str, ...] = ("eth0", "vnet1", "vnet2")) -> FakeKernel:
    kernel = host(ports=ports)
    kernel.knows_sticky = False
    return kernel


def applied(kernel: FakeKernel, notes: Notebook, wanted: Intent = BOTH) -> Outcome:
    return apply(LOCK, lambda: wanted, kernel, notes=notes)


def unsupported(outcome: Outcome) -> list[Finding]:
    return [finding for finding in outcome.view.plan.findings if finding.code is Code.UNSUPPORTED]


# sticky, 4.20


def test_a_kernel_that_drops_sticky_is_found_out_and_the_uplink_does_not_learn_instead() -> None:
    kernel, notes = old_host(), Notebook()
    outcome = applied(kernel, notes)
    assert outcome.complete
    assert not outcome.failures
    assert notes.memory.lacks == {Feature.STICKY}
    assert kernel.ports["eth0"].flags == QUIET
    assert kernel.ports["vnet1"].flags == CLOSED
    assert [finding.message for finding in unsupported(outcome)] == [
        "pin='sticky' is asked for on br0, but this kernel lacks sticky entries (Linux 4.20): no uplink learns "
        "instead, so no frame moves a guest's entry"
    ]
    assert kernel.frame("eth0", G1, G2) == {"vnet2"}, "a frame with the guest's own address comes from elsewhere"
    assert kernel.deliver("br0", "vnet2", G1) == {"vnet1"}


def test_one_replace_of_the_only_sticky_entry_is_not_taken_for_a_kernel_without_them() -> None:
    kernel, notes = host(), Notebook()
    meddling = iter([True])

    def meddle() -> None:
        if (entry := kernel.fdb.get(("br0", G1, 1))) is not None and entry.sticky and next(meddling, False):
            for vid in (0, 1):
                kernel.set_entry(Entry(G1, vid, "vnet1"))

    kernel.after_each_send = meddle
    outcome = applied(kernel, notes, Intent((guest("vnet1", G1),), {"br0": "a test says so"}))
    assert next(meddling, None) is None, "somebody meddled"
    assert outcome.complete
    assert notes.memory.lacks == frozenset()
    assert kernel.fdb["br0", G1, 1].sticky


def test_what_was_found_out_is_not_tried_again() -> None:
    kernel, notes = old_host(), Notebook()
    applied(kernel, notes)
    kernel.sent.clear()
    assert applied(kernel, notes).complete
    assert not kernel.sent


def test_an_audit_knows_what_an_apply_found_out() -> None:
    kernel, notes = old_host(), Notebook()
    applied(kernel, notes)
    assert not look(lambda: BOTH, kernel, Scope(), Known(notes.memory)).plan.changes


@pytest.mark.parametrize("other", ["eth1", "vnet9"])
def test_with_another_port_that_floods_the_uplink_learns_and_that_is_told(other: str) -> None:
    """What is not learned would go there as well: a second uplink, a guest that the kernel manages."""
    kernel, notes = old_host(("eth0", "vnet1", "vnet2", other)), Notebook()
    outcome = applied(kernel, notes)
    assert outcome.complete
    assert kernel.ports["eth0"].flags == OPEN
    (told,) = unsupported(outcome)
    assert "one frame seen on eth0 or" in told.message


@pytest.mark.parametrize("mover", [guest("vnet2", G2, Pin.STATIC), replace(guest("vnet2", G2), roaming=(G2,))])
def test_where_a_frame_is_meant_to_move_an_entry_the_uplink_learns(mover: GuestPort) -> None:
    kernel, notes = old_host(), Notebook()
    assert applied(kernel, notes, replace(BOTH, ports=(guest("vnet1", G1), mover))).complete
    assert notes.memory.lacks == {Feature.STICKY}
    assert kernel.ports["eth0"].flags == OPEN


def test_an_uplink_learns_again_once_another_port_floods() -> None:
    kernel, notes = old_host(), Notebook()
    applied(kernel, notes)
    kernel.ports["eth1"] = BridgePort("eth1", 77, "br0", "fe:00:00:00:00:77", OPEN, (1,), 1)
    kernel.masters["eth1"] = "br0"
    assert applied(kernel, notes).complete
    assert kernel.ports["eth0"].flags == OPEN


def test_an_uplink_that_an_administrator_quieted_stays_so() -> None:
    kernel, notes = old_host(("eth0", "eth1", "vnet1", "vnet2")), Notebook()
    kernel.set_flags("eth0", QUIET)
    assert applied(kernel, notes).complete
    assert kernel.ports["eth0"].flags == QUIET


def test_a_guest_that_comes_does_not_make_the_uplink_learn_meanwhile() -> None:
    kernel, notes = old_host(), Notebook()
    applied(kernel, notes)
    kernel.set_flags("vnet2", OPEN)
    kernel.sent.clear()
    assert applied(kernel, notes).complete
    assert "eth0" not in {request.port for request in kernel.sent}


def test_release_lets_the_uplink_learn_again() -> None:
    kernel, notes = old_host(), Notebook()
    applied(kernel, notes)
    assert release(LOCK, lambda: BOTH, kernel, Scope(), notes).outcome.complete
    assert kernel.ports["eth0"].flags == OPEN
    assert kernel.ports["vnet1"].flags == OPEN


def test_the_uplink_of_a_bridge_that_is_left_to_the_kernel_learns_again() -> None:
    kernel, notes = old_host(), Notebook()
    applied(kernel, notes)
    assert kernel.ports["eth0"].flags == QUIET
    nobody = Intent(tuple(replace(each, policy=Policy()) for each in BOTH.ports))
    assert applied(kernel, notes, nobody).complete
    assert [kernel.ports[name].flags for name in ("eth0", "vnet1", "vnet2")] == [OPEN, OPEN, OPEN]


def test_entries_that_are_static_by_policy_need_no_sticky() -> None:
    kernel, notes = old_host(), Notebook()
    outcome = applied(kernel, notes, replace(BOTH, ports=(guest("vnet1", G1, Pin.STATIC),)))
    assert outcome.complete
    assert not unsupported(outcome)
    assert kernel.ports["eth0"].flags == OPEN
    assert not notes.memory.lacks


def test_one_entry_that_somebody_replaced_proves_nothing() -> None:
    kernel, notes = host(), Notebook()

    def replace_one() -> None:
        if kernel.ports["vnet1"].flags == OPEN:
            kernel.set_entry(Entry(G1, 1, "vnet1"))

    kernel.after_each_send = replace_one
    assert applied(kernel, notes).complete
    assert not notes.memory.lacks
    assert kernel.fdb["br0", G1, 1].sticky


def test_only_what_was_put_is_evidence() -> None:
    asked = SetEntries(G1, (), (Entry(G1, 1, "vnet1", sticky=True),), "br0")
    there = Snapshot(entries=(Entry(G1, 1, "vnet1"),))
    assert found_lacking([asked], there) == {Feature.STICKY}
    assert found_lacking([asked], Snapshot(entries=(Entry(G1, 1, "eth0"),))) == set()
    assert found_lacking([asked], Snapshot(entries=(*there.entries, Entry(G2, 1, "vnet2", sticky=True)))) == set()
    assert found_lacking([], there) == set()


# flush, 5.19


def stranded_host() -> FakeKernel:
    entries = [Entry(mac, vid, port, sticky=True) for mac, port in ((G1, "vnet1"), (G2, "vnet2")) for vid in (0, 1)]
    return host(*entries, Entry(G1, 30, "vnet1", sticky=True))


def test_a_stranded_copy_is_flushed() -> None:
    kernel, notes = stranded_host(), Notebook()
    assert applied(kernel, notes).complete
    assert FlushEntries("vnet1", 30) in kernel.sent
    assert ("br0", G1, 30) not in kernel.fdb
    assert ("br0", G1, 1) in kernel.fdb
    assert not notes.memory.lacks


def test_a_kernel_that_cannot_flush_is_asked_once_and_told_of() -> None:
    kernel, notes = stranded_host(), Notebook()
    kernel.flushes = False
    outcome = applied(kernel, notes)
    assert outcome.complete
    assert notes.memory.lacks == {Feature.FLUSH}
    (told,) = unsupported(outcome)
    assert "Linux 5.19 can" in told.message
    assert [
        fix_of(each).text for each in outcome.view.plan.findings if each.vid == 30 and each.code is Code.EXTRA_ENTRY
    ] == [
        "ip link add macmgr-tmp address fe:ff:ff:ff:ff:fe mtu 65535 type dummy && "
        "{ ip link set dev macmgr-tmp master br0 && "
        f"bridge vlan add dev macmgr-tmp vid 30 && bridge fdb replace {G1} dev macmgr-tmp vlan 30 master static && "
        "ip link del macmgr-tmp || { ip link del macmgr-tmp; false; }; }"
    ]
    kernel.sent.clear()
    assert applied(kernel, notes).complete
    assert not kernel.sent


def test_a_flush_takes_nobody_elses_entry() -> None:
    """A stranded copy of a running guest on the uplink, beside one that an administrator put there."""
    kernel, notes = stranded_host(), Notebook()
    kernel.set_entry(Entry(G1, 40, "eth0"))
    kernel.set_entry(Entry("52:54:00:00:00:99", 40, "eth0"))
    outcome = applied(kernel, notes)
    assert outcome.complete
    assert {key[1] for key in kernel.fdb if key[2] == 40} == {G1, "52:54:00:00:00:99"}
    assert {each.port for each in outcome.view.plan.findings if each.code is Code.STALE_ENTRY} == {"eth0"}


# locked, 5.18


def test_a_kernel_without_locked_ports_is_not_asked_for_them() -> None:
    kernel, notes = host(flags=PortFlags(locked=None)), Notebook()
    outcome = applied(kernel, notes, Intent((guest("vnet1", G1, lock=True),), {"br0": "a test says so"}))
    assert outcome.complete
    assert "lacks locked ports (Linux 5.18)" in unsupported(outcome)[0].message
    assert all(LOCKED not in dict(request.named()) for request in kernel.sent if isinstance(request, SetFlags))


# A port whose driver refuses


def test_a_driver_that_refuses_one_flag_is_asked_for_each() -> None:
    kernel, notes = host(), Notebook()
    kernel.refuses_flags = {("vnet1", "unicast_flood")}
    outcome = applied(kernel, notes)
    assert not outcome.complete
    assert kernel.ports["vnet1"].flags == PortFlags(learning=False)
    assert kernel.ports["vnet2"].flags == CLOSED
    assert {failure.why for failure in outcome.failures} == {
        "setting port flags on vnet1: Operation not supported (EOPNOTSUPP): bridge flag offload is not supported"
    }
    assert kernel.deliver("br0", "eth0", G1) == {"vnet1"}


def test_the_interlock_holds_there_too() -> None:
    kernel, notes = host(), Notebook()
    kernel.refuses_flags = {("vnet1", "locked")}
    kernel.refuses_puts = {"vnet1"}
    applied(kernel, notes, Intent((guest("vnet1", G1, lock=True),), {"br0": "a test says so"}))
    assert kernel.ports["vnet1"].flags == OPEN


def test_an_entry_that_hardware_has_marked_is_as_wanted() -> None:
    """A static entry that was put over one that the switch had learned keeps extern_learn (fdb_add_entry)."""
    marked = [Entry(G1, vid, "vnet1", sticky=True, extern_learn=True) for vid in (0, 1)]
    kernel, notes = host(*marked), Notebook()
    applied(kernel, notes)
    assert not [each for each in kernel.sent if isinstance(each, Entry) and each.mac == G1]


# What is remembered


def test_what_a_kernel_lacks_is_remembered_for_its_boot() -> None:
    memory = Memory(lacks=frozenset({Feature.STICKY, Feature.FLUSH}))
    document = document_of({"": memory}, "boot-1")
    assert parse_document(document, "boot-1") == ({"": memory}, False)
    assert parse_document(document, "boot-2") == ({}, False)


def test_a_state_file_of_before_is_read() -> None:
    document = document_of({"": Memory(released=(("vnet1", 3),))}, "boot-1")
    del document["namespaces"][""]["lacks"]
    assert parse_document(document, "boot-1")[0][""].lacks == NOTHING.lacks


def test_what_only_a_newer_macmgr_knows_of_a_kernel_is_left_out() -> None:
    document = document_of({"": Memory(lacks=frozenset({Feature.FLUSH}))}, "boot-1")
    document["namespaces"][""]["lacks"].append("x")
    assert parse_document(document, "boot-1")[0][""].lacks == {Feature.FLUSH}
