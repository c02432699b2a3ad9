"""A few thousand inputs for each reader, in seconds: the corpus, in which each fault ever found is, and changes of it.

Which changes is another question each time, and a failure prints the input. A night's worth: ``tox -e fuzz``.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.fuzz.__main__ import several
from tests.fuzz.oneinput import CORPUS, bounded, give, inputs
from tests.fuzz.targets import TARGETS

CHANGED = {True: 2000, False: 400}


@pytest.mark.parametrize("name", TARGETS)
def test_whatever_it_reads_it_is_quick_and_reports_it(name: str) -> None:
    target = TARGETS[name]
    pool = [path.read_bytes() for path in inputs(name)]
    with bounded():
        for data in several(pool, len(pool) + CHANGED[target.buffer], target.form, Random()):  # noqa: S311
            try:
                give(target, data)
            except Exception as error:
                error.add_note(f"{name} was given {data!r}")
                raise


def test_each_input_is_some_readers() -> None:
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)
