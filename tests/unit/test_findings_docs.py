"""docs/findings has a page for each finding code, and each page says what a person on call must know."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from macmgr.model.codes import Code

DOCS = Path(__file__).parents[2] / "docs"
PAGES = DOCS / "findings"
HEADINGS = ["For the guest", "How it comes about", "What to do", "What macmgr does by itself"]
UNDERLINED = re.compile(r"^(.+)\n([-=])\2+$", re.MULTILINE)


def page(code: Code) -> str:
    return (PAGES / f"{code}.rst").read_text()


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"(?m)^(.+)\n-+\n", text)
    return {heading: body.strip() for heading, body in zip(parts[1::2], parts[2::2], strict=True)}


def test_codes_and_pages_are_the_same() -> None:
    assert sorted(path.stem for path in PAGES.iterdir()) == sorted(map(str, Code))


@pytest.mark.parametrize("code", Code)
def test_a_page_has_what_its_row_has(code: Code) -> None:
    title, severity = re.match(r"(.+)\n=+\n\n(.+)\n\n", page(code)).groups()  # type: ignore[union-attr]
    assert title == code
    assert severity == f"*{code.severity}, {code.consequence}*"


@pytest.mark.parametrize("code", Code)
def test_a_page_says_what_it_means_how_it_comes_about_and_what_to_do(code: Code) -> None:
    found = sections(page(code))
    assert list(found) == HEADINGS
    assert all(len(body.split()) >= 1 for body in found.values())


@pytest.mark.parametrize("code", Code)
def test_a_page_knows_if_a_change_repairs_it(code: Code) -> None:
    says = sections(page(code))[HEADINGS[-1]]
    assert says.startswith("Nothing") == (not code.why), "'Nothing' where no change of macmgr's repairs the finding"


@pytest.mark.parametrize("code", sorted({*Code} - {Code.UPLINK_NO_UNICAST_FILTER}))
def test_a_page_shows_the_finding(code: Code) -> None:
    """As it is printed: see tests/golden/test_docs_output.py. One code is the doctor's alone, who asks the device."""
    assert re.search(r"(?m)^\.\. (finding|output) of [\w-]+\n\n::\n\n    ", page(code))


def test_each_code_is_in_the_index_under_its_consequence() -> None:
    parts = re.split(r"(?m)^\*([\w-]+)\.\* ", (DOCS / "findings.rst").read_text())
    item = re.compile(r"^- `([a-z-]+) <findings/\1\.rst>`__ \((\w+)\): \w", re.MULTILINE)
    found = {
        (code, severity, word)
        for word, body in zip(parts[1::2], parts[2::2], strict=True)
        for code, severity in item.findall(body)
    }
    assert found == {(str(code), str(code.severity), str(code.consequence)) for code in Code}


@pytest.mark.parametrize("path", [*DOCS.rglob("*.rst"), DOCS.parent / "README.rst"], ids=lambda path: path.stem)
def test_a_link_leads_to_a_page(path: Path) -> None:
    for target in re.findall(r"<([\w./-]+\.rst)>`_", path.read_text()):
        assert (path.parent / target).is_file(), target


@pytest.mark.parametrize("path", [*PAGES.iterdir(), DOCS / "findings.rst"], ids=lambda path: path.stem)
def test_a_heading_is_underlined_to_its_end(path: Path) -> None:
    text = path.read_text()
    for heading in UNDERLINED.finditer(text):
        line, underline = heading.group().splitlines()
        assert len(line) == len(underline)
