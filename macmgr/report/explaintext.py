"""Prints what `macmgr explain` answers: as wide as the terminal, and nothing cut but at words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from macmgr.model.findings import Finding, Severity, fix_of
from macmgr.oneline import unbroken
from macmgr.report.explained import Explanation, message_of
from macmgr.report.terminal import print_wrapped

_LABELS = 14
_NARROW = 72  # columns; on a narrower terminal a section's lines stand below its label
_STYLE = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def print_explanations(out: Console, explanations: Sequence[Explanation], *, verbose: bool = False) -> None:
    """Prints all answers first, with what helps; then each thing's facts."""
    for each in explanations:
        print_wrapped(out, Text(), each.answer, 0, each.style)
        for finding in each.findings:
            _print_finding(out, finding, each)
        if each.more:
            print_wrapped(out, Text("  "), each.more, 2, "dim")
    for each in explanations:
        out.print()
        print_wrapped(out, Text(), each.headline, 0, "bold")
        if each.reached:
            _print_section(out, "Reached", each.reached)
        for label, lines in each.sections:
            _print_section(out, label, lines if verbose else each.short.get(label, lines))


def _print_finding(out: Console, finding: Finding, about: Explanation) -> None:
    """Prints a finding below the answer. That the guest is cut off stands there already."""
    message = message_of(finding)
    if about.cut_off and about.answer.startswith((f"{finding.domain} is cut off", f"{finding.domain} (")):
        message = message.removeprefix(f"{finding.domain} is cut off: ")
    head = Text.assemble("  ", (f"{finding.severity} {finding.code}: ", _STYLE[finding.severity]))
    print_wrapped(out, head, message, 4)
    fix = fix_of(finding)
    if about.observed and fix.is_apply:  # an apply changes nothing there
        return
    word = "would run: " if about.observed and fix.by_apply else "fix: "
    if fix.line:
        out.print(Text(unbroken(f"    {word}{fix.line}"), "bold"), soft_wrap=True)  # one line, for copying
    if fix.prose:
        head = Text("      # " if fix.line else f"    {word}")
        print_wrapped(out, head, fix.prose, head.cell_len, "dim")


def _print_section(out: Console, label: str, lines: Iterable[str]) -> None:
    below = len(label) >= _LABELS or out.width < _NARROW
    indent = " " * (4 if below else _LABELS + 2)
    head = Text(f"  {label:<{_LABELS}}", "dim")
    if below:
        out.print(Text(f"  {label}", "dim"))
        head = Text(indent)
    for line in lines:
        print_wrapped(out, head, line, len(indent) + 2)
        head = Text(indent)
