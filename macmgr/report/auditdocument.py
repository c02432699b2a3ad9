"""Writes an audit, and the result of an apply, as JSON, version 1. Fields may be added; none is renamed.

Schemas: docs/audit-v1.schema.json, docs/apply-v1.schema.json.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from macmgr.forwarding.consequences import PEERS, Reach, any_reached
from macmgr.model.changes import Change, bridge_command, requests
from macmgr.model.findings import Code, Finding, Fix, Fixes, Severity, fix_of
from macmgr.model.intent import GuestPort
from macmgr.model.roles import Role, roles_of
from macmgr.model.snapshot import Bridge, BridgePort, Stacked
from macmgr.model.vids import fold_vids
from macmgr.report.verdict import verdict_of
from macmgr.view import Outcome, View


def audit_document(view: View, host: str, taken_at: str) -> dict[str, Any]:
    """Returns the document for one look at ``host``, limited to the scope. ``taken_at`` is a UTC time in ISO 8601."""
    guests = {guest.port: guest for guest in view.guests}
    roles = roles_of(view.snapshot.ports.values(), {guest.port for guest in view.intent.ports})
    reaches: dict[str, list[Reach]] = {}
    for reach in view.reaches:
        reaches.setdefault(reach.guest.port, []).append(reach)
    documents = [_bridge(bridge, view, guests, roles, reaches) for bridge in view.bridges]
    fixes = Fixes()
    findings = [finding_document(finding, fixes.of(finding)) for finding in view.plan.findings]
    counts = {str(severity): sum(f["severity"] == severity for f in findings) for severity in Severity}
    ports = [port for document in documents for port in document["ports"]]
    return {
        "version": 1,
        "host": host,
        "taken_at": taken_at,
        "in_sync": counts["error"] == 0,
        "verdict": str(verdict_of(view).word),
        "bridges": documents,
        "portless": [
            {"domain": nic.domain, "alias": nic.alias, "mac": nic.mac, "type": nic.kind, "why": nic.why}
            for nic in view.portless
        ],
        "findings": findings,
        "summary": {
            "bridges": len(documents),
            "ports": len(ports),
            "managed": sum(port["manager"] == "libvirt" for port in ports),
            **counts,
        },
    }


def apply_document(outcome: Outcome) -> dict[str, Any]:
    """Returns the result of an apply. ``left`` are the errors that it leaves: with one, it is not complete."""
    document, fixes = outcome_document(outcome), Fixes()
    left = [finding_document(finding, fixes.of(finding)) for finding in outcome.errors]
    return document | {"complete": document["complete"] and not left, "left": left}


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """Returns what an apply or a release did. ``spared`` counts the changes left out on observe-only bridges."""
    view = outcome.view
    return {
        "version": 1,
        "complete": outcome.complete and not view.skipped,
        "done": [{"because": change.because or change.why, "commands": _commands(change)} for change in outcome.done],
        "failed": [
            {
                "because": failure.change.because or failure.change.why,
                "commands": _commands(failure.change),
                "why": failure.why,
            }
            for failure in outcome.failures
        ],
        "remaining": len(view.plan.changes),
        "spared": len(view.skipped),
        "kept_open": [
            {
                "port": finding.port,
                "domain": finding.domain,
                "why": finding.message,
                **fix_document(fix_of(finding)),
            }
            for finding in view.plan.findings
            if finding.code is Code.ADDRESS_IN_USE
        ],
    }


def _commands(change: Change) -> list[list[str]]:
    return [bridge_command(request) for request in requests(change)]


def _bridge(
    bridge: Bridge,
    view: View,
    guests: Mapping[str, GuestPort],
    roles: Mapping[str, Role],
    reaches: Mapping[str, Sequence[Reach]],
) -> dict[str, Any]:
    managed = bridge.name in view.intent.managed_bridges
    return {
        "name": bridge.name,
        "vlan_filtering": bridge.vlan_filtering,
        "promiscuous": bridge.promiscuity > 0,
        "managed": managed,
        "observed": managed and view.scope.observes(bridge.name),
        "reason": view.intent.managed_bridges.get(bridge.name),
        "ports": [
            _port(port, guests.get(port.name), roles[port.name], reaches.get(port.name, ()))
            for port in view.ports_of(bridge.name)
        ],
        "stacked": [stacked_document(each) for each in view.stacked_on(bridge.name)],
    }


def stacked_document(device: Stacked) -> dict[str, Any]:
    return {
        "device": device.name,
        "kind": device.kind,
        "role": str(Role.STACKED),
        "mac": device.mac,
        "vids": list(device.vids),
    }


def _port(port: BridgePort, guest: GuestPort | None, role: Role, reaches: Iterable[Reach]) -> dict[str, Any]:
    return {
        "port": port.name,
        "kind": port.kind,
        "role": str(role),
        "domain": guest.domain if guest else None,
        "uuid": guest.uuid if guest else None,
        "alias": guest.alias if guest else None,
        "manager": str(guest.policy.manager) if guest else None,
        "reason": guest.policy.reason if guest else None,
        "pin": str(guest.policy.pin) if guest and guest.managed else None,
        "network": guest.network or None if guest else None,
        "portgroup": guest.portgroup or None if guest else None,
        "state": guest.state if guest else None,
        "macs": list(guest.macs) if guest else [],
        "vids": list(port.vids),
        **{name: bool(value) for name, value in port.flags.document().items()},
        "promiscuous": port.promiscuity > 0,
        "reached": [reached_document(reach) for reach in reaches] if guest and guest.running else [],
    }


def reached_document(reach: Reach) -> dict[str, Any]:
    """Returns who reaches one address of a guest, in VIDs in which all is alike; null where there is nobody."""
    sides = {"uplink": (Role.UPLINK,), "host": (None,), "guests": PEERS}
    ways = {side: [way for way in reach.ways if way.role in roles] for side, roles in sides.items()}
    return {
        "mac": reach.mac,
        "vids": fold_vids(reach.vids),
        **{side: _word(any_reached(found)) if found else None for side, found in ways.items()},
        "why_not": {
            side: str(found[0].reason) for side, found in ways.items() if found and any_reached(found) is False
        },
    }


def _word(reached: bool | None) -> str:
    return "unknown" if reached is None else "yes" if reached else "no"


def finding_document(finding: Finding, fix: Fix) -> dict[str, Any]:
    return {
        "code": str(finding.code),
        "severity": str(finding.severity),
        "consequence": str(finding.consequence),
        "reached": None if finding.reached is None else _word(finding.reached),
        "bridge": finding.bridge or None,
        "port": finding.port or None,
        "domain": finding.domain,
        "mac": finding.mac or None,
        "vid": finding.vid,
        "vids": fold_vids(finding.vids) or None,
        "message": finding.message,
        **fix_document(fix),
    }


def fix_document(fix: Fix) -> dict[str, Any]:
    """``mends`` are argument vectors, ``note`` is prose, and ``fix`` is the text of both, for a person."""
    return {
        "mends": [list(command) for command in fix.commands],
        "note": fix.note or None,
        "fix": fix.text or None,
    }
