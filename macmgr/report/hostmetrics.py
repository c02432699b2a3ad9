"""One look at the host as metrics: those that the daemon has too, and who is reached, as the forwarding model says.

Labels are those of libvirt's exporters: ``domain``, ``source_bridge``, ``target_device``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from macmgr import __version__
from macmgr.forwarding.consequences import Reach
from macmgr.model.codes import Code, Consequence, Severity
from macmgr.model.findings import Finding
from macmgr.model.intent import GuestPort
from macmgr.planning.reached import unreached
from macmgr.report.exposition import Family, Sample, exposed, gauge
from macmgr.view import View

_ON_NO_BRIDGE = (Code.MISSING_PORT, Code.WRONG_BRIDGE)
Labels = tuple[str, str, str]  # domain, source_bridge, target_device


def host_metrics(view: View, now: float) -> str:
    """Returns the metrics of one judged look, taken ``now`` (seconds since the epoch)."""
    in_sync = all(finding.severity is not Severity.ERROR for finding in view.plan.findings)
    return exposed(
        (
            build_info(),
            in_sync_family(in_sync),
            last_look(now),
            *look_families(view, view.scope.observes),
            ports_in_sync(view.guests, view.plan.findings),
            gauge("guests_cut_off", "Guests on managed bridges that are cut off.", len(view.cut_off)),
            guests_reached(reached_nics(view)),
        )
    )


def build_info() -> Family:
    return gauge("build_info", "The version of macmgr.", [({"version": __version__}, 1)])


def in_sync_family(in_sync: bool | None) -> Family:
    text = "1 when the last look found no error, 0 when it did; absent while the state is unknown."
    return gauge("in_sync", text, in_sync)


def last_look(at: float | None) -> Family:
    return gauge("last_round_timestamp_seconds", "When the last look was taken, since the epoch.", at)


def look_families(view: View, observes: Callable[[str], bool]) -> Iterator[Family]:
    """Yields the findings, and the managed bridges in scope with their ports."""
    found = Counter(finding.code for finding in view.plan.findings)
    yield gauge(
        "findings",
        "What the last look found.",
        [({"code": str(code), "severity": str(code.severity)}, found[code]) for code in Code],
    )
    in_scope = view.scope.bridges
    bridges = sorted(name for name in view.intent.managed_bridges if in_scope is None or name in in_scope)
    ports = Counter(guest.bridge for guest in view.guests if guest.managed and guest.port in view.snapshot.ports)
    yield gauge(
        "managed_ports", "Managed ports of a bridge.", [({"source_bridge": name}, ports[name]) for name in bridges]
    )
    yield gauge(
        "bridge_observed",
        "1 where a managed bridge is only observed and nothing is changed, 0 where it is managed.",
        [({"source_bridge": name}, observes(name)) for name in bridges],
    )


def ports_in_sync(guests: Iterable[GuestPort], findings: Iterable[Finding]) -> Family:
    """A NIC whose port is missing has a series, too: it is the guest that needs the alarm most."""
    faulty = {finding.port for finding in findings if finding.severity is Severity.ERROR}
    text = "1 when the last look found no error at a managed port, 0 when it did."
    found = {_labels(guest): float(guest.port not in faulty) for guest in guests if guest.managed}
    return gauge("port_in_sync", text, _series(found))


def guests_reached(found: Mapping[Labels, float]) -> Family:
    text = "1 when a NIC is reached from beyond this host, 0 when it is not, NaN when nobody can say or it is at rest."
    return gauge("guest_reached", text, _series(found))


def reached_nics(view: View) -> dict[Labels, float]:
    """Returns each NIC that is managed or on a managed bridge, with a port or without, and if it is reached.

    Two NICs may name one tap (``shared-tap``). A series that stands twice would make the collector refuse the whole
    file, so they have one, with the worse value.
    """
    by_port: dict[str, list[Reach]] = {}
    for reach in view.reaches:
        by_port.setdefault(reach.guest.port, []).append(reach)
    cut = {(reach.guest.domain, reach.guest.port) for reach, _ in unreached(view.reaches)}
    cut |= {(each.domain or "", each.port) for each in view.plan.findings if _cuts_off(each, by_port)}
    found: dict[Labels, float] = {}
    for guest in view.guests:
        if guest.managed or guest.bridge in view.intent.managed_bridges:
            value = _reached(guest, by_port.get(guest.port, ()), is_cut=(guest.domain, guest.port) in cut)
            others = found.get(_labels(guest), math.inf)
            found[_labels(guest)] = 0.0 if 0.0 in (value, others) else value
    return found


def _cuts_off(finding: Finding, reaches: Mapping[str, Sequence[Reach]]) -> bool:
    """Where findings are not judged, as in the daemon's rounds, one about a NIC that is on no bridge is believed."""
    if finding.consequence is not Consequence.CUT_OFF or finding.severity is Severity.INFO:
        return False
    return finding.reached is False or (finding.code in _ON_NO_BRIDGE and finding.port not in reaches)


def _reached(guest: GuestPort, reaches: Sequence[Reach], *, is_cut: bool) -> float:
    if not guest.running or guest.facts.link_down:
        return math.nan
    if is_cut:
        return 0.0
    return 1.0 if any(reach.reached for reach in reaches if reach.mac == guest.macs[0]) else math.nan


def _labels(guest: GuestPort) -> Labels:
    return guest.domain, guest.bridge, guest.port


def _series(found: Mapping[Labels, float]) -> list[Sample]:
    names = ("domain", "source_bridge", "target_device")
    return [(dict(zip(names, labels, strict=True)), value) for labels, value in found.items()]
