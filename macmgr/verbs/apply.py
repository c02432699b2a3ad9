"""Verbs that change the host: apply and release. The printers for people are imported where they print."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from dataclasses import replace

from macmgr import errors
from macmgr.config import load_config
from macmgr.errors import NotThere
from macmgr.model.findings import Code
from macmgr.model.intent import Intent, observe_nothing
from macmgr.reconcile import apply, release
from macmgr.report.auditdocument import apply_document, outcome_document
from macmgr.state import lock
from macmgr.state.memory import StateFile
from macmgr.verbs import trial
from macmgr.verbs.host import Host, a_moment, check_bridge, host_of, out, print_json, warn
from macmgr.verbs.progress import JUDGING, READING, Progress, ToldKernel
from macmgr.view import Outcome, judged
from macmgr.vlanfiltering import Answer, turn_on


def apply_changes(arguments: argparse.Namespace) -> int:
    if arguments.trial is not None:
        return _try_changes(arguments)
    return _apply_changes(arguments)


def _try_changes(arguments: argparse.Namespace) -> int:
    """Make the changes, and give them back unless a person says yes: exit code 0 only if they are kept."""
    bridge, config = arguments.bridge, load_config(arguments.config)
    if bridge is None or arguments.domain is not None or arguments.network is not None:
        arguments.parser.error("--try is for one bridge: give it with --bridge, and nothing else")
    if arguments.vlan_filtering is not None or arguments.format != "table":
        arguments.parser.error(
            "--try goes with neither --vlan-filtering nor --json: they do not go back, or ask nobody"
        )
    if not config.observes(bridge):
        raise NotThere(
            f"{bridge} cannot be tried: it is managed, so hooks and daemon would make the changes again; "
            f"'macmgr observe {shlex.quote(bridge)}' first"
        )
    trial.check_nothing_to_release(_checked(arguments), bridge)

    def go_back() -> bool:  # to what was there a moment ago, and all of it: nobody is there to be asked
        release = argparse.Namespace(**{**vars(arguments), "verb": "release", "cut": True})
        return release_ports(release) == errors.IN_SYNC

    with trial.guarded(arguments.trial, go_back) as guard:
        _apply_changes(arguments)
        code = guard.ends(keep=trial.is_confirmed(guard))
    if code == trial.KEPT:
        print(f"Kept. {bridge} is observed still: 'macmgr manage {shlex.quote(bridge)}' lets macmgr go on with it.")
        return errors.IN_SYNC
    if code != trial.WENT_BACK and not go_back():  # also if somebody has killed the guard
        raise NotThere(f"going back has not ended well: see 'macmgr release --bridge {shlex.quote(bridge)}'")
    print(f"Gone back: {bridge} is as it was before the trial.")
    return errors.DRIFT


def _checked(arguments: argparse.Namespace) -> Host:
    host = host_of(arguments)
    with host.kernel() as kernel:
        check_bridge(arguments, kernel)
    return host


def _apply_changes(arguments: argparse.Namespace) -> int:
    host = host_of(arguments)
    if arguments.vlan_filtering is not None and host.scope.observes(arguments.vlan_filtering):
        return _refuse_observed(arguments)
    with Progress("waiting for another macmgr to end its changes") as progress:
        answer, outcome, problem = _applied(arguments, host, progress)
    if answer is not None:
        _print_vlan_filtering(arguments, answer)
    if outcome is None:
        return errors.DRIFT
    warn(problem)
    for bridge in sorted({change.bridge for change in outcome.view.observed}):
        warn(
            f'{bridge} is only observed (mode = "observe"): see macmgr plan; '
            f"--bridge {shlex.quote(bridge)} changes it anyway"
        )
    if arguments.format == "json":
        print_json(apply_document(outcome))
    else:
        from macmgr.report.outcome import print_outcome

        print_outcome(out(arguments), outcome)
    left = outcome.view.skipped or outcome.errors
    return errors.IN_SYNC if outcome.complete and not left else errors.DRIFT


def _applied(
    arguments: argparse.Namespace, host: Host, progress: Progress
) -> tuple[Answer | None, Outcome | None, str]:
    """Returns what came of VLAN filtering, of the changes, and of the memory. Without the first, no change is made."""
    answer = None
    with host.kernel() as kernel, lock.hold() as held:
        check_bridge(arguments, kernel)
        if arguments.vlan_filtering is not None:
            answer = turn_on(held, arguments.vlan_filtering, host.read_intent, kernel)
            if answer.cut:
                return answer, None, ""
        notes = StateFile(held, host.netns)
        read, told = progress.telling(READING, host.read_intent), ToldKernel(kernel, progress)
        with notes.told():
            outcome = apply(held, read, told, host.scope, notes=notes, moment=a_moment, known=host.known)
    progress.say(JUDGING)  # nobody waits for the lock meanwhile
    return answer, replace(outcome, view=judged(outcome.view)), notes.problem


def release_ports(arguments: argparse.Namespace) -> int:
    host = host_of(arguments)
    with host.kernel() as kernel, lock.hold() as held:
        check_bridge(arguments, kernel)
        notes = StateFile(held, host.netns)
        scope = replace(host.scope, observes=observe_nothing)  # releases what macmgr made, on observe-only bridges too
        with notes.told():
            released = release(held, _or_nothing(host.read_intent), kernel, scope, notes, host.known)
    warn(notes.problem)
    if arguments.format == "json":
        from macmgr.report.released import release_document

        print_json(outcome_document(released.outcome) | release_document(released))
    else:
        from macmgr.report.released import print_release

        print_release(out(arguments), released, host.scope.observes)
    # what a file that could not be read says of these ports may be left to give back; one not written has them still
    unread = any(each.code is Code.UNREADABLE_XML for each in released.outcome.view.intent.findings)
    return errors.IN_SYNC if released.complete and not unread and not notes.problem else errors.DRIFT


def _or_nothing(read_intent: Callable[[], Intent]) -> Callable[[], Intent]:
    """Memory alone decides the release where libvirt is gone."""

    def read() -> Intent:
        try:
            return read_intent()
        except NotThere:
            return Intent()

    return read


def _refuse_observed(arguments: argparse.Namespace) -> int:
    """VLAN filtering decides which frames pass a bridge: that is a change, and this bridge is observe-only."""
    bridge = arguments.vlan_filtering
    warn(
        f'{bridge} is only observed (mode = "observe"): VLAN filtering is left as it is; '
        f"--bridge {shlex.quote(bridge)} turns it on anyway"
    )
    if arguments.format == "json":
        refused = {"bridge": bridge, "would_be_cut": [], "observed": True}
        print_json({"version": 1, "complete": False, "vlan_filtering_refused": refused})
    return errors.DRIFT


def _print_vlan_filtering(arguments: argparse.Namespace, answer: Answer) -> None:
    """Print the answer for people. JSON gets only a refusal: without one, the outcome's document follows."""
    if arguments.format != "json":
        from macmgr.report.diagnosis import print_vlan_filtering

        print_vlan_filtering(out(arguments), arguments.vlan_filtering, answer)
    elif answer.cut:
        refused = {"bridge": arguments.vlan_filtering, "would_be_cut": list(answer.cut)}
        print_json({"version": 1, "complete": False, "vlan_filtering_refused": refused})
