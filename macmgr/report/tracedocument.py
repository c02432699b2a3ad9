"""The answer of `macmgr trace` as JSON (docs/trace-v1.schema.json). Only senders with one way are folded in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from macmgr.forwarding.tracing import Trace
from macmgr.model.relay import Tag
from macmgr.model.snapshot import Entry
from macmgr.report.traced import Traced


def trace_document(traced: Traced) -> dict[str, Any]:
    """Returns the answer with each port and each sender of its own."""
    return {
        "version": 1,
        "to": traced.destination,
        "group": traced.group or None,
        "vid": traced.vid,
        "somebody_gets_it": traced.arrives,
        "verdict": traced.verdicts,
        "notes": list(traced.notes()),
        "traces": [_way(traced, trace) for trace in traced.traces],
    }


def _way(traced: Traced, trace: Trace) -> dict[str, Any]:
    answer = trace.answer
    return {
        "bridge": answer.bridge,
        "vid": answer.vid,
        "reached": traced.reached(trace),
        "from": [
            _place(traced, sender.place)
            | {"source": sender.source, "source_is": sender.owner, "tags": _tags(each.entered.frame.tags)}
            | {"learned": each.move.learned, "before": _entry(each.move.before), "after": _entry(each.move.after)}
            for sender, each in zip(trace.senders, trace.answers, strict=True)
        ],
        "stopped": answer.stopped,
        "entry": _entry(answer.entry),
        "ports": [
            _place(traced, name)
            | {"reached": fate.reached, "reason": fate.reason, "words": fate.reason.words, "tags": _tags(fate.tags)}
            for name, fate in trace.fates.items()
        ],
    }


def _place(traced: Traced, name: str) -> dict[str, Any]:
    guest = traced.guests.get(name)
    role = "host" if name in traced.view.snapshot.bridges else str(traced.roles[name])
    return {"port": name, "role": role, "domain": guest and guest.domain, "alias": (guest and guest.alias) or None}


def _tags(tags: Iterable[Tag]) -> list[dict[str, Any]]:
    return [{"vid": tag.vid, "protocol": tag.protocol} for tag in tags]


def _entry(entry: Entry | None) -> dict[str, Any] | None:
    if entry is None:
        return None
    return {"mac": entry.mac, "vid": entry.vid, "port": entry.port, "state": entry.in_words}
