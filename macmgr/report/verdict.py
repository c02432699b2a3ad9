"""Gives the verdict: one word for scripts, one line for people. It never calls unseen things in sync."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from macmgr.model.findings import Code, Consequence, Finding, Severity
from macmgr.model.intent import GuestPort
from macmgr.phrases import are, counted, first_few
from macmgr.planning.reached import unreached
from macmgr.planning.reading import left_to_the_kernel
from macmgr.view import View

MARKED = " (marked *)"  # in the lines below the answer
_FEW = 5  # guests that a line names
_ALL = {1: "the error", 2: "both errors"}


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
    """Returns the verdict on the scope: who is cut off first, then what an apply repairs and what needs a person."""
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
    errors = [finding for finding in others if finding.severity is Severity.ERROR]
    sentences = [who_is_cut_off(view)] if view.cut_off else []
    if errors:
        nobody = "Nobody is cut off. " if _nobody_is_cut_off(view) else ""
        sentences.append(f"{nobody}{_repairs(view, errors)}{_warnings(others)}.")
    elif word is Word.CUT_OFF:
        number = sum(finding.severity is Severity.WARNING for finding in findings)
        sentences.append(
            f"No apply repairs that; {counted(number, 'warning')} {'says' if number == 1 else 'say'} what does."
        )
    elif compared:
        managed = [name for name in bridges if name not in observed]
        risk = any(guest.port in at_risk for guest in obeyed)
        sentences.append(
            f"{_state(managed, risk=risk, of_all=not observed)}: {_what(obeyed, managed)}, {_numbers(others)}."
        )
    if not ports and not bridges:
        sentences.append(_nothing(view))
    if observed:
        sentences.append(_observed(view, observed, [finding for finding in findings if finding.bridge in observed]))
    return Verdict(word, " ".join([*sentences, *_risk(view, at_risk)]), at_risk)


def _nobody_is_cut_off(view: View) -> bool:
    """Nor is anybody of whom the model cannot say, as on a bridge whose table was not read to its end."""
    running = {guest.port for guest in view.guests if guest.running}
    errors = (each for each in view.plan.findings if each.port in running and each.severity is Severity.ERROR)
    unsure = any(each.reached is None and each.consequence is Consequence.CUT_OFF for each in errors)
    return not view.cut_off and not unsure


def needs_person(finding: Finding) -> bool:
    """An error that no apply repairs."""
    return finding.severity is Severity.ERROR and not finding.changes


def who_is_cut_off(view: View, *, still: bool = False) -> str:
    """Returns the sentence that names them, each with the code of what cuts it off."""
    names = list(named_cut_off(view))
    cut = "still cut off" if still else "cut off"
    if len(names) == 1:
        return f"{names[0][0]} is {cut}{f' ({names[0][1]})' if names[0][1] else ''}."
    said = [f"{name} ({why})" if why else name for name, why in names]
    return f"{len(names)} guests are {cut}: {first_few(said, _FEW)}."


def named_cut_off(view: View) -> Iterator[tuple[str, str]]:
    """Yields each guest that is cut off and the code of what does it; of one that has others, the address that is."""
    cuts = [
        each
        for each in view.plan.findings
        if each.consequence is Consequence.CUT_OFF and each.severity is not Severity.INFO
    ]
    by_frames = {reach.guest.domain for reach, _ in unreached(view.reaches)}
    for domain in view.cut_off:
        own = {guest.macs[0]: guest.bridge for guest in view.guests if guest.domain == domain}
        mine = [each for each in cuts if each.domain == domain and each.reached is False]
        mine.sort(key=lambda each: each.mac not in ("", *own))
        mine += [each for each in cuts if each.domain is None and each.bridge in own.values()]
        only = bool(mine) and mine[0].mac not in ("", *own) and domain not in by_frames
        yield f"{mine[0].mac} of {domain}" if only else domain, str(mine[0].code) if mine else ""


def _repairs(view: View, errors: list[Finding]) -> str:
    """Says how many of the errors an apply repairs, and how many need a person."""
    by_hand = sum(map(needs_person, errors))
    if by_hand == len(errors):
        return f"{counted(by_hand, 'error')} {_need(by_hand)} you{MARKED}"
    apply = f"'{command(view, 'apply')}' fixes"
    if not by_hand:
        return f"{apply} {_ALL.get(len(errors), f'all {len(errors)} errors')}"
    of = f"{apply} {len(errors) - by_hand} of {len(errors)} errors"
    return f"{of}; {by_hand} {_need(by_hand)} you{MARKED}"


def _need(number: int) -> str:
    return "needs" if number == 1 else "need"


def _warnings(findings: Iterable[Finding]) -> str:
    number = sum(finding.severity is Severity.WARNING for finding in findings)
    return f"; {counted(number, 'warning')}" if number else ""


def _state(managed: list[str], *, risk: bool, of_all: bool) -> str:
    """Speaks of the whole scope; if a part of it is observe-only, of the managed bridges."""
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
    would = (
        f"{counted(number, 'change')} would be made ('{command(view, 'plan')}')"
        if number
        else ("nothing would be changed")
    )
    by_hand = sum(map(needs_person, findings))
    need = f"; {counted(by_hand, 'error')} {_need(by_hand)} you{MARKED}" if by_hand else ""
    nobody = "; nobody is cut off now" if _nobody_is_cut_off(view) else ""
    return f"{names}: {would}{need}{_warnings(findings)}{nobody}."


def command(view: View, verb: str) -> str:
    words = [f"--bridge={bridge}" for bridge in sorted(view.scope.bridges or ())]
    words += [f"--domain={view.scope.domain}"] if view.scope.domain is not None else []
    return shlex.join(["macmgr", verb, *words])


def _risk(view: View, at_risk: frozenset[str]) -> Iterator[str]:
    domains = sorted({guest.domain for guest in view.guests if guest.port in at_risk}.difference(view.cut_off))
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
