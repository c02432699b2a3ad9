"""What the daemon says of each thing it does: one line each, in words, and one line for very many."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.execution import Failure
from macmgr.model.changes import Change, SetEntries, SetFlags
from macmgr.model.findings import Code, Finding
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import MANAGE_ALL, OBSERVE_ALL, GuestPort, Intent, Manager, Modes, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from macmgr.view import View
from macmgr.watch import messages, words
from macmgr.watch.messages import Line, Priority
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC = "52:54:00:aa:00:01"
BR0, BR1, NONE, ALL = (set(names).__contains__ for names in (["br0"], ["br1"], [], ["br0", "br1"]))
OPEN, CLOSED = PortFlags(), PortFlags(learning=False, unicast_flood=False)


def entries(
    because: Code, *before: Entry, to: str = "vnet0", sticky: bool = True, domain: str | None = "web1"
) -> SetEntries:
    after = () if not to else (Entry(MAC, 0, to, sticky=sticky), Entry(MAC, 1, to, sticky=sticky))
    return SetEntries(MAC, before, after, "br0", domain, because)


def at(port: str, state: EntryState = EntryState.STATIC, vid: int = 1) -> Entry:
    return Entry(MAC, vid, port, state)


def flags(before: PortFlags, after: PortFlags, because: Code) -> SetFlags:
    return SetFlags("vnet0", before, after, "br0", "web1", because)


PUT = entries(Code.MISSING_ENTRY)

SAID: list[tuple[Change, str]] = [
    (PUT, "put the entry of web1 (52:54:00:aa:00:01) on vnet0: no static entry leads to the guest"),
    (
        entries(Code.STOLEN_ENTRY, at("vnet0", vid=0), at("up0", EntryState.DYNAMIC)),
        "moved the entry of web1 (52:54:00:aa:00:01) to vnet0: a dynamic one led to up0",
    ),
    (
        entries(Code.LOCAL_ENTRY, at("vnet0", EntryState.LOCAL)),
        "put the entry of web1 (52:54:00:aa:00:01) on vnet0: the entry is a local one, and the host "
        "swallows the guest's frames",
    ),
    (
        entries(Code.NOT_STICKY, at("vnet0")),
        "pinned the entry of web1 (52:54:00:aa:00:01) on vnet0: the entry is not pinned as the policy says",
    ),
    (
        entries(Code.NOT_STICKY, at("vnet0"), sticky=False),
        "unpinned the entry of web1 (52:54:00:aa:00:01) on vnet0: the entry is not pinned as the policy says",
    ),
    (
        entries(Code.STALE_ENTRY, at("up0"), to=""),
        "dropped the entry of web1 (52:54:00:aa:00:01) on up0: the guest does not run here (VID 1)",
    ),
    (
        entries(Code.EARLY_ENTRY, at("vnet0"), to=""),
        "dropped the entry of web1 (52:54:00:aa:00:01) on vnet0: the guest's CPUs do not run here (VID 1)",
    ),
    (
        entries(Code.EXTRA_ENTRY, at("vnet0"), to=""),
        "dropped the static entry of 52:54:00:aa:00:01 on vnet0: nothing asks for the entry (VID 1)",
    ),
    (
        entries(Code.LEARNED_ON_MANAGED_PORT, at("vnet0", EntryState.DYNAMIC), to=""),
        "dropped the learned entry of 52:54:00:aa:00:01 on vnet0: the policy does not give the guest this "
        "address (VID 1)",
    ),
    (
        replace(entries(Code.STALE_ENTRY, at("up0"), to="", domain=None), because=None, why="left behind"),
        "dropped the entry of 52:54:00:aa:00:01 on up0: left behind (VID 1)",
    ),
    (
        flags(OPEN, CLOSED, Code.LEARNING_ON),
        "closed vnet0 of web1 (learning off, unicast flood off): the port learns source addresses",
    ),
    (
        flags(replace(CLOSED, unicast_flood=True), CLOSED, Code.FLOOD_ON),
        "closed vnet0 of web1 (unicast flood off): the port gets every frame with an unknown destination",
    ),
    (
        flags(CLOSED, replace(CLOSED, locked=True), Code.UNLOCKED),
        "closed vnet0 of web1 (locked on): the port takes frames from any source address",
    ),
    (
        flags(replace(CLOSED, locked=True), OPEN, Code.CLOSED_WITHOUT_ENTRY),
        "opened vnet0 of web1 (learning on, unicast flood on, locked off): without an entry, a closed port cuts "
        "the guest off",
    ),
    (
        flags(replace(CLOSED, locked=True), CLOSED, Code.STILL_LOCKED),
        "unlocked vnet0 of web1 (locked off): the policy no longer asks for the lock",
    ),
    (
        flags(CLOSED, OPEN, Code.NOT_GIVEN_BACK),
        "opened vnet0 of web1 (learning on, unicast flood on): the policy now leaves the port to the kernel",
    ),
    (
        flags(OPEN, CLOSED, Code.NOT_GIVEN_BACK),
        "closed vnet0 of web1 (learning off, unicast flood off): the policy now leaves the port to the kernel",
    ),
    (
        entries(Code.NOT_GIVEN_BACK, at("vnet0"), sticky=False),
        "gave back the entry of web1 (52:54:00:aa:00:01) on vnet0: the policy now leaves the port to the kernel",
    ),
    (
        entries(Code.NOT_GIVEN_BACK, at("vnet0"), to=""),
        "dropped the entry of web1 (52:54:00:aa:00:01) on vnet0: the policy now leaves the port to the kernel (VID 1)",
    ),
    (
        replace(flags(CLOSED, OPEN, Code.UNSUPPORTED), because=None, why="as it was before"),
        "set vnet0 of web1 (learning on, unicast flood on): as it was before",
    ),
    (
        flags(CLOSED, replace(CLOSED, learning=True), Code.UNSUPPORTED),
        "set vnet0 of web1 (learning on): this kernel has no sticky entries",
    ),
]


@pytest.mark.parametrize(("change", "said"), SAID, ids=[said[:40] for _, said in SAID])
def test_a_repair(change: Change, said: str) -> None:
    (line,) = words.repaired(words.repairs([change]))
    assert line.message == said
    assert (line.priority, line.message_id) == (Priority.NOTICE, messages.REPAIRED)
    assert line.code == (change.because or "")
    assert line.bridge == "br0"
    assert line.port in said
    assert line.mac == ("" if isinstance(change, SetFlags) else MAC)


def test_every_change_of_a_plan_is_told() -> None:
    """On what the planner really makes: each finding it can mend is somebody's line."""
    kernel = FakeKernel(world())
    outcome = apply(WriterLock(), lambda: intent("g1", "g2"), kernel, notes=Notebook())
    assert [line.message for line in words.repaired(words.repairs(outcome.done))] == [
        "put the entry of g1 (52:54:00:00:00:00) on vnet0: no static entry leads to the guest",
        "put the entry of g2 (52:54:00:00:00:01) on vnet1: no static entry leads to the guest",
        "closed vnet0 of g1 (learning off, unicast flood off): the port learns source addresses",
        "closed vnet1 of g2 (learning off, unicast flood off): the port learns source addresses",
    ]


def test_what_a_hook_waits_for_is_routine() -> None:
    other = replace(PUT, domain="web2")
    assert [line.priority for line in words.repaired(words.repairs([PUT, other], expected=("web1",)))] == [
        Priority.INFO,
        Priority.NOTICE,
    ]


def test_a_thousand_changes_are_one_line_and_details() -> None:
    puts = [replace(PUT, mac=f"52:54:00:aa:{number >> 8:02x}:{number & 255:02x}") for number in range(600)]
    closed = [replace(flags(OPEN, CLOSED, Code.LEARNING_ON), port=f"vnet{number}") for number in range(400)]
    lines = words.repaired(words.repairs([*puts, *closed]))
    assert lines[0].message == "1000 changes made on br0: missing-entry 600, learning-on 400"
    assert lines[0].priority is Priority.NOTICE
    assert {line.priority for line in lines[1:]} == {Priority.DEBUG}
    assert len(lines) == 1001
    assert len(words.repaired(words.repairs(puts[: words.MOST_LINES]))) == words.MOST_LINES


def test_thousands_of_vids_are_one_line_for_each_entry() -> None:
    ports = ("vnet0", "vnet1")
    drops = [entries(Code.EXTRA_ENTRY, at(port, vid=vid), to="") for vid in range(2000, 4095) for port in ports]
    assert [line.message for line in words.repaired(words.repairs(drops))] == [
        f"dropped the static entry of {MAC} on {port}: nothing asks for the entry (VID 2000-4094)" for port in ports
    ]
    failed = [Failure(change, "no such VID") for change in drops if change.before[0].port == "vnet0"]
    assert [line.message for line in words.failures(failed)] == [
        f"could not drop the static entry of {MAC} on vnet0: no such VID (VID 2000-4094)"
    ]


def test_a_failure_has_the_kernels_words() -> None:
    (line,) = words.failures([Failure(PUT, "Invalid argument: bridge: RTM_NEWNEIGH with invalid vlan")])
    assert line.message == (
        "could not put the entry of web1 (52:54:00:aa:00:01) on vnet0: Invalid argument: bridge: RTM_NEWNEIGH with "
        "invalid vlan"
    )
    assert (line.priority, line.message_id) == (Priority.ERROR, messages.REPAIR_FAILED)


def test_standing_back_names_the_fight() -> None:
    line = words.standing_back(flags(OPEN, CLOSED, Code.LEARNING_ON), 10, 4.0)
    assert line.message == (
        "another program undoes this change each time: closed vnet0 of web1 (learning off, unicast flood off) 10 "
        "times within a minute; the next try is in 4 s. Find out who else manages this bridge"
    )
    assert line.message_id == messages.STANDING_BACK


def test_a_theft_names_both_ports() -> None:
    (guest,) = intent("g1").ports
    line = words.theft(guest, guest.macs[0], "up0", 7, 3)
    assert line.message == (
        "up0 sent 3 times with the MAC 52:54:00:00:00:00 of g1, which is behind vnet0 (br0, VID 7): a second guest "
        "with this address, a loop, or a theft"
    )
    assert (line.port, line.mac, line.code) == ("vnet0", "52:54:00:00:00:00", "theft")
    assert (line.priority, line.message_id) == (Priority.WARNING, messages.THEFT)


MISSING = [
    Finding(Code.MISSING_ENTRY, "no entry for it", "br0", "vnet0", "web1", MAC, vid, (PUT,)) for vid in (0, 1, 2, 3)
]
DUPLICATE = Finding(Code.DUPLICATE_MAC, "two of them", "br0", "vnet0", "web1", MAC, 1, (("virsh", "edit", "web1"),))
CHANGED = Finding(Code.GUEST_MAC_CHANGED, "web1 uses another", "br0", "vnet0", "web1", "52:54:00:aa:00:09")
PUT_TYPED = "bridge fdb replace 52:54:00:aa:00:01 dev vnet0 master static sticky"
NO_FLOOD = SetFlags("vnet0", OPEN, replace(OPEN, unicast_flood=False), "br0", "web1", Code.FLOOD_ON)
FLOODS = Finding(Code.FLOOD_ON, "it floods", "br0", "vnet0", "web1", mends=(NO_FLOOD,))
BROKEN = Finding(Code.UNREADABLE_XML, "web2.xml: not well-formed XML")
STRANDED = Finding(
    Code.EXTRA_ENTRY,
    "it is stranded",
    "br0",
    "vnet0",
    "web1",
    MAC,
    7,
    (("bridge", "vlan", "add", "dev", "vnet0", "vid", "7"), ("bridge", "fdb", "del", "it")),
)
PROMISCUOUS = Finding(Code.UPLINK_PROMISCUOUS, "that is how it is", "br0", "up0")


def told(lines: list[Line]) -> list[tuple[str, str]]:
    return [(line.message_id, line.message) for line in lines]


def test_drift_on_a_bridge_that_is_only_observed_says_what_would_be_done() -> None:
    lines = words.left([*MISSING, FLOODS, PROMISCUOUS], BR0)
    assert told(lines) == [
        (messages.DRIFT, f"observed only: no entry for it; would run: {PUT_TYPED} (VID 0,1-3)"),
        (messages.DRIFT, "observed only: it floods; would run: bridge link set dev vnet0 flood off"),
    ]
    assert lines == words.left([*MISSING, FLOODS, PROMISCUOUS], ALL)
    assert lines[0].priority is Priority.ERROR
    assert told(words.left([FLOODS], BR1)) == [
        (messages.LEFT_TO_A_PERSON, "it floods; fix: bridge link set dev vnet0 flood off")
    ]


def test_what_no_repair_mends_is_left_to_a_person() -> None:
    assert told(words.left([DUPLICATE, CHANGED, BROKEN], ALL)) == [
        (messages.LEFT_TO_A_PERSON, "two of them; fix: virsh edit web1 (VID 1)"),
        (messages.GUEST_MAC_CHANGED, "web1 uses another"),
        (messages.UNREADABLE, "web2.xml: not well-formed XML"),
    ]


def test_what_is_done_by_hand_is_not_what_an_apply_would_run() -> None:
    """Also on a bridge that is only observed. A verb prints the commands: it asks first whom they would cut off."""
    assert told(words.left([STRANDED], BR0)) == [
        (messages.LEFT_TO_A_PERSON, "it is stranded; fix: 'macmgr audit --domain web1' has the commands (VID 7)")
    ]


def test_what_failed_or_was_left_out_is_not_told_twice() -> None:
    assert words.left(MISSING, NONE, [PUT]) == []
    assert words.left([FLOODS], NONE, [flags(OPEN, CLOSED, Code.LEARNING_ON)]) == []
    assert len(words.left([FLOODS, *MISSING], NONE, [PUT])) == 1


def test_nobody_is_advised_to_close_what_is_kept_open() -> None:
    """Another program takes the entry away each time, and so its port is not closed for a while."""
    close = flags(OPEN, CLOSED, Code.LEARNING_ON)
    assert told(words.left([FLOODS, *MISSING], NONE, held=[close])) == [
        (messages.LEFT_TO_A_PERSON, "it floods"),
        (messages.LEFT_TO_A_PERSON, f"no entry for it; fix: {PUT_TYPED} (VID 0,1-3)"),
    ]


@pytest.mark.parametrize("code", [code for code in Code if code.why])
def test_no_line_is_a_bare_code(code: Code) -> None:
    changes: list[Change] = [
        flags(OPEN, CLOSED, code),
        flags(CLOSED, OPEN, code),
        entries(code),
        entries(code, at("vnet0"), to=""),
    ]
    for line in [
        *words.repaired(words.repairs(changes)),
        *words.failures([Failure(change, "no memory") for change in changes]),
    ]:
        assert str(code) not in line.message
        assert line.message.rpartition(": ")[2]


def test_an_apply_that_would_change_nothing_is_not_what_would_run() -> None:
    many = replace(FLOODS, mends=(PUT, PUT, PUT, NO_FLOOD))
    assert [line.message for line in words.left([many], BR0)] == ["observed only: it floods"]
    (line,) = words.left([many], NONE)
    assert line.message.startswith("it floods; fix: macmgr apply --bridge br0 --domain web1  # 4 commands")


def test_a_fix_of_a_hundred_commands_is_no_line() -> None:
    (line,) = words.left([replace(FLOODS, mends=(("virsh", "edit"),) * 100)], ALL)
    assert line.message == "it floods; fix: 100 commands: 'macmgr audit --json' has them"


def test_a_thousand_findings_are_one_line_and_details() -> None:
    found = [replace(FLOODS, port=f"vnet{number}") for number in range(1000)]
    summary, *details = words.left([*found, DUPLICATE], ALL)
    assert summary.message_id == messages.LEFT_TO_A_PERSON
    assert details[0].message == "1000 differences seen, and nothing is changed, on br0: flood-on 1000"
    assert {line.priority for line in details[1:]} == {Priority.DEBUG}


def test_the_beginning_and_the_end() -> None:
    assert words.started("1.0", MANAGE_ALL, ["br0"]).message == "macmgr 1.0 watches"
    some = Modes(named=(("br1", True), ("br0", True)))
    assert words.started("1.0", some, ["br1", "br0", "br2"]).message == "macmgr 1.0 watches, observing br0, br1 only"
    assert words.started("1.0", some, ["br2"]).message == "macmgr 1.0 watches"
    for modes in (OBSERVE_ALL, Modes(True, (("br0", True),))):
        said = words.started("1.0", modes, ["br0"]).message
        assert said == "macmgr 1.0 watches, observing only: it changes nothing"
    but_one = Modes(True, (("br0", False),))
    assert words.started("1.0", but_one, ["br0", "br1"]).message == "macmgr 1.0 watches, observing br1 only"
    assert words.stopped().message == "stopped on request: ports and entries stay as they are"


def test_a_resync_says_how_it_stands() -> None:
    view = View(intent("g1", "gone1", "gone2"), world(), Plan())
    assert words.resync("started", view, 0.07123).message == (
        "looked at everything in 0.071 s (started): 1 managed bridge, 2 managed ports, in sync"
    )
    assert words.resync("timer", replace(view, plan=Plan((), (BROKEN,))), 1).message == (
        "looked at everything in 1.000 s (timer): 1 managed bridge, 2 managed ports, 1 error left"
    )


def test_trouble() -> None:
    call = HookCall("qemu", "web1", "started", "begin")
    assert words.hook(call, "the kernel said no", failed=True).message == "qemu hook, web1 started: the kernel said no"
    assert words.hook(call, "no", failed=True).domain == "web1"
    assert words.hook(HookCall("network", "lan", "started"), "no", failed=True).domain == ""
    assert words.unreadable("/run/libvirt/qemu", "Permission denied").message == "/run/libvirt/qemu: Permission denied"
    assert words.events_lost("netlink").message == "the kernel dropped netlink events: everything is read again"


def intent(*names: str) -> Intent:
    policy = Policy(manager=Manager.LIBVIRT)
    guests = [
        GuestPort(f"vnet{number}", "br0", name, f"uuid-{name}", (f"52:54:00:00:00:{number:02x}",), policy=policy)
        for number, name in enumerate(names)
    ]
    return Intent(tuple(guests), {"br0": "a test says so"})


def world() -> Snapshot:
    ports = [
        BridgePort(name, 10 + number, "br0", f"fe:00:00:00:00:{number:02x}", vids=(1,), pvid=1)
        for number, name in enumerate(("up0", "vnet0", "vnet1"))
    ]
    return make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00", True)], ports, ())
