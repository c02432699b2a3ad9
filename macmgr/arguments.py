"""The parts of the command line: parsers that refuse in one safe line, and the options that several verbs have."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from macmgr import paths
from macmgr.errors import did_you_mean, nearest_name
from macmgr.oneline import one_line

FORMATS = ("table", "json")
# The formats of verbs that have others, their default first.
_AUDIT = (*FORMATS, "html", "plugin", "prometheus")  # the last two for Nagios and Icinga, and for node_exporter
_GRAPH = ("svg", "dot", "mermaid")
_FORMATS_OF = {"macmgr audit": _AUDIT, "macmgr graph": _GRAPH, "macmgr": (*_AUDIT, *_GRAPH)}
# Options of every verb that looks at the host.
HOST_OPTIONS = ("config", "run-dir", "source", "connect", "netns", "format")
# With one of these there is a host to read, and a capture is another.
_OF_A_HOST = ("config", "run-dir", "source", "connect", "netns")


class Parser(argparse.ArgumentParser):
    """argparse repeats words as given, and a script may give a domain's name: the message becomes one safe line."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))

    def check_options(self, words: Sequence[str]) -> None:
        """Refuses an unknown option before the verb. argparse would take the word behind it for the verb."""
        rest = iter(words)
        for word in rest:
            if not word.startswith("-"):
                return
            name, equals, _ = word.partition("=")
            meant = [action for option, action in self._option_string_actions.items() if option.startswith(name)]
            if not meant:
                self.refuse([word])
            if meant[0].nargs != 0 and not equals:
                next(rest, None)

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Ends with the usage, and the option that was probably meant."""
        names = {option.lstrip("-"): option for option in self._option_string_actions}
        near = nearest_name(words[0].partition("=")[0].lstrip("-"), names)
        self.error(f"unrecognized arguments: {' '.join(words)}{near and f'; did you mean {names[near]!r}?'}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            words = ", ".join(action.choices)
            near = did_you_mean(value, [*action.choices, *(("help", "version") if action.dest == "verb" else ())])
            raise argparse.ArgumentError(action, f"invalid choice: {value!r} (choose from {words}){near}")


class VerbParser(Parser):
    """Refuses unknown arguments itself, so that the verb's own usage is printed."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.refuse(unknown)
        return known, unknown


def complete(arguments: argparse.Namespace) -> None:
    """Sets the defaults of the verb's options. Refuses an option before the verb that the verb does not have."""
    values = vars(arguments)
    formats = _formats(arguments.parser)
    if "replay" in values and "replay" in arguments.options:
        for name in _OF_A_HOST:
            if name.replace("-", "_") in values:
                arguments.parser.error(f"argument --{name}: not with --replay, which reads all of it from a capture")
    for name, (default, _) in shared_options().items():
        field = name.replace("-", "_")
        if name in arguments.options:
            values.setdefault(field, formats[0] if name == "format" else default)
        elif field in values:
            option = "-v or --verbose" if name == "verbose" else f"--{name}{' or --json' * (name == 'format')}"
            arguments.parser.error(f"{arguments.parser.prog.removeprefix('macmgr ')} has no option {option}")
    wanted = values.get("format", formats[0])
    if wanted not in formats:
        arguments.parser.error(f"{arguments.verb} has no format {wanted} (choose from {', '.join(formats)})")


def add_verb(
    verbs: argparse._SubParsersAction[VerbParser], name: str, text: str, example: str, *options: str
) -> VerbParser:
    """Adds a verb that reads only ``options`` of the table below."""
    verb = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(parser=verb, options=options)
    add_options(verb, "options that may stand before the verb too", options)
    return verb


def add_options(parser: argparse.ArgumentParser, title: str, names: Iterable[str]) -> None:
    """No option has a default here: the verb's default would overrule a value that stands before the verb."""
    group, table = parser.add_argument_group(title), shared_options()
    formats = _formats(parser)
    table["format"][1].update(choices=formats, help=f"default {formats[0]}")
    for name in names:
        flags = ("-v", "--verbose") if name == "verbose" else (f"--{name}",)
        group.add_argument(*flags, default=argparse.SUPPRESS, **table[name][1])
        if name == "format" and "json" in formats:
            same = "the same as --format json"
            group.add_argument(
                "--json", dest="format", action="store_const", const="json", default=argparse.SUPPRESS, help=same
            )


def _formats(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    return _FORMATS_OF.get(parser.prog, FORMATS)


def shared_options() -> dict[str, tuple[object, dict[str, Any]]]:
    """The options of more than one verb: the default, and the arguments for argparse."""
    run, uri = paths.LIBVIRT_RUN, paths.LIBVIRT_URI
    status_files = f"libvirt's status files are below it; default {run}"
    source = "ask libvirt's status files, or its API; default status"
    return {
        "config": (None, {"type": Path, "metavar": "FILE", "help": f"default {paths.CONFIG}"}),
        "run-dir": (run, {"type": Path, "metavar": "DIR", "help": status_files}),
        "source": ("status", {"choices": ("status", "libvirt"), "help": source}),
        "connect": (uri, {"metavar": "URI", "help": f"libvirt; default {uri}"}),
        "netns": (None, {"metavar": "NAME", "help": "look at this network namespace"}),
        "replay": (
            None,
            {"type": Path, "metavar": "DIR|FILE.tar", "help": "look at the host that 'macmgr capture' wrote down"},
        ),
        "format": (None, {}),  # a verb's own
        "verbose": (False, {"action": "store_true", "help": "say more"}),
        "no-color": (False, {"action": "store_true", "help": "no colour, on a terminal too"}),
    }
