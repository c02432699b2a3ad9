"""Prints a comparison of hosts, and writes it as JSON, version 1. Fields may be added; none is renamed.

Schema: docs/compare-v1.schema.json.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.text import Text

from macmgr.comparing.differences import Difference
from macmgr.comparing.hostaudits import HostAudit
from macmgr.model.codes import Consequence
from macmgr.oneline import unbroken
from macmgr.phrases import are, counted, first_few, listed
from macmgr.report.terminal import print_answer, wrapped

_FEW = 5
_MANY = 10  # differences between the same hosts, of which only the first are printed
_INDENT = 2
_STYLE = {Consequence.CUT_OFF: "red", Consequence.EXPOSED: "yellow", Consequence.AT_RISK: "yellow"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """``sources`` are where each host's audits were, and the last one counts.

    ``unread`` is why others could not be read, in one line each.
    """

    audits: Sequence[HostAudit]
    sources: Mapping[str, Sequence[str]]
    unread: Sequence[str]
    differences: Sequence[Difference]

    @property
    def cut_off(self) -> list[str]:
        return sorted({each.domain for each in self.differences if each.consequence is Consequence.CUT_OFF})


def comparison_document(said: Comparison) -> dict[str, Any]:
    return {
        "version": 1,
        "agree": not said.differences and not said.unread,
        "hosts": [
            {
                "host": audit.host,
                "taken_at": audit.taken_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
                "source": said.sources[audit.host][-1],
                "older": list(said.sources[audit.host][:-1]),
                "guests": len({guest.uuid or guest.domain for guest in audit.guests}),
            }
            for audit in said.audits
        ],
        "unread": list(said.unread),
        "differences": [_document(each) for each in said.differences],
    }


def _document(each: Difference) -> dict[str, Any]:
    return {
        "code": str(each.word),
        "consequence": str(each.consequence),
        "hosts": list(each.hosts),
        "domain": each.domain or None,
        "mac": each.mac or None,
        "network": each.network or None,
        "message": each.message,
        "note": each.note or None,
        "fix": each.fix or None,
        "fix_on": each.fix_on or None,
    }


def print_comparison(out: Console, said: Comparison, *, verbose: bool = False) -> None:
    """Prints the answer, and what is wrong by hosts: what cuts a guest off comes first."""
    answer = [line for style, text in _answer(said) for line in wrapped(Text(), text, out.width, 0, style)]
    print_answer(out, answer, _lines(said, out.width, verbose=verbose))


def _answer(said: Comparison) -> Iterator[tuple[str, str]]:
    hosts = counted(len(said.audits), "host")
    if cut := said.cut_off:
        yield "red", f"{counted(len(cut), 'guest')} {are(cut)} cut off: {first_few(cut, _FEW)}."
    if said.unread:
        yield "red", f"{counted(len(said.unread), 'audit')} could not be read, and {are(said.unread)} not judged."
    if several := [host for host, places in said.sources.items() if len(places) > 1]:
        names = unbroken(first_few(several, _FEW))
        yield "yellow", f"Of {names} there are several audits, and the last one counts: a host is known by its name."
    if said.differences:
        what = counted(len(said.differences), "difference")
        between = len({each.hosts for each in said.differences})
        yield "", f"{hosts} compared: {what} in {between} {'place' if between == 1 else 'places'}."
    else:
        yield "green" if not said.unread else "", f"{hosts} compared: they agree."


def _lines(said: Comparison, width: int, *, verbose: bool) -> Iterator[Text]:
    for hosts, group in groupby(said.differences, lambda each: each.hosts):
        found = list(group)
        yield Text(unbroken(listed(hosts)) if len(hosts) > 1 else f"{unbroken(hosts[0])} and all others", "bold")
        shown = found if verbose or len(found) <= _MANY else found[:_FEW]
        for each in shown:
            yield from _one(each, width)
        if more := found[len(shown) :]:
            yield Text(f"{'':{_INDENT}}{len(more)} more: -v shows each")
        yield Text()
    for line in said.unread:
        yield from wrapped(Text(), f"not read: {line}", width, _INDENT, "red")


def _one(each: Difference, width: int) -> Iterator[Text]:
    head = Text.assemble(" " * _INDENT, (f"{each.consequence!s:<8} ", _STYLE.get(each.consequence, "")))
    head.append(f"{each.word!s:<16}", "bold")
    if width - head.cell_len >= 2 * head.cell_len:
        yield from wrapped(head, each.message, width, head.cell_len)
        indent = head.cell_len
    else:
        head.rstrip()
        indent = 2 * _INDENT
        yield head
        yield from wrapped(Text(" " * indent), each.message, width, indent)
    if each.fix:
        yield Text(f"{'':{indent}}on {unbroken(each.fix_on)}: {unbroken(each.fix)}", "dim")
    if each.note:
        yield from wrapped(Text(" " * indent), each.note, width, indent, "dim")
