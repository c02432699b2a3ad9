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


def test_each_page_is_in_the_index() -> None:
    listed = re.findall(r"(?m)^- `([\w-]+) <\1\.(?:rst|md)>`__: ", (TOP / "docs" / "index.rst").read_text())
    there = [path.stem for path in (TOP / "docs").iterdir() if path.suffix in (".rst", ".md") and path.stem != "index"]
    there.remove("what-it-is")  # README.rst, as the site shows it
    assert sorted(listed) == sorted(there)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_is_read_without_a_generator(page: Path) -> None:
    """Where a repository is browsed, a role of Sphinx shows as its markup."""
    assert ":doc:" not in page.read_text()
    assert ":ref:" not in page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_text_of_a_table_is_between_its_columns(page: Path) -> None:
    """A generator leaves such a table out; the last column may be longer."""
    border: list[tuple[int, int]] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if re.fullmatch(r" *=+(?: +=+)+", line):
            border = [match.span() for match in re.finditer(r"(?<==) +(?==)", line)]
        elif not line.strip() or line.startswith("--"):
            border = border if line.startswith("--") else []
        else:
            assert not [each for each in border if line[slice(*each)].strip()], f"{page.name}:{number}: {line}"


def test_the_readme_is_short() -> None:
    assert len((TOP / "README.rst").read_text().splitlines()) <= 150
