"""Makes others' text (a domain's name, a file, an error) fit for one line of a log or a terminal."""

from __future__ import annotations

# Characters that a terminal obeys. An interface's name may hold the first set of control characters, ESC among them
# (dev_valid_name in net/core/dev.c). XML allows the second set: 0x9b begins a command as ESC [ does, others turn the
# direction of writing or end a line.
_C0 = tuple(each for each in range(0x20) if each not in b"\n\t")
_OBEYED = (*range(0x7F, 0xA0), 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
_REPLACED = dict.fromkeys((*_C0, *_OBEYED), "\N{REPLACEMENT CHARACTER}")
_BREAKS = dict.fromkeys((*range(0x0A, 0x0E), *range(0x1C, 0x1F), 0x85, 0x2028, 0x2029), "\N{REPLACEMENT CHARACTER}")
_ESCAPED = {each: f"\\u{each:04x}" for each in _OBEYED}


def one_line(text: str) -> str:
    """Replaces what would break the line, move a cursor, or fail to be encoded."""
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)


def unbroken(text: str) -> str:
    """Keeps ``text`` on its line, and its spaces as they are: a name may hold two, and a line feed."""
    return text.translate(_BREAKS)


def harmless(text: str) -> str:
    """Replaces what a terminal obeys in ``text`` of several lines; it holds no colours yet."""
    return text.translate(_REPLACED)


def harmless_json(text: str) -> str:
    """Escapes what a terminal obeys in a JSON document, which still says the same."""
    return text.translate(_ESCAPED)
