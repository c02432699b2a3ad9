"""What the tests share: golden files, and hypothesis profiles (`--hypothesis-profile=nightly` looks much longer)."""

from __future__ import annotations

import os
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
    parser.addoption("--endurance", action="store_true", help="as long as it takes: a thousand kills, ten storms")


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


@pytest.fixture(autouse=True)
def this_machine_is_left_alone() -> Iterator[None]:
    """Fails a test that writes where an installed macmgr keeps its lock, its socket and its memory."""
    if Path("/run/lab/settings").exists():  # the lab is a machine of the tests' own
        yield
        return
    before = what_is_here()
    yield
    after = what_is_here()
    changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    assert not changed, f"the test (or a macmgr that runs on this machine) wrote {', '.join(changed)}"
