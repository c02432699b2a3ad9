"""Numbers, lists and the system's errors as phrases of a sentence."""

from __future__ import annotations

from collections.abc import Sequence, Sized


def counted(number: int, noun: str) -> str:
    """Returns ``1 port`` or ``2 ports``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def are(things: Sized) -> str:
    """Returns the verb after a list."""
    return "is" if len(things) == 1 else "are"


def first_few(names: Sequence[str], most: int) -> str:
    """Returns the first names, and the number of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def listed(names: Sequence[str]) -> str:
    """Returns ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def system_words(error: OSError) -> str:
    return error.strerror or type(error).__name__
