"""What a hook call does once it is guarded: read its input, and reconcile the ports it concerns.

A hook call says no more than "look now". What is wanted is read from libvirt's status files, which libvirt writes
just before `started` and `reconnect`; the hook's own XML only adds what they cannot know: a domain that has no
status file yet, and the MACs of one that is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from macmgr import lock
from macmgr.config import Config
from macmgr.errors import XmlError
from macmgr.hookcall import HookCall
from macmgr.intent import GuestPort, Intent
from macmgr.kernel import Kernel
from macmgr.memory import StateFile
from macmgr.policy import PolicySources, build_intent
from macmgr.readers.domain import Domain, DomainStatus
from macmgr.readers.hookdata import HookInput, read_hook_input
from macmgr.readers.network import Network
from macmgr.reconcile import Outcome, Scope, apply
from macmgr.statusfiles import read_status_files

# Left for reading back and saying so, when the lock is waited for.
_RESERVE = 0.5


def act(call: HookCall, data: bytes, config: Config, run_dir: Path, netns: str | None, deadline: float) -> str:
    """Reconcile what the call concerns; the line to say, empty when there is nothing to say."""
    given = read_hook_input(call.driver, data)
    if given.domain is not None and given.domain.name != call.object:
        raise XmlError(f"the hook's input describes domain {given.domain.name!r}, the call names {call.object!r}")
    read_intent = intent_reader(call, given, config, run_dir)
    scope = _scope(call, given)
    intent = read_intent()
    if scope.bridges is not None and not scope.bridges & intent.managed_bridges.keys():
        return ""
    if scope.domain is not None and not _concerns(intent, scope.domain):
        return ""
    with Kernel(netns) as kernel, lock.hold(wait=deadline - time.monotonic() - _RESERVE) as held:
        notes = StateFile(held, netns)
        outcome = apply(held, read_intent, kernel, scope, notes)
    return "; ".join(filter(None, (_in_words(call, outcome, scope), notes.problem)))


def intent_reader(call: HookCall, given: HookInput, config: Config, run_dir: Path) -> Callable[[], Intent]:
    def read() -> Intent:
        sources = read_status_files(run_dir)
        domains = {status.domain.name: status for status in sources.domains if _same_driver(status, call)}
        others = [status for status in sources.domains if not _same_driver(status, call)]
        departed: list[Domain] = []
        if given.domain is not None:
            if call.operation in ("stopped", "release"):
                domains.pop(given.domain.name, None)
                departed.append(given.domain)
            elif call.operation == "start" or given.domain.name not in domains:
                domains[given.domain.name] = DomainStatus(given.domain, "starting")
        networks = {network.name: network for network in sources.networks}
        if given.network is not None:
            networks[given.network.name] = given.network
        return build_intent(
            [*domains.values(), *others],
            PolicySources(networks.values(), config.bridges, sources.ports),
            departed=departed,
            findings=sources.findings,
        )

    return read


def _same_driver(status: DomainStatus, call: HookCall) -> bool:
    return call.driver in ("qemu", "lxc") and status.domain.driver == call.driver


def _scope(call: HookCall, given: HookInput) -> Scope:
    if given.domain is not None:
        return Scope(domain=given.domain.name)
    network: Network | None = given.network
    return Scope(bridges=frozenset({network.bridge})) if network is not None else Scope()


def _concerns(intent: Intent, domain: str) -> bool:
    """Whether the domain has a managed port, or left MACs behind: most calls on a host end here, before netlink."""
    managed = any(port.managed and port.domain == domain for port in intent.ports)
    return managed or (bool(intent.managed_bridges) and domain in intent.departed.values())


def _in_words(call: HookCall, outcome: Outcome, scope: Scope) -> str:
    parts = [f"{failure.change.because}: {failure.why}" for failure in outcome.failures]
    waiting = [port for port in outcome.view.intent.ports if _stays_open(port, outcome, scope)]
    if waiting and call.operation != "start":  # at `start` no guest runs yet, and `started` follows
        ports = ", ".join(f"{port.port} on {port.bridge}" for port in waiting)
        parts.append(
            f"{ports} stays open (learning and unicast flood on) because the guest's CPUs do not run here yet "
            f"({waiting[0].state}); run 'macmgr apply' when they do"
        )
    if not outcome.complete and not outcome.failures:
        parts.append(f"{len(outcome.view.plan.changes)} changes remain; run 'macmgr audit'")
    return "; ".join(parts)


def _stays_open(port: GuestPort, outcome: Outcome, scope: Scope) -> bool:
    in_scope = scope.domain is None or port.domain == scope.domain
    there = outcome.view.snapshot.ports.get(port.port)
    return in_scope and port.managed and not port.running and there is not None and there.auto
