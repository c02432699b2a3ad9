"""The answer to `macmgr status`: the tally as JSON, version 1: fields may be added, none is renamed.

Schema: docs/status-v1.schema.json.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from macmgr import __version__
from macmgr.report.verdict import verdict_of
from macmgr.watch.messages import Line
from macmgr.watch.tally import Event, Tally, Unknown


def document(tally: Tally, now: float) -> dict[str, Any]:
    """How things stand at ``now``."""
    managed, unknown = tally.managed_ports, tally.unknown(now)
    return {
        "version": 1,
        "macmgr": __version__,
        "pid": os.getpid(),
        "taken_at": _time(now),
        "started_at": _time(tally.started_at),
        "in_sync": tally.in_sync(now),
        "verdict": None if unknown or tally.view is None else str(verdict_of(tally.view).word),
        "unknown": _unknown(unknown),
        "configuration": {"problem": tally.config_problem or None},
        "managed": {
            "bridges": _bridges(tally),
            "ports": len(managed),
            "guests": len({guest.uuid for guest in managed}),
        },
        "findings": dict(Counter(str(finding.code) for finding in tally.findings)),
        "rounds": {
            "count": tally.rounds,
            "failed": tally.failed_rounds,
            "last_at": _time(tally.last_round_at),
            "last_seconds": round(tally.last_round_seconds, 6),
        },
        "resyncs": {
            "count": tally.resyncs,
            "last_at": _time(tally.last_resync_at),
            "last_why": tally.last_resync_why or None,
        },
        "repairs": {
            "count": sum(tally.repairs.values()),
            "by_code": dict(tally.repairs),
            "failed": tally.failures,
            "last": _events(tally.last_repairs),
        },
        "alarms": {
            "count": sum(tally.alarms.values()),
            "by_code": dict(tally.alarms),
            "last": _events(tally.last_alarms),
        },
        "standing_back": {
            "count": tally.stood_back,
            "now": [
                {"since": _time(each.since), "until": _time(each.until), **_line(each.line)}
                for each in tally.standing_back
            ],
        },
        "hooks": {
            "calls": [
                {"driver": driver, "operation": operation, "count": count}
                for (driver, operation), count in tally.hook_calls.items()
            ],
            "failed": tally.hook_failures,
            "timeouts": tally.hook_timeouts,
            "guests_started": tally.guests_started,
            "never_came": tally.hooks_taken and tally.guests_started > 0 and not _guests_called(tally),
        },
        "events": {"read": tally.events_read, "lost": tally.events_lost},
    }


def _guests_called(tally: Tally) -> bool:
    return any(driver in ("qemu", "lxc") for driver, _ in tally.hook_calls)


def _unknown(unknown: Unknown | None) -> dict[str, Any] | None:
    if unknown is None:
        return None
    holder = {"pid": unknown.pid, "program": unknown.program or None} if unknown.pid else None
    return {
        "since": _time(unknown.since),
        "why": unknown.why,
        "exit_code": unknown.exit_code,
        "lock_holder": holder,
    }


def _bridges(tally: Tally) -> list[dict[str, Any]]:
    if tally.view is None:
        return []
    ports = Counter(guest.bridge for guest in tally.managed_ports)
    return [
        {
            "name": name,
            "reason": reason,
            "mode": "observe" if tally.modes.observes(name) else "manage",
            "there": name in tally.view.snapshot.bridges,
            "ports": ports[name],
        }
        for name, reason in sorted(tally.view.intent.managed_bridges.items())
    ]


def _events(events: Sequence[Event]) -> list[dict[str, Any]]:
    """The events, the last one first."""
    return [{"at": _time(event.at), **_line(event.line)} for event in reversed(events)]


def _line(line: Line) -> dict[str, Any]:
    return {
        "message": line.message,
        "code": line.code or None,
        "bridge": line.bridge or None,
        "port": line.port or None,
        "domain": line.domain or None,
        "mac": line.mac or None,
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
