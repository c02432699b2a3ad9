"""Prints `macmgr status`: the verdict, what is managed, what was repaired, and what needs a person."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from macmgr.model.findings import Code, Severity
from macmgr.oneline import one_line
from macmgr.phrases import are, counted, first_few
from macmgr.report.terminal import print_wrapped
from macmgr.report.verdict import Word

_SHOWN = 5  # repairs and alarms, without --verbose
_FEW = 3  # guests that a row names
_ERRORS = {str(code) for code in Code if code.severity is Severity.ERROR}
_UNITS = ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))

Document = Mapping[str, Any]


def print_status(out: Console, document: Document, *, verbose: bool = False) -> None:
    now = document["taken_at"]
    started = f"macmgr {document['macmgr']}, process {document['pid']}, runs for {_span(document['started_at'], now)}."
    outages = document.get("not_reached", ()) if document["in_sync"] is not None else ()  # else they are history
    if cut := sorted({domain for outage in outages for domain in outage["domains"]}):
        who = f"{counted(len(cut), 'guest')} {are(cut)} cut off: {one_line(first_few(cut, _FEW))}."
        print_wrapped(out, Text(), who, style="red")
    verdict, style = _verdict(document)
    print_wrapped(out, Text(), verdict, style=style)
    if problem := document.get("configuration", {}).get("problem"):
        print_wrapped(out, Text(), f"The configuration as it was before holds: {one_line(problem)}.", style="yellow")
    print_wrapped(out, Text(), one_line(started))
    _print_not_reached(out, outages, now)
    for problem in document["hooks"].get("problems", ()):
        print_wrapped(out, Text(), f"Hooks: {one_line(problem)}", style="red")
    out.print()
    if document["rounds"]["count"]:
        _print_bridges(out, document["managed"]["bridges"])
    _print_facts(out, document, now)
    shown = None if verbose else _SHOWN
    _print_standing_back(out, document["standing_back"]["now"], now)
    _print_events(out, "ALARMS", document["alarms"], now, shown, "yellow")
    _print_events(out, "REPAIRS", document["repairs"], now, shown, "")


def _verdict(document: Document) -> tuple[str, str]:
    """Returns the verdict and its colour."""
    managed, found = document["managed"], document["findings"]
    if document["in_sync"] is None:
        return _unknown(document)
    verdict = document.get("verdict")
    if verdict == Word.NOTHING:
        return ("Nothing is managed here: all is left to the kernel. 'macmgr show' lists bridges and guests.", "yellow")
    bridges = [bridge for bridge in managed["bridges"] if bridge["there"]]
    observed = [one_line(bridge["name"]) for bridge in bridges if bridge["mode"] == "observe"]
    if observed and len(observed) == len(bridges):
        errors = sum(count for code, count in found.items() if code in _ERRORS)
        names = f"{', '.join(observed)} {are(observed)} only observed"
        return (
            f"{names}: {counted(errors, 'error')}, and nothing is changed; 'macmgr plan' shows what would be.",
            "yellow",
        )
    if verdict == Word.AT_RISK:
        ports = counted(managed["ports"], "managed port")
        return (f"At risk: one frame from the LAN can cut some of {ports} off; 'macmgr audit' says which.", "yellow")
    if document["in_sync"]:
        ports, guests = counted(managed["ports"], "managed port"), counted(managed["guests"], "guest")
        how = "The tables are as wanted" if verdict == Word.CUT_OFF else "In sync"
        text = f"{how}: {ports} of {guests} on {counted(len(managed['bridges']), 'bridge')}."
        style = "yellow" if verdict == Word.CUT_OFF else "green"
        return (f"{text} Only observed: {', '.join(observed)}." if observed else text), style
    errors = ", ".join(f"{count} {code}" for code, count in found.items() if code in _ERRORS)
    return f"Drift: {errors}; 'macmgr audit' says where and why.", "red"


def _unknown(document: Document) -> tuple[str, str]:
    """Names what keeps the daemon from knowing; the findings of its last look are history."""
    unknown = document.get("unknown")
    if not document["rounds"]["count"] and (unknown is None or not document["rounds"].get("failed")):
        return "Unknown: the daemon has not taken its first look yet.", "yellow"
    if unknown is None:
        return "Unknown: the daemon does not say why.", "red"
    since = _span(unknown["since"], document["taken_at"])
    return f"Unknown for {since}: {one_line(unknown['why'])}. 'macmgr audit' looks for itself.", "red"


def _print_bridges(out: Console, bridges: Sequence[Document]) -> None:
    if not bridges:
        out.print("No bridge is managed: nothing asks for it ('macmgr explain PORT' says what was asked).")
        out.print()
        return
    table = _table("BRIDGE", "MODE", "PORTS", "BECAUSE OF")
    for bridge in bridges:
        mode = Text("observe", "yellow") if bridge["mode"] == "observe" else Text(bridge["mode"])
        ports = str(bridge["ports"]) if bridge["there"] else Text("not there", "dim")
        table.add_row(Text(one_line(bridge["name"])), mode, ports, Text(one_line(bridge["reason"])))
    out.print(table, soft_wrap=False)
    out.print()


def _print_facts(out: Console, document: Document, now: str) -> None:
    rounds, resyncs, repairs = document["rounds"], document["resyncs"], document["repairs"]
    hooks, events, fights = document["hooks"], document["events"], document["standing_back"]
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column()
    last_look = f"the last {_ago(rounds['last_at'], now)}, in {rounds['last_seconds']:.3f} s" if rounds["count"] else ""
    why = f" ({one_line(resyncs['last_why'])})" if resyncs["last_why"] else ""
    last_resync = f"the last {_ago(resyncs['last_at'], now)}{why}" if resyncs["count"] else ""
    failed = Text(f"{repairs['failed']} failed", "red") if repairs["failed"] else Text("none failed")
    alarms = ", ".join(f"{count} {code}" for code, count in document["alarms"]["by_code"].items())
    now_fighting = Text(f"{len(fights['now'])} now", "yellow") if fights["now"] else Text("none now")
    late = f"{hooks['failed']} failed, {hooks['timeouts']} too late" if hooks["failed"] + hooks["timeouts"] else ""
    calls = sum(call["count"] for call in hooks["calls"])
    for name, count, more in (
        ("looks", rounds["count"], Text(last_look)),
        *([("", rounds["failed"], Text("failed", "red"))] if rounds.get("failed") else []),
        ("full looks", resyncs["count"], Text(last_resync)),
        ("repairs", repairs["count"], failed),
        ("alarms", document["alarms"]["count"], Text(alarms)),
        ("stood back", fights["count"], now_fighting if fights["count"] else Text()),
        ("hook calls", calls, Text(late, "red")),
        ("events", events["read"], Text(f"some were lost {counted(events['lost'], 'time')}" if events["lost"] else "")),
    ):
        table.add_row(name, str(count), more)
    out.print(table, soft_wrap=False)


def _print_not_reached(out: Console, outages: Sequence[Document], now: str) -> None:
    if not outages:
        return
    out.print()
    table = _table("NOT REACHED", "FOR", "WHY")
    for outage in outages:
        text = one_line("; fix: ".join(filter(None, (outage["message"], outage["fix"]))))
        who = one_line(first_few(outage["domains"], _FEW))
        table.add_row(Text(who, "red"), _span(outage["since"], now), Text(text, "red"))
    out.print(table, soft_wrap=False)


def _print_standing_back(out: Console, fights: Sequence[Document], now: str) -> None:
    if not fights:
        return
    out.print()
    table = _table("STANDING BACK", "FOR", "WHAT ANOTHER PROGRAM UNDOES")
    for fight in fights:
        text = Text(one_line(fight["message"]), "yellow")
        table.add_row(_ago(fight["since"], now), _span(now, fight["until"]), text)
    out.print(table, soft_wrap=False)


def _print_events(out: Console, title: str, events: Document, now: str, shown: int | None, style: str) -> None:
    last = events["last"][:shown]
    if not last:
        return
    out.print()
    table = _table(title, "WHAT")
    for event in last:
        table.add_row(_ago(event["at"], now), Text(one_line(event["message"]), style))
    out.print(table, soft_wrap=False)
    if events["count"] > len(last):
        more = "" if shown is None or len(events["last"]) <= shown else "; -v shows more"
        out.print(Text(f"({events['count'] - len(last)} before{more})", "dim"))


def _table(*columns: str) -> Table:
    """Columns are as wide as their content; the last one wraps at words."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns[:-1]:
        table.add_column(column, no_wrap=True)
    table.add_column(columns[-1])
    return table


def _ago(then: str | None, now: str) -> str:
    return "never" if then is None else f"{_span(then, now)} ago"


def _span(start: str, end: str) -> str:
    seconds = max(int((datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()), 0)
    size, unit = next(((size, unit) for size, unit in _UNITS if seconds >= size), _UNITS[-1])
    return counted(seconds // size, unit)
