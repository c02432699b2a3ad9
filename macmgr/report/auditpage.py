"""Writes an audit as one HTML page: the answer first, as in a terminal, and the picture. Decides nothing.

The page needs nothing from anywhere, and its policy lets a browser fetch and run nothing: names in it are tenants'.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

from lxml import etree
from lxml.etree import _Element as Element

from macmgr import __version__
from macmgr.model.codes import Consequence
from macmgr.model.findings import Finding, Fix, Fixes
from macmgr.report.findinglines import first_of_many, fix_word, info_texts, message_of, more_words, serious_kinds
from macmgr.report.pagestyle import STYLE
from macmgr.report.porttable import COLUMNS, PortRow, port_rows
from macmgr.report.portwords import bridge_words
from macmgr.report.verdict import command, named_cut_off, needs_person, verdict_of
from macmgr.view import View


def audit_page(
    view: View, host: str, taken_at: str, drawn: tuple[str, str], *, problems: bool = False, verbose: bool = False
) -> str:
    """Returns the page in ASCII. ``drawn`` is the picture as an SVG element, or empty, and then why there is none.

    With ``problems``, the page has the answer and what is wrong; with ``verbose``, nothing in it is folded.
    """
    verdict = verdict_of(view)
    rest = [] if problems else [_made("h2", "Picture"), _picture(*drawn), *_ports(view)]
    body = _made(
        "body",
        _made("h1", f"{command(view, 'audit')} on {host}, {taken_at}"),
        _made("p", verdict.text, kind=f"verdict {verdict.word}"),
        *_cut_off(view),
        *_findings(view, problems=problems, verbose=verbose),
        *rest,
        _made("footer", f"macmgr {__version__}"),
    )
    page = _made("html", _made("head", *_head(f"macmgr: {host}")), body)
    page.set("lang", "en")
    return etree.tostring(page, method="html", encoding="ascii", doctype="<!DOCTYPE html>").decode() + "\n"


def _head(title: str) -> Iterator[Element]:
    style = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{style}'; base-uri 'none'; form-action 'none'"
    yield etree.Element("meta", {"charset": "utf-8"})
    yield etree.Element("meta", {"http-equiv": "Content-Security-Policy", "content": policy})
    yield etree.Element("meta", {"name": "referrer", "content": "no-referrer"})
    yield etree.Element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    yield _made("title", title)
    sheet = etree.Element("style")
    sheet.text = STYLE
    yield sheet


def _cut_off(view: View) -> Iterator[Element]:
    if view.cut_off:
        yield _made("h2", "Cut off")
        names = (f"{name} ({code})" if code else name for name, code in named_cut_off(view))
        yield _made("ul", *(_made("li", name) for name in names), kind="names")


def _picture(drawn: str, why_not: str) -> Element:
    return _made("figure", etree.fromstring(drawn)) if drawn else _made("p", f"There is no picture: {why_not}.")


def _findings(view: View, *, problems: bool, verbose: bool) -> Iterator[Element]:
    """Yields the errors and warnings, the worst first, and then what only costs something."""
    fixes = Fixes()
    items: list[Element] = []
    for found in (found for kind in serious_kinds(view) for found in kind):
        made = [_finding(view, each, message_of(each), fixes.of(each)) for each in found]
        few = len(found if verbose else first_of_many(found))
        items += made[:few]
        if more := found[few:]:
            summary = _made("summary", f"{more[0].code}: {more_words(more)}")
            items.append(_made("li", _made("details", summary, _made("ul", *made[few:], kind="findings")), kind="fold"))
    infos = [] if problems else info_texts(view, verbose=verbose)
    items += [_finding(view, finding, text, Fix()) for finding, text in infos]
    if items:
        yield _made("h2", "Findings")
        yield _made("ul", *items, kind="findings")
    if any(needs_person(finding) for finding in view.plan.findings):
        yield _made("p", _made("small", "* no apply repairs it: it needs you"))


def _finding(view: View, finding: Finding, message: str, fix: Fix) -> Element:
    cuts = finding.consequence is Consequence.CUT_OFF and finding.reached is False
    words = f"{'cut off, ' if cuts else ''}{finding.severity}{' *' if needs_person(finding) else ''} "
    item = _made(
        "li",
        _made("span", words, kind=str(finding.severity)),
        _made("b", f"{finding.code} "),
        _made("span", message),
        kind=str(finding.consequence),
    )
    if word := fix_word(finding, fix, view.scope.observes):
        parts = [_made("code", fix.line)] if fix.line else []
        parts += [_made("span", f"{' (' if parts else ''}{fix.prose}{')' if parts else ''}")] if fix.prose else []
        item.append(_made("p", f"{word}: ", *parts, kind="fix"))
    return item


def _ports(view: View) -> Iterator[Element]:
    yield _made("h2", "Ports")
    rows = list(port_rows(view, verdict_of(view).at_risk, audit=True))
    if not rows:
        yield _made("p", "No bridge here is managed: 'macmgr show' lists them.")
    for bridge, ports in rows:
        yield _made("h3", f"{bridge.name} ", _made("small", bridge_words(bridge, view)))
        head = _made("tr", *(_made("th", name) for name in COLUMNS[1:]))
        yield _table(_made("thead", head), _made("tbody", *map(_port, ports)))
    if view.portless:
        yield _made("h3", "NICs without a port on a Linux bridge")
        cells = ((nic.domain, nic.alias, nic.mac, nic.kind, nic.why) for nic in view.portless)
        yield _table(_made("tbody", *(_made("tr", *(_made("td", cell) for cell in row)) for row in cells)))


def _table(*parts: Element) -> Element:
    return _made("div", _made("table", *parts), kind="table")


def _port(row: PortRow) -> Element:
    cells = [cell.plain for cell in row.cells]
    return _made("tr", *(_made("td", cell) for cell in cells), kind=cells[-1].replace(" ", "-"))


def _made(tag: str, *parts: Element | str, kind: str = "") -> Element:
    """Returns an element with these parts; text becomes harmless, and is escaped when it is written."""
    made = etree.Element(tag, {"class": kind} if kind else {})
    for part in parts:
        if not isinstance(part, str):
            made.append(part)
        elif len(made):
            made[-1].tail = f"{made[-1].tail or ''}{_harmless(part)}"
        else:
            made.text = f"{made.text or ''}{_harmless(part)}"
    return made


def _harmless(text: str) -> str:
    """Replaces what no document may hold, and what would turn its direction."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
