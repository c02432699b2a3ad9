"""The program's door. libvirt waits for its hooks, so a hook call passes by everything that only people need.

Nothing of macmgr is imported before the guard stands: what is broken, or takes for ever, is one line and nobody's end.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from itertools import pairwise
from types import FrameType
from typing import NoReturn

# How long a hook may take until it has begun its work, which has a limit of its own (macmgr.hook.run).
_TO_BEGIN = 10.0
_BUG = 70  # as errors.MacmgrError has it


def main() -> int:
    words = sys.argv[1:]
    is_hook = words[:1] == ["hook"]
    try:
        if is_hook:
            _begin_in_time()
        return _run(words)
    except KeyboardInterrupt:
        return 0 if is_hook else 130
    except Exception as error:  # nobody is to see a traceback, and libvirt no exit code because of one
        if sys.flags.dev_mode and not is_hook:
            raise
        _say(f"failed ({type(error).__name__}: {error}); is it installed whole?")
        return 0 if is_hook else _unknown() if _is_plugin(words) else _BUG


def _is_plugin(words: list[str]) -> bool:
    return "--format=plugin" in words or ("--format", "plugin") in pairwise(words)


def _unknown() -> int:
    """Nagios takes any other code above 3 for CRITICAL."""
    with suppress(OSError):
        os.write(1, b"MACMGR UNKNOWN: macmgr cannot start; standard error says why\n")
    return 3


def _run(words: list[str]) -> int:
    from macmgr.model.hookcall import OPERATIONS, HookCall

    # exactly as the shims call it, and without argparse: a domain may be named like an option
    if len(words) == 6 and words[0] == "hook" and words[1] in OPERATIONS:
        from macmgr.hook.run import run_hook

        return run_hook(HookCall(*words[1:]))
    if len(words) == 9 and words[:2] == ["hook", "--handed"] and words[4] in OPERATIONS:
        from macmgr.hook.run import Handed, run_hook

        return run_hook(HookCall(*words[4:]), handed=Handed.of(*words[2:4]))
    from macmgr.cli import run

    return run(words)


def _begin_in_time() -> None:
    """Let the clock run, before anything is read."""

    def give_up(_number: int, _frame: FrameType | None) -> NoReturn:
        _say(f"the hook could not begin within {_TO_BEGIN:g} s and gave up; run 'macmgr audit'")
        os._exit(0)

    signal.signal(signal.SIGALRM, give_up)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, _TO_BEGIN)


def _say(text: str) -> None:
    line = "".join(letter if letter.isprintable() else "?" for letter in f"macmgr: {text}"[:1000])
    with suppress(OSError):
        os.write(2, f"{line}\n".encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    raise SystemExit(main())
