"""The options that metadata and the configuration have in common, with their values and their words for a mistake.

One table for both spellings: ``guestMac`` in XML is ``guest_mac`` in TOML. A wrong value or an unknown name is refused
with what is allowed and the nearest valid word; the caller adds file and line.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from macmgr.intent import GuestMac, Manager, Pin, Settings
from macmgr.mac import parse_mac_pattern


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names, and the words that are its values."""

    field: str
    xml: str
    toml: str
    values: Mapping[str, Any]


OPTIONS = (
    Option("manager", "manager", "mac_table_manager", {str(each): each for each in Manager}),
    Option("pin", "pin", "pin", {str(each): each for each in Pin}),
    Option("lock", "lock", "lock", {"yes": True, "no": False}),
    Option("guest_mac", "guestMac", "guest_mac", {str(each): each for each in GuestMac}),
)


def settings(values: Mapping[str, str], allow: Iterable[str], *, xml: bool, others: Iterable[str] = ()) -> Settings:
    """The settings that ``values`` (option name to word) say; ValueError for what is unknown or wrong.

    ``others`` are further names that are valid at that place and belong to the caller.
    """
    by_name = {option.xml if xml else option.toml: option for option in OPTIONS}
    found: dict[str, Any] = {}
    for name, value in values.items():
        if name in others:
            continue
        option = by_name.get(name)
        if option is None:
            raise ValueError(f"unknown name {name[:40]!r}; {allowed(name, [*by_name, *others])}")
        if value not in option.values:
            raise ValueError(f"{name} is {str(value)[:40]!r}; {allowed(str(value), option.values)}")
        found[option.field] = option.values[value]
    return Settings(**found, allow=tuple(parse_mac_pattern(pattern) for pattern in allow))


def allowed(word: str, words: Iterable[str]) -> str:
    """What is allowed instead of a wrong word, and which of it was probably meant."""
    import difflib  # only a mistake needs it, and a hook reads its policies too

    words = list(words)
    near = difflib.get_close_matches(word, words, n=1)
    return f"allowed: {', '.join(words)}" + (f"; did you mean {near[0]!r}?" if near else "")
