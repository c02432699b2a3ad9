"""Runs the command line: the contract's exit codes, one line for each error."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path

from macmgr import errors
from macmgr.arguments import complete
from macmgr.commands import make_parser
from macmgr.errors import KernelError, MacmgrError, unexpected
from macmgr.hook.run import run_hook
from macmgr.model.hookcall import HookCall
from macmgr.oneline import one_line


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
    parser = make_parser()
    parser.check_options(argv)
    if not argv:
        parser.epilog = "'macmgr VERB --help' shows the options of a verb and an example."
        parser.print_help(sys.stderr)
        return errors.USAGE
    arguments = parser.parse_args(["--version"] if list(argv) == ["version"] else argv)
    complete(arguments)
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
