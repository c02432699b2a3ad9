"""Standard output for people: as wide as the terminal, in colour if wanted, and nothing in it that a terminal obeys."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.segment import Segment
from rich.text import Text

from macmgr.oneline import harmless


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
        highlight=False,
        markup=False,
        emoji=False,
        soft_wrap=True,
    )
    made.push_render_hook(_Harmless())
    return made


def print_wrapped(out: Console, head: Text, text: Text, indent: int) -> None:
    """Prints ``head`` and the text, which wraps at words; its further lines are indented."""
    lines = text.wrap(out, max(out.width - indent, 20))
    for line in lines:
        line.rstrip()
    out.print(head + Text("\n" + " " * indent).join(lines), soft_wrap=True)


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
