"""Prints the result of an apply: what was made, what is left for whom, and then each change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from rich.console import Console
from rich.text import Text

from macmgr.model.changes import Change, reason, requests, typed
from macmgr.model.findings import Code, Consequence, Finding, Severity
from macmgr.phrases import are, counted, first_few
from macmgr.report.findinglines import finding_lines
from macmgr.report.terminal import print_answer, wrapped
from macmgr.report.verdict import Word, verdict_of, who_is_cut_off
from macmgr.view import Outcome

_FEW = 5  # guests that a line names
_INDENT = 7


def print_outcome(out: Console, outcome: Outcome) -> None:
    view, errors = outcome.view, frozenset(outcome.errors)
    style = "green" if outcome.complete and not errors and not view.skipped and not view.cut_off else "yellow"
    answer = list(wrapped(Text(), _answer(outcome), out.width, 0, style))
    body = list(_changes(outcome, out.width))
    left = [each for each in view.plan.findings if each in errors or _is_left(each)]
    if body and left:
        body.append(Text())
    of_left = replace(view, plan=replace(view.plan, findings=tuple(left)))
    print_answer(out, answer, [*body, *finding_lines(of_left, out.width, verbose=True)])


def _is_left(finding: Finding) -> bool:
    """No error, and yet somebody is cut off, or a port is not as wanted."""
    if finding.code is Code.ADDRESS_IN_USE:
        return True
    cuts = finding.consequence is Consequence.CUT_OFF and finding.reached is False
    return finding.severity is Severity.WARNING and cuts


def _changes(outcome: Outcome, width: int) -> Iterator[Text]:
    for change in outcome.done:
        yield from wrapped(Text(f"{'done':<{_INDENT}}", "green"), _in_words(change), width, _INDENT)
    for failure in outcome.failures:
        yield from wrapped(Text(f"{'failed':<{_INDENT}}", "red"), _in_words(failure.change), width, _INDENT)
        yield from wrapped(Text(" " * _INDENT), failure.why, width, _INDENT, "red")


def _answer(outcome: Outcome) -> str:
    view, done, remaining = outcome.view, len(outcome.done), len(outcome.view.plan.changes)
    verdict = verdict_of(view)
    if verdict.word is Word.NOTHING and not done and outcome.complete:
        return verdict.text
    said = [f"{counted(done, 'change')} made and read back."] if done else []
    if remaining:
        verb = "remains" if remaining == 1 else "remain"
        said.append(f"{counted(remaining, 'change')} {verb} to be made: 'macmgr audit' says which and why.")
    elif not done:
        said.append("Nothing was changed." if view.skipped else "Nothing had to be changed.")
    said += [who_is_cut_off(view, still=True)] if view.cut_off else []
    if by_hand := [finding for finding in outcome.errors if not finding.changes]:
        verb = "needs" if len(by_hand) == 1 else "need"
        names = dict.fromkeys(each.domain or each.port or each.bridge for each in by_hand)
        whom = first_few([name for name in names if name], _FEW)
        said.append(f"{counted(len(by_hand), 'error')} {verb} you{whom and f': {whom}'}.")
    if skipped := view.skipped:
        bridges = sorted({change.bridge for change in skipped})
        left_out = f"{counted(len(skipped), 'change')} {are(skipped)} left out"
        said.append(f"{left_out}: {', '.join(bridges)} {are(bridges)} only observed.")
    return " ".join(said)


def _in_words(change: Change) -> str:
    return f"{'; '.join(typed(request) for request in requests(change))}  ({reason(change)})"
