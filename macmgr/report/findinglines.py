"""Findings for people, the worst last: a terminal shows the end. What is many of a kind is folded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from rich.text import Text

from macmgr.model.codes import Code, Consequence, Severity
from macmgr.model.findings import Finding, Fix, Fixes
from macmgr.model.roles import uplinks_of
from macmgr.model.vids import fold_vids
from macmgr.oneline import unbroken
from macmgr.phrases import counted, first_few
from macmgr.report.terminal import wrapped
from macmgr.report.verdict import needs_person
from macmgr.view import View

_CODE = 8  # where the code stands in a line, and the fix below it
_MESSAGE = 32
_ROOM = 48  # columns that a message beside its code needs; with less it stands below
_MANY = 10  # findings of one kind, of which only the first are printed
_FEW = 5
_STYLE = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def finding_lines(view: View, width: int, *, verbose: bool) -> Iterator[Text]:
    """Yields errors and warnings, with their fixes; those that cut a guest off come last.

    ``*`` marks the errors that need a person: no apply repairs them.
    """
    fixes = Fixes()
    for kind in reversed(serious_kinds(view)):
        for found in kind:
            few = found if verbose else first_of_many(found)
            if more := found[len(few) :]:
                yield from _headed(more[0], "", f"{more_words(more)}: -v shows each", width)
            for finding in few:
                yield from _lines(finding, fixes.of(finding), width, view.scope.observes)


def serious_kinds(view: View) -> list[list[list[Finding]]]:
    """Returns errors and warnings by their severity and consequence, the worst first, and within each kind by code."""
    serious = [each for each in view.plan.findings if each.severity is not Severity.INFO]
    kinds = []
    for _, group in groupby(serious, key=lambda each: (each.severity, each.consequence)):
        codes: dict[Code, list[Finding]] = {}
        for each in group:
            codes.setdefault(each.code, []).append(each)
        kinds.append(list(codes.values()))
    return kinds


def first_of_many(found: list[Finding]) -> list[Finding]:
    return found if len(found) <= _MANY else found[:_FEW]


def info_lines(view: View, width: int, *, verbose: bool) -> Iterator[Text]:
    for finding, text in info_texts(view, verbose=verbose):
        yield from _headed(finding, "", text, width)


def info_texts(view: View, *, verbose: bool) -> Iterator[tuple[Finding, str]]:
    """Yields what costs something and cuts nobody off: one text a code and bridge."""
    infos = [each for each in view.plan.findings if each.severity is Severity.INFO]
    infos = [each for each in infos if each.code is not Code.NOTHING_MANAGED]  # the verdict says it
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for each in infos:
        groups.setdefault((each.code, each.bridge, id(each) if verbose else 0), []).append(each)
    for (_, bridge, _), found in groups.items():
        if len(found) == 1:
            text = message_of(found[0])
        elif found[0].code is Code.UNMANAGED_AUTO_PORT:
            text = _left_to_the_kernel(view, str(bridge), found)
        else:
            text = f"{message_of(found[0])}; {len(found) - 1} more like it (-v shows all)"
        yield found[0], text


def _left_to_the_kernel(view: View, bridge: str, found: Sequence[Finding]) -> str:
    domains = sorted({each.domain for each in found if each.domain})
    taps = {guest.port for guest in view.intent.ports}
    ports = [port for port in view.snapshot.ports.values() if port.bridge == bridge]
    kept = [uplink.name for uplink in uplinks_of(ports, taps) if uplink.promiscuity]
    who = ", ".join(domains[:3]) + (f", {len(domains) - 3} more" if len(domains) > 3 else "")
    so = f", so {first_few(kept, _FEW)} {'stays' if len(kept) == 1 else 'stay'} promiscuous" if kept else ""
    return f"{counted(len(found), 'port')} of {bridge} are left to the kernel ({who}){so}"


def _lines(finding: Finding, fix: Fix, width: int, observes: Callable[[str], bool]) -> Iterator[Text]:
    yield from _headed(finding, "*" if needs_person(finding) else "", message_of(finding), width)
    if word := fix_word(finding, fix, observes):
        yield from _fix_lines(f"{word}: ", fix, width)


def fix_word(finding: Finding, fix: Fix, observes: Callable[[str], bool]) -> str:
    """Returns the word before the fix; empty where none helps, as an apply where nothing is changed."""
    if not fix.text:
        return ""
    if not observes(finding.bridge) or not fix.by_apply:
        return "fix"
    return "" if fix.is_apply else "would run"


def _fix_lines(word: str, fix: Fix, width: int) -> Iterator[Text]:
    """A command stays on its line, for it is copied. Prose is wrapped, and is a comment behind a command."""
    head = Text(f"{'':<{_CODE}}{word}", "dim")
    text = unbroken(fix.text)
    if head.cell_len + len(text) <= width:
        yield head + Text(text, "dim")
    elif not fix.commands:
        yield from wrapped(head, text, width, head.cell_len, "dim")
    else:
        command, mark, _ = text.partition("  # ")
        yield head + Text(command, "dim")
        if mark and fix.note:
            indent = head.cell_len + 2
            for line in wrapped(Text(), fix.note, width - indent, 0, "dim"):
                yield Text(" " * (indent - 2) + "# ", "dim") + line


def more_words(found: Sequence[Finding]) -> str:
    domains = sorted({each.domain for each in found if each.domain})
    of = f" ({first_few(domains, _FEW)})" if domains else ""
    return f"{len(found)} more{of}"


def _headed(finding: Finding, mark: str, text: str, width: int) -> Iterator[Text]:
    cuts = finding.consequence is Consequence.CUT_OFF and finding.severity is not Severity.INFO
    head = Text.assemble((f"{f'{finding.severity} {mark}':<{_CODE}}", "red" if cuts else _STYLE[finding.severity]))
    head.append(f"{finding.code!s:<23} ", "bold")
    if width - _MESSAGE >= _ROOM:
        return wrapped(head, text, width, head.cell_len)
    head.rstrip()
    return iter([head, *wrapped(Text(" " * _CODE), text, width, _CODE)])


def message_of(finding: Finding) -> str:
    vids = f"VID {fold_vids(finding.vids)}"
    return finding.message if not finding.vids or f"in {vids}: " in finding.message else f"{finding.message} ({vids})"
