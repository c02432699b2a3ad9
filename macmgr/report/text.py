"""What a person sees: aligned tables, whole sentences, colour only on a terminal.

Everything here prints a `View`; nothing is decided here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from macmgr.changes import Change, SetEntries, bridge_command, requests
from macmgr.findings import Finding, Severity
from macmgr.intent import GuestPort, Intent
from macmgr.reconcile import Outcome, View
from macmgr.report.words import fold_vids
from macmgr.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot

_COLUMNS = (
    *("", "PORT", "DOMAIN", "NIC", "STATE", "MANAGER"),
    *("MAC", "VIDS", "LEARNING", "FLOOD", "ENTRY", "PROMISC", ""),
)
_STYLE = {Severity.ERROR: "red", Severity.WARNING: "yellow", Severity.INFO: "cyan"}


def console(color: bool) -> Console:
    """Standard output: as wide as the terminal, or as wide as it takes where it is a file or a pipe."""
    terminal = sys.stdout.isatty()
    return Console(
        no_color=not color,
        force_terminal=terminal and color,
        width=None if terminal else 400,
        highlight=False,
        soft_wrap=True,
    )


def print_audit(out: Console, view: View, bridges: frozenset[str] | None = None) -> None:
    """The ports with their verdicts, the findings with their fixes, and one line that says how it stands."""
    _print_tree(out, view, bridges, only_managed=True)
    _print_portless(out, view)
    groups = _grouped(view.plan.findings)
    for finding, vids in groups:
        _print_finding(out, finding, vids)
    if groups:
        out.print()
    out.print(_verdict(view))


def print_show(out: Console, view: View, bridges: frozenset[str] | None = None) -> None:
    """Every bridge with its ports, guests, MACs and promiscuity."""
    _print_tree(out, view, bridges, only_managed=False)
    if not view.snapshot.bridges:
        out.print("There is no bridge here.")
    _print_portless(out, view)


def print_plan(out: Console, changes: Sequence[Change]) -> None:
    """The changes as bridge(8) commands, in the order in which they are safe."""
    for change in changes:
        for index, request in enumerate(requests(change)):
            words = " ".join(bridge_command(request))
            why = f"{change.because}{f' ({change.domain})' if change.domain else ''}"
            out.print(Text(f"{words:<72}  # {why}" if index == 0 else words))
    if not changes:
        out.print("# nothing to change")


def print_outcome(out: Console, outcome: Outcome) -> None:
    """What an apply made, what it could not make, and how things stand now."""
    print_changes = [("done", change, "") for change in outcome.done]
    print_changes += [("failed", failure.change, failure.why) for failure in outcome.failures]
    for word, change, why in print_changes:
        line = Text()
        line.append(f"{word:<7}", "green" if word == "done" else "red")
        line.append(f"{_change_in_words(change)}  ({change.because})")
        out.print(line)
        if why:
            out.print(Text(f"       {why}", "red"))
    if print_changes:
        out.print()
    if outcome.complete:
        made = len(outcome.done)
        what = "Nothing had to be changed" if not made else f"{made} change{'s' if made > 1 else ''} made and read back"
        errors = sum(finding.severity is Severity.ERROR for finding in outcome.view.plan.findings)
        rest = (
            f"; {errors} finding{'s' if errors > 1 else ''} cannot be repaired by changing the MAC table"
            if errors
            else ""
        )
        out.print(f"{what}{rest}.")
    else:
        out.print(f"{len(outcome.view.plan.changes)} changes remain to be made: 'macmgr audit' says which and why.")


def _print_tree(out: Console, view: View, bridges: frozenset[str] | None, *, only_managed: bool) -> None:
    guests = {guest.port: guest for guest in view.intent.ports}
    entries = _static_by_port(view.snapshot)
    faults = {finding.port for finding in view.plan.findings if finding.severity is Severity.ERROR}
    for name, bridge in sorted(view.snapshot.bridges.items()):
        managed = name in view.intent.managed_bridges
        if (bridges is not None and name not in bridges) or (only_managed and not managed):
            continue
        out.print(_bridge_line(bridge, view.intent))
        ports = sorted(
            (port for port in view.snapshot.ports.values() if port.bridge == name),
            key=lambda port: (port.name in guests, port.ifindex),
        )
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for column in _COLUMNS:
            table.add_column(column, no_wrap=True)
        for index, port in enumerate(ports):
            branch = " └─" if index == len(ports) - 1 else " ├─"
            table.add_row(
                branch, *_port_cells(port, guests.get(port.name), entries, managed=managed, fault=port.name in faults)
            )
        if ports:
            out.print(table)
        out.print()


def _print_portless(out: Console, view: View) -> None:
    """The NICs that macmgr has nothing to do with, each with the reason."""
    if not view.intent.portless:
        return
    out.print(Text("NICs without a port on a Linux bridge", "bold"))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    for nic in view.intent.portless:
        table.add_row("  ", Text(nic.domain), nic.alias, nic.mac, nic.kind, Text(nic.why))
    out.print(table)
    out.print()


def _bridge_line(bridge: Bridge, intent: Intent) -> Text:
    line = Text(bridge.name, "bold")
    facts = [f"VLAN filtering {'on' if bridge.vlan_filtering else 'off'}"]
    reason = intent.managed_bridges.get(bridge.name)
    facts.append(f"managed ({reason})" if reason else "not managed")
    line.append("  " + ", ".join(facts), "none")
    return line


def _port_cells(
    port: BridgePort, guest: GuestPort | None, entries: dict[str, list[Entry]], *, managed: bool, fault: bool
) -> list[str | Text]:
    flags = [_on(port.flags.learning), _on(port.flags.unicast_flood)]
    promiscuous = "yes" if port.promiscuity else "no"
    if guest is None:
        role = Text("uplink" if managed else "", "dim")
        return [port.name, role, "", "", "", "", fold_vids(port.vids), *flags, "", promiscuous, ""]
    verdict: Text = Text("")
    if guest.managed:
        verdict = Text("drift", "red") if fault else Text("ok", "green")
    return [
        port.name,
        Text(guest.domain),
        guest.alias,
        guest.state,
        str(guest.policy.manager),
        " ".join(guest.macs),
        fold_vids(port.vids),
        *flags,
        _entry_word(guest, entries.get(port.name, [])),
        promiscuous,
        verdict,
    ]


def _entry_word(guest: GuestPort, entries: list[Entry]) -> str:
    own = [entry for entry in entries if entry.mac in guest.macs]
    if not own:
        return "none"
    return "sticky" if all(entry.sticky for entry in own) else "static"


def _static_by_port(snapshot: Snapshot) -> dict[str, list[Entry]]:
    by_port: dict[str, list[Entry]] = {}
    for entry in snapshot.entries:
        if entry.state is EntryState.STATIC:
            by_port.setdefault(entry.port, []).append(entry)
    return by_port


def _grouped(findings: Iterable[Finding]) -> list[tuple[Finding, list[int]]]:
    """Findings that differ only in the VID are one line for a person."""
    groups: dict[tuple[object, ...], tuple[Finding, list[int]]] = {}
    for finding in findings:
        key = (finding.code, finding.bridge, finding.port, finding.domain, finding.mac, finding.message, finding.fix)
        _, vids = groups.setdefault(key, (finding, []))
        if finding.vid is not None:
            vids.append(finding.vid)
    order = list(Severity)
    return sorted(groups.values(), key=lambda group: order.index(group[0].severity))


def _print_finding(out: Console, finding: Finding, vids: list[int]) -> None:
    line = Text()
    line.append(f"{finding.severity!s:<8}", _STYLE[finding.severity])
    line.append(f"{finding.code!s:<24}", "bold")
    line.append(finding.message)
    if vids:
        line.append(f" (VID {', '.join(map(str, vids))})")
    out.print(line)
    if finding.fix and finding.severity is not Severity.INFO:
        out.print(Text(f"{'':<8}fix: {finding.fix}", "dim"))


def _verdict(view: View) -> Text:
    counts = dict.fromkeys(Severity, 0)
    for finding in view.plan.findings:
        counts[finding.severity] += 1
    numbers = ", ".join(
        f"{count} {severity}{'s' if count != 1 and severity is not Severity.INFO else ''}"
        for severity, count in counts.items()
    )
    managed = sum(guest.managed for guest in view.intent.ports)
    if counts[Severity.ERROR]:
        how = "run 'macmgr apply' to repair" if view.plan.changes else "no change of the MAC table repairs it"
        return Text(f"Drift: {numbers}; {how}.", "red")
    return Text(f"In sync: {managed} managed port{'s' if managed != 1 else ''}, {numbers}.", "green")


def _change_in_words(change: Change) -> str:
    if isinstance(change, SetEntries):
        return "; ".join(" ".join(bridge_command(request)) for request in requests(change))
    return " ".join(bridge_command(next(iter(requests(change)))))


def _on(value: bool) -> str:
    return "on" if value else "off"
