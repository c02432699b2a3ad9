"""The command line: verbs, words like virsh's, exit codes from the contract, one line for each error."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

from macmgr import __version__, errors, paths
from macmgr.errors import KernelError, MacmgrError, unexpected
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


def run(argv: Sequence[str]) -> int:
    """Run one verb; the exit code of the process."""
    if sys.stdout is None:  # closed by the caller; the exit code is what is wanted
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a guest's name need not fit the terminal's encoding
    try:
        try:
            code = _run(argv)
        except SystemExit as end:  # argparse has printed its help, or what is wrong with the words
            code = int(end.code or 0)
        sys.stdout.flush()
    except MacmgrError as error:
        print(one_line(f"macmgr: {error}"), file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # `macmgr show | head`: what was wanted has been read
        _drop_output()
        return errors.IN_SYNC
    except OSError as error:  # each place that reads or writes files tells its own; what is left is the output
        _drop_output()
        print(one_line(f"macmgr: {error.filename or 'standard output'}: {error.strerror}"), file=sys.stderr)
        return KernelError.exit_code
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if sys.flags.dev_mode:  # `python -X dev -m macmgr`: who looks for the bug wants the traceback
            raise
        _drop_output()
        bug = unexpected(error)
        print(one_line(f"macmgr: {bug}"), file=sys.stderr)
        return bug.exit_code
    return code


def _run(argv: Sequence[str]) -> int:
    if argv[:1] == ["help"]:
        argv = [*argv[1:], "--help"]
    arguments = _parser().parse_args(["--version"] if list(argv) == ["version"] else argv)
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
    """Let what is still buffered go nowhere, so that the interpreter does not stumble over it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


class _Parser(argparse.ArgumentParser):
    """argparse, which quotes words as they are given: a script may give the name of a domain."""

    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))


def _parser() -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = _Parser(
        prog="macmgr",
        description="Manage the MAC table of Linux bridges for libvirt guests.",
        epilog=_EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"macmgr {__version__}")
    _global_options(parser, suppress=False)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    for name, function, text, example in (
        ("audit", "audit", "compare what libvirt says with what the bridges do", "macmgr audit --bridge br0"),
        ("plan", "plan", "print the changes as bridge(8) commands, and make none", "macmgr plan --domain web1"),
        ("apply", "apply_changes", "make the changes and read them back", "macmgr apply"),
        ("show", "show", "bridges, ports, guests, MACs and promiscuity", "macmgr show --bridge br0"),
    ):
        verb = _verb(verbs, name, text, example)
        verb.set_defaults(function=function)
        verb.add_argument("--domain", metavar="D", help="only this domain")
        verb.add_argument("--bridge", metavar="B", help="only this bridge")
        verb.add_argument("--network", metavar="N", help="only the bridge of this libvirt network")
        if name == "audit":
            verb.add_argument("--strict", action="store_true", help="let warnings count as drift")
        if name == "apply":
            verb.add_argument(
                "--vlan-filtering", metavar="B", help="first turn VLAN filtering on for B, if that cuts nobody off"
            )
            verb.add_argument(
                "--cut", action="store_true", help="close ports also where that cuts off addresses in use behind them"
            )

    explain = _verb(verbs, "explain", "why a MAC, a port or a domain is as it is", "macmgr explain web1")
    explain.set_defaults(function="explain_one", domain=None, bridge=None, network=None)
    explain.add_argument("what", metavar="WHAT", help="a MAC, a bridge port, or a domain")

    release = _verb(
        verbs, "release", "give ports back to the kernel as they were before macmgr", "sudo macmgr release --bridge br0"
    )
    release.set_defaults(function="release_ports", domain=None, network=None)
    release.add_argument("--bridge", metavar="B", help="only the ports of this bridge")

    doctor = _verb(verbs, "doctor", "why an uplink is promiscuous, and what would change it", "macmgr doctor br0")
    doctor.set_defaults(function="doctor", domain=None, network=None)
    doctor.add_argument("bridge", metavar="BRIDGE", nargs="?", help="managed or not; default all managed ones")

    status = _verb(verbs, "status", "what the daemon manages, repaired and saw", "sudo macmgr status")
    status.set_defaults(function="status", module="macmgr.verbs.status")

    watch = _verb(
        verbs,
        "watch",
        "the daemon, in the foreground: keep the MAC tables right as long as guests live",
        "sudo macmgr watch",
    )
    watch.set_defaults(function="watch", module="macmgr.verbs.watch")
    watch.add_argument(
        "--observe",
        action="store_true",
        help="tell what it would do, on every bridge, and change nothing; hooks do their work themselves",
    )

    hook = _verb(
        verbs, "hook", "what libvirt's hooks call; XML on stdin", "macmgr hook qemu web1 started begin - < web1.xml"
    )
    hook.add_argument("driver", metavar="DRIVER", choices=("qemu", "lxc", "network", "daemon"))
    hook.add_argument("object", metavar="OBJECT")
    hook.add_argument("operation", metavar="OP")
    hook.add_argument("sub_operation", metavar="SUBOP", nargs="?", default="-")
    hook.add_argument("extra", metavar="EXTRA", nargs="?", default="-")

    net = _verb(
        verbs, "net", "read or change the attribute of a libvirt network, through libvirt", "macmgr net set lan libvirt"
    )
    net.set_defaults(module="macmgr.verbs.net")
    actions = net.add_subparsers(dest="action", required=True, metavar="get|set")
    for name, function, text, example in (
        ("get", "get_manager", "who manages the MAC table of a network's bridge", "macmgr net get lan"),
        ("set", "set_manager", "change macTableManager in a network's definition", "macmgr net set lan libvirt"),
    ):
        action = _verb(actions, name, text, example)
        action.set_defaults(function=function)
        action.add_argument("network", metavar="NETWORK")
        if name == "set":
            action.add_argument("manager", choices=("kernel", "libvirt"))

    validate = _verb(
        verbs, "validate", "check network, domain and configuration files", "macmgr validate lan.xml macmgr.toml"
    )
    validate.set_defaults(function="validate", module="macmgr.verbs.validate")
    validate.add_argument("files", nargs="+", metavar="FILE", help="XML of libvirt, or macmgr.toml; /dev/stdin too")

    for name, text in (
        ("install", "install libvirt's hooks, the daemon's unit, and a configuration where there is none"),
        ("uninstall", "remove what install put, but for a configuration that was changed since"),
    ):
        verb = _verb(verbs, name, text, f"sudo macmgr {name}")
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


def _verb(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str
) -> argparse.ArgumentParser:
    verb = verbs.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _global_options(verb, suppress=True)
    return verb


def _global_options(parser: argparse.ArgumentParser, *, suppress: bool) -> None:
    """The options that may stand before or after the verb; after it they override, and have no default of their own."""

    def default(value: object) -> object:
        return argparse.SUPPRESS if suppress else value

    group = parser.add_argument_group("global options")
    group.add_argument("--config", type=Path, default=default(None), metavar="FILE", help=f"default {paths.CONFIG}")
    group.add_argument(
        "--run-dir",
        type=Path,
        default=default(paths.LIBVIRT_RUN),
        metavar="DIR",
        help=f"libvirt's status files are below it; default {paths.LIBVIRT_RUN}",
    )
    group.add_argument(
        "--source",
        choices=("status", "libvirt"),
        default=default("status"),
        help="ask libvirt's status files, or its API; default status",
    )
    group.add_argument(
        "--connect", default=default(paths.LIBVIRT_URI), metavar="URI", help=f"libvirt; default {paths.LIBVIRT_URI}"
    )
    group.add_argument("--netns", default=default(None), metavar="NAME", help="look at this network namespace")
    group.add_argument("--format", choices=("table", "json"), default=default("table"), help="default table")
    group.add_argument("--json", action="store_true", default=default(False), help="the same as --format json")
    group.add_argument("-v", "--verbose", action="store_true", default=default(False), help="say more")
    group.add_argument("--no-color", action="store_true", default=default(False), help="no colour, on a terminal too")
