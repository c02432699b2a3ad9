"""The part of the host that a person or a hook named. It alone decides what is in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from macmgr.model.changes import Change
from macmgr.model.findings import Code, Finding


def skip_nothing(_change: Change) -> bool:
    return False


def observe_nothing(_bridge: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the host that a person or a hook named; None is all of it.

    ``skips`` names changes that are seen and not made. Where it skips a port's entry it must skip its closing too: a
    guest without its entry behind a closed port is cut off. ``observes`` names the bridges on which none is made.
    """

    domain: str | None = None
    bridges: frozenset[str] | None = None
    skips: Callable[[Change], bool] = skip_nothing
    observes: Callable[[str], bool] = observe_nothing

    @property
    def whole(self) -> bool:
        """The scope is all of the host."""
        return self.domain is None and self.bridges is None

    def holds(self, domain: str | None, bridge: str) -> bool:
        """A fact about a domain (None: about none) and a bridge is in scope.

        An empty ``bridge`` is not known, as in a file that is not understood: it may be any.
        """
        on_it = self.bridges is None or not bridge or bridge in self.bridges
        return on_it and self.domain in (None, domain)

    def covers(self, item: Change | Finding) -> bool:
        """A change or finding is in scope."""
        if isinstance(item, Finding) and item.code is Code.NOTHING_MANAGED:
            return self.whole  # it is about all of the host
        return self.holds(item.domain, item.bridge)

    def leaves_out(self, change: Change) -> bool:
        """A change in scope is seen and not made."""
        return self.observes(change.bridge) or self.skips(change)


EVERYTHING = Scope()
