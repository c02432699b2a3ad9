"""Writes a picture in Mermaid, which wikis and forges draw. Other people's names stay text in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from macmgr.report.picture import Box, Line, Look, Picture

_CLASSES: Mapping[Look, str] = {
    Look.CUT_OFF: "fill:#ffe3e3,stroke:#b40020,stroke-width:4px,color:#000000,font-weight:bold",
    Look.AT_RISK: "fill:#ffefc2,stroke:#b36b00,stroke-width:2px,stroke-dasharray:6 3,color:#000000",
    Look.DRIFT: "fill:#f1edf8,stroke:#6a51a3,stroke-width:2px,color:#000000",
    Look.PLAIN: "fill:#ffffff,stroke:#2b6ca3,color:#000000",
    Look.RESTING: "fill:#ffffff,stroke:#777777,stroke-dasharray:2 3,color:#555555",
    Look.OBSERVED: "fill:#e8e8e8,stroke:#777777,color:#444444",
    Look.OTHER: "fill:#f7f7f7,stroke:#444444,color:#000000",
}
_SHAPES: Mapping[Look, tuple[str, str]] = {Look.CUT_OFF: ("{{", "}}")}
_PLAIN = frozenset(" ,/")


def mermaid_of(picture: Picture) -> str:
    """Returns the picture as a flowchart; its lines are the same for the same look."""
    return "".join(f"{line}\n" for line in _written(picture))


def _written(picture: Picture) -> Iterator[str]:
    names = {box.key: f"n{number}" for number, box in enumerate(box for yard in picture.yards for box in yard.boxes)}
    yield "flowchart LR"
    yield f'  answer["{_escaped(picture.title)}"]:::answer'
    for number, yard in enumerate(picture.yards):
        yield f'  subgraph s{number}["{_escaped(yard.title)}"]'
        yield "    direction LR"
        yield from (f"    {_box(box, names)}" for box in yard.boxes)
        yield "  end"
    yield from (f"  {_line(line, names)}" for line in picture.lines)
    yield from (f"  classDef {_class(look)} {style}" for look, style in _CLASSES.items())
    yield "  classDef answer fill:#ffffff,stroke:#ffffff,color:#000000,font-weight:bold"


def _box(box: Box, names: Mapping[str, str]) -> str:
    left, right = _SHAPES.get(box.look, ("[", "]"))
    return f'{names[box.key]}{left}"{"<br/>".join(map(_escaped, box.lines))}"{right}:::{_class(box.look)}'


def _line(line: Line, names: Mapping[str, str]) -> str:
    cut = line.look is Look.CUT_OFF and not line.aside
    arrow = "-.->" if line.aside else "-.-x" if cut else "<-->"
    text = line.text or "cut off" * cut
    words = f'|"{_escaped(text)}"|' if text else ""
    return f"{names[line.tail]} {arrow}{words} {names[line.head]}"


def _class(look: Look) -> str:
    return str(look).replace("-", "")


def _escaped(text: str) -> str:
    """Writes all but letters, digits and a few marks as numbers: Mermaid's labels know quotes, HTML and Markdown."""
    return "".join(each if (each.isascii() and each.isalnum()) or each in _PLAIN else f"#{ord(each)};" for each in text)
