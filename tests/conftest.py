"""What the tests share: golden files, and hypothesis profiles (`--hypothesis-profile=nightly` looks much longer)."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No example database: a test leaves nothing behind in the checkout. A failure prints the blob that repeats it.
_COMMON = settings(deadline=None, database=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

# What everybody runs is the same each time: a push is not the moment to meet an old bug by chance. nightly is.
settings.register_profile("fast", _COMMON, derandomize=True, max_examples=100)
settings.register_profile("nightly", _COMMON, max_examples=20_000)
settings.load_profile("fast")

# What an installed macmgr has on this machine. A test has its own, or a mount namespace where these are others.
OURS_HERE = (Path("/run/macmgr"), Path("/var/lib/macmgr"))

Golden = Callable[[Path, str], None]
"""Asserts that a file holds a text; with --update-golden it writes the text instead."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files anew instead of comparing")
    parser.addoption(
        "--bridges", type=int, default=200, help="how many random bridges the forwarding model is tried on"
    )
    parser.addoption("--endurance", action="store_true", help="as long as it takes: a thousand kills, ten storms")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(name): the golden case that is the host of this test")


def pytest_collection_finish() -> None:
    """Python searches what the tests have made for garbage, and not the thousands of tests, which stay.

    Nor does a forked hook copy these when it searches.
    """
    gc.freeze()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    update = bool(request.config.getoption("--update-golden"))

    def check(path: Path, text: str) -> None:
        if update:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            return
        assert path.exists(), f"{path} is not there; --update-golden writes it"
        assert text == path.read_text(encoding="utf-8"), f"{path} differs; --update-golden rewrites it"

    return check


def what_is_here() -> dict[str, tuple[int, int, int]]:
    found = {}
    for top in OURS_HERE:
        for place, _, files in os.walk(top):
            for path in (place, *(f"{place}/{name}" for name in files)):
                status = os.lstat(path)
                found[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
    return found


@pytest.fixture(scope="session")
def notes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path | None:
    """Where the workers of this run note which test begins and ends when; None where one test runs at a time."""
    if not hasattr(request.config, "workerinput"):
        return None
    made = tmp_path_factory.getbasetemp().parent / "which-test-ran-when"
    made.mkdir(exist_ok=True)
    return made


def ran_meanwhile(notes: Path, since: float) -> list[str]:
    """The tests that have ended after ``since``, or not at all: each of them may have done what was done since then."""
    found: list[str] = []
    for file in notes.iterdir():
        began: dict[str, float] = {}
        for line in file.read_text(encoding="utf-8").splitlines():
            word, moment, test = line.split(" ", 2)
            if word == "begins":
                began[test] = float(moment)
            elif float(moment) < since:
                began.pop(test, None)
        found += began
    return sorted(found)


@pytest.fixture(autouse=True)
def this_machine_is_left_alone(request: pytest.FixtureRequest, notes: Path | None) -> Iterator[None]:
    """Fails a test that writes where an installed macmgr keeps its lock, its socket and its memory.

    Under xdist, tests that only run at the same time fail with it: the message names all of them.
    """
    if Path("/run/lab/settings").exists():  # the lab is a machine of the tests' own
        yield
        return
    test, since = request.node.nodeid, time.monotonic()

    def note(word: str) -> None:
        if notes is not None:
            with (notes / str(os.getpid())).open("a", encoding="utf-8") as file:
                file.write(f"{word} {time.monotonic()} {test}\n")

    note("begins")
    before = what_is_here()
    yield
    after = what_is_here()
    note("ends")
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    if changed:
        who = " or ".join(ran_meanwhile(notes, since) if notes else [test])
        pytest.fail(f"{who} (or a macmgr that runs on this machine) wrote {', '.join(changed)}", pytrace=False)
