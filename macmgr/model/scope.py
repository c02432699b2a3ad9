"""The part of the host that a person or a hook named, and the bridges on which nothing is changed.

Only a `Scope` decides what it holds. `Modes` holds the configuration's observe settings by section; a section's name
may be a pattern that several bridges fit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from macmgr.model.changes import Change
from macmgr.model.findings import Code, Finding

Says = TypeVar("Says")


def is_pattern(name: str) -> bool:
    """A section's name may fit several bridges: ``br-*``, ``tenant?``."""
    return "*" in name or "?" in name


def sections_of(bridge: str, sections: Mapping[str, Says]) -> Iterator[tuple[str, Says]]:
    """Yields the sections about a bridge: the one with its very name first, then the patterns, in written order.

    The first of them that names an option decides it.
    """
    if bridge in sections:
        yield bridge, sections[bridge]
    for name, says in sections.items():
        if name != bridge and is_pattern(name) and _expression(name).fullmatch(bridge):
            yield name, says


@dataclass(frozen=True, slots=True)
class Modes:
    """The bridges on which nothing is changed: ``named`` by section, ``default`` if no section says.

    ``named`` has only the sections with a mode: True to observe, False to manage.
    """

    default: bool = False
    named: tuple[tuple[str, bool], ...] = ()

    def observes(self, bridge: str) -> bool:
        """macmgr only observes the bridge and changes nothing there."""
        return next((observe for _, observe in sections_of(bridge, dict(self.named))), self.default)


MANAGE_ALL, OBSERVE_ALL = Modes(), Modes(default=True)


@lru_cache(256)
def _expression(name: str) -> re.Pattern[str]:
    """``*`` is any letters, ``?`` one. Nothing else is special: an interface's name may hold nearly all."""
    parts = (".*" if letter == "*" else "." if letter == "?" else re.escape(letter) for letter in name)
    return re.compile("".join(parts), re.DOTALL)


def skip_nothing(_change: Change) -> bool:
    return False


def observe_nothing(_bridge: str) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Scope:
    """The part of the host that a person or a hook named; None is all of it.

    ``skips`` names changes that are seen and not made. If it skips a port's entry it must skip its closing too: a guest
    without its entry behind a closed port is cut off. ``observes`` names the bridges on which no change is made.
    """

    domain: str | None = None
    bridges: frozenset[str] | None = None
    skips: Callable[[Change], bool] = skip_nothing
    observes: Callable[[str], bool] = observe_nothing

    @property
    def whole(self) -> bool:
        """The scope is the whole host."""
        return self.domain is None and self.bridges is None

    def holds(self, domain: str | None, bridge: str) -> bool:
        """A fact about a domain (None: about none) and a bridge is in scope.

        An empty ``bridge`` is unknown, as in a file that is not understood: it may be any.
        """
        on_it = self.bridges is None or not bridge or bridge in self.bridges
        return on_it and self.domain in (None, domain)

    def covers(self, item: Change | Finding) -> bool:
        """A change or finding is in scope."""
        if isinstance(item, Finding) and item.code is Code.NOTHING_MANAGED:
            return self.whole  # it is about the whole host
        return self.holds(item.domain, item.bridge)

    def leaves_out(self, change: Change) -> bool:
        """A change in scope is seen and not made."""
        return self.observes(change.bridge) or self.skips(change)


EVERYTHING = Scope()
