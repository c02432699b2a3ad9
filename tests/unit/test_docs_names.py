"""Every file and test that README.rst and docs/*.rst name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.rst", TOP / "CHANGELOG.rst", *(TOP / "docs").rglob("*.rst")]
PLACES = r"(?:macmgr|docs|hooks|packaging|tests|xml-schemas)/[\w./-]*\w"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_names_in_a_page(page: Path) -> None:
    text = page.read_text()
    named = set(re.findall(rf"(?<![\w/.-])({PLACES})", text))
    assert not {name for name in named if not any(TOP.glob(f"{name}*"))}
    tests = {name.removeprefix("tests/") for name in re.findall(r"[\w/]*\btest_\w+\.py", text)}
    assert not {name for name in tests if not any((TOP / "tests").glob(f"**/{name}"))}
