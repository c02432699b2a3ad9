"""Prints the result of an apply: each change made or failed, and the state now."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from macmgr.model.changes import Change, SetEntries, reason, requests, typed
from macmgr.model.findings import Code, Severity
from macmgr.oneline import unbroken
from macmgr.phrases import are, counted
from macmgr.report.verdict import Word, verdict_of
from macmgr.view import Outcome


def print_outcome(out: Console, outcome: Outcome) -> None:
    print_changes = [("done", change, "") for change in outcome.done]
    print_changes += [("failed", failure.change, failure.why) for failure in outcome.failures]
    for word, change, why in print_changes:
        line = Text()
        line.append(f"{word:<7}", "green" if word == "done" else "red")
        line.append(unbroken(f"{_change_in_words(change)}  ({reason(change)})"))
        out.print(line)
        if why:
            out.print(Text(unbroken(f"       {why}"), "red"))
    if print_changes:
        out.print()
    out.print(_how_it_ended(outcome))
    for finding in outcome.view.plan.findings:
        if finding.code in (Code.ADDRESS_IN_USE, Code.WOULD_HARM):
            out.print(Text(unbroken(f"{finding.message}."), "yellow"))
            out.print(Text(unbroken(f"       {finding.fix}")))
    if skipped := outcome.view.skipped:
        bridges = sorted({change.bridge for change in skipped})
        left_out = f"{counted(len(skipped), 'change')} {are(skipped)} left out"
        out.print(Text(f"{left_out}: {', '.join(bridges)} {are(bridges)} only observed."))


def _how_it_ended(outcome: Outcome) -> str:
    if not outcome.complete:
        return f"{len(outcome.view.plan.changes)} changes remain to be made: 'macmgr audit' says which and why."
    verdict = verdict_of(outcome.view)
    if verdict.word is Word.NOTHING and not outcome.done:
        return unbroken(verdict.text)
    if made := len(outcome.done):
        what = f"{counted(made, 'change')} made and read back"
    else:
        what = "Nothing was changed" if outcome.view.skipped else "Nothing had to be changed"
    if errors := _beyond_us(outcome):
        return f"{what}; {counted(errors, 'finding')} cannot be repaired by changing the MAC table."
    return f"{what}."


def _beyond_us(outcome: Outcome) -> int:
    """Counts the errors that no change of ours repairs. An error that a left-out change repairs does not count."""
    observed = {change.bridge for change in outcome.view.skipped}
    return sum(
        finding.severity is Severity.ERROR and not (finding.bridge in observed and finding.changes)
        for finding in outcome.view.plan.findings
    )


def _change_in_words(change: Change) -> str:
    if isinstance(change, SetEntries):
        return "; ".join(typed(request) for request in requests(change))
    return typed(next(iter(requests(change))))
