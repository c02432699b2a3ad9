"""Runs the cases, as many processes at a time as told: ``python -m tests.faults [PROCESSES [EACH]]``.

``EACH``: of so many cases one. Prints a table and the violations, and ends with 1 if there is any.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from itertools import islice
from multiprocessing import get_context
from typing import NoReturn

from tests.faults.points import Fault
from tests.faults.scenes import GOLDEN, OPERATIONS, Scene

WORLDS = sorted(path.parent.name for path in GOLDEN.glob("*/snapshot.json"))
ONE_AT_A_TIME = 1  # requests that go to the kernel together: a process can be killed between any two
BATCHES = (500, ONE_AT_A_TIME)
_HANGS = 60  # seconds
# What does not hold, by world and words (docs/faults.rst): printed, and not counted.
_KNOWN = (
    ("ethernet", "tap6"),  # two domains name one tap, and the file of one of them cannot be read
    ("ethernet", "52:54:00:aa:00:06"),
    ("duplicate-mac", "the next run ends with 1"),  # a release that could not be written down, and is made again
)


class Hangs(BaseException):
    """A case does not end."""


def jobs() -> list[tuple[str, str, int]]:
    """World, operation and batch. What changes nothing is the same for both batches."""
    found = []
    for world in WORLDS:
        for operation in OPERATIONS:
            found += [
                (world, operation, batch) for batch in (BATCHES if operation in ("apply", "release") else BATCHES[:1])
            ]
    return found


def run(job: tuple[str, str, int], each: int) -> tuple[Counter[tuple[str, str]], list[str]]:
    """The number of cases by operation and kind, and the violations of one scene."""
    counts: Counter[tuple[str, str]] = Counter()
    broken: list[str] = []
    world, operation, batch = job
    scene = Scene(world, operation, batch)
    if not scene.fit:
        scene.close()
        return counts, broken
    for fault in islice(scene.cases(), 0, None, each):
        counts[operation, fault.kind] += 1
        broken += [
            f"{world}, {operation}, {batch} at a time, {_words(fault)}: {words}" for words in _tried(scene, fault)
        ]
    scene.close()
    return counts, broken


def _tried(scene: Scene, fault: Fault) -> list[str]:
    signal.signal(signal.SIGALRM, _hangs)
    signal.alarm(_HANGS)
    try:
        return scene.violations(fault)
    except Hangs:
        return ["it does not end"]
    except Exception as error:  # noqa: BLE001 - a case like any other
        return [f"{type(error).__name__}: {error}"]
    finally:
        signal.alarm(0)


def _hangs(*_: object) -> NoReturn:
    raise Hangs


def _words(fault: Fault) -> str:
    return f"{fault.where} {fault.at} {fault.how}{', and all after it' if fault.lasting else ''}"


def _one(work: tuple[tuple[str, str, int], int]) -> tuple[Counter[tuple[str, str]], list[str]]:
    return run(*work)


def main(processes: int = 2, each: int = 1) -> int:
    counts: Counter[tuple[str, str]] = Counter()
    broken: list[str] = []
    began = time.monotonic()
    known = 0
    with get_context("fork").Pool(processes, maxtasksperchild=8) as pool:
        for number, (some, violations) in enumerate(pool.imap_unordered(_one, [(job, each) for job in jobs()]), 1):
            counts += some
            fresh = [line for line in violations if not _is_known(line)]
            broken += fresh
            known += len(violations) - len(fresh)
            for line in violations[:5]:
                print(line if line in fresh else f"known: {line}", flush=True)
            if not number % 20:
                print(f"{number} of {len(jobs())} scenes, {counts.total()} cases, {len(broken)} violations", flush=True)
    print(table(counts))
    seconds = time.monotonic() - began
    print(f"\n{counts.total()} cases, {len(broken)} violations, {known} known ones, {seconds:.0f} s")
    return int(bool(broken))


def table(counts: Counter[tuple[str, str]]) -> str:
    """Cases by kind and operation."""
    kinds = sorted({kind for _, kind in counts})
    rows = [["", *OPERATIONS, "all"]]
    rows += [[kind, *(str(counts[each, kind]) for each in OPERATIONS), _sum(counts, kind)] for kind in kinds]
    rows.append(["all", *(str(sum(counts[each, kind] for kind in kinds)) for each in OPERATIONS), str(counts.total())])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _is_known(line: str) -> bool:
    return any(line.startswith(f"{world}, ") and words in line for world, words in _KNOWN)


def _sum(counts: Counter[tuple[str, str]], kind: str) -> str:
    return str(sum(counts[each, kind] for each in OPERATIONS))


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
