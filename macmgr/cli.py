"""The command line: verbs, words like virsh's, the contract's exit codes, one line for each error."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from macmgr import __version__, errors, paths
from macmgr.errors import KernelError, MacmgrError, did_you_mean, nearest_name, unexpected
from macmgr.hook.run import run_hook
from macmgr.model.hookcall import HookCall
from macmgr.oneline import one_line

_EXIT_CODES = """\
exit codes:
  0 in sync, or done             69 libvirt or a bridge is not there
  1 drift, or changes remain     71 netlink failed
  2 usage                        75 another writer holds the lock
  65 XML not understood          77 needs CAP_NET_ADMIN
                                 78 configuration wrong
"""
_FORMATS = ("table", "json")
_AUDIT_FORMATS = (*_FORMATS, "plugin", "prometheus")  # for Nagios and Icinga, and for node_exporter
# Options of every verb that looks at the host.
_HOST = ("config", "run-dir", "source", "connect", "netns", "format")


def run(argv: Sequence[str]) -> int:
    code, problem = _answered(argv)
    return _unknown(problem) if problem and _asks_for_plugin(argv) else code


def _answered(argv: Sequence[str]) -> tuple[int, str]:
    """Returns the exit code, and the error if one kept macmgr from an answer."""
    if sys.stdout is None:  # the caller closed it and wants only the exit code
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a guest's name need not fit the terminal's encoding
    try:
        try:
            code = _run(argv)
        except SystemExit as end:  # argparse has printed its help, or the usage error
            code = int(end.code or 0)
            problem = "the command line is wrong; standard error says where" if code else ""
        else:
            problem = ""
        sys.stdout.flush()
    except MacmgrError as error:
        return error.exit_code, _said(str(error))
    except BrokenPipeError:  # `macmgr show | head`: the reader has enough
        _drop_output()
        return errors.IN_SYNC, ""
    except OSError as error:  # each place that reads or writes files reports its own; only the output is left
        _drop_output()
        return KernelError.exit_code, _said(f"{error.filename or 'standard output'}: {error.strerror}")
    except KeyboardInterrupt:
        return 130, "interrupted"
    except Exception as error:
        if sys.flags.dev_mode:  # `python -X dev -m macmgr` shows the traceback, to find the bug
            raise
        bug = unexpected(error)
        if not _asks_for_plugin(argv):
            _drop_output()
        return bug.exit_code, _said(str(bug))
    return code, problem


def _said(problem: str) -> str:
    print(one_line(f"macmgr: {problem}"), file=sys.stderr)
    return problem


def _asks_for_plugin(argv: Sequence[str]) -> bool:
    """Reads it off the words: they may be wrong ones, and a plugin has to answer that, too. The last format counts."""
    wanted = ""
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if len(name) > 2 and "--format".startswith(name):
            wanted = value if equals else following
        elif word == "--json":
            wanted = "json"
    return wanted == "plugin"


def _unknown(problem: str) -> int:
    """Answers as a plugin that does not know. Nagios takes any other code above 3 for CRITICAL, and 1 for WARNING."""
    from macmgr.report.pluginline import unknown_answer

    state, line = unknown_answer(problem)
    with suppress(OSError, ValueError):  # nobody may be there to read it
        print(line, flush=True)
    return state


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*(() if argv[1:] in (["help"], ["version"]) else argv[1:]), "--help"]
    parser = _parser()
    parser.check_options(argv)
    if not argv:
        parser.epilog = "'macmgr VERB --help' shows the options of a verb and an example."
        parser.print_help(sys.stderr)
        return errors.USAGE
    arguments = parser.parse_args(["--version"] if list(argv) == ["version"] else argv)
    _complete(arguments)
    if arguments.verb == "hook":
        call = HookCall(
            arguments.driver, arguments.object, arguments.operation, arguments.sub_operation, arguments.extra
        )
        return run_hook(call, arguments.config, arguments.run_dir, arguments.netns)
    # macmgr.verbs takes 0.2 s with pyroute2 and rich: a hook must not pay for it twice, nor `validate` at all
    verbs = import_module(getattr(arguments, "module", "macmgr.verbs.host"))
    code: int = getattr(verbs, arguments.function)(arguments)
    return code


def _drop_output() -> None:
    """Discards the buffered output: the interpreter would fail on it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Parser(argparse.ArgumentParser):
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


class _Verb(_Parser):
    """Refuses unknown arguments itself, so that the verb's own usage is printed."""

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        known, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.refuse(unknown)
        return known, unknown


def _complete(arguments: argparse.Namespace) -> None:
    """Sets the defaults of the verb's options. Refuses an option before the verb that the verb does not have."""
    values = vars(arguments)
    for name, (default, _) in _options().items():
        field = name.replace("-", "_")
        if name in arguments.options:
            values.setdefault(field, default)
        elif field in values:
            option = "-v or --verbose" if name == "verbose" else f"--{name}{' or --json' * (name == 'format')}"
            arguments.parser.error(f"{arguments.parser.prog.removeprefix('macmgr ')} has no option {option}")
    wanted = values.get("format", "table")
    if wanted not in _formats(arguments.parser):
        arguments.parser.error(f"{arguments.verb} has no format {wanted}; only audit has it")


def _parser() -> _Parser:
    parser = _Parser(
        prog="macmgr",
        usage="macmgr [-h] [--version] [OPTION...] VERB ...",
        description="Manage the MAC table of Linux bridges for libvirt guests.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"macmgr {__version__}")
    _add_options(parser, "options of most verbs, before the verb or after it", _options())
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB", prog="macmgr", parser_class=_Verb)

    for name, function, text, example in (
        ("audit", "audit", "compare what libvirt says with what the bridges do", "macmgr audit --bridge br0"),
        ("plan", "plan", "print the changes as bridge(8) commands, and make none", "macmgr plan --domain web1"),
        ("apply", "apply_changes", "make the changes and read them back", "macmgr apply"),
        ("show", "show", "bridges, ports, guests, MACs and promiscuity", "macmgr show --bridge br0"),
    ):
        more = () if name == "apply" else ("verbose",)
        verb = _verb(verbs, name, text, example, *_HOST, *more, "no-color")
        verb.set_defaults(function=function)
        verb.add_argument("--domain", metavar="D", help="only this domain")
        verb.add_argument("--bridge", metavar="B", help="only this bridge")
        verb.add_argument("--network", metavar="N", help="only the bridge of this libvirt network")
        if name == "audit":
            verb.add_argument("--strict", action="store_true", help="let warnings count as drift")
            verb.add_argument("--problems", action="store_true", help="show what is wrong, and nothing else")
        if name in ("plan", "apply"):
            help_ = 'also put managed ports into the VLANs of their guests\' <vlan> (as with vlans = "repair")'
            verb.add_argument("--vlans", action="store_true", help=help_)
        if name == "apply":
            verb.set_defaults(module="macmgr.verbs.apply")
            verb.add_argument(
                "--vlan-filtering", metavar="B", help="first turn VLAN filtering on for B, if that cuts nobody off"
            )
            verb.add_argument(
                "--try",
                dest="trial",
                type=_seconds,
                metavar="SECONDS",
                help="go back by itself unless somebody types yes in time; with --bridge, on one that is only observed",
            )
            verb.add_argument(
                "--cut",
                action="store_true",
                help="make the changes also where they cut off an address that is in use, such as one behind a port",
            )

    explain = _verb(
        verbs,
        "explain",
        "why a MAC, a port, a bridge or a domain is as it is",
        "macmgr explain web1",
        *_HOST,
        "verbose",
        "no-color",
    )
    explain.set_defaults(function="explain_one", domain=None, bridge=None, network=None)
    explain.add_argument("what", metavar="WHAT", help="a MAC, a bridge, a bridge port, or a domain")

    text, example = "where a frame goes on this host, and why", "macmgr trace --from eth0 --to 52:54:00:aa:00:01"
    trace = _verb(verbs, "trace", text, example, *_HOST, "no-color")
    trace.set_defaults(function="trace_frames", module="macmgr.verbs.trace", domain=None, bridge=None, network=None)
    origin = "a port, a bridge (its host) or a MAC; default everybody on the bridges that know the destination"
    trace.add_argument("--from", dest="sender", metavar="PORT|MAC", help=origin)
    help_ = "of a station or of a group (ff:ff:ff:ff:ff:ff); for multicast, the group's IP address says more"
    trace.add_argument("--to", metavar="MAC", required=True, help=help_)
    trace.add_argument("--vid", type=int, metavar="V", help="the frame's VLAN: tagged, unless it is the port's PVID")

    for name, text in (
        ("manage", "let macmgr change a bridge: set its mode in the file"),
        ("observe", "let macmgr only report on a bridge: set its mode in the file"),
    ):
        mode = _verb(verbs, name, text, f"sudo macmgr {name} br0", *(each for each in _HOST if each != "format"))
        mode.set_defaults(function="set_mode", module="macmgr.verbs.bridgemode", domain=None, network=None)
        mode.add_argument("bridge", metavar="BRIDGE")

    text = "give ports back to the kernel as they were before macmgr"
    release = _verb(verbs, "release", text, "sudo macmgr release --bridge br0", *_HOST, "no-color")
    release.set_defaults(function="release_ports", module="macmgr.verbs.apply", domain=None, network=None)
    release.add_argument("--bridge", metavar="B", help="only the ports of this bridge")

    text = "why an uplink is promiscuous, and what would change it"
    doctor = _verb(verbs, "doctor", text, "macmgr doctor br0", *_HOST, "no-color")
    doctor.set_defaults(function="doctor", domain=None, network=None)
    doctor.add_argument("bridge", metavar="BRIDGE", nargs="?", help="managed or not; default all managed ones")

    text = "what the daemon manages, repaired and saw"
    status = _verb(verbs, "status", text, "sudo macmgr status", "format", "verbose", "no-color")
    status.set_defaults(function="status", module="macmgr.verbs.status")

    text = "the daemon, in the foreground: keep the MAC tables right as long as guests live"
    watch = _verb(verbs, "watch", text, "sudo macmgr watch", "config", "run-dir", "netns", "verbose")
    watch.set_defaults(function="watch", module="macmgr.verbs.watch")
    watch.add_argument(
        "--observe",
        action="store_true",
        help="report what it would do, on every bridge, and change nothing; hooks do their work themselves",
    )

    text, example = "what libvirt's hooks call; XML on stdin", "macmgr hook qemu web1 started begin - < web1.xml"
    hook = _verb(verbs, "hook", text, example, "config", "run-dir", "netns")
    hook.add_argument("driver", metavar="DRIVER", choices=("qemu", "lxc", "network", "daemon"))
    hook.add_argument("object", metavar="OBJECT")
    hook.add_argument("operation", metavar="OP")
    hook.add_argument("sub_operation", metavar="SUBOP", nargs="?", default="-")
    hook.add_argument("extra", metavar="EXTRA", nargs="?", default="-")

    text = "read or change the attribute of a libvirt network, through libvirt"
    net = _verb(verbs, "net", text, "macmgr net set lan libvirt", "config", "connect", "format", "verbose")
    actions = net.add_subparsers(dest="action", required=True, metavar="get|set")
    for name, function, text, example, option in (
        ("get", "get_manager", "who manages the MAC table of a network's bridge", "macmgr net get lan", "verbose"),
        (
            "set",
            "set_manager",
            "change macTableManager in a network's definition",
            "macmgr net set lan kernel",
            "config",
        ),
    ):
        action = _verb(actions, name, text, example, option, "connect", "format")
        action.set_defaults(function=function, module="macmgr.verbs.net")
        action.add_argument("network", metavar="NETWORK")
        if name == "set":
            action.add_argument("manager", choices=("kernel", "libvirt"))

    text = "check network, domain and configuration files"
    validate = _verb(verbs, "validate", text, "macmgr validate lan.xml macmgr.toml", "format")
    validate.set_defaults(function="validate", module="macmgr.verbs.validate")
    validate.add_argument("files", nargs="+", metavar="FILE", help="XML of libvirt, or macmgr.toml; /dev/stdin too")

    for name, text in (
        ("install", "install libvirt's hooks, the daemon's unit, and a configuration where there is none"),
        ("uninstall", "remove what install put, but for a configuration that was changed since"),
    ):
        verb = _verb(verbs, name, text, f"sudo macmgr {name}", "config", *(("run-dir",) if name == "install" else ()))
        verb.set_defaults(function=name, module="macmgr.verbs.install")
        verb.add_argument(
            "--hooks-dir", type=Path, default=paths.LIBVIRT_HOOKS, metavar="DIR", help=f"default {paths.LIBVIRT_HOOKS}"
        )
        verb.add_argument(
            "--units-dir", type=Path, metavar="DIR", help=f"the daemon's unit; default {paths.UNITS}, under systemd"
        )
        if name == "install":
            verb.add_argument(
                "--manage",
                action="store_true",
                help='let the new configuration say mode = "manage"; without it, macmgr only observes',
            )
            verb.add_argument("--program", type=Path, metavar="FILE", help="the macmgr that hooks and unit start")
            verb.add_argument(
                "--no-hooks", action="store_true", help="unit and configuration alone; hooks that are there go"
            )
        else:
            verb.add_argument(
                "--purge", action="store_true", help="forget how ports were before macmgr, released or not"
            )
    return parser


def _seconds(word: str) -> float:
    with suppress(ValueError):
        if 1 <= (seconds := float(word)) <= 86400:
            return seconds
    raise argparse.ArgumentTypeError(f"{word!r} is not a number of seconds from 1 to 86400")


def _verb(verbs: argparse._SubParsersAction[_Verb], name: str, text: str, example: str, *options: str) -> _Verb:
    """Adds a verb that reads only ``options`` of the table below."""
    verb = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(parser=verb, options=options)
    _add_options(verb, "options that may stand before the verb too", options)
    return verb


def _add_options(parser: argparse.ArgumentParser, title: str, names: Iterable[str]) -> None:
    """No option has a default here: the verb's default would overrule a value that stands before the verb."""
    group, table = parser.add_argument_group(title), _options()
    table["format"][1]["choices"] = _formats(parser)
    for name in names:
        flags = ("-v", "--verbose") if name == "verbose" else (f"--{name}",)
        group.add_argument(*flags, default=argparse.SUPPRESS, **table[name][1])
        if name == "format":
            same = "the same as --format json"
            group.add_argument(
                "--json", dest="format", action="store_const", const="json", default=argparse.SUPPRESS, help=same
            )


def _formats(parser: argparse.ArgumentParser) -> tuple[str, ...]:
    return _AUDIT_FORMATS if parser.prog in ("macmgr", "macmgr audit") else _FORMATS


def _options() -> dict[str, tuple[object, dict[str, Any]]]:
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
        "format": ("table", {"choices": _FORMATS, "help": "default table"}),
        "verbose": (False, {"action": "store_true", "help": "say more"}),
        "no-color": (False, {"action": "store_true", "help": "no colour, on a terminal too"}),
    }
