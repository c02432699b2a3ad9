"""The man pages are made of the parser, of the option rows and of docs/: what is in these is in the pages."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from macmgr.arguments import complete
from macmgr.commands import make_parser
from macmgr.config import AUDIT_NAMES, DAEMON_NAMES, DEFAULTS_NAMES, HOOK_NAMES, MODES, ON_ERROR
from macmgr.model.hookcall import OPERATIONS
from macmgr.options import OPTIONS
from tests.cli.test_help import verbs
from tests.unit.test_docs_commands import commands, words_of

TOP = Path(__file__).parents[2]
NAMES = ("macmgr.1", "macmgr.toml.5", "macmgr-hooks.7")
PARSER = make_parser()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("man")
    done = subprocess.run(
        [sys.executable, TOP / "packaging/manpages.py", target], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert {path.name for path in target.iterdir()} == set(NAMES)
    return target


def text_of(page: Path) -> str:
    """Returns what a reader sees, and the headings."""
    roff = re.sub(r"(?m)^\.B ", "", page.read_text())
    roff = re.sub(r"(?m)^(?!\.SH)[.'].*\n", "", roff)
    roff = re.sub(r"\\f.|\\%|\\&|\\X'.*?'", "", roff)
    for code, letter in (("\\-", "-"), ("\\(aq", "'"), ("\\(dq", '"'), ("\\(ga", "`"), ("\\e", "\\")):
        roff = roff.replace(code, letter)
    return roff


def part(text: str, begin: str) -> str:
    """Returns the entry of a verb: up to the next verb, or the next section."""
    found = re.search(rf"(?ms)^{re.escape(begin)} \[OPTION\.\.\.\].*?(?=^macmgr [a-z ]+ \[OPTION|^\.SH)", text)
    assert found, begin
    return found[0]


@pytest.mark.parametrize("words", [words for words in verbs(PARSER) if words != ("net",)], ids=" ".join)
def test_each_verb_with_each_option(pages: Path, words: tuple[str, ...]) -> None:
    said = part(text_of(pages / "macmgr.1"), f"macmgr {' '.join(words)}")
    before = {option for action in PARSER._actions for option in action.option_strings}
    verb: argparse.ArgumentParser = make_parser()
    for word in words:
        verb = next(action for action in verb._actions if isinstance(action, argparse._SubParsersAction)).choices[word]
    for action in verb._actions:
        name = action.option_strings[-1] if action.option_strings else str(action.metavar or action.dest.upper())
        assert name in said
        assert set(action.option_strings) & before or not action.help or action.help in said
        assert not action.required or name in said.splitlines()[0]


def test_each_option_before_the_verb_and_each_exit_code(pages: Path) -> None:
    text = text_of(pages / "macmgr.1")
    options = text.partition("\n.SH OPTIONS")[2]
    assert [o for action in PARSER._actions for o in action.option_strings if o not in options] == []
    exits = text.partition("\n.SH EXIT STATUS")[2].partition("\n.SH")[0]
    assert re.findall(r"(?m)^\d+$", exits) == [str(code) for code in (0, 1, 2, 3, 10, 65, 69, 70, 71, 75, 77, 78, 130)]


def test_each_setting_with_its_words(pages: Path) -> None:
    text = text_of(pages / "macmgr.toml.5")
    synopsis, _, rest = text.partition("\n.SH DESCRIPTION")
    names = [option.toml for option in OPTIONS]
    for name in (*names, "allow", *DEFAULTS_NAMES, *HOOK_NAMES, *DAEMON_NAMES, *AUDIT_NAMES):
        assert f"\n{name} = " in synopsis
        assert re.search(rf"\b{name}\b", rest)
    for words in (MODES, ON_ERROR, *(option.values for option in OPTIONS)):
        assert f"= {' | '.join(words)}\n" in synopsis


def test_each_call_of_a_hook(pages: Path) -> None:
    text = text_of(pages / "macmgr-hooks.7")
    for driver, operations in OPERATIONS.items():
        assert f"\n{driver}\n{', '.join(operations)}\n" in text


def test_each_example_is_a_command() -> None:
    found = commands((TOP / "packaging/macmgr.1.rst").read_text())
    assert len(found) > 5
    for command in found:
        complete(PARSER.parse_args(words_of(command.partition(" >")[0])))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "checker",
    [
        ("man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"),
        ("groff", "-ww", "-man", "-Tutf8", "-Kutf8"),
        ("mandoc", "-T", "lint", "-W", "error"),
    ],
    ids=lambda words: words[0],
)
def test_nothing_is_wrong_with_a_page(pages: Path, checker: tuple[str, ...], name: str) -> None:
    if not shutil.which(checker[0]):
        pytest.skip(f"no {checker[0]} here")
    done = subprocess.run(
        [*checker, pages / name],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "MANWIDTH": "80"},
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_has_a_name_that_apropos_finds(pages: Path, name: str) -> None:
    title = name.rpartition(".")[0]
    assert f"\n.SH NAME\n{title} - " in text_of(pages / name)
