"""Writes a picture in DOT, Graphviz's language: ``dot -Tsvg`` draws it. Other people's names stay text in it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping

from macmgr.report.picture import Box, Line, Look, Picture, Yard

_WIDE = 44  # letters in a line of a box
_TITLE = 100
_FONT = "Helvetica"
# Colours that people tell apart who do not tell red from green; and each has a border, a weight or a shape of its own.
_BOXES: Mapping[Look, str] = {
    Look.CUT_OFF: f'color="#b40020" fillcolor="#ffe3e3" penwidth=3 peripheries=2 fontname="{_FONT}-Bold"',
    Look.AT_RISK: 'color="#b36b00" fillcolor="#ffefc2" penwidth=2 style="filled,dashed"',
    Look.DRIFT: 'color="#6a51a3" fillcolor="#f1edf8" penwidth=2',
    Look.PLAIN: 'color="#2b6ca3" fillcolor="#ffffff"',
    Look.RESTING: 'color="#777777" fillcolor="#ffffff" fontcolor="#555555" style="filled,dotted"',
    Look.OBSERVED: 'color="#777777" fillcolor="#e8e8e8" fontcolor="#444444"',
    Look.OTHER: 'color="#444444" fillcolor="#f7f7f7"',
}
_LINES: Mapping[Look, str] = {
    Look.CUT_OFF: 'color="#b40020" fontcolor="#b40020" penwidth=2.5 style=dashed arrowhead=tee',
    Look.AT_RISK: 'color="#b36b00"',
    Look.OBSERVED: 'color="#777777"',
    Look.RESTING: 'color="#777777" style=dotted arrowhead=none',
}
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "&": "&amp;"})


def dot_of(picture: Picture) -> str:
    """Returns the picture in DOT; its lines are the same for the same look."""
    return "".join(f"{line}\n" for line in _written(picture))


def _written(picture: Picture) -> Iterator[str]:
    yield "digraph macmgr {"
    title = f" label={_wrapped(picture.title, _TITLE)}" if picture.title else ""
    yield f'  graph [rankdir=LR labelloc=t labeljust=l fontsize=16 fontname="{_FONT}-Bold"{title}'
    yield '         bgcolor="#ffffff" ranksep=0.9 nodesep=0.12 pad=0.2 charset="UTF-8"]'
    yield f'  node [shape=box style=filled fontname="{_FONT}" fontsize=11 margin="0.12,0.06"]'
    yield f'  edge [fontname="{_FONT}" fontsize=10 color="#444444"]'
    # From left to right, dot sets what comes first to the bottom; so what is to stand above comes last.
    for number, yard in reversed([*enumerate(picture.yards)]):
        yield f"  subgraph cluster_{number} {{"
        yield from (f"    {line}" for line in _yard(yard))
        yield "  }"
    for each in reversed(picture.lines):
        yield f"  {_line(each)}"
    yield "}"


def _yard(yard: Yard) -> Iterator[str]:
    observed = yard.look is Look.OBSERVED
    style = (
        'style="rounded,dashed" color="#777777" fontcolor="#555555"' if observed else 'style=rounded color="#888888"'
    )
    yield f'graph [label={_wrapped(yard.title, _TITLE)} fontsize=13 class="{yard.look}" {style}]'
    for box in reversed(yard.boxes):
        yield f"{_name(box.key)} [{_box(box)}]"


def _box(box: Box) -> str:
    label = '"' + "".join(f"{_broken(line, _WIDE)}" for line in box.lines) + '"'
    return f'label={label} class="{box.look}" {_BOXES[box.look]}'


def _line(line: Line) -> str:
    parts = [f'class="{line.look}"', _LINES.get(line.look, "")]
    if line.aside:
        parts += [f'label="{_escaped(line.text)}" constraint=false arrowhead=normal']
    else:
        parts += ["tailport=e headport=w", "dir=both" * (line.look not in (Look.CUT_OFF, Look.RESTING))]
    return f"{_name(line.tail)} -> {_name(line.head)} [{' '.join(filter(None, parts))}]"


def _name(key: str) -> str:
    return f'"{_escaped(key)}"'


def _wrapped(text: str, width: int) -> str:
    return f'"{_broken(text, width)}"'


def _broken(text: str, width: int) -> str:
    """Breaks before it escapes: a break inside an escape would let the rest of a name through."""
    return "".join(f"{_escaped(line)}\\l" for line in textwrap.wrap(text, width, break_on_hyphens=False))


def _escaped(text: str) -> str:
    return text.translate(_ESCAPES)
