"""Prints a `View` for people: aligned tables, whole sentences, colour only on a terminal. Decides nothing."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from macmgr.model.changes import Change, reason, requests, typed
from macmgr.model.findings import Code, Finding, Fix, Fixes, Severity
from macmgr.model.intent import GuestPort
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Fdb
from macmgr.model.vids import fold_vids
from macmgr.oneline import unbroken
from macmgr.report.verdict import Word, verdict_of
from macmgr.view import View

_COLUMNS = (
    *("", "PORT", "DOMAIN", "NIC", "STATE", "MANAGER"),
    *("MAC", "VIDS", "LEARNING", "FLOOD", "ENTRY", "PROMISC", ""),
)
# A terminal too narrow for all columns drops these, the least needed first.
_SPARE = ("MANAGER", "NIC", "STATE", "PROMISC", "VIDS", "ENTRY", "FLOOD", "LEARNING")
_DOMAIN, _MACS = _COLUMNS.index("DOMAIN"), _COLUMNS.index("MAC")
_SHORTEST = 8  # letters of a domain's name that always stay
_GAP = 2
_INDENT = 32
_VERDICT_STYLE = {
    Word.DRIFT: "red",
    Word.CUT_OFF: "red",
    Word.NOTHING: "yellow",
    Word.OBSERVED: "yellow",
    Word.AT_RISK: "yellow",
    Word.IN_SYNC: "green",
}
_STYLE = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def print_audit(out: Console, view: View) -> None:
    fixes = Fixes()
    verdict = verdict_of(view)
    _print_tree(out, view, verdict.at_risk, only_managed=True)
    _print_portless(out, view)
    printed = [
        finding for finding in view.plan.findings if finding.code is not Code.NOTHING_MANAGED
    ]  # the verdict does
    for finding in printed:
        _print_finding(out, finding, fixes.of(finding), observed=view.scope.observes(finding.bridge))
    if printed:
        out.print()
    _print_wrapped(out, Text(), Text(unbroken(verdict.text), _VERDICT_STYLE[verdict.word]), 0)


def print_show(out: Console, view: View) -> None:
    _print_tree(out, view, verdict_of(view).at_risk, only_managed=False)
    if not view.snapshot.bridges:
        out.print("There is no bridge here.")
    _print_portless(out, view)


def print_plan(out: Console, view: View) -> None:
    """Prints the changes as bridge(8) commands, in their safe order.

    Those on an observe-only bridge stand behind a #: a shell that runs the plan makes none of them.
    """
    _print_commands(out, view.plan.changes, "")
    if not view.plan.changes and not view.observed:
        verdict = verdict_of(view)
        out.print(unbroken(f"# {verdict.text}") if verdict.word is Word.NOTHING else "# nothing to change")
    for bridge in sorted({change.bridge for change in view.observed}):
        out.print(
            f"# {bridge} is only observed: these are made only once it is managed, or by 'macmgr apply --bridge "
            f"{shlex.quote(bridge)}'"
        )
        _print_commands(out, [change for change in view.observed if change.bridge == bridge], "# ")


def _print_commands(out: Console, changes: Iterable[Change], before: str) -> None:
    lines: list[tuple[str, str]] = []
    for change in changes:
        why = unbroken(f"# {reason(change)}{f' ({change.domain})' if change.domain else ''}")
        for request in requests(change):
            lines.append((before + typed(request), why))
            why = ""
    width = max((len(command) for command, _ in lines), default=0)
    for command, why in lines:
        out.print(Text(f"{command:<{width}}  {why}".rstrip()))


def _print_tree(out: Console, view: View, at_risk: frozenset[str], *, only_managed: bool) -> None:
    guests = {guest.port: guest for guest in view.guests}
    roles = roles_of(view.snapshot.ports.values(), {guest.port for guest in view.intent.ports})
    faults = dict.fromkeys(at_risk, Text("at risk", "yellow"))
    errors = (finding for finding in view.plan.findings if finding.severity is Severity.ERROR)
    faults |= {finding.port: Text("drift", "red") for finding in errors}
    for bridge in view.bridges:
        name, managed = bridge.name, bridge.name in view.intent.managed_bridges
        if only_managed and not managed:
            continue
        _print_wrapped(out, Text(name, "bold"), _bridge_facts(bridge, view), cell_len(name) + 2)
        ports = sorted(view.ports_of(name), key=lambda port: port.name in guests)
        rows = [
            _port_cells(
                port,
                guests.get(port.name),
                roles[port.name],
                view.snapshot.fdb,
                managed=managed,
                fault=faults.get(port.name),
            )
            for port in ports
        ]
        branches = [" ├─"] * (len(ports) - 1) + [" └─"]
        if ports:
            _print_fitting(out, [[branch, *row] for branch, row in zip(branches, rows, strict=True)])
        out.print()


def _print_fitting(out: Console, rows: list[list[str | Text]]) -> None:
    """Prints a bridge's ports without the columns that do not fit the terminal, and names those."""
    cells = [[cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows]
    if _table_width(_widths(cells)) > out.width:
        for row in cells:
            row[_MACS] = _first_of(row[_MACS])
    widths = _widths(cells)
    left_out: list[str] = []
    for name in _SPARE:
        if _table_width(widths) <= out.width:
            break
        widths[_COLUMNS.index(name)] = -_GAP
        left_out.append(name)
    spare = widths[_DOMAIN] - max(_table_width(widths) - out.width, 0)
    for row in cells:
        row[_DOMAIN].truncate(max(spare, _SHORTEST), overflow="ellipsis")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, _GAP, 0, 0))
    shown = [index for index, width in enumerate(widths) if width >= 0]
    for index in shown:
        table.add_column(_COLUMNS[index], no_wrap=True)
    for row in cells:
        table.add_row(*(row[index] for index in shown))
    out.print(table)
    if left_out:
        _print_wrapped(out, Text(), Text(f"(no room for {', '.join(left_out)})", "dim"), 5)


def _widths(cells: list[list[Text]]) -> list[int]:
    return [max(cell_len(name), *(row[index].cell_len for row in cells)) for index, name in enumerate(_COLUMNS)]


def _table_width(widths: list[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _first_of(macs: Text) -> Text:
    first, *more = macs.plain.split(" ")
    return Text(f"{first} +{len(more)}" if more else first)


def _print_portless(out: Console, view: View) -> None:
    if not view.portless:
        return
    out.print(Text("NICs without a port on a Linux bridge", "bold"))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for nic in view.portless:
        table.add_row("  ", *(Text(unbroken(each)) for each in (nic.domain, nic.alias, nic.mac, nic.kind, nic.why)))
    out.print(table)
    out.print()


def _bridge_facts(bridge: Bridge, view: View) -> Text:
    reason = view.intent.managed_bridges.get(bridge.name)
    how = "only observed" if view.scope.observes(bridge.name) else "managed"
    managed = f"{how} ({reason})" if reason else "not managed"
    return Text(unbroken(f"VLAN filtering {'on' if bridge.vlan_filtering else 'off'}, {managed}"))


def _print_wrapped(out: Console, head: Text, text: Text, indent: int) -> None:
    """Wraps ``text`` at words after ``head``, indented below itself; one line if the output is no terminal."""
    lines = text.wrap(out, max(out.width - indent, 20))
    for line in lines:
        line.rstrip()
    margin = Text(" " * max(indent - head.cell_len, 0))
    out.print(head + margin + Text("\n" + " " * indent).join(lines))


def _port_cells(
    port: BridgePort,
    guest: GuestPort | None,
    role: Role,
    fdb: Fdb,
    *,
    managed: bool,
    fault: Text | None,
) -> list[str | Text]:
    flags = [_on(port.flags.learning), _on(port.flags.unicast_flood)]
    promiscuous = "yes" if port.promiscuity else "no"
    if guest is None:
        word = Text(role.words if managed else "", "dim")
        return [port.name, word, "", "", "", "", fold_vids(port.vids), *flags, "", promiscuous, ""]
    verdict: Text = Text("")
    if guest.managed:
        fine = Text("left", "yellow") if guest.frozen else Text("ok", "green")
        verdict = fault.copy() if fault else fine
    elif guest.policy.problem:
        verdict = Text("left", "red")
    return [
        port.name,
        Text(unbroken(guest.domain)),
        Text(unbroken(guest.alias)),
        guest.state,
        "?" if guest.policy.problem else str(guest.policy.manager),
        " ".join(guest.macs),
        fold_vids(port.vids),
        *flags,
        _entry_word(guest, fdb.of_port(port.name)),
        promiscuous,
        verdict,
    ]


def _entry_word(guest: GuestPort, entries: Iterable[Entry]) -> str:
    macs = frozenset(guest.macs)
    own = [entry for entry in entries if entry.mac in macs and entry.state is EntryState.STATIC]
    if not own:
        return "none"
    return "sticky" if all(entry.sticky for entry in own) else "static"


def _print_finding(out: Console, finding: Finding, fix: Fix, *, observed: bool) -> None:
    line = Text()
    line.append(f"{finding.severity!s:<8}", _STYLE[finding.severity])
    line.append(f"{finding.code!s:<23} ", "bold")
    _print_wrapped(
        out,
        line,
        Text(unbroken(finding.message) + (f" (VID {fold_vids(finding.vids)})" if finding.vids else "")),
        max(_INDENT, line.cell_len),
    )
    if not fix.text or finding.severity is Severity.INFO:
        return
    if not observed or not fix.by_apply:
        out.print(Text(f"{'':<8}fix: {unbroken(fix.text)}", "dim"))
    elif not fix.is_apply:  # an apply changes nothing there
        out.print(Text(f"{'':<8}would run: {unbroken(fix.text)}", "dim"))


def _on(value: bool) -> str:
    return "on" if value else "off"
