"""What --help says, as golden text: a changed word is seen in review, and a new verb has to have its help."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from macmgr import __version__, cli
from macmgr.commands import make_parser
from tests.cli.conftest import Host
from tests.conftest import Golden

HERE = Path(__file__).parent / "help"


def verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, ...]]:
    """Every verb, and every verb of a verb."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, verb in action.choices.items():
                yield (name,)
                yield from ((name, *more) for more in verbs(verb))


VERBS = list(verbs(make_parser()))


Help = Callable[..., str]


@pytest.fixture
def help_of(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Help:
    monkeypatch.setenv("COLUMNS", "80")

    def ask(*words: str) -> str:
        assert cli.run([*words, "--help"]) == 0
        said, errors = capsys.readouterr()
        assert errors == ""
        return said

    return ask


@pytest.mark.parametrize("words", [(), *VERBS], ids=" ".join)
def test_help(help_of: Help, words: tuple[str, ...], golden: Golden) -> None:
    golden(HERE / f"{'-'.join(('macmgr', *words))}.txt", help_of(*words))


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_every_verb_shows_an_example_of_itself(help_of: Help, words: tuple[str, ...]) -> None:
    _, example = help_of(*words).split("\nexample:\n")
    assert f"macmgr {words[0]}" in example


def test_no_help_is_left_of_a_verb_that_is_gone() -> None:
    names = {f"{'-'.join(('macmgr', *words))}.txt" for words in [(), *VERBS]}
    assert {path.name for path in HERE.iterdir()} == names


def test_version(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.macmgr("--version").stdout == f"macmgr {__version__}\n"
    assert cli.run(["version"]) == 0
    assert capsys.readouterr().out == f"macmgr {__version__}\n"


@pytest.mark.parametrize("words", [(), ("audit",), ("net", "get")], ids=" ".join)
def test_help_is_a_verb_too(help_of: Help, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    wanted = help_of(*words)
    assert cli.run(["help", *words]) == 0
    assert capsys.readouterr().out == wanted


def test_macmgr_alone_is_the_short_help_and_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    said, errors = capsys.readouterr()
    assert said == ""
    assert all(f"\n    {words[0]}" in errors for words in VERBS)
    assert errors.endswith("\n'macmgr VERB --help' shows the options of a verb and an example.\n")
