"""Each macmgr command that README.rst and docs/ show exists: the command line's own parser takes it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from macmgr.arguments import complete
from macmgr.commands import make_parser

TOP = Path(__file__).parents[2]
PAGES = [TOP / "README.rst", *(TOP / "docs").rglob("*.rst")]
TYPED = re.compile(r"(?m)^ +(?:[#$] )?(?:sudo )?(macmgr [a-z].*)$")
INLINE = re.compile(r"``(?:sudo )?(macmgr\s[^`]+)``")


def commands(text: str) -> list[str]:
    """What stands behind a prompt or by itself in a literal block, and what is quoted in a sentence."""
    found = [*TYPED.findall(text), *(" ".join(each.split()) for each in INLINE.findall(text))]
    return list(dict.fromkeys(found))


def words_of(command: str) -> list[str]:
    """What macmgr gets of it: not where its output goes. VID stands for a number."""
    words = shlex.split(command.partition(" > ")[0], comments=True)[1:]
    return ["42" if word == "VID" else word for word in words]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_commands_of_a_page(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = make_parser()
    wrong = []
    for command in commands(page.read_text()):
        words = words_of(command)
        try:
            complete(parser.parse_args(words))
        except SystemExit as end:
            said = capsys.readouterr().err
            named = all(word.isalpha() for word in words) and "are required" in said  # a verb that a sentence names
            if end.code and not named:
                wrong.append((command, said.splitlines()[-1]))
    assert wrong == []


def test_there_are_commands() -> None:
    assert sum(len(commands(page.read_text())) for page in PAGES) > 50
