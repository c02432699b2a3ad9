"""Gives one input to one reader, and holds it to its limits: no error but a declared one, no second, no 100 MB."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz.targets import Target

CORPUS = Path(__file__).parent / "corpus"
SECONDS = 1.0  # of the processor: what else a machine does is no fault of an input's
MEGABYTES = 100
_ROOM = 1 << 30  # bytes


class OverLimit(Exception):
    """An input has taken more of the machine than it may."""


def inputs(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


@contextmanager
def bounded(seconds: float = 10 * SECONDS) -> Iterator[None]:
    """An input that comes to no end by itself is ended, as far as Python runs; and none takes the machine's memory."""

    def end(*_: object) -> None:
        raise OverLimit(f"not at its end after {seconds:g} s of the processor")

    before, limits = signal.signal(signal.SIGVTALRM, end), resource.getrlimit(resource.RLIMIT_AS)
    has = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (has + _ROOM, limits[1]))
    _most.append(seconds)
    try:
        yield
    finally:
        _most.pop()
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, limits)


_most: list[float] = []


def give(target: Target, data: bytes) -> None:
    """Any exception that comes out of this is a fault of the reader's."""
    if _most:
        signal.setitimer(signal.ITIMER_VIRTUAL, _most[-1])
    start, most = time.thread_time(), _megabytes()
    try:
        target.run(data)
    except target.declared as error:
        if "\n" in str(error):
            raise OverLimit(f"an error of several lines: {error}") from None
    seconds, grown = time.thread_time() - start, _megabytes() - most
    if seconds > SECONDS or grown > MEGABYTES:
        raise OverLimit(f"{seconds:.1f} s of the processor and {grown:.0f} MB for {len(data)} bytes")


def _megabytes() -> float:
    """The most that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
