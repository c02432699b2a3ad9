"""Gives the verdict: one word for scripts, one line for people. It never calls unseen things in sync."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from macmgr.model.findings import Code, Finding, Severity
from macmgr.model.intent import GuestPort
from macmgr.phrases import are, counted, first_few
from macmgr.planning.reading import left_to_the_kernel
from macmgr.view import View

_FEW = 5  # guests that a line names


class Word(StrEnum):
    """The verdict of an audit: the first true one of these."""

    DRIFT = "drift"  # an error was found
    CUT_OFF = "cut-off"  # no error, but a guest is not reached from beyond this host
    NOTHING = "nothing-managed"  # no bridge and no port in scope is managed
    OBSERVED = "observed"  # all that is managed in scope is observe-only
    AT_RISK = "at-risk"  # one frame from the LAN can cut a guest off
    IN_SYNC = "in-sync"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One look's verdict, as a word and as ``text``. One frame can move the entries of the ports in ``at_risk``."""

    word: Word
    text: str
    at_risk: frozenset[str]


def verdict_of(view: View) -> Verdict:
    """Returns the verdict on the scope."""
    findings = view.plan.findings
    at_risk = _at_risk(view)
    ports = [guest for guest in view.guests if guest.managed]
    bridges = [bridge.name for bridge in view.bridges if bridge.name in view.intent.managed_bridges]
    if view.scope.domain is not None:  # the scope of a domain is its ports, not the rest of its bridge
        bridges = [name for name in bridges if any(guest.bridge == name for guest in ports)]
    observes = view.scope.observes
    observed = [name for name in bridges if observes(name)]
    obeyed = [guest for guest in ports if not observes(guest.bridge)]
    compared = bool(obeyed) or len(observed) < len(bridges)
    word = Word.IN_SYNC
    if any(finding.severity is Severity.ERROR for finding in findings):
        word = Word.DRIFT
    elif view.cut_off:
        word = Word.CUT_OFF
    elif not ports and not bridges:
        word = Word.NOTHING
    elif not compared:
        word = Word.OBSERVED
    elif at_risk:
        word = Word.AT_RISK
    others = [finding for finding in findings if finding.bridge not in observed]
    errors = any(finding.severity is Severity.ERROR for finding in others)
    sentences = []
    if errors:
        repair = f"run '{_command(view, 'apply')}' to repair"
        how = repair if view.plan.changes else "no change of the MAC table repairs it"
        sentences.append(f"Drift: {_numbers(others)}; {how}.")
    elif compared:
        managed = [name for name in bridges if name not in observed]
        if word is Word.CUT_OFF:
            sentences.append(f"{first_few(view.cut_off, _FEW)} {are(view.cut_off)} cut off.")
        risk = any(guest.port in at_risk for guest in obeyed)
        state = _state(managed, risk=risk, cut=word is Word.CUT_OFF, of_all=not observed)
        sentences.append(f"{state}: {_what(obeyed, managed)}, {_numbers(others)}.")
    if not ports and not bridges:
        sentences.append(_nothing(view))
    if observed:
        sentences.append(_observed(view, observed, [finding for finding in findings if finding.bridge in observed]))
    return Verdict(word, " ".join([*sentences, *_risk(view, at_risk)]), at_risk)


def _state(managed: list[str], *, risk: bool, cut: bool, of_all: bool) -> str:
    """Speaks of the whole scope; if a part of it is observe-only, of the managed bridges."""
    if cut:
        return "The tables are as wanted" if of_all else f"the tables of {', '.join(managed)} are as wanted"
    if of_all:
        return "At risk" if risk else "In sync"
    return f"{', '.join(managed)} {are(managed)} {'at risk' if risk else 'in sync'}"


def _what(guests: list[GuestPort], bridges: list[str]) -> str:
    if guests:
        return counted(len(guests), "managed port")
    return f"no guest has a managed port on {', '.join(bridges)}"


def _nothing(view: View) -> str:
    where = "here" if view.scope.whole else "in what was asked about"
    return f"Nothing is managed {where}: {left_to_the_kernel(view.guests)}. 'macmgr show' lists bridges and guests."


def _observed(view: View, bridges: list[str], findings: list[Finding]) -> str:
    names = f"{', '.join(bridges)} {are(bridges)} only observed"
    number = len(view.observed)
    would = f"{counted(number, 'change')} would be made ('{_command(view, 'plan')}')"
    return f"{names}: {would if number else 'nothing would be changed'}; {_numbers(findings)}."


def _command(view: View, verb: str) -> str:
    words = [f"--bridge={bridge}" for bridge in sorted(view.scope.bridges or ())]
    words += [f"--domain={view.scope.domain}"] if view.scope.domain is not None else []
    return shlex.join(["macmgr", verb, *words])


def _risk(view: View, at_risk: frozenset[str]) -> Iterator[str]:
    domains = sorted({guest.domain for guest in view.guests if guest.port in at_risk})
    if domains:
        yield f"{counted(len(domains), 'guest')} can be cut off by one frame from the LAN: {first_few(domains, _FEW)}."


def _at_risk(view: View) -> frozenset[str]:
    findings = (finding for finding in view.plan.findings if finding.code is Code.NOT_STICKY)
    # each MAC once: on a trunk it has thousands of findings, and as many entries
    found = {(finding.port, finding.bridge, finding.mac) for finding in findings}
    if not found:
        return frozenset()
    fdb = view.snapshot.fdb
    return frozenset(
        port
        for port, bridge, mac in found
        if not all(entry.sticky for entry in fdb.static_on(port, bridge, mac).values())
    )


def _numbers(findings: Iterable[Finding]) -> str:
    counts = dict.fromkeys(Severity, 0)
    for finding in findings:
        counts[finding.severity] += 1
    return ", ".join(
        f"{count} {severity}" if severity is Severity.INFO else counted(count, str(severity))
        for severity, count in counts.items()
    )
