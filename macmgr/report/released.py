"""Reports a release: each port's state now, what could not be released, and who would take the port again."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.text import Text

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Fixes
from macmgr.model.flags import FLAGS
from macmgr.model.intent import observe_nothing
from macmgr.model.snapshot import Entry, EntryState
from macmgr.model.vids import fold_vids
from macmgr.oneline import unbroken
from macmgr.report.auditdocument import fix_document
from macmgr.view import Released, ReleasedPort


def release_document(released: Released) -> dict[str, Any]:
    """Returns the released ports, and the entries that no change clears, as JSON."""
    fixes = Fixes()
    return {
        "version": 1,
        "complete": released.complete and not released.outcome.view.skipped,
        "ports": [_port_document(released, back) for back in released.ports],
        "left": [
            {
                "port": each.port,
                "mac": each.mac,
                "vid": each.vid,
                "message": each.message,
                **fix_document(fixes.of(each)),
            }
            for each in released.outcome.view.plan.findings
        ],
    }


def print_release(out: Console, released: Released, observes: Callable[[str], bool] = observe_nothing) -> None:
    """Prints the released ports and what is left to do. Where macmgr only ``observes``, nobody takes them again."""
    outcome = released.outcome
    for back in released.ports:
        bridge = outcome.view.snapshot.ports[back.port].bridge
        line = Text("given back  ", "green")
        line.append(unbroken(f"{back.port} on {bridge}{f' ({back.domain})' if back.domain else ''}"), "bold")
        line.append(unbroken(f", {back.because or 'nothing had to be changed'}: {_in_words(released, back)}"), "none")
        out.print(line)
    for failure in outcome.failures:
        out.print(Text(unbroken(f"failed      {failure.change.domain or failure.change.bridge}: {failure.why}"), "red"))
    left, fixes = outcome.view.plan.findings, Fixes()
    for finding in left:
        out.print(Text(unbroken(f"left        {finding.message}; to clear it: {fixes.of(finding).text}"), "red"))
    if not outcome.complete:
        out.print(f"{len(outcome.view.plan.changes)} changes remain to be made; run 'macmgr release' again.")
    elif not released.ports and not outcome.done and not left:
        out.print("There is nothing to give back: macmgr manages no port here.")
    given = {back.port for back in released.ports}
    wanted = [guest for guest in outcome.view.intent.ports if guest.managed and not observes(guest.bridge)]
    again = [guest.port for guest in wanted if guest.port in given]
    if again:
        out.print(
            f"The policy still manages {', '.join(again)}: the next hook or 'macmgr apply' takes them again. 'macmgr "
            f"explain {shlex.quote(again[0])}' says what asks for it; 'macmgr uninstall' removes the hooks."
        )


def _in_words(released: Released, back: ReleasedPort) -> str:
    flags = released.outcome.view.snapshot.ports[back.port].flags
    words = [flag.says(flags.value(flag)) for flag in FLAGS if flags.value(flag) is not None]
    by_kind: dict[tuple[str, str], list[int]] = {}
    for entry in _entries(released, back):
        by_kind.setdefault((entry.mac, entry.in_words), []).append(entry.vid)
    entries = [f"{mac} {kind} (VID {fold_vids(sorted(vids))})" for (mac, kind), vids in by_kind.items()]
    return "; ".join([", ".join(words), *entries])


def _port_document(released: Released, back: ReleasedPort) -> dict[str, Any]:
    port = released.outcome.view.snapshot.ports[back.port]
    return {
        "port": port.name,
        "bridge": port.bridge,
        "domain": back.domain,
        "because": back.because,
        **port.flags.document(),
        "static": [
            {"mac": entry.mac, "vid": entry.vid, "sticky": entry.sticky}
            for entry in _entries(released, back)
            if entry.state is EntryState.STATIC
        ],
    }


def _entries(released: Released, back: ReleasedPort) -> list[Entry]:
    """Returns the static entries that lead to the port now, and those that were static before."""
    let_go = {change.mac for change in released.outcome.done if isinstance(change, SetEntries)}
    return [
        entry
        for entry in released.outcome.view.snapshot.fdb.of_port(back.port)
        if (entry.state is EntryState.STATIC or (entry.state is EntryState.DYNAMIC and entry.mac in let_go))
    ]
