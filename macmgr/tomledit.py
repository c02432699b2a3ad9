"""Gives a name in a TOML file another value. Every other byte stays: comments, spelling, the ends of lines.

tomllib says if an edit is right: the new text must hold what the old one held, but for that value. So nothing here has
to understand TOML better than to guess places. A value that is there already is replaced where it stands.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from typing import Any

from macmgr.tomllines import Keys, Statement, statements

# What a statement's text consists of, as far as it matters: a comment may hold quotes, and a string a brace.
_TOKEN = re.compile(
    r'''(?P<text>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')|\#[^\n]*|(?P<brace>\{)''',
    re.DOTALL,
)


def with_word(text: str, path: Keys, word: str) -> str | None:
    """Returns the valid TOML ``text`` with a string as the value of ``path``. None if no place for it is found."""
    wanted = table = tomllib.loads(text)
    for key in path[:-1]:
        table = table.setdefault(key, {})
    old, table[path[-1]] = table.get(path[-1]), word
    if old == word:
        return text
    return next((edited for edited in _edits(text, path, old, word) if _is(edited, wanted)), None)


def _is(text: str, wanted: dict[str, Any]) -> bool:
    try:
        return tomllib.loads(text) == wanted
    except tomllib.TOMLDecodeError:
        return False


def _edits(text: str, path: Keys, old: object, word: str) -> Iterator[str]:
    """Yields texts of which one may be right, the one that a person would write first."""
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    ends = [*(start - 1 for start in starts[1:]), len(text)]

    def place(statement: Statement) -> tuple[int, int]:
        first = statement.line - 1
        end = ends[first + len(statement.lines) - 1]
        return starts[first], end - (text[:end].endswith("\r") and end < len(text))

    found = list(statements(text))
    for statement in (each for each in found if each.names(path)):
        for token in _tokens(text, *place(statement)):
            if token["text"] and _is(f"old = {token['text']}", {"old": old}):
                yield text[: token.start()] + _quoted(word) + text[token.end() :]
    for statement in (each for each in found if each.names(path[:-1])):
        start, end = place(statement)
        indent = re.match(r"[ \t]*", text[start:end])
        line = f"{indent[0] if indent else ''}{_key(path[len(statement.inside) :])} = {_quoted(word)}"
        yield text[:end] + _line_end(text, end) + line + text[end:]
    yield _appended(text, path, word)
    for statement in (each for each in found if any(each.names(path[:size]) for size in range(1, len(path)))):
        for token in _tokens(text, *place(statement)):
            if token["brace"]:
                for size in range(1, len(path) + 1):
                    item = f" {_key(path[-size:])} = {_quoted(word)}"
                    for comma in (",", " "):
                        yield text[: token.end()] + item + comma + text[token.end() :]


def _tokens(text: str, start: int, end: int) -> Iterator[re.Match[str]]:
    return _TOKEN.finditer(text, start, end)


def _appended(text: str, path: Keys, word: str) -> str:
    end = _line_end(text, len(text))
    gap = "" if not text else end if text.endswith("\n") else end * 2
    return f"{text}{gap}[{_table(path[:-1])}]{end}{path[-1]} = {_quoted(word)}{end}"


def _table(path: Keys) -> str:
    """Returns a table's name as docs/ write it: ``bridge."br0"``."""
    return ".".join([path[0], *map(_quoted, path[1:])])


def _key(path: Keys) -> str:
    return ".".join(each if re.fullmatch("[a-z_]+", each) else _quoted(each) for each in path)


def _quoted(word: str) -> str:
    return json.dumps(word, ensure_ascii=False).replace("\x7f", "\\u007f")


def _line_end(text: str, place: int) -> str:
    """Returns how the line at ``place`` ends, or the last one that does end."""
    at = text.find("\n", place)
    at = at if at >= 0 else text.rfind("\n", 0, place)
    return "\r\n" if at > 0 and text[at - 1] == "\r" else "\n"
