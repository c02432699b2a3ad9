"""An audit as the answer of a Nagios or Icinga plugin: one line, its performance data, and the state as exit code.

CRITICAL is kept for a guest that is cut off: it is what wakes somebody up.
"""

from __future__ import annotations

from enum import IntEnum

from macmgr.model.codes import Code, Severity
from macmgr.oneline import one_line
from macmgr.phrases import first_few
from macmgr.report.verdict import MARKED, Word, verdict_of
from macmgr.view import View

_FEW = 5  # guests that the line names
_MOST = 600  # letters: NRPE cuts an answer at 1024 bytes, and the numbers stand at its end


class State(IntEnum):
    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


def plugin_answer(view: View, *, strict: bool) -> tuple[State, str]:
    """Returns the state and the line for one judged look; with ``strict``, warnings count."""
    verdict = verdict_of(view)
    findings = view.plan.findings
    errors, warnings = (
        sum(finding.severity is severity for finding in findings) for severity in (Severity.ERROR, Severity.WARNING)
    )
    unread = sorted({each.domain or each.bridge for each in findings if each.code is Code.UNREADABLE_XML})
    text = verdict.text.replace(MARKED, "")
    if view.cut_off:
        state = State.CRITICAL
    elif unread:
        state = State.UNKNOWN
        about = f" (of {first_few(unread, _FEW)})" if all(unread) else ""
        text = f"Some of libvirt's XML is not understood{about}, so this is about the other guests: {text}"
    elif verdict.at_risk or verdict.word in (Word.DRIFT, Word.NOTHING) or (strict and warnings):
        state = State.WARNING
    else:
        state = State.OK
    managed = sum(guest.managed for guest in view.guests)
    numbers = f"errors={errors} warnings={warnings} cut_off={len(view.cut_off)} managed={managed}"
    return state, f"{_line(state, text)} | {numbers}"


def unknown_answer(why: str) -> tuple[State, str]:
    """Returns the state and the line where macmgr could not look: no numbers, because there are none."""
    return State.UNKNOWN, _line(State.UNKNOWN, why)


def _line(state: State, text: str) -> str:
    """A name in the text may hold what begins the numbers, or a second line."""
    words = one_line(text).replace("|", "?")
    return f"MACMGR {state.name}: {words if len(words) <= _MOST else f'{words[: _MOST - 3]}...'}"
