"""Prints a file of packaging/completion with its table made anew: the verbs and options of the command line's parser.

What a value is, and so which names complete it, follows from its metavar.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from macmgr.commands import make_parser

# For each metavar the names that it can be; a value with any other metavar is nobody's name.
KINDS = {
    "D": "domain",
    "DOMAIN": "domain",
    "B": "bridge",
    "BRIDGE": "bridge",
    "N": "network",
    "NETWORK": "network+defined",
    "PORT|MAC": "port+bridge",
    "WHAT": "domain+bridge+port",
    "FILE": "file",
    "DIR|FILE.tar": "file",
    "FILE|DIR": "file",
    "DIR": "directory",
    "NAME": "netns",
}
BEGIN, END = "# table\n", "# end of the table\n"


@dataclass(frozen=True, slots=True)
class Word:
    """An option or argument: what may stand for it, "" where nothing is known; None if it takes no value."""

    names: tuple[str, ...]
    kind: str | None
    help: str
    metavar: str
    repeats: bool = False


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb by its words, empty before any: what it takes, and the verbs below it with their help."""

    name: str
    options: tuple[Word, ...]
    places: tuple[Word, ...]
    verbs: tuple[tuple[str, str], ...] = ()


def verbs_of(parser: argparse.ArgumentParser, name: str = "") -> Iterator[Verb]:
    words = [word_of(action) for action in parser._actions]
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    names = tuple((each.dest, each.help or "") for action in below for each in action._choices_actions)
    if not name:
        names = (*names, ("help", "what macmgr, or a verb, takes"), ("version", "macmgr's version"))
    options = tuple(word for word in words if word.names)
    places = tuple(
        word for word, action in zip(words, parser._actions, strict=True) if not word.names and action not in below
    )
    yield Verb(name, options, places, names)
    for action in below:
        for word, verb in action.choices.items():
            yield from verbs_of(verb, f"{name} {word}".lstrip())
        if not name:
            yield Verb("help", (), (Word((), f"={','.join(action.choices)}", "", "VERB"),))
            yield Verb("version", (), ())


def word_of(action: argparse.Action) -> Word:
    metavar = str(action.metavar or action.dest.upper())
    kind = f"={','.join(action.choices)}" if action.choices else KINDS.get(metavar, "")
    takes_none = action.option_strings and action.nargs == 0
    return Word(
        tuple(action.option_strings), None if takes_none else kind, action.help or "", metavar, action.nargs == "+"
    )


def bash(verbs: list[Verb]) -> Iterator[str]:
    for verb in verbs:
        options = " ".join(
            name + ("" if word.kind is None else f":{word.kind or 'other'}")
            for word in verb.options
            for name in word.names
        )
        places = [f"={','.join(name for name, _ in verb.verbs)}"] if verb.verbs else []
        places += [f"{word.kind or 'other'}{'...' * word.repeats}" for word in verb.places]
        yield f"    '{verb.name}')"
        yield f"        options='{options}'"
        yield f"        places='{' '.join(places)}' ;;"


def zsh(verbs: list[Verb]) -> Iterator[str]:
    for verb in verbs:
        yield f"    ('{verb.name}')"
        if verb.verbs:
            yield "        verbs=("
            yield from (f"            {quoted(f'{name}:{text}')}" for name, text in verb.verbs)
            yield "        )"
        yield "        specs=("
        for word in verb.options:
            text = re.sub(r"([\[\]:\\])", r"\\\1", word.help)
            for name in word.names:
                spec = f"{name}[{text}]" if word.kind is None else f"{name}=[{text}]:{zsh_value(word)}"
                yield f"            {quoted(spec)}"
        for word in verb.places:
            place = "*:" if word.repeats else ":"
            yield f"            {quoted(place + zsh_value(word))}"
        yield "        ) ;;"


def zsh_value(word: Word) -> str:
    return f"{word.metavar.replace('|', ' or ')}:{zsh_action(word.kind or '')}"


def zsh_action(kind: str) -> str:
    if kind.startswith("="):
        return f"({kind[1:].replace(',', ' ')})"
    named = {"file": "_files", "directory": "_files -/", "": " "}
    return named.get(kind, f" _macmgr_names {kind.replace('+', ' ')}")


def fish(verbs: list[Verb]) -> Iterator[str]:
    valued = sorted({name for verb in verbs for word in verb.options if word.kind is not None for name in word.names})
    yield f"set -g __macmgr_valued {' '.join(valued)}"
    yield f"set -g __macmgr_verbs {' '.join(quoted(verb.name) for verb in verbs if verb.name)}"
    for verb in verbs:
        here = f"__macmgr_at '{verb.name}'"
        for name, text in verb.verbs:
            yield f'complete -c macmgr -n "{here} -eq 0" -a {name} -d {fish_quoted(text)}'
        for word in verb.options:
            flags = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in word.names)
            plain = {None: "", "file": " -r -F", "": " -x"}
            value = plain[word.kind] if word.kind in plain else f" -x -a {fish_names(word.kind)}"
            yield f'complete -c macmgr -n "{here}" {flags}{value} -d {fish_quoted(word.help)}'
        for number, word in enumerate(verb.places):
            if word.kind:
                at = f"{here} {'-ge' if word.repeats else '-eq'} {number}"
                value = "-F" if word.kind == "file" else f"-a {fish_names(word.kind)}"
                yield f'complete -c macmgr -n "{at}" {value}'


def fish_names(kind: str | None) -> str:
    kind = kind or ""
    if kind.startswith("="):
        return fish_quoted(kind[1:].replace(",", " "))
    return "'(__fish_complete_directories)'" if kind == "directory" else f"'(__macmgr_names {kind.replace('+', ' ')})'"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main(name: str) -> None:
    make = {"macmgr.bash": bash, "_macmgr": zsh, "macmgr.fish": fish}[name]
    text = (Path(__file__).parent / "completion" / name).read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    indent = before.rpartition("\n")[2]
    table = "".join(f"{line}\n" for line in make(list(verbs_of(make_parser()))))
    sys.stdout.write(f"{before}{BEGIN}{table}{indent}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
