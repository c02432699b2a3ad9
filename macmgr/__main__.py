"""The program's door. libvirt waits for its hooks, so a hook call passes by everything that only people need."""

from __future__ import annotations

import sys

from macmgr.hook.call import OPERATIONS, HookCall


def main() -> int:
    """Run the command line of this process; its exit code."""
    words = sys.argv[1:]
    # exactly as the shims call it, and without argparse: a domain may be named like an option
    if len(words) == 6 and words[0] == "hook" and words[1] in OPERATIONS:
        from macmgr.hook.run import run_hook

        return run_hook(HookCall(*words[1:]))
    if len(words) == 9 and words[:2] == ["hook", "--handed"] and words[4] in OPERATIONS:
        from macmgr.hook.run import Handed, run_hook

        return run_hook(HookCall(*words[4:]), handed=Handed.of(*words[2:4]))
    from macmgr.cli import run

    return run(words)


if __name__ == "__main__":
    raise SystemExit(main())
