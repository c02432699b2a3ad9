"""What a finding's mends and note are in a table, in JSON and in the journal: one text, for a shell."""

from __future__ import annotations

import shlex

from macmgr.model.changes import Change, SetEntries, SetFlags
from macmgr.model.findings import MANY_BY_HAND, MANY_COMMANDS, Code, Finding, Fix, Fixes, Repair, fix_of
from macmgr.model.snapshot import Entry, EntryState, PortFlags

MAC = "52:54:00:aa:00:01"
CLOSE = SetFlags("vnet0", PortFlags(), PortFlags(False, False), "br0", "web1", Code.LEARNING_ON)


def drop(*vids: int, domain: str | None = "web1", because: Code = Code.EARLY_ENTRY, bridge: str = "br0") -> Change:
    entries = tuple(Entry(MAC, vid, "vnet0", EntryState.STATIC) for vid in vids)
    return SetEntries(MAC, entries, (), bridge, domain, because)


def finding(*mends: Repair, note: str = "") -> Finding:
    return Finding(Code.EARLY_ENTRY, "it is so", "br0", "vnet0", "web1", MAC, None, mends, note)


def test_commands_are_quoted_and_each_waits_for_the_one_before() -> None:
    fix = fix_of(finding(("virsh", "edit", "it's; reboot"), ("ip", "link"), note="look first"))
    assert fix.text.endswith(" && ip link  # look first")
    assert shlex.split(fix.text, comments=True) == ["virsh", "edit", "it's; reboot", "&&", "ip", "link"]
    assert (fix.by_apply, fix.is_apply) == (False, False)


def test_prose_is_no_command() -> None:
    assert fix_of(finding(note="ask them")) == Fix((), "ask them")
    assert fix_of(finding(note="ask them")).text == "ask them"
    assert fix_of(finding()).text == ""


def test_what_an_apply_repairs_is_known_by_its_type() -> None:
    """A person's command may begin as a change's does."""
    assert fix_of(finding(CLOSE)).by_apply
    assert not fix_of(finding(("bridge", "fdb", "del", MAC))).by_apply
    assert not fix_of(finding(("bridge", "vlan", "add"), ("macmgr", "apply", "--domain", "web1"))).by_apply


def test_many_commands_are_the_apply_of_what_they_are_about_and_never_of_the_host() -> None:
    assert len(fix_of(finding(drop(*range(1, MANY_COMMANDS + 1)))).commands) == MANY_COMMANDS
    fix = fix_of(finding(drop(*range(1, 6)), note="look first"))
    assert fix.commands == (("macmgr", "apply", "--bridge", "br0", "--domain", "web1"),)
    assert fix.note == "5 commands: 'macmgr plan' shows them; look first"
    assert (fix.by_apply, fix.is_apply) == (True, True)


def test_a_domain_that_an_apply_would_not_find_is_not_named() -> None:
    on_bridge = (("macmgr", "apply", "--bridge", "br0"),)
    assert fix_of(finding(drop(*range(1, 10), because=Code.STALE_ENTRY))).commands == on_bridge
    assert fix_of(finding(drop(*range(1, 6), domain=None))).commands == on_bridge
    assert fix_of(finding(drop(1, 2, 3), drop(1, 2, 3, domain="web2"))).commands == on_bridge


def test_a_persons_many_commands_are_counted() -> None:
    many = (("bridge", "vlan", "add"),) * (MANY_BY_HAND + 1)
    fix = fix_of(finding(*many, note="look first"))
    assert fix.commands == many
    assert fix.text == "9 commands: 'macmgr audit --json' has them; look first"


def test_a_change_that_thousands_of_findings_share_is_read_once() -> None:
    fixes, shared = Fixes(), finding(drop(*range(1, 4000)))
    first = fixes.of(shared)
    assert fixes.of(Finding(Code.EARLY_ENTRY, "in another VID", "br0", vid=2, mends=shared.mends)) is first
    assert fixes.of(Finding(Code.EARLY_ENTRY, "said otherwise", mends=shared.mends, note="x")).note.endswith("; x")
    assert fixes.of(shared) == first
