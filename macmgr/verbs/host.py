"""Verbs that look at the host (audit, plan, show, explain, doctor), and what all verbs of a host need.

Each reads its sources, takes one look, prints it, and returns an exit code. The printers for people are imported where
they print: rich takes a fifth of a document's time.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from macmgr import errors, hookcheck, paths, virsh
from macmgr.capture.origin import AnyKernel, Origin
from macmgr.config import load_config
from macmgr.doctor.diagnose import diagnose
from macmgr.errors import NotThere, did_you_mean, no_bridge
from macmgr.kernel import Kernel
from macmgr.kernel.edge import collector_paused
from macmgr.model.changes import Change, bridge_command, requests
from macmgr.model.findings import Code, Severity
from macmgr.model.intent import Intent, Scope
from macmgr.model.known import Known
from macmgr.oneline import harmless_json, one_line
from macmgr.planning.reading import NOTHING_BESIDE, Beside
from macmgr.reconcile import MOMENT, look
from macmgr.report.auditdocument import audit_document
from macmgr.report.diagnosisdocument import diagnosis_document
from macmgr.report.explain import NO_DEVICES, explain, macs_meant, through_tunnel
from macmgr.sources.statusfiles import Disk, LibvirtState
from macmgr.state.memory import read_memory
from macmgr.state.observedfile import read_observed
from macmgr.verbs.progress import JUDGING, READING, Progress, ToldKernel
from macmgr.view import View, judged
from macmgr.vlanfiltering import with_next_starts
from macmgr.wanted import wanted

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True, slots=True)
class Host:
    read_intent: Callable[[], Intent]
    scope: Scope
    netns: str | None
    known: Known
    origin: Origin

    def kernel(self) -> AnyKernel:
        return self.origin.kernel()


@collector_paused()
def audit(arguments: argparse.Namespace) -> int:
    view = view_of(arguments, Beside(bystanders=True))
    origin = origin_of(arguments)
    strict = arguments.strict or origin.config().strict
    if arguments.format == "prometheus":
        from macmgr.report.hostmetrics import host_metrics

        print(host_metrics(view, origin.now().timestamp()), end="")
        return errors.IN_SYNC  # the metrics say the rest: a script that keeps them must not stop at drift
    if arguments.format == "plugin":
        from macmgr.report.pluginline import plugin_answer

        state, line = plugin_answer(view, strict=strict)
        print(line)
        return state
    if arguments.format == "json":
        print_json(_document(view, origin))
    elif arguments.format == "html":
        _print_page(view, arguments, origin)
    else:
        from macmgr.report.audittext import print_audit

        print_audit(out(arguments), view, problems=arguments.problems, verbose=arguments.verbose)
    severities = {finding.severity for finding in view.plan.findings}
    drift = Severity.ERROR in severities or (strict and Severity.WARNING in severities)
    return errors.DRIFT if drift else errors.IN_SYNC


def _print_page(view: View, arguments: argparse.Namespace, origin: Origin) -> None:
    from macmgr.graphviz import svg_of
    from macmgr.report.auditpage import audit_page
    from macmgr.report.dotpicture import dot_of
    from macmgr.report.painter import picture_of

    problems, verbose = arguments.problems, arguments.verbose
    drawn = "", ""
    if not problems:
        try:
            drawn = svg_of(dot_of(replace(picture_of(view, each=verbose), title=""))), ""  # the page has the title
        except NotThere as error:
            drawn = "", str(error)
    print(audit_page(view, origin.name, _now(origin), drawn, problems=problems, verbose=verbose), end="")


@collector_paused()
def plan(arguments: argparse.Namespace) -> int:
    view = view_of(arguments)
    if arguments.format == "json":
        commands, observed = map(commands_of, (view.plan.changes, view.observed))
        print_json({"version": 1, "commands": commands, "observed": observed})
    else:
        from macmgr.report.planlines import print_plan

        print_plan(out(arguments), view, verbose=arguments.verbose)
    return errors.DRIFT if view.plan.changes or view.observed else errors.IN_SYNC


@collector_paused()
def show(arguments: argparse.Namespace) -> int:
    view = view_of(arguments, Beside(bystanders=True))
    if arguments.format == "json":
        print_json({"version": 1, "bridges": _document(view, origin_of(arguments))["bridges"]})
    else:
        from macmgr.report.audittext import print_show

        print_show(out(arguments), view, verbose=arguments.verbose)
    return errors.IN_SYNC


def explain_one(arguments: argparse.Namespace) -> int:
    host = host_of(arguments)
    with host.kernel() as kernel:
        there = kernel.read_snapshot(()).bridge_of(arguments.what)
    bridges = frozenset({there}) if there else frozenset()
    beside = Beside(bridges, macs=macs_meant(arguments.what), bystanders=True)
    view = view_of(arguments, beside)
    devices = NO_DEVICES
    if through_tunnel(view, arguments.what):
        with host.kernel() as kernel:
            devices = kernel.read_devices()
    explanations = explain(view, arguments.what, devices)
    if arguments.format == "json":
        print_json({"version": 1, "explanations": [each.document() for each in explanations]})
    else:
        from macmgr.report.explaintext import print_explanations

        print_explanations(out(arguments), explanations, verbose=arguments.verbose)
    return errors.IN_SYNC


def doctor(arguments: argparse.Namespace) -> int:
    """Print the causes of promiscuous ports, and the steps against them. Change nothing; no answer is a failure."""
    host = host_of(arguments)
    with host.kernel() as kernel:
        check_bridge(arguments, kernel)
        bridges = frozenset({arguments.bridge}) if arguments.bridge else frozenset()
        view = judged(look(host.read_intent, kernel, known=host.known, beside=Beside(bridges, whole=True)))
        diagnosis = diagnose(view.intent, view.snapshot, kernel.read_devices(), view.plan.findings, arguments.bridge)
    hooks = host.origin.hooks()
    if arguments.format == "json":
        print_json(diagnosis_document(diagnosis, host.origin.name, _now(host.origin), hooks))
    else:
        from macmgr.report.diagnosis import print_diagnosis, print_hooks

        print_hooks(out(arguments), hooks)
        print_diagnosis(out(arguments), diagnosis, host.scope.observes)
    return errors.IN_SYNC


def view_of(arguments: argparse.Namespace, beside: Beside = NOTHING_BESIDE) -> View:
    host = host_of(arguments)
    memory, problem = host.origin.memory()
    warn(problem)
    with Progress("looking at this host") as progress:
        with host.kernel() as kernel:
            check_bridge(arguments, kernel)
            known = replace(host.known, memory=memory)
            read, told = progress.telling(READING, host.read_intent), ToldKernel(kernel, progress)
            view = look(read, told, host.scope, known, moment=a_moment, beside=beside)
            if arguments.verb in ("audit", "explain"):  # the others print no findings
                view = with_next_starts(view, kernel)
        progress.say(JUDGING)
        return judged(view)


def a_moment() -> None:
    time.sleep(MOMENT)


def warn(problem: str) -> None:
    """Print one line on stderr, such as a problem with the memory: it never fails the verb."""
    if problem:
        print(one_line(f"macmgr: {problem}"), file=sys.stderr)


def origin_of(arguments: argparse.Namespace) -> Origin:
    """Returns this host, or with `--replay` the one that was captured."""
    replay: Path | None = getattr(arguments, "replay", None)
    return _this_host(arguments) if replay is None else _captured(replay)


@lru_cache(maxsize=1)  # a verb asks several times
def _captured(source: Path) -> Origin:
    from macmgr.capture.replaying import origin_of_capture  # a look at the host itself does not need it

    return origin_of_capture(source)


def _this_host(arguments: argparse.Namespace) -> Origin:
    def hooks() -> tuple[str, ...]:
        here = arguments.run_dir == paths.LIBVIRT_RUN and arguments.netns is None
        return hookcheck.problems(paths.LIBVIRT_HOOKS, unit=paths.UNITS / hookcheck.UNIT) if here else ()

    return Origin(
        name=socket.gethostname(),
        now=lambda: datetime.now(UTC),
        run_dir=arguments.run_dir,
        files=Disk(),
        config=lambda: load_config(arguments.config),
        kernel=lambda: Kernel(arguments.netns),
        memory=lambda: read_memory(arguments.netns),
        seen=lambda: read_observed(arguments.netns),
        hooks=hooks,
    )


def host_of(arguments: argparse.Namespace) -> Host:
    origin = origin_of(arguments)
    config, seen = origin.config(), origin.seen()
    warn(seen.problem)

    def read_intent() -> Intent:
        return wanted(read_state(), config)

    named = arguments.bridge if arguments.verb in ("apply", "plan") else None

    def observes(bridge: str) -> bool:
        return bridge != named and config.observes(bridge)

    read_state = _source(arguments, origin)
    if arguments.domain is not None or arguments.network is not None:
        _check_names(arguments, read_state())
    bridges = None if arguments.bridge is None else frozenset({arguments.bridge})
    scope = Scope(arguments.domain, bridges, observes=observes)
    known = Known(
        seen=seen.records,
        seen_lost=seen.lost,
        cut=getattr(arguments, "cut", False),
        vlans=getattr(arguments, "vlans", False),
    )
    return Host(read_intent, scope, arguments.netns, known, origin)


def _consents(arguments: argparse.Namespace) -> dict[str, bool]:
    return {name: getattr(arguments, name, False) for name in ("cut", "vlans")}


def _source(arguments: argparse.Namespace, origin: Origin) -> Callable[[], LibvirtState]:
    """Returns a reader of libvirt's status files, or of its API with `--source libvirt`."""
    if arguments.source == "libvirt":
        from macmgr.sources.hypervisor import read_host

        return partial(read_host, arguments.connect)
    return origin.read_libvirt()


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


def check_bridge(arguments: argparse.Namespace, kernel: AnyKernel) -> None:
    """An empty name, as of a script's unset variable, names no bridge: it must not mean all of them."""
    if arguments.bridge is not None and arguments.bridge not in (bridges := kernel.read_snapshot(()).bridges):
        raise no_bridge(arguments.bridge, bridges)


def commands_of(changes: Iterable[Change]) -> list[list[str]]:
    return [bridge_command(request) for change in changes for request in requests(change)]


def _document(view: View, origin: Origin) -> dict[str, Any]:
    return audit_document(view, origin.name, _now(origin))


def _now(origin: Origin) -> str:
    return origin.now().strftime("%Y-%m-%dT%H:%M:%SZ")


def print_json(document: dict[str, Any]) -> None:
    print(harmless_json(json.dumps(document, indent=2, ensure_ascii=False)))


def out(arguments: argparse.Namespace) -> Console:
    from macmgr.report.terminal import console

    return console(not arguments.no_color and "NO_COLOR" not in os.environ and sys.stdout.isatty())
