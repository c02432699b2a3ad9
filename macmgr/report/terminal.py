"""Standard output for people: as wide as the terminal, in colour if wanted, and nothing in it that a terminal obeys."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment
from rich.text import Text

from macmgr.oneline import harmless, unbroken

_SCREEN = 24  # rows of a terminal that does not say how many it has
_NARROWEST = 20


def console(color: bool) -> Console:
    """Standard output: as wide as the terminal, or as the text needs in a file or a pipe.

    Brackets and colons stay as they are, also in table cells: colours come as Text, names from anybody.
    """
    terminal = sys.stdout.isatty()
    made = Console(
        file=sys.stdout,
        no_color=not color,
        force_terminal=terminal and color,
        width=None if terminal else 400,
        height=None if terminal else _SCREEN,
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )
    made.push_render_hook(_Harmless())
    return made


def print_wrapped(out: Console, head: Text, text: str, indent: int = 0, style: str = "") -> None:
    """Prints what `wrapped` yields."""
    out.print(Text("\n").join(wrapped(head, text, out.width, indent, style)), soft_wrap=True)


def wrapped(head: Text, text: str, width: int, indent: int, style: str = "") -> Iterator[Text]:
    """Yields ``text`` after ``head``, wrapped at words; its further lines are indented.

    A word that is longer than a line, such as a path, is broken behind a / or a comma, or else anywhere.
    """
    first, *rest = _broken(unbroken(text), width - head.cell_len, max(width - indent, _NARROWEST))
    yield Text.assemble(head, (first, style))  # a sum would have the head's colour all along
    for line in rest:
        yield Text(" " * indent) + Text(line, style)


def _broken(text: str, width: int, below: int) -> list[str]:
    """Breaks the text into a first line of that width, and others of the width ``below``; the first may be empty."""
    lines = [""]
    for word in re.findall(" *[^ ]+", text):  # a name may hold two spaces
        for part in [word] if cell_len(word.lstrip(" ")) <= below else _parts(word, below):
            if (lines[-1] or width < below) and cell_len(lines[-1] + part) > width:
                lines.append(part.lstrip(" "))
                width = below
            else:
                lines[-1] += part
    return lines


def _parts(word: str, width: int) -> Iterator[str]:
    for part in re.findall("[^/,]+[/,]*|[/,]+", word):
        yield from _chopped(part, width)


def _chopped(word: str, width: int) -> Iterator[str]:
    """Yields pieces of ``width`` cells. Before 13.7, rich's own chop_cells returns each piece reversed."""
    begin, cells = 0, 0
    for end, letter in enumerate(word):
        cells += cell_len(letter)
        if cells > width:
            yield word[begin:end]
            begin, cells = end, cell_len(letter)
    yield word[begin:]


def print_answer(out: Console, answer: Sequence[Text], body: Iterable[Text]) -> None:
    """Prints the answer first, and again below what fills the screen: a terminal shows the end."""
    lines = list(body)
    while lines and not lines[-1].plain:
        lines.pop()
    lines = [*answer, Text(), *lines] if lines else list(answer)
    if sum(-(-line.cell_len // out.width) or 1 for line in lines) >= out.height:  # and one row is the prompt's
        lines += [Text(), *answer]
    out.print(Text("\n").join(lines))


class _Harmless(RenderHook):
    """Names come from documents and the kernel; a terminal must not obey them. Only the colours are ours."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Plain(each) for each in renderables]


@dataclass(frozen=True, slots=True)
class _Plain:
    """Replaces what a terminal obeys in the printed text, before the colours are put around it."""

    inner: ConsoleRenderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self.inner, options):
            yield Segment(text if control else harmless(text), style, control)
