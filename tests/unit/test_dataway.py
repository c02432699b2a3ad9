"""The data's way is short, and docs/design.rst shows it as it is."""

from __future__ import annotations

from pathlib import Path

from tests.dataway import in_words, measure, with_list

DESIGN = Path(__file__).parents[2] / "docs" / "design.rst"
# Each step of the way is one more place to look. The aim is 34 modules and 17 forms; what was reached is not given up.
MOST_MODULES, MOST_RECORDS = 41, 34


def test_the_document_has_the_list() -> None:
    said = DESIGN.read_text()
    assert said == with_list(said, in_words(measure())), "run python -m tests.dataway docs/design.rst"


def test_it_is_short() -> None:
    way = measure()
    assert len(way.modules) <= MOST_MODULES
    assert len(way.records) <= MOST_RECORDS
