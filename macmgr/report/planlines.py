"""Prints a plan for people and for a shell: what is done to whom, then bridge(8) commands in their safe order."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from macmgr.model.changes import Change, SetEntries, SetVids, reason, requests, typed
from macmgr.model.findings import Finding
from macmgr.oneline import unbroken
from macmgr.phrases import are, counted, first_few
from macmgr.report.terminal import wrapped
from macmgr.report.verdict import Word, command, needs_person, verdict_of, who_is_cut_off
from macmgr.view import View, reached_after

_FEW = 5  # guests that a line names
_OPEN, _SET, _PUT = ("open", "port"), ("set flags of", "port"), ("put entries of", "MAC")
_CLOSE, _DROP = ("close", "port"), ("drop entries of", "MAC")
_VLANS = ("set VLANs of", "port")
_KINDS = (_VLANS, _OPEN, _SET, _PUT, _CLOSE, _DROP)


def print_plan(out: Console, view: View, *, verbose: bool = False) -> None:
    """Prints the changes as bridge(8) commands, in their safe order; with ``verbose``, the findings that they repair.

    Those on an observe-only bridge stand behind a #: a shell that runs the plan makes none of them.
    """
    findings = view.plan.findings if verbose else ()
    summary = _summary(view)
    lines = list(_comment(summary, out.width)) if summary else []
    lines += _commands(view.plan.changes, findings, out.width, "")
    for bridge in sorted({change.bridge for change in view.observed}):
        once = f"{bridge} is only observed: these are made only once it is managed, or by"
        lines += _comment(f"{once} 'macmgr apply --bridge {shlex.quote(bridge)}'", out.width)
        lines += _commands([each for each in view.observed if each.bridge == bridge], findings, out.width, "# ")
    out.print(Text("\n").join(lines))


def _summary(view: View) -> str:
    """Says who is reached again, and what is done for it; what is left for a person is said too."""
    verdict = verdict_of(view)
    if verdict.word is Word.NOTHING:
        return verdict.text
    changes = view.plan.changes
    said = [f"{counted(len(changes), 'change')}: {_effects(view)}."] if changes else []
    if not changes:
        said += [] if view.observed else ["nothing to change."]
        said += [who_is_cut_off(view)] if view.cut_off else []
    if by_hand := sum(map(needs_person, view.plan.findings)):
        what = f"{counted(by_hand, 'error')} {'needs' if by_hand == 1 else 'need'} you"
        said.append(f"{what}: '{command(view, 'audit')}' says what to do.")
    return " ".join(said) if len(said) > 1 else "".join(said).removesuffix(".")


def _effects(view: View) -> str:
    again = reached_after(view)
    counts = Counter(_kind(change) for change in view.plan.changes)
    done = [f"{words} {counted(counts[words, noun], noun)}" for words, noun in _KINDS if counts[words, noun]]
    who = [f"{first_few(again, _FEW)} {are(again)} reached again"] if again else []
    return "; ".join([*who, ", ".join(done)])


def _kind(change: Change) -> tuple[str, str]:
    if isinstance(change, SetEntries):
        return _PUT if change.after else _DROP
    if isinstance(change, SetVids):
        return _VLANS
    if change.closes:
        return _CLOSE
    return _OPEN if any(flag.shut is not None and value != flag.shut for flag, value in change.named()) else _SET


def _comment(text: str, width: int) -> Iterator[Text]:
    """A shell that runs the plan must not run a comment's second line."""
    return (Text("# ") + line for line in wrapped(Text(), text, width - 2, 0))


def _commands(changes: Iterable[Change], findings: Sequence[Finding], width: int, before: str) -> Iterator[Text]:
    """Yields each command with its reason behind it, or above it where one would not fit the line."""
    said = [(change, f"{reason(change)}{f' ({change.domain})' if change.domain else ''}") for change in changes]
    typed_out = [[before + typed(request) for request in requests(change)] for change, _ in said]
    longest = max((len(each) for lines in typed_out for each in lines), default=0)
    beside = longest + 4 + max((cell_len(why) for _, why in said), default=0) <= width
    last = ""
    for (change, why), lines in zip(said, typed_out, strict=True):
        for finding in findings:
            if _is_repaired_by(finding, change):
                yield from _comment(finding.message, width)
        if not beside and why != last:
            yield from _comment(why, width)
        last = why
        first, *rest = lines
        yield Text(unbroken(f"{first:<{longest}}  # {why}") if beside else first)
        for line in rest:
            yield Text(line)


def _is_repaired_by(finding: Finding, change: Change) -> bool:
    if finding.domain != change.domain or not finding.changes:
        return False
    if isinstance(change, SetEntries):
        return finding.mac == change.mac
    return finding.port == change.port and any(type(each) is type(change) for each in finding.changes)
