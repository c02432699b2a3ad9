"""Verbs that look at the host (audit, plan, show, explain, doctor), and those that change it (apply, release).

Each reads its sources, takes one look, prints it, and returns an exit code. The printers for people are imported where
they print: rich takes a fifth of a document's time.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from macmgr import errors, hookcheck, paths, virsh
from macmgr.config import load_config
from macmgr.doctor.diagnose import diagnose
from macmgr.errors import NotThere, did_you_mean, no_bridge
from macmgr.kernel import Kernel
from macmgr.kernel.edge import collector_paused
from macmgr.model.changes import Change, bridge_command, requests
from macmgr.model.findings import Code, Severity
from macmgr.model.intent import Intent, Scope, observe_nothing
from macmgr.model.known import Known
from macmgr.oneline import harmless, harmless_json, one_line
from macmgr.planning.reading import NOTHING_BESIDE, Beside
from macmgr.reconcile import MOMENT, apply, look, release
from macmgr.report.auditdocument import audit_document, outcome_document
from macmgr.report.diagnosisdocument import diagnosis_document
from macmgr.report.explain import explain, macs_meant
from macmgr.sources.statusfiles import LibvirtState, StatusFiles
from macmgr.state import lock
from macmgr.state.memory import StateFile, read_memory
from macmgr.state.observedfile import read_observed
from macmgr.view import View
from macmgr.vlanfiltering import Answer, turn_on
from macmgr.wanted import wanted


@dataclass(frozen=True, slots=True)
class _Host:
    """The sources of this call, and its scope on the host."""

    read_intent: Callable[[], Intent]
    scope: Scope
    netns: str | None
    known: Known


@collector_paused()
def audit(arguments: argparse.Namespace) -> int:
    """Compare, print the verdict, and change nothing."""
    view = _look(arguments, Beside(bystanders=True))
    if arguments.format == "json":
        _print_json(_document(view))
    else:
        from macmgr.report.text import console, print_audit

        print_audit(console(_color(arguments)), view)
    severities = {finding.severity for finding in view.plan.findings}
    strict = arguments.strict or load_config(arguments.config).strict
    drift = Severity.ERROR in severities or (strict and Severity.WARNING in severities)
    return errors.DRIFT if drift else errors.IN_SYNC


@collector_paused()
def plan(arguments: argparse.Namespace) -> int:
    """Print the changes that apply would make."""
    view = _look(arguments)
    if arguments.format == "json":
        commands, observed = map(_commands, (view.plan.changes, view.observed))
        _print_json({"version": 1, "commands": commands, "observed": observed})
    else:
        from macmgr.report.text import console, print_plan

        print_plan(console(_color(arguments)), view)
    return errors.DRIFT if view.plan.changes or view.observed else errors.IN_SYNC


@collector_paused()
def show(arguments: argparse.Namespace) -> int:
    """Print bridges, ports, guests, MACs and promiscuity."""
    view = _look(arguments, Beside(bystanders=True))
    if arguments.format == "json":
        _print_json({"version": 1, "bridges": _document(view)["bridges"]})
    else:
        from macmgr.report.text import console, print_show

        print_show(console(_color(arguments)), view)
    return errors.IN_SYNC


def explain_one(arguments: argparse.Namespace) -> int:
    """Print what the XML, the policy and the kernel say of one MAC, port, bridge or domain."""
    host = _host(arguments)
    with Kernel(host.netns) as kernel:
        there = kernel.read_snapshot(()).bridge_of(arguments.what)
    bridges = frozenset({there}) if there else frozenset()
    beside = Beside(bridges, macs=macs_meant(arguments.what), bystanders=True)
    explanations = explain(_look(arguments, beside), arguments.what)
    if arguments.format == "json":
        _print_json({"version": 1, "explanations": [each.document() for each in explanations]})
    else:
        from rich.text import Text

        from macmgr.report.text import console

        text = Text(harmless("\n\n".join(map(str, explanations))))
        text.highlight_regex(r"\berror [a-z]+(-[a-z]+)*:", "red")
        text.highlight_regex(r"\bwarning [a-z]+(-[a-z]+)*:", "yellow")
        console(_color(arguments)).print(text, soft_wrap=True)
    return errors.IN_SYNC


def apply_changes(arguments: argparse.Namespace) -> int:
    """Make the changes and read them back."""
    host = _host(arguments)
    if arguments.vlan_filtering is not None and host.scope.observes(arguments.vlan_filtering):
        return _refuse_observed(arguments)
    with Kernel(host.netns) as kernel, lock.hold() as held:
        _check_bridge(arguments, kernel)
        if arguments.vlan_filtering is not None:
            answer = turn_on(held, arguments.vlan_filtering, host.read_intent, kernel)
            _print_vlan_filtering(arguments, answer)
            if answer.cut:
                return errors.DRIFT
        notes = StateFile(held, host.netns)
        outcome = apply(held, host.read_intent, kernel, host.scope, notes, _a_moment, host.known)
    _warn(notes.problem)
    for bridge in sorted({change.bridge for change in outcome.view.observed}):
        _warn(
            f'{bridge} is only observed (mode = "observe"): see macmgr plan; '
            f"--bridge {shlex.quote(bridge)} changes it anyway"
        )
    if arguments.format == "json":
        _print_json(outcome_document(outcome))
    else:
        from macmgr.report.outcome import print_outcome
        from macmgr.report.text import console

        print_outcome(console(_color(arguments)), outcome)
    return errors.IN_SYNC if outcome.complete and not outcome.view.skipped else errors.DRIFT


def release_ports(arguments: argparse.Namespace) -> int:
    """Give ports back to the kernel as they were before macmgr."""
    host = _host(arguments)
    with Kernel(host.netns) as kernel, lock.hold() as held:
        _check_bridge(arguments, kernel)
        notes = StateFile(held, host.netns)
        scope = replace(host.scope, observes=observe_nothing)  # releases what macmgr made, on observe-only bridges too
        released = release(held, _or_nothing(host.read_intent), kernel, scope, notes, host.known)
    _warn(notes.problem)
    if arguments.format == "json":
        from macmgr.report.released import release_document

        _print_json(outcome_document(released.outcome) | release_document(released))
    else:
        from macmgr.report.released import print_release
        from macmgr.report.text import console

        print_release(console(_color(arguments)), released, host.scope.observes)
    return errors.IN_SYNC if released.complete else errors.DRIFT


def _or_nothing(read_intent: Callable[[], Intent]) -> Callable[[], Intent]:
    """Memory alone decides the release where libvirt is gone."""

    def read() -> Intent:
        try:
            return read_intent()
        except NotThere:
            return Intent()

    return read


def doctor(arguments: argparse.Namespace) -> int:
    """Print the causes of promiscuous ports, and the steps against them. Change nothing; no answer is a failure."""
    host = _host(arguments)
    with Kernel(host.netns) as kernel:
        _check_bridge(arguments, kernel)
        bridges = frozenset({arguments.bridge}) if arguments.bridge else frozenset()
        view = look(host.read_intent, kernel, known=host.known, beside=Beside(bridges, whole=True))
        diagnosis = diagnose(view.intent, view.snapshot, kernel.read_devices(), view.plan.findings, arguments.bridge)
    here = arguments.run_dir == paths.LIBVIRT_RUN and host.netns is None
    hooks = hookcheck.problems(paths.LIBVIRT_HOOKS) if here else ()
    if arguments.format == "json":
        _print_json(diagnosis_document(diagnosis, socket.gethostname(), _now(), hooks))
    else:
        from macmgr.report.diagnosis import print_diagnosis, print_hooks
        from macmgr.report.text import console

        print_hooks(console(_color(arguments)), hooks)
        print_diagnosis(console(_color(arguments)), diagnosis, host.scope.observes)
    return errors.IN_SYNC


def _look(arguments: argparse.Namespace, beside: Beside = NOTHING_BESIDE) -> View:
    host = _host(arguments)
    memory, problem = read_memory(host.netns)
    _warn(problem)
    with Kernel(host.netns) as kernel:
        _check_bridge(arguments, kernel)
        return look(
            host.read_intent, kernel, host.scope, replace(host.known, memory=memory), moment=_a_moment, beside=beside
        )


def _a_moment() -> None:
    time.sleep(MOMENT)


def _warn(problem: str) -> None:
    """Print one line on stderr, such as a problem with the memory: it never fails the verb."""
    if problem:
        print(one_line(f"macmgr: {problem}"), file=sys.stderr)


def _host(arguments: argparse.Namespace) -> _Host:
    config = load_config(arguments.config)
    seen = read_observed(arguments.netns)
    _warn(seen.problem)

    def read_intent() -> Intent:
        return wanted(read_state(), config)

    named = arguments.bridge if arguments.verb in ("apply", "plan") else None

    def observes(bridge: str) -> bool:
        return bridge != named and config.observes(bridge)

    read_state = _source(arguments)
    if arguments.domain is not None or arguments.network is not None:
        _check_names(arguments, read_state())
    scope = Scope(arguments.domain, _bridges(arguments), observes=observes)
    known = Known(seen=seen.records, seen_lost=seen.lost, cut=getattr(arguments, "cut", False))
    return _Host(read_intent, scope, arguments.netns, known)


def _source(arguments: argparse.Namespace) -> Callable[[], LibvirtState]:
    """Returns a reader of libvirt's status files, or of its API with `--source libvirt`."""
    if arguments.source == "libvirt":
        from macmgr.sources.hypervisor import read_host

        return partial(read_host, arguments.connect)
    return StatusFiles(arguments.run_dir).read


def _check_names(arguments: argparse.Namespace, sources: LibvirtState) -> None:
    """An unknown domain or network is an error: an empty audit would look like success.

    A domain with a status file that is not understood runs here: that finding is the answer.
    """
    running = {domain.name for domain in sources.domains}
    unread = {finding.domain for finding in sources.findings if finding.code is Code.UNREADABLE_XML}
    if arguments.domain is not None and arguments.domain not in running | unread:
        near = did_you_mean(arguments.domain, {*running, *filter(None, unread)})
        raise NotThere(f"domain {arguments.domain!r} does not run here; {virsh.DOMAINS}{near}")
    if arguments.network is not None:
        bridges = {network.name: network.bridge for network in sources.networks}
        if not bridges.get(arguments.network):
            near = did_you_mean(arguments.network, (name for name, bridge in bridges.items() if bridge))
            raise NotThere(f"network {arguments.network!r} is not active here or has no bridge; {virsh.NETWORKS}{near}")
        if arguments.bridge is not None and arguments.bridge != bridges[arguments.network]:
            raise NotThere(f"network {arguments.network!r} is on {bridges[arguments.network]}, not {arguments.bridge}")
        arguments.bridge = bridges[arguments.network]


def _check_bridge(arguments: argparse.Namespace, kernel: Kernel) -> None:
    """An empty name, as of a script's unset variable, names no bridge: it must not mean all of them."""
    if arguments.bridge is not None and arguments.bridge not in (bridges := kernel.read_snapshot(()).bridges):
        raise no_bridge(arguments.bridge, bridges)


def _bridges(arguments: argparse.Namespace) -> frozenset[str] | None:
    return None if arguments.bridge is None else frozenset({arguments.bridge})


def _refuse_observed(arguments: argparse.Namespace) -> int:
    """VLAN filtering decides which frames pass a bridge: that is a change, and this bridge is observe-only."""
    bridge = arguments.vlan_filtering
    _warn(
        f'{bridge} is only observed (mode = "observe"): VLAN filtering is left as it is; '
        f"--bridge {shlex.quote(bridge)} turns it on anyway"
    )
    if arguments.format == "json":
        refused = {"bridge": bridge, "would_be_cut": [], "observed": True}
        _print_json({"version": 1, "complete": False, "vlan_filtering_refused": refused})
    return errors.DRIFT


def _commands(changes: Iterable[Change]) -> list[list[str]]:
    return [bridge_command(request) for change in changes for request in requests(change)]


def _document(view: View) -> dict[str, Any]:
    return audit_document(view, socket.gethostname(), _now())


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _print_vlan_filtering(arguments: argparse.Namespace, answer: Answer) -> None:
    """Print the answer for people. JSON gets only a refusal: without one, the outcome's document follows."""
    if arguments.format != "json":
        from macmgr.report.diagnosis import print_vlan_filtering
        from macmgr.report.text import console

        print_vlan_filtering(console(_color(arguments)), arguments.vlan_filtering, answer)
    elif answer.cut:
        refused = {"bridge": arguments.vlan_filtering, "would_be_cut": list(answer.cut)}
        _print_json({"version": 1, "complete": False, "vlan_filtering_refused": refused})


def _print_json(document: dict[str, Any]) -> None:
    print(harmless_json(json.dumps(document, indent=2, ensure_ascii=False)))


def _color(arguments: argparse.Namespace) -> bool:
    return not arguments.no_color and "NO_COLOR" not in os.environ and sys.stdout.isatty()
