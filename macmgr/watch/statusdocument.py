"""The answer to `macmgr status`: the counters as JSON, version 1. Fields may be added; none is renamed.

Schema: docs/status-v1.schema.json.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from macmgr import __version__
from macmgr.report.verdict import Word, verdict_of
from macmgr.view import View
from macmgr.watch.counters import Counters, Event, Unknown
from macmgr.watch.messages import Line
from macmgr.watch.outages import Standing


def _verdict(view: View, outages: Sequence[Standing]) -> Word:
    """The audit's word. That of a guest that is cut off comes from the outages: the rounds judge no frames."""
    word = verdict_of(view).word
    return Word.CUT_OFF if outages and word in (Word.AT_RISK, Word.IN_SYNC) else word


def document(counters: Counters, now: float) -> dict[str, Any]:
    managed, unknown = counters.managed_ports, counters.unknown(now)
    return {
        "version": 1,
        "macmgr": __version__,
        "pid": os.getpid(),
        "taken_at": _time(now),
        "started_at": _time(counters.started_at),
        "in_sync": counters.in_sync(now),
        "verdict": None if unknown or counters.view is None else str(_verdict(counters.view, counters.outages)),
        "unknown": _unknown(unknown),
        "configuration": {"problem": counters.config_problem or None},
        "managed": {
            "bridges": _bridges(counters),
            "ports": len(managed),
            "guests": len({guest.uuid for guest in managed}),
        },
        "not_reached": [_outage(each) for each in counters.outages],
        "findings": dict(Counter(str(finding.code) for finding in counters.findings)),
        "rounds": {
            "count": counters.rounds,
            "failed": counters.failed_rounds,
            "last_at": _time(counters.last_round_at),
            "last_seconds": round(counters.last_round_seconds, 6),
        },
        "resyncs": {
            "count": counters.resyncs,
            "last_at": _time(counters.last_resync_at),
            "last_why": counters.last_resync_why or None,
        },
        "repairs": {
            "count": sum(counters.repairs.values()),
            "by_code": dict(counters.repairs),
            "failed": counters.failures,
            "last": _events(counters.last_repairs),
        },
        "alarms": {
            "count": sum(counters.alarms.values()),
            "by_code": dict(counters.alarms),
            "last": _events(counters.last_alarms),
        },
        "standing_back": {
            "count": counters.stood_back,
            "now": [
                {"since": _time(each.since), "until": _time(each.until), **_line(each.line)}
                for each in counters.standing_back
            ],
        },
        "hooks": {
            "calls": [
                {"driver": driver, "operation": operation, "count": count}
                for (driver, operation), count in counters.hook_calls.items()
            ],
            "failed": counters.hook_failures,
            "timeouts": counters.hook_timeouts,
            "guests_started": counters.guests_started,
            "never_came": counters.hooks_taken and counters.guests_started > 0 and not _guests_called(counters),
        },
        "events": {"read": counters.events_read, "lost": counters.events_lost},
    }


def _outage(standing: Standing) -> dict[str, Any]:
    finding = standing.outage.finding
    return {
        "since": _time(standing.since.clock),
        "domains": sorted({guest.domain for guest in standing.outage.guests}),
        "code": finding.code,
        "bridge": finding.bridge or None,
        "port": finding.port or None,
        "message": finding.message,
        "fix": finding.fix or None,
    }


def _guests_called(counters: Counters) -> bool:
    return any(driver in ("qemu", "lxc") for driver, _ in counters.hook_calls)


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


def _bridges(counters: Counters) -> list[dict[str, Any]]:
    if counters.view is None:
        return []
    ports = Counter(guest.bridge for guest in counters.managed_ports)
    return [
        {
            "name": name,
            "reason": reason,
            "mode": "observe" if counters.modes.observes(name) else "manage",
            "there": name in counters.view.snapshot.bridges,
            "ports": ports[name],
        }
        for name, reason in sorted(counters.view.intent.managed_bridges.items())
    ]


def _events(events: Sequence[Event]) -> list[dict[str, Any]]:
    """Returns the events, the last one first."""
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
