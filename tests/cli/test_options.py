"""A verb has the options that it reads, and no others; one that it has not is refused with the verb's own usage."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from macmgr import cli
from macmgr.arguments import complete
from macmgr.commands import make_parser
from tests.cli.conftest import Host

# What the command line itself puts into the arguments, to find the verb.
_ITS_OWN = {"verb", "action", "module", "function", "parser", "options", "help"}


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """The parser of every verb that is a function, thus not of `net`, which only has verbs."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    for action in below:
        for verb in action.choices.values():
            yield from parsers(verb)
    if not below:
        yield parser


def fields_read(module: str, function: str) -> set[str]:
    """The fields of ``arguments`` that the function reads, and those functions of the verbs that it hands them to."""
    trees = [ast.parse(Path(str(import_module(module).__file__)).read_text())]
    imported = (each.module for each in trees[0].body if isinstance(each, ast.ImportFrom) and each.module)
    others = [import_module(each) for each in imported if each.startswith("macmgr.verbs.")]
    trees += [ast.parse(Path(str(other.__file__)).read_text()) for other in others]
    functions = {each.name: each for tree in trees for each in ast.walk(tree) if isinstance(each, ast.FunctionDef)}
    fields, seen, waiting = set(), set(), [function]
    while waiting:
        seen.add(name := waiting.pop())
        for node in ast.walk(functions[name]):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "arguments":
                fields.add(node.attr)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                given = {each.id for each in node.args if isinstance(each, ast.Name)}
                if "arguments" in given and node.func.id == "getattr":
                    assert isinstance(node.args[1], ast.Constant)
                    fields.add(str(node.args[1].value))
                elif "arguments" in given and node.func.id in functions.keys() - seen:
                    waiting.append(node.func.id)
    return fields


PARSERS = {parser.prog.removeprefix("macmgr "): parser for parser in parsers(make_parser())}


@pytest.mark.parametrize("verb", PARSERS)
def test_a_verb_has_what_it_reads_and_nothing_else(verb: str) -> None:
    parser = PARSERS[verb]
    module, function = parser.get_default("module") or "macmgr.verbs.host", parser.get_default("function")
    read = fields_read(module, function) if function else fields_read("macmgr.cli", "_run")  # a hook is called there
    has = {action.dest for action in parser._actions} - _ITS_OWN
    assert has - read == set(), "nobody reads these"
    # of `apply` and `plan` alone, and of those that change nothing, in what all verbs of the host share
    optional = {"cut", "vlans", "replay"}
    assert read - has - _ITS_OWN - parser._defaults.keys() <= optional


def test_what_is_read_is_found() -> None:
    """A search that finds nothing would approve of everything."""
    assert {"config", "run_dir", "source", "connect", "netns", "no_color", "strict"} <= fields_read(
        "macmgr.verbs.host", "audit"
    )


@pytest.mark.parametrize(
    ("words", "verb", "said"),
    [
        (["watch", "--source", "libvirt"], "watch", "unrecognized arguments: --source libvirt"),
        (["--source", "libvirt", "watch"], "watch", "watch has no option --source"),
        (["install", "--json"], "install", "unrecognized arguments: --json"),
        (["--json", "install"], "install", "install has no option --format or --json"),
        (["-v", "apply"], "apply", "apply has no option -v or --verbose"),
        (["apply", "-v"], "apply", "unrecognized arguments: -v"),
        (["--config", "f", "net", "get", "lan"], "net get", "net get has no option --config"),
        (["net", "-v", "set", "lan", "kernel"], "net set", "net set has no option -v or --verbose"),
        (["audit", "--strikt"], "audit", "unrecognized arguments: --strikt; did you mean '--strict'?"),
        (["release", "--domain", "web1"], "release", "unrecognized arguments: --domain web1"),
        (["--fromat", "json", "audit"], "[-h]", "unrecognized arguments: --fromat; did you mean '--format'?"),
        (
            ["--config", "f", "--netnss=x", "audit"],
            "[-h]",
            "unrecognized arguments: --netnss=x; did you mean '--netns'?",
        ),
        (["hlep"], "[-h]", "; did you mean 'help'?"),
        (["help", "adit"], "[-h]", "; did you mean 'audit'?"),
        (["audit", "--source", "libvrt"], "audit", "(choose from status, libvirt); did you mean 'libvirt'?"),
        (["net", "get", "lan", "now"], "net get", "unrecognized arguments: now"),
        (["explain"], "explain", "the following arguments are required: WHAT"),
        (["net"], "net", "the following arguments are required: get|set"),
        (
            ["net", "gte", "lan"],
            "net",
            "argument get|set: invalid choice: 'gte' (choose from get, set); did you mean 'get'?",
        ),
        (["adit"], "[-h]", "; did you mean 'audit'?"),
        (["net", "set", "lan", "libvrt"], "net set", "(choose from kernel, libvirt); did you mean 'libvirt'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_with_the_usage_of_the_verb(
    capsys: pytest.CaptureFixture[str], words: list[str], verb: str, said: str
) -> None:
    assert cli.run(words) == 2
    out, errors = capsys.readouterr()
    assert out == ""
    assert errors.startswith(f"usage: macmgr {verb} ")
    assert errors.count("error: ") == 1
    assert errors.splitlines()[-1].endswith(said)


def test_an_option_before_the_verb_is_the_verbs(host: Host) -> None:
    after = host.macmgr("plan", "--json", "--no-color")
    assert host.macmgr("--json", "--no-color", "plan") == host.macmgr("--format=json", "plan") == after
    assert host.macmgr("--json", "plan", "--format", "table") == host.macmgr("plan")
    missing = str(host.config.with_name("none.toml"))
    assert "none.toml" in host.macmgr("--config", missing, "audit").stderr


def test_a_default_is_given_to_who_reads_it_alone() -> None:
    status = make_parser().parse_args(["status"])
    complete(status)
    assert (status.format, status.verbose, status.no_color) == ("table", False, False)
    assert not hasattr(status, "connect")


def test_who_prints_for_people_can_be_asked_for_no_colour() -> None:
    """A script says so to every verb of the host."""
    printing = ("audit", "plan", "apply", "show", "explain", "release", "doctor", "status", "trace")
    assert all("no_color" in {action.dest for action in PARSERS[verb]._actions} for verb in printing)
