"""Which section of the configuration a bridge belongs to, and on which bridges nothing is changed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

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
