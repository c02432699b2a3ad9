"""Reports a release: each port's state now, what could not be released, and who would take the port again."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code, Finding, Fixes
from macmgr.model.flags import FLAGS
from macmgr.model.intent import observe_nothing
from macmgr.model.snapshot import Entry, EntryState
from macmgr.model.vids import fold_vids
from macmgr.phrases import counted, first_few
from macmgr.report.auditdocument import fix_document
from macmgr.report.terminal import print_wrapped
from macmgr.view import Released, ReleasedPort

_WORD = 12
_FEW = 5  # ports and guests that a sentence names


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
    """Prints what is given back, what is not and for whom, and who takes it again; then each port as it is now.

    Where macmgr only ``observes``, nobody takes a port again.
    """
    for sentence, style in _answer(released, observes):
        print_wrapped(out, Text(), sentence, 2, style)
    outcome, fixes = released.outcome, Fixes()
    for failure in outcome.failures:
        _print_row(out, "failed", f"{failure.change.domain or failure.change.bridge}: {failure.why}", "red")
    for finding in _to_clear(released):
        _print_row(out, "left", f"{finding.message}; to clear it: {fixes.of(finding).text}", "red")
    for finding in outcome.view.plan.findings:
        if finding.code is Code.WOULD_HARM:
            _print_row(out, "left out", finding.message, "red")
    for back in released.ports:
        bridge = outcome.view.snapshot.ports[back.port].bridge
        whose = f"{back.port} on {bridge}{f' ({back.domain})' if back.domain else ''}"
        said = f"{whose}, {back.because or 'nothing had to be changed'}: {_in_words(released, back)}"
        _print_row(out, "given back", said, "green")


def _print_row(out: Console, word: str, said: str, style: str) -> None:
    print_wrapped(out, Text(f"{word:<{_WORD}}", style), said, _WORD)


def _answer(released: Released, observes: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    outcome = released.outcome
    changes, left, stay = outcome.view.plan.changes, _to_clear(released), _that_stay(released)
    if released.ports:
        names = [f"{back.port}{f' of {back.domain}' if back.domain else ''}" for back in released.ports]
        yield f"{counted(len(names), 'port')} given back to the kernel: {first_few(names, _FEW)}.", "green"
    if changes:
        whose = sorted({change.domain or change.bridge for change in changes})
        number = counted(len(changes), "change")
        yield f"{number} for {first_few(whose, _FEW)} remain to be made; run 'macmgr release' again.", "red"
    if left:
        whose = sorted({finding.domain or finding.bridge for finding in left})
        yield f"{counted(len(left), 'thing')} of {first_few(whose, _FEW)} can only be cleared by hand.", "red"
    if stay:
        names = [f"{each.port}{f' of {each.domain}' if each.domain else ''}" for each in stay]
        bridges = {each.bridge for each in stay}
        named = f" --bridge {shlex.quote(*bridges)}" if len(bridges) == 1 else ""
        yield (
            f"Left as macmgr made them, because a guest would be harmed: {first_few(names, _FEW)}. "
            f"'macmgr release --cut{named}' gives them back anyway.",
            "red",
        )
    if not (released.ports or changes or left or stay or outcome.done):
        yield "There is nothing to give back: macmgr manages no port here.", ""
    given = {back.port for back in released.ports}
    wanted = [guest for guest in outcome.view.intent.ports if guest.managed and not observes(guest.bridge)]
    if again := [guest.port for guest in wanted if guest.port in given]:
        yield (
            f"The policy still manages {first_few(again, _FEW)}: the next hook or 'macmgr apply' takes them again. "
            f"'macmgr explain {shlex.quote(again[0])}' says what asks for it; 'macmgr uninstall' removes the hooks.",
            "yellow",
        )


def _not_given_back(released: Released) -> list[Finding]:
    return [each for each in released.outcome.view.plan.findings if each.code is Code.NOT_GIVEN_BACK]


def _to_clear(released: Released) -> list[Finding]:
    """What only a person can clear: no change names it."""
    return [each for each in _not_given_back(released) if each.mac]


def _that_stay(released: Released) -> list[Finding]:
    """The ports that are left as macmgr made them, because giving them back would harm a guest."""
    return [each for each in _not_given_back(released) if not each.mac]


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
