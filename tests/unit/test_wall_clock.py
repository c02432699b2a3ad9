"""No clock on the wall decides a test: a busy machine makes all of them late, and none of them wrong.

What a test wants to know of time it asks of processor time, of a clock of its own, or of what happened. Who waits for
something else gives it half a minute or more.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(
    path
    for folder in ("unit", "property", "golden", "cli", "hooks", "netns", "lab_outside")
    for path in (TESTS / folder).rglob("*.py")
)
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"}
WAITS = {"join", "wait", "wait_for", "communicate", "result", "get", "until"}
LEAST = 30  # seconds
WORDS = re.compile(rf"\b({'|'.join(CLOCKS)})\(|\b(seconds|elapsed|took)\b|\.({'|'.join(WAITS)})\(\d|timeout=\d")


def decided_by_a_clock(source: str) -> Iterator[int]:
    """The lines where an assertion compares the time with a number, or where too little of it ends a wait."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(_is_number, sides)) and any(map(_reads_a_clock, sides)):
                yield node.lineno
        elif isinstance(node, ast.Call) and _name(node.func) in WAITS:
            first = [] if _name(node.func) == "get" else node.args[:1]  # a dictionary's key
            limits = [*first, *(each.value for each in node.keywords if each.arg == "timeout")]
            if any(_number(each) < LEAST for each in limits):
                yield node.lineno


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_number(node: ast.expr) -> bool:
    """A number, or a constant's name."""
    return _number(node) < math.inf or (isinstance(node, ast.Name) and node.id.isupper())


def _number(node: ast.expr) -> float:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, int | float) else math.inf


def _reads_a_clock(node: ast.expr) -> bool:
    """``time.monotonic() - start``, or what such a difference is called."""
    return any(
        (isinstance(each, ast.Call) and _name(each.func) in CLOCKS) or _name(each) in ("seconds", "elapsed", "took")
        for each in ast.walk(node)
        if isinstance(each, ast.expr)
    )


def test_no_test_is_decided_by_a_clock() -> None:
    sources = {path: path.read_text() for path in FILES}
    timed = {path: source for path, source in sources.items() if WORDS.search(source)}  # to parse all takes seconds
    found = [
        f"{path.relative_to(TESTS)}:{line}" for path, source in timed.items() for line in decided_by_a_clock(source)
    ]
    assert found == []
    assert len(timed) > 5


@pytest.mark.parametrize(
    "line",
    [
        "assert 0.5 <= said.seconds < 30.0",
        "assert said.seconds < LIMIT",
        "assert time.monotonic() - start < 2",
        "assert 1 > perf_counter() - start",
        "thread.join(10)",
        "process.communicate(timeout=5)",
        "until(ready, 'it is ready', timeout=3.0)",
        "queue.get(timeout=1)",
    ],
)
def test_what_a_clock_would_decide_is_seen(line: str) -> None:
    assert WORDS.search(line)
    assert list(decided_by_a_clock(line)) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "assert time.process_time() - start < SECONDS",
        "assert before <= told <= time.monotonic()",
        "process.wait(timeout=60)",
        "', '.join(words)",
        "row.get('ifindex', 0)",
    ],
)
def test_what_no_clock_decides_is_let_be(line: str) -> None:
    assert list(decided_by_a_clock(line)) == []
