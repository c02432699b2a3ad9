"""Prints an audit and a show for people: the answer first, then what it rests on. Decides nothing."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from macmgr.report.findinglines import finding_lines, info_lines
from macmgr.report.porttable import portless_lines, tree_lines
from macmgr.report.terminal import print_answer, wrapped
from macmgr.report.verdict import Word, verdict_of
from macmgr.view import View

VERDICT_STYLE = {
    Word.DRIFT: "red",
    Word.CUT_OFF: "red",
    Word.NOTHING: "yellow",
    Word.OBSERVED: "yellow",
    Word.AT_RISK: "yellow",
    Word.IN_SYNC: "green",
}


def print_audit(out: Console, view: View, *, problems: bool = False, verbose: bool = False) -> None:
    """Prints the verdict, bridges with their ports, and findings. With ``problems``, only what is wrong."""
    verdict = verdict_of(view)
    answer = list(wrapped(Text(), verdict.text, out.width, 0, VERDICT_STYLE[verdict.word]))
    body: list[Text] = []
    if not problems:
        body += tree_lines(view, verdict.at_risk, out.width, audit=True, verbose=verbose)
        body += portless_lines(view, out.width)
        body += info_lines(view, out.width, verbose=verbose)
    body += finding_lines(view, out.width, verbose=verbose or problems)
    print_answer(out, answer, body)


def print_show(out: Console, view: View, *, verbose: bool = False) -> None:
    """Prints all bridges with their ports; with ``verbose``, who decides about each port, and its entries."""
    for line in tree_lines(view, verdict_of(view).at_risk, out.width, audit=False, verbose=verbose):
        out.print(line)
    if not view.snapshot.bridges:
        out.print("There is no bridge here.")
    for line in portless_lines(view, out.width):
        out.print(line)
