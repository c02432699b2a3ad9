"""Finds the line of a name in a TOML file: tomllib keeps no positions, and a person needs the line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

Keys = tuple[str, ...]

# The last line of a statement on several lines holds one of these.
_ENDS = ("]", "}", '"""', "'''")
# So many of its lines may look like the last one. After that, the lines of the file's rest stay unknown: each try reads
# the statement anew, and the daemon reads its configuration while hooks wait.
_TRIES = 300


@dataclass(frozen=True, slots=True)
class Statement:
    """A table header or ``name = value``: its line, its table, and its value."""

    line: int
    lines: tuple[str, ...]
    table: Keys
    value: Any

    @property
    def is_header(self) -> bool:
        return self.lines[0].lstrip().startswith("[")

    @property
    def inside(self) -> Keys:
        """The table in which the next line is: a header's own one."""
        return _header(self.value) if self.is_header else self.table

    def names(self, path: Keys) -> bool:
        """True if the statement gives ``path`` or something in it a value, or makes it a table."""
        if self.table != path[: len(self.table)]:
            return False
        value: Any = self.value
        for key in path[len(self.table) :]:
            value = value[0] if isinstance(value, list) and value else value
            if not isinstance(value, dict) or key not in value:
                return False
            value = value[key]
        return True


class TomlLines:
    """The statements of a valid TOML file, each with its first line.

    They are read at the first request for a line: while all is well, nobody asks.
    """

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _statements(self) -> list[Statement]:
        return list(statements(self._text))

    def of(self, path: Keys, containing: str = "") -> int | None:
        """Returns the line of the statement that names ``path``, or of its line that holds ``containing``.

        Returns None if no statement names it.
        """
        for statement in self._statements:
            if statement.names(path):
                lines = enumerate(statement.lines, statement.line)
                return next((number for number, line in lines if containing and containing in line), statement.line)
        return None


def statements(text: str) -> Iterator[Statement]:
    """Yields the statements of a valid TOML text, in order."""
    # tomllib does this first too: a line of CR LF is no statement with the CR alone.
    lines = text.replace("\r\n", "\n").split("\n")
    table: Keys = ()
    first = 0
    while first < len(lines):
        size = 1
        # A statement is complete once it can be read alone: arrays and strings may span lines.
        value = _read(lines[first : first + size])
        tries = _TRIES
        while value is None and first + size < len(lines):
            size += 1
            if any(end in lines[first + size - 1] for end in _ENDS):
                if not tries:
                    return
                tries -= 1
                value = _read(lines[first : first + size])
        part = tuple(lines[first : first + size])
        if value:
            statement = Statement(first + 1, part, table, value)
            if statement.is_header:
                statement = replace(statement, table=())
                table = statement.inside
            yield statement
        first += size


def _read(lines: list[str]) -> dict[str, Any] | None:
    try:
        return tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return None


def _header(value: Any) -> Keys:
    keys = []
    while value:
        value = value[0] if isinstance(value, list) else value
        key, value = next(iter(value.items())) if value else ("", None)
        keys.append(key)
    return tuple(key for key in keys if key)
