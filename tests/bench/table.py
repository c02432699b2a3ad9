"""The results as docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from tests.bench.measure import Result

_DAY = "\n## A day\n"
_HEAD = """\
# Benchmarks

Written by `tox -e bench` (tests/bench, root); {machine}.
Both sides of each line were measured in turns in one run, in a network namespace of its own. It is processor time,
user and system, of macmgr or bridge(8) and of what they start. Trust the ratio, which is that of the minima, and not
the milliseconds: they are another machine's tomorrow. Minimum and median in ms, unless a line says another unit. The
load is the machine's average of the last minute when the line was measured; other loads are other runs. One part
alone is `tox -e bench -- /dev/stdout PART`.

| what | beside | target | ratio | of medians | macmgr, min / median | the other, min / median | load | part | |
|---|---|---|---|---|---|---|---|---|---|
"""


def write_table(place: Path, results: Mapping[str, Sequence[Result]], machine: str) -> None:
    """Write the table of the results by their parts, and below it the reason for each target that is not met."""
    lines = [_line(result, part) for part, of_part in results.items() for result in of_part]
    unmet = [result for of_part in results.values() for result in of_part if not result.met and result.why_not]
    reasons = [f"- {result.what}: {result.why_not}" for result in unmet]
    text = _HEAD.format(machine=machine) + "".join(lines)
    if reasons:
        text += "\n## Not met, and why\n\n" + "\n".join(reasons) + "\n"
    day = place.read_text().partition(_DAY)[1:] if place.is_file() else ()  # what `tox -e soak` said stays
    place.write_text(text + "".join(day))


def _line(result: Result, part: str) -> str:
    cells = (
        result.what,
        result.reference,
        f"≤ {result.target:g}",
        f"{result.ratio:.2f}",
        f"{result.median_ratio:.2f}",
        _figures(result.ours, result.unit),
        _figures(result.theirs, result.unit),
        f"{result.load:.1f}",
        f"`{part}`",
        "met" if result.met else "**not met**",
    )
    return f"| {' | '.join(cells)} |\n"


def _figures(values: Sequence[float], unit: str) -> str:
    figures = f"{min(values):.1f} / {median(values):.1f}"
    return figures if unit == "ms" else f"{figures} {unit}"
