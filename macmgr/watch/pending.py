"""What waits for the next round: why the host has to be looked at, and the hook calls that want an answer.

Pure. Nothing here says what is right: a reason is for people, and a hook call only adds what files cannot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from macmgr.wanted import WaitingCall

Ticket = TypeVar("Ticket")

# More reasons than a person reads; a storm of events has one reason each.
_REASONS = 20


@dataclass(frozen=True, slots=True)
class Batch(Generic[Ticket]):
    """What one round is for: each reason once, and each hook call with the ticket by which it is answered."""

    reasons: tuple[str, ...] = ()
    calls: tuple[tuple[WaitingCall, Ticket], ...] = ()


@dataclass(slots=True)
class Pending(Generic[Ticket]):
    """Marks gather here until they are taken, all at once: a burst is one round."""

    _reasons: dict[str, None] = field(default_factory=dict)
    _calls: list[tuple[WaitingCall, Ticket]] = field(default_factory=list)

    def mark(self, reason: str) -> None:
        """The host has to be looked at."""
        if len(self._reasons) < _REASONS:
            self._reasons[reason] = None

    def hear(self, heard: WaitingCall, ticket: Ticket) -> None:
        """A hook was called, and libvirt waits for it."""
        self._calls.append((heard, ticket))

    def take(self) -> Batch[Ticket]:
        """All that waits, and nothing is left."""
        batch = Batch(tuple(self._reasons), tuple(self._calls))
        self._reasons.clear()
        self._calls.clear()
        return batch
