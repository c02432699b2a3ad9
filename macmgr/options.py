"""Options that metadata and configuration share: their values, and the words for a mistake.

One table serves both spellings: ``guestMac`` in XML is ``guest_mac`` in TOML. A wrong value or an unknown name is
refused with the allowed values and the nearest valid word; the caller adds file and line.

The rule for a message about an XML document: it repeats only a word of macmgr's own vocabulary, or one that is a slip
of the pen away from it, cut short (`quoted`), and what looks like a MAC address (`macmgr.model.mac`). It describes
anything else, because status files hold passwords and a word in the wrong place may be one. The names of domains,
networks, portgroups, bridges and taps are no secrets. The configuration holds no secrets; its words are repeated, cut
short.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from macmgr.model.intent import GuestMac, Manager, Pin, Vlans


@dataclass(frozen=True, slots=True)
class Option:
    """One option: its names, and the words for its values."""

    field: str
    xml: str
    toml: str
    values: Mapping[str, Any]

    def word(self, value: object) -> str:
        return next(word for word, meaning in self.values.items() if meaning == value)


YES_NO = {"yes": True, "no": False}
OPTIONS = (
    Option("manager", "manager", "mac_table_manager", {str(each): each for each in Manager}),
    Option("pin", "pin", "pin", {str(each): each for each in Pin}),
    Option("lock", "lock", "lock", YES_NO),
    Option("guest_mac", "guestMac", "guest_mac", {str(each): each for each in GuestMac}),
    Option("vlans", "vlans", "vlans", {str(each): each for each in Vlans}),
)
# libvirt's attribute: the first option's name outside our metadata.
MAC_TABLE_MANAGER = "macTableManager"
ELEMENTS = ("macTable", "interface", "portgroup", "allow")

_VOCABULARY = frozenset(
    word
    for option in OPTIONS
    for word in (option.xml, option.toml, *option.values, MAC_TABLE_MANAGER, *ELEMENTS, "allow", "mac", "name")
)
# Other words for yes and no: TOML's booleans, libvirt's on and off.
_SYNONYMS = {"true": "yes", "on": "yes", "1": "yes", "false": "no", "off": "no", "0": "no"}
_SHOWN = 40


def read_options(
    values: Mapping[str, object], *, xml: bool, others: Iterable[str] = ()
) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Returns the values by field of `Settings`, and each mistake with its name.

    ``values`` maps option names to words. ``others`` are further valid names, which belong to the caller.
    """
    by_name = {option.xml if xml else option.toml: option for option in OPTIONS}
    names = [*by_name, *others]
    found: dict[str, Any] = {}
    mistakes: list[tuple[str, str]] = []
    for name, value in values.items():
        option = by_name.get(name)
        if option is not None:
            value = value if xml else yes_or_no(value, option.values)
            text = wrong_word(name, value, option.values, xml=xml)
            if text:
                mistakes.append((name, text))
            else:
                found[option.field] = option.values[str(value)]
        elif name not in others:
            mistakes.append((name, unknown_name(name, names, xml=xml)))
    return found, mistakes


def yes_or_no(value: object, words: Iterable[str]) -> object:
    """Turns TOML's true and false into yes and no if the option has those words; other values stay."""
    return ("yes" if value else "no") if isinstance(value, bool) and "yes" in words else value


def wrong_word(name: str, value: object, words: Iterable[str], *, xml: bool) -> str:
    """Returns the fault of a value that must be one of ``words``; empty if it is one."""
    words = list(words)
    if not isinstance(value, str):
        hint = f"; did you mean {_SYNONYMS[str(value).lower()]!r}?" if _is_yes_or_no(value, words) else ""
        return f"{name} is {in_words(value)}, a word in quotes is expected; allowed: {', '.join(words)}{hint}"
    if value in words:
        return ""
    return f"{name} is {quoted(value, words) if xml else repr(value[:_SHOWN])}; {allowed(value, words)}"


def unknown_name(name: str, names: Iterable[str], *, xml: bool, what: str = "name") -> str:
    """Returns the message about a name that is not valid at its place."""
    names = list(names)
    word = quoted(name, names, other="") if xml else repr(name[:_SHOWN])
    return f"unknown {what}{' ' if word else ''}{word}; {allowed(name, names)}"


def allowed(word: str, words: Iterable[str]) -> str:
    words = list(words)
    near = nearest(word, words)
    return f"allowed: {', '.join(words)}" + (f"; did you mean {near!r}?" if near else "")


def quoted(word: str, words: Iterable[str], *, other: str = "a word that has no meaning here") -> str:
    """Quotes a word of an XML document if the rule above lets it be repeated, else returns ``other``."""
    if not word:
        return "empty"
    return repr(word[:_SHOWN]) if word in _VOCABULARY or nearest(word, words) else other


def nearest(word: str, words: Iterable[str]) -> str | None:
    """Returns the one of ``words`` that was probably meant; None if none is near.

    Near means the same option's other spelling, or a distance of at most a third of the letters, capitals aside.
    """
    words = [str(each) for each in words]
    for option in OPTIONS:
        spellings = (option.xml, option.toml, *((MAC_TABLE_MANAGER,) if option.field == "manager" else ()))
        meant: list[str] = [spelling for spelling in spellings if spelling in words]
        if word in spellings and meant:
            return meant[0]
    if _is_yes_or_no(word, words):
        return _SYNONYMS[word.lower()]
    candidates = [(_distance(word[:64].lower(), each.lower()), each) for each in words]
    best, meant_word = min(candidates, default=(0, ""), key=lambda candidate: candidate[0])
    return meant_word if candidates and best <= max(1, len(meant_word) // 3) else None


def in_words(value: object) -> str:
    """Describes a TOML value of the wrong type in a person's words."""
    if isinstance(value, bool):
        return f"{str(value).lower()} without quotes"
    if isinstance(value, int | float):
        return f"the number {_digits(value)}"
    if isinstance(value, str):
        return f"{value[:_SHOWN]!r}"
    if isinstance(value, list):
        return "a list"
    return "a table" if isinstance(value, dict) else "a date or time"


def _is_yes_or_no(value: object, words: Iterable[str]) -> bool:
    return "yes" in words and isinstance(value, str | int) and _digits(value).lower() in _SYNONYMS


def _digits(value: object) -> str:
    """Cuts a number short. Python refuses to write an integer of thousands of digits, which TOML can have in hex."""
    try:
        return str(value)[:_SHOWN]
    except ValueError:
        return "without an end"


def _distance(one: str, other: str) -> int:
    """Counts letters left out, put in, replaced, or swapped with their neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, goal in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != goal))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == goal:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
