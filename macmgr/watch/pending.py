"""Collects the work of the next round: reasons to look at the host, and hook calls that want an answer.

Pure. Nothing here decides what is right: a reason is for people, and a hook call only adds what files cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from macmgr.wanted import WaitingCall

Ticket = TypeVar("Ticket")

# More reasons than a person reads; in a storm each event has a reason of its own.
_REASONS = 20


@dataclass(frozen=True, slots=True)
class Batch(Generic[Ticket]):
    """The work of one round: each reason once, and each hook call with the ticket for its answer."""

    reasons: tuple[str, ...] = ()
    calls: tuple[tuple[WaitingCall, Ticket], ...] = ()


@dataclass(slots=True)
class Pending(Generic[Ticket]):
    """Gathers marks until all are taken at once: a burst is one round."""

    _reasons: dict[str, None] = field(default_factory=dict)
    _calls: list[tuple[WaitingCall, Ticket]] = field(default_factory=list)

    def mark(self, reason: str) -> None:
        if len(self._reasons) < _REASONS:
            self._reasons[reason] = None

    def hear(self, heard: WaitingCall, ticket: Ticket) -> None:
        self._calls.append((heard, ticket))

    def take(self) -> Batch[Ticket]:
        batch = Batch(tuple(self._reasons), tuple(self._calls))
        self._reasons.clear()
        self._calls.clear()
        return batch
