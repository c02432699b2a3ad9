"""No clock on the wall decides a test: a busy machine makes all of them late, and none of them wrong.

What a test wants to know of time it asks of processor time, of a clock of its own, or of what happened. Who waits for
something else gives it half a minute or more.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
FILES = sorted(
    path for folder in ("unit", "property", "golden", "cli", "hooks") for path in (TESTS / folder).rglob("*.py")
)
CLOCKS = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "time", "time_ns"}
WAITS = {"join", "wait", "wait_for", "communicate", "result", "get", "until"}
LEAST = 30  # seconds


def decided_by_a_clock(source: str) -> Iterator[int]:
    """The lines where an assertion compares the time with a number, or where too little of it ends a wait."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(_is_number, sides)) and any(map(_reads_a_clock, sides)):
                yield node.lineno
        elif isinstance(node, ast.Call) and _name(node.func) in WAITS:
            limits = [*node.args, *(each.value for each in node.keywords if each.arg == "timeout")]
            if any(_is_number(each) and ast.literal_eval(each) < LEAST for each in limits):
                yield node.lineno


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _is_number(node: ast.expr) -> bool:
    """A number, or a constant's name."""
    return (isinstance(node, ast.Constant) and isinstance(node.value, int | float)) or (
        isinstance(node, ast.Name) and node.id.isupper()
    )


def _reads_a_clock(node: ast.expr) -> bool:
    """``time.monotonic() - start``, or what such a difference is called."""
    return any(
        (isinstance(each, ast.Call) and _name(each.func) in CLOCKS) or _name(each) in ("seconds", "elapsed", "took")
        for each in ast.walk(node)
        if isinstance(each, ast.expr)
    )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_no_test_is_decided_by_a_clock(path: Path) -> None:
    assert list(decided_by_a_clock(path.read_text())) == []


@pytest.mark.parametrize(
    "line",
    [
        "assert 0.5 <= said.seconds < 30.0",
        "assert said.seconds < ENDED",
        "assert time.monotonic() - start < 2",
        "assert 1 > perf_counter() - start",
        "thread.join(10)",
        "process.communicate(timeout=5)",
        "until(ready, 'it is ready', timeout=3.0)",
    ],
)
def test_what_a_clock_would_decide_is_seen(line: str) -> None:
    assert list(decided_by_a_clock(line)) == [1]


@pytest.mark.parametrize(
    "line",
    [
        "assert time.process_time() - start < SECONDS",
        "assert before <= told <= time.monotonic()",
        "process.wait(timeout=60)",
        "', '.join(words)",
    ],
)
def test_what_no_clock_decides_is_let_be(line: str) -> None:
    assert list(decided_by_a_clock(line)) == []
