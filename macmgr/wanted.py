"""Builds the Intent from libvirt's state, the configuration, and the hook calls that libvirt waits for.

Verbs, hooks and the daemon all get their Intent here, so they know the same guests and the same conflicts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from macmgr.config import Config
from macmgr.model.changes import Change
from macmgr.model.findings import Code
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import Intent, Manager, Scope, skip_nothing
from macmgr.planning.conflicts import definition_findings
from macmgr.policy.guests import Decisions, build_intent, metadata_findings
from macmgr.policy.precedence import PolicySources
from macmgr.readers.domain import Domain
from macmgr.readers.hookdata import HookInput
from macmgr.readers.network import Network
from macmgr.sources.statusfiles import LibvirtState


@dataclass(frozen=True, slots=True)
class WaitingCall:
    """A hook call with its input: a guest without a status file yet, or a guest that has left.

    ``waits`` is True while libvirt still waits for the call. After that the guest's life has gone on, and only the
    status files show its state.
    """

    call: HookCall
    given: HookInput
    waits: Callable[[], bool] = field(default=lambda: True, compare=False)

    def scope(self, observes: Callable[[str], bool], skips: Callable[[Change], bool] = skip_nothing) -> Scope:
        """Returns the part of the host that the call is about."""
        if self.given.domain is not None:
            return Scope(self.given.domain.name, skips=skips, observes=observes)
        network = self.given.network
        bridges = frozenset({network.bridge}) if network is not None else None
        return Scope(bridges=bridges, skips=skips, observes=observes)


def wanted(
    state: LibvirtState, config: Config, calls: Iterable[WaitingCall] = (), decisions: Decisions | None = None
) -> Intent:
    """Returns the Intent of this host. ``calls`` are in the order in which libvirt made them.

    ``decisions`` are those of the last look, for callers that look repeatedly.
    """
    domains = {(domain.driver, domain.name): domain for domain in state.domains}
    networks = {network.name: network for network in state.networks}
    unreadable = {finding.domain for finding in state.findings if finding.code is Code.UNREADABLE_XML}
    departed: dict[tuple[str, str], Domain] = {}
    ran: list[Domain] = []
    for each in calls:
        operation, domain = each.call.operation, each.given.domain
        if domain is not None:
            key = each.call.driver, domain.name
            if operation in ("stopped", "release"):
                if (known := domains.pop(key, None)) is not None:
                    ran.append(known)
                departed[key] = domain
            elif operation == "start" or (key not in domains and domain.name not in unreadable):
                domains[key] = replace(domain, state="starting")
                departed.pop(key, None)
        if each.given.network is not None:
            networks[each.given.network.name] = each.given.network
    intent = build_intent(
        domains.values(),
        PolicySources(networks.values(), config.bridges, state.ports, configured=config.written),
        departed=departed.values(),
        ran=ran,
        findings=[
            *state.findings,
            *metadata_findings(state.networks, state.findings),
            *definition_findings(networks.values(), state.definitions),
        ],
        decisions=decisions,
    )
    return replace(
        intent, without_process=state.without_process, start_filtering=tuple(_start_filtering(state.definitions))
    )


def _start_filtering(definitions: Iterable[Network]) -> Iterator[tuple[str, str]]:
    """Yields networks on a bridge of the host's, and the bridge. Any other network's bridge is made by its start."""
    for network in definitions:
        if network.manager == Manager.LIBVIRT and network.forward == "bridge" and network.bridge:
            yield network.name, network.bridge
