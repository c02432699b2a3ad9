"""Puts the daemon's records into words: records in, lines for the journal out. Pure.

Each change has one line, so that the journal has the history of a guest's entry. The first look at a host of a thousand
ports gives one line that counts them, and the details at debug priority.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace

from macmgr.execution import Failure
from macmgr.model.changes import Change, SetEntries, SetFlags, SetVids, reason
from macmgr.model.findings import Code, Finding, Fix, Fixes, Severity
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import GuestPort, Modes
from macmgr.model.snapshot import EntryState
from macmgr.model.vids import fold_vids
from macmgr.phrases import counted
from macmgr.planning.collisions import MANY, serve_many
from macmgr.planning.fixcheck import TYPED
from macmgr.report.verdict import Word, verdict_of
from macmgr.view import View
from macmgr.watch import messages
from macmgr.watch.alarms import Alarm, Kind
from macmgr.watch.bursts import VidLine
from macmgr.watch.messages import Line, Priority

MOST_LINES = 20  # of one kind in one round
THEFT = "theft"  # the code of the alarm; it is no finding, because the entry was held

_PAST = {"put": "put", "move": "moved", "pin": "pinned", "unpin": "unpinned", "drop": "dropped", "close": "closed"}
_PAST |= {"open": "opened", "set": "set", "unlock": "unlocked", "isolate": "isolated", "give back": "gave back"}
_STATES = {
    Word.DRIFT: "drift",
    Word.CUT_OFF: "a guest is cut off",
    Word.NOTHING: "nothing to compare",
    Word.OBSERVED: "only observed",
    Word.AT_RISK: "one frame can cut guests off",
    Word.IN_SYNC: "in sync",
}


def started(version: str, modes: Modes, managed: Iterable[str]) -> Line:
    """The daemon starts. ``modes`` names the bridges that it does not change, ``managed`` those that policy manages."""
    observed = sorted(filter(modes.observes, managed))
    mode = f", observing {', '.join(observed)} only" if observed else ""
    if modes.default and all(observe for _, observe in modes.named):
        mode = ", observing only: it changes nothing"
    return Line(Priority.NOTICE, f"macmgr {version} watches{mode}", messages.STARTED)


def stopped() -> Line:
    return Line(Priority.NOTICE, "stopped on request: ports and entries stay as they are", messages.STOPPED)


def resync(why: str, view: View, seconds: float) -> Line:
    """All sources and the kernel were read anew; the line gives the state after the repair."""
    ports = [guest for guest in view.intent.ports if guest.managed and guest.port in view.snapshot.ports]
    errors = sum(finding.severity is Severity.ERROR for finding in view.plan.findings)
    how = f"{counted(errors, 'error')} left" if errors else _STATES[verdict_of(view).word]
    return Line(
        Priority.INFO,
        f"looked at everything in {seconds:.3f} s ({why}): "
        f"{counted(len(view.intent.managed_bridges), 'managed bridge')}, {counted(len(ports), 'managed port')}, {how}",
        messages.RESYNC,
    )


def look_failed(why: str, since: str) -> Line:
    text = f"the state is unknown since {since}: a look could not be made ({why}); the next try follows"
    return Line(Priority.ERROR, text, messages.LOOK_FAILED)


def looks_again(seconds: float, failed: int) -> Line:
    text = f"the state is known again: it was unknown for {seconds:.0f} s, and {counted(failed, 'look')} failed"
    return Line(Priority.NOTICE, text, messages.LOOKS_AGAIN)


def repairs(done: Sequence[Change], expected: Collection[str] = ()) -> list[VidLine]:
    """Returns one line for each change made, with its VIDs, which are not in its text yet.

    For the guests in ``expected``, which come or go, a change is routine.
    """
    return _by_vids(_repair(change, expected) for change in done)


def repaired(lines: Iterable[VidLine]) -> list[Line]:
    """Returns the lines with the VIDs in their text; if there are too many, one counts them.

    Changes that differ in their VIDs alone share a line: an administrator may add or remove thousands of them at once.
    """
    return summed_up(_with_vids(lines), "changes made", messages.REPAIRED)


def _repair(change: Change, expected: Collection[str]) -> VidLine:
    verb, what, why = _parts(change)
    priority = Priority.INFO if change.domain in expected else Priority.NOTICE
    return _line(priority, f"{_PAST[verb]} {what}: {why}", messages.REPAIRED, change), _vids(change)


def failures(failed: Sequence[Failure]) -> list[Line]:
    """Returns lines for the changes that the kernel refused, with its words, or that could not be read back."""
    lines = []
    for failure in failed:
        verb, what, _ = _parts(failure.change)
        text = f"could not {verb} {what}: {failure.why}"
        lines.append((_line(Priority.ERROR, text, messages.REPAIR_FAILED, failure.change), _vids(failure.change)))
    return summed_up(_with_vids(lines), "changes could not be made", messages.REPAIR_FAILED)


def standing_back(change: Change, times: int, seconds: float) -> Line:
    """Another program undoes a change each time it is made."""
    verb, what, _ = _parts(change)
    text = (
        f"another program undoes this change each time: {_PAST[verb]} {what} {times} times within a minute; "
        f"the next try is in {seconds:g} s. Find out who else manages this bridge"
    )
    return _line(Priority.WARNING, text, messages.STANDING_BACK, change)


def theft(guest: GuestPort, mac: str, seen_on: str, vid: int, times: int = 1) -> Line:
    """A frame with a guest's MAC as its source came in on a port that is not the guest's."""
    often = f" {times} times" if times > 1 else ""
    text = (
        f"{seen_on} sent{often} with the MAC {mac} of {guest.domain}, which is behind {guest.port} ({guest.bridge}, "
        f"VID {vid}): a second guest with this address, a loop, or a theft"
    )
    return Line(Priority.WARNING, text, messages.THEFT, guest.domain, guest.port, guest.bridge, mac, THEFT)


def alarm(alarm: Alarm) -> Line:
    """Returns an alarm's line. A refreshed entry does not show which of the learning ports saw the MAC."""
    guest = alarm.guest
    if alarm.kind is Kind.THEFT:
        return theft(guest, alarm.mac, " or ".join(alarm.seen_on), alarm.vid, alarm.times)
    often = f" (changed {alarm.times} times)" if alarm.times > 1 else ""
    text = f"{guest.domain} uses {alarm.mac} on {guest.port} instead of {alarm.before}{often}: its entry follows"
    if alarm.times > MANY:
        text = (
            f"{guest.domain} used one address after the other on {guest.port} ({alarm.times} changes, {alarm.mac} last)"
            f", and its entry follows each; {serve_many(guest)}"
        )
    place = guest.domain, guest.port, guest.bridge, alarm.mac
    return Line(Priority.NOTICE, text, messages.GUEST_MAC_CHANGED, *place, Code.GUEST_MAC_CHANGED)


def left(
    found: Iterable[Finding],
    observes: Callable[[str], bool],
    failed: Sequence[Change] = (),
    held: Iterable[Change] = (),
) -> list[Line]:
    """Returns lines for drift on observe-only bridges, and for findings that no change of the MAC table fixes.

    ``failed`` are changes that a line already reports as not made. ``held`` are left out for now, and no line advises
    them: a port whose entry is removed each time stays open on purpose. The same findings come back in each round: the
    caller logs only those that it did not log the last time.
    """
    covered, kept, fixes = {_subject(change) for change in failed}, {_subject(change) for change in held}, Fixes()
    worded = _with_vids(
        (_finding(finding, Fix() if subject in kept else _fix(finding, fixes), observes), vids)
        for finding in found
        if finding.severity is not Severity.INFO and (subject := _subject(finding)) not in covered
        for vids in [frozenset(() if finding.vid is None else (finding.vid,))]
    )
    observed = [line for line in worded if line.message_id == messages.DRIFT]
    others = [line for line in worded if line.message_id != messages.DRIFT]
    return [
        *summed_up(others, "findings", messages.LEFT_TO_A_PERSON),
        *summed_up(observed, "differences seen, and nothing is changed,", messages.DRIFT),
    ]


def hook(call: HookCall, text: str, *, failed: bool) -> Line:
    """The line in libvirt's log: changes due where nothing may be changed, or why it ``failed``; the guest lives on."""
    priority, message_id = (Priority.WARNING, messages.HOOK_FAILED) if failed else (Priority.NOTICE, messages.HOOK_SAID)
    domain = call.object if call.driver in ("qemu", "lxc") else ""
    return Line(priority, f"{call.driver} hook, {call.object} {call.operation}: {text}", message_id, domain=domain)


def unreadable(what: str, why: str) -> Line:
    """A source cannot be read as a whole; its last known content is kept."""
    return Line(Priority.ERROR, f"{what}: {why}", messages.UNREADABLE)


def events_lost(source: str) -> Line:
    """The kernel's event queue was full."""
    return Line(Priority.NOTICE, f"the kernel dropped {source} events: everything is read again", messages.EVENTS_LOST)


def _finding(finding: Finding, fix: Fix, observes: Callable[[str], bool]) -> Line:
    """Returns a finding's line, without its VID."""
    message_id, message, does = messages.LEFT_TO_A_PERSON, finding.message, "fix"
    if finding.code is Code.GUEST_MAC_CHANGED:
        message_id = messages.GUEST_MAC_CHANGED
    elif finding.code is Code.UNREADABLE_XML:
        message_id = messages.UNREADABLE
    elif fix.by_apply and observes(finding.bridge):
        message_id, message = messages.DRIFT, f"observed only: {message}"
        does = "would run"
    vain = message_id == messages.DRIFT and fix.is_apply  # it changes nothing there
    if fix.text and not vain:
        message += f"; {does}: {fix.text}"
    priority = Priority.ERROR if finding.severity is Severity.ERROR else Priority.WARNING
    place = finding.domain or "", finding.port, finding.bridge, finding.mac
    return Line(priority, message, message_id, *place, finding.code)


def _fix(finding: Finding, fixes: Fixes) -> Fix:
    """What a person would type is printed where the model of frames has judged it: by a verb, not in each round."""
    if finding.changes or not any(isinstance(repair, tuple) and repair[0] in TYPED for repair in finding.mends):
        return fixes.of(finding)
    words = ["macmgr", "audit", *(() if finding.domain is None else ("--domain", finding.domain))]
    note = f"'{shlex.join(words)}' has the commands"
    return Fix(note=f"{finding.note}; {note}" if finding.note else note)


def _subject(of: Change | Finding) -> tuple[str, str]:
    if isinstance(of, SetEntries) or (isinstance(of, Finding) and of.mac):
        return of.bridge, of.mac
    return of.port, ""


def _line(priority: Priority, message: str, message_id: str, change: Change) -> Line:
    if not isinstance(change, SetEntries):
        port, mac = change.port, ""
    else:
        port, mac = (change.after or change.before)[0].port, change.mac
    return Line(priority, message, message_id, change.domain or "", port, change.bridge, mac, change.because or "")


def _parts(change: Change) -> tuple[str, str, str]:
    """Verb, object and reason: put / the entry of web1 (52:54:00:00:00:01) on vnet0 / no static entry leads to it."""
    if isinstance(change, SetFlags):
        return *_flag_parts(change), reason(change)
    if isinstance(change, SetVids):
        return "set", f"the VLANs of {change.port}{f' of {change.domain}' if change.domain else ''}", reason(change)
    entry = (change.after or change.before)[0]
    if not change.after and change.because in (Code.EXTRA_ENTRY, Code.LEARNED_ON_MANAGED_PORT):
        word = "learned" if entry.state is EntryState.DYNAMIC else "static"
        return "drop", f"the {word} entry of {change.mac} on {entry.port}", reason(change)
    elsewhere = next((each for each in change.before if each.port != entry.port), None)
    if change.after and change.because is Code.STOLEN_ENTRY and elsewhere:
        why = f"a {elsewhere.in_words} one led to {elsewhere.port}"
        return "move", f"the entry of {_owner(change)} to {entry.port}", why
    pin = "pin" if entry.sticky else "unpin"
    puts: dict[Code | None, str] = {Code.NOT_STICKY: pin, Code.NOT_GIVEN_BACK: "give back"}
    return (
        puts.get(change.because, "put") if change.after else "drop",
        f"the entry of {_owner(change)} on {entry.port}",
        reason(change),
    )


def _flag_parts(change: SetFlags) -> tuple[str, str]:
    words = [flag.says(change.after.value(flag)) for flag in change.before.differing(change.after)]
    what = f"{change.port}{f' of {change.domain}' if change.domain else ''} ({', '.join(words)})"
    if change.because in (Code.CLOSED_WITHOUT_ENTRY, Code.NOT_GIVEN_BACK) and not change.closes:
        return "open", what
    verbs: dict[Code | None, str] = {Code.STILL_LOCKED: "unlock", Code.NOT_ISOLATED: "isolate"}
    return "close" if change.closes else verbs.get(change.because, "set"), what


def _owner(change: SetEntries) -> str:
    return f"{change.domain} ({change.mac})" if change.domain else change.mac


def _by_vids(lines: Iterable[VidLine]) -> list[VidLine]:
    """Merges equal lines; each gets all its VIDs."""
    found: dict[Line, set[int]] = {}
    for line, vids in lines:
        found.setdefault(line, set()).update(vids)
    return [(line, frozenset(vids)) for line, vids in found.items()]


def _with_vids(lines: Iterable[VidLine]) -> list[Line]:
    return [
        replace(line, message=f"{line.message} (VID {fold_vids(sorted(vids))})") if vids else line
        for line, vids in _by_vids(lines)
    ]


def _vids(change: Change) -> frozenset[int]:
    """Returns the VIDs worth naming: none if an entry is put or dropped in every VID of its port."""
    if not isinstance(change, SetEntries):
        return frozenset()
    named = frozenset(entry.vid for entry in change.after or change.before)
    return frozenset() if 0 in named else named


def summed_up(lines: list[Line], what: str, message_id: str) -> list[Line]:
    """Returns the lines; if there are too many, one that counts them, then the lines at debug priority."""
    if len(lines) <= MOST_LINES:
        return lines
    bridges = ", ".join(sorted({line.bridge for line in lines if line.bridge}))
    codes = ", ".join(f"{code} {count}" for code, count in Counter(line.code for line in lines).most_common())
    text = f"{len(lines)} {what}{f' on {bridges}' if bridges else ''}: {codes}"
    summary = Line(min(line.priority for line in lines), text, message_id)
    return [summary, *(replace(line, priority=Priority.DEBUG) for line in lines)]
