"""The part of the host that a person or a hook named, and the bridges on which nothing is changed.

A `Scope` alone decides what is in it. `Modes` has what the configuration's sections say of observing; a section's name
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
    """Whether the name of a section may fit several bridges: ``br-*``, ``tenant?``."""
    return "*" in name or "?" in name


def sections_of(bridge: str, sections: Mapping[str, Says]) -> Iterator[tuple[str, Says]]:
    """The sections that are about a bridge: the one with its very name first, then the patterns, as they are written.

    Each option is decided by the first of them that names it.
    """
    if bridge in sections:
        yield bridge, sections[bridge]
    for name, says in sections.items():
        if name != bridge and is_pattern(name) and _expression(name).fullmatch(bridge):
            yield name, says


@dataclass(frozen=True, slots=True)
class Modes:
    """On which bridges nothing is changed: ``named`` is by section, ``default`` where no section says.

    ``named`` has only the sections that say something: True to observe, False to manage.
    """

    default: bool = False
    named: tuple[tuple[str, bool], ...] = ()

    def observes(self, bridge: str) -> bool:
        """Whether macmgr looks at a bridge and changes nothing there."""
        return next((observe for _, observe in sections_of(bridge, dict(self.named))), self.default)


MANAGE_ALL, OBSERVE_ALL = Modes(), Modes(default=True)


@lru_cache(256)
def _expression(name: str) -> re.Pattern[str]:
    """``*`` is any letters, ``?`` one; nothing else is special, because an interface's name may hold nearly all."""
    parts = (".*" if letter == "*" else "." if letter == "?" else re.escape(letter) for letter in name)
    return re.compile("".join(parts), re.DOTALL)


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
