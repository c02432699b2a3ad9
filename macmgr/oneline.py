"""Text that others chose (the name of a domain, a file, an error) made fit for one line of a log or a terminal."""

from __future__ import annotations


def one_line(text: str) -> str:
    """``text`` without what would break the line, move a cursor, or fail to be encoded."""
    words = " ".join(text.split())
    return "".join(letter if letter.isprintable() else "?" for letter in words)
