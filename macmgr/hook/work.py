"""The work of a guarded hook call: read its input, and reconcile the ports it concerns.

A hook call only says "look now". The intent comes from libvirt's status files, which libvirt writes just before
`started` and `reconnect`. The hook's own XML only adds what they lack: a domain without a status file yet, and the MACs
of a domain that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

from macmgr.config import Config
from macmgr.errors import XmlError
from macmgr.kernel import Kernel
from macmgr.model.changes import Change, SetEntries, SetVids, reason
from macmgr.model.findings import Code
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import GuestPort, Intent, Scope
from macmgr.model.known import Known, Memory
from macmgr.phrases import are
from macmgr.planning.interlock import LEFT_OUT
from macmgr.planning.reading import Beside
from macmgr.policy.guests import Decisions
from macmgr.readers.hookdata import HookInput, read_hook_input
from macmgr.reconcile import MOMENT, apply
from macmgr.sources.statusfiles import NOT_READ, UNREAD, First, StatusFiles
from macmgr.state import lock
from macmgr.state.memory import StateFile, read_memory
from macmgr.state.observedfile import read_observed
from macmgr.view import Outcome, View
from macmgr.wanted import WaitingCall, wanted

# Seconds kept for reading back and reporting while the call waits for the lock.
_RESERVE = 0.5
_IN_A_HURRY = Beside(closed_ports=frozenset())
# The most entries of a bridge that a hook lists: of a longer table it asks for those that concern its guest, by name.
_MOST_LISTED = 10_000
_FEW = 3  # ports that a line names


def act(call: HookCall, data: bytes, config: Config, run_dir: Path, netns: str | None, deadline: float) -> str:
    """Reconciles the ports of the call. Returns the line to report, empty if there is none."""
    waiting = WaitingCall(call, read_call(call, data))
    scope = waiting.scope(config.observes)
    seen = read_observed(netns)
    # The called domain's file comes first, and the others get half of the time: so its work is done, whatever is in the
    # others.
    # All looks together read each file once.
    half = (time.monotonic() + deadline) / 2
    files, decisions = StatusFiles(run_dir), Decisions()
    first = First(call.driver, call.object, lambda: time.monotonic() > half)

    def read_intent() -> Intent:
        return wanted(files.read(first, definitions=False), config, [waiting], decisions)

    def moment() -> None:
        time.sleep(max(0.0, min(MOMENT, deadline - time.monotonic() - _RESERVE)))

    intent = read_intent()
    words, looked_at = [left_as_it_is(intent, scope)], intent
    if concerns(intent, scope) or remembers(read_memory(netns)[0], scope):
        with Kernel(netns, _MOST_LISTED) as kernel, lock.hold(wait=deadline - time.monotonic() - _RESERVE) as held:
            notes = StateFile(held, netns)
            known = Known(seen=seen.records, seen_lost=seen.lost)
            with notes.told():
                outcome = apply(
                    held, read_intent, kernel, scope, notes=notes, moment=moment, known=known, beside=_IN_A_HURRY
                )
        words += [in_words(call, outcome), _unread(outcome), notes.problem, seen.problem]
        looked_at = outcome.view.intent
    words.append(_unread_itself(looked_at, scope))
    line = "; ".join(filter(None, words))
    if words[0]:  # a failure: the configuration may refuse the start for it
        raise XmlError(line)
    return line


def read_call(call: HookCall, data: bytes) -> HookInput:
    """Reads the hook's input. XmlError if it is not libvirt's format, or about another domain.

    A mistake in the metadata is an XmlError too, but not for a domain that is gone: then only its addresses matter.
    """
    given = read_hook_input(call.driver, data)
    if given.domain is not None and given.domain.name != call.object:
        raise XmlError(f"the hook's input describes domain {given.domain.name!r}, but the call names {call.object!r}")
    problem = ""
    if given.domain is not None and call.operation not in ("stopped", "release"):
        problem = given.domain.problem
    elif given.network is not None:
        problem = given.network.problem
    if problem:
        raise XmlError(f"{problem}; until that is fixed, the ports of {call.object} are left as they are")
    return given


def concerns(intent: Intent, scope: Scope) -> bool:
    """Something managed is in the scope of a call. Most calls on a host end here, before netlink."""
    if scope.domain is None:
        return scope.whole or any(scope.holds(None, bridge) for bridge in intent.managed_bridges)
    mine = [port for port in (*intent.ports, *intent.unplaced) if scope.holds(port.domain, port.bridge)]
    # only the kernel knows the bridge of an unplaced one, and any section may be about that
    managed = any(port.managed or (not port.bridge and intent.sections) for port in mine)
    return managed or (bool(intent.managed_bridges) and scope.domain in intent.gone_domains)


def remembers(memory: Memory, scope: Scope) -> bool:
    """macmgr has changed a port in the scope of a call, whatever policy says of it now."""
    return any(scope.holds(each.domain, each.bridge) for each in memory.ports)


def left_as_it_is(intent: Intent, scope: Scope) -> str:
    """Names the obstacle to managing the ports of a call's domain; empty if macmgr understands all of it.

    Where macmgr only observes there is no obstacle, and no guest is refused for one.
    """
    if scope.domain is None:
        return ""
    mine = [port for port in (*intent.ports, *intent.unplaced) if scope.holds(port.domain, port.bridge)]
    ports = [port for port in mine if port.policy.problem and not scope.observes(port.bridge)]
    if not ports:
        return ""
    names = ", ".join(port.port for port in ports)
    stay = f"{names} {are(ports)} left as before"
    return f"{stay}, until this is fixed: {ports[0].policy.problem}"


def in_words(call: HookCall, outcome: Outcome, *, watched: bool = False) -> str:
    """Returns the hook's report of the outcome; empty if all is well.

    ``watched``: a daemon sees the start of a waiting guest's CPUs, so nobody needs the advice to run an apply.
    """
    parts = [f"{reason(failure.change)}: {failure.why}" for failure in outcome.failures]
    parts += would_do(outcome.view)
    waiting = [port for port in outcome.view.guests if _stays_open(port, outcome.view)]
    if waiting and not watched and call.operation != "start":  # at `start` no guest runs yet, and `started` follows
        ports = ", ".join(f"{port.port} on {port.bridge}" for port in waiting)
        parts.append(
            f"{ports} stays open (learning and unicast flood on) because the guest's CPUs do not run here yet "
            f"({waiting[0].state}); run 'macmgr apply' when they do"
        )
    told = (Code.ADDRESS_IN_USE, Code.WOULD_HARM)
    findings = outcome.view.plan.findings
    parts += [each.message for each in findings if each.code in told]
    if not any(each.code is Code.WOULD_HARM for each in findings):  # it is about a guest of another domain
        parts += dict.fromkeys(f"{each.port}: {each.note}" for each in findings if each.note.startswith(LEFT_OUT))
    if not outcome.complete and not outcome.failures:
        parts.append(f"{len(outcome.view.plan.changes)} changes remain; run 'macmgr audit'")
    return "; ".join(parts)


def _unread(outcome: Outcome) -> str:
    """Reports that there was no time to read the files of guests in scope."""
    unread = [finding.domain for finding in outcome.view.intent.findings if NOT_READ in finding.message]
    if outcome.view.scope.domain is not None or not unread:
        return ""
    what = "file was" if len(unread) == 1 else "files were"
    return f"{len(unread)} status {what} not read in time, so those guests are left as they are; run 'macmgr apply'"


def _unread_itself(intent: Intent, scope: Scope) -> str:
    """Reports that a file which decides about the called domain could not be read: its ports are left as they are."""
    files = (each.message for each in intent.findings if each.domain in (None, scope.domain) and UNREAD in each.message)
    unread = next(files, "") if scope.domain is not None else ""
    return f"{unread}; run 'macmgr apply'" if unread else ""


def _stays_open(port: GuestPort, view: View) -> bool:
    there = view.snapshot.ports.get(port.port)
    return (
        not view.scope.observes(port.bridge) and port.managed and not port.running and there is not None and there.auto
    )


def would_do(view: View) -> list[str]:
    changes: dict[str, list[Change]] = {}
    for change in view.observed:
        changes.setdefault(change.bridge, []).append(change)
    return [f"on {bridge} (observed): would {_acts(found)}" for bridge, found in sorted(changes.items())]


def _acts(changes: Iterable[Change]) -> str:
    """put 1 entry, drop 2 and close vnet0."""
    puts = drops = 0
    closed: dict[str, None] = {}
    opened: dict[str, None] = {}
    isolated: dict[str, None] = {}
    moved: dict[str, None] = {}
    for change in changes:
        if isinstance(change, SetEntries):
            puts, drops = puts + bool(change.after), drops + (not change.after)
        elif isinstance(change, SetVids):
            moved[change.port] = None
        else:
            lists = isolated if change.because is Code.NOT_ISOLATED else opened
            (closed if change.closes else lists)[change.port] = None
    acts = [
        _which("isolate", list(isolated)),
        _which("set the VLANs of", list(moved)),
        _how_many("put", puts, "entry", "entries"),
        _how_many("drop", drops, "entry", "entries"),
        _which("open", list(opened)),
        _which("close", list(closed)),
    ]
    *most, last = [act for act in acts if act]
    return f"{', '.join(most)} and {last}" if most else last


def _how_many(verb: str, number: int, one: str, many: str) -> str:
    return f"{verb} {number} {one if number == 1 else many}" if number else ""


def _which(verb: str, ports: list[str]) -> str:
    return f"{verb} {', '.join(ports) if len(ports) <= _FEW else f'{len(ports)} ports'}" if ports else ""
