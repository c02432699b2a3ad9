"""The macmgr command as tests in the lab run it: the program of the environment that runs the tests."""

import contextlib
import io
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from macmgr.cli import run as command_line

PROGRAM = Path(sys.executable).with_name("macmgr")
CONFIG = Path("/etc/macmgr/macmgr.toml")
# An emulated machine takes its time, the more so when others use its one CPU: tests/hooks measures on the real one.
HOOK_TIMEOUT = "[hook]\ntimeout = 20\n"


# They run in this process: to start Python and to import all that costs an emulated machine a second each time. The
# rest is about the program as it is installed, or speaks with libvirtd.
_IN_THIS_PROCESS = frozenset({"apply", "audit", "doctor", "plan", "release", "show"})


@dataclass(frozen=True)
class Macmgr:
    """`macmgr VERB …` on the lab's host."""

    def __call__(self, *words: str, expect: int | None = 0, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one verb; an exit code that was not expected shows what the command said."""
        if words[0] in _IN_THIS_PROCESS and "--source" not in words:
            done = _run_here(words)
        else:
            done = subprocess.run([PROGRAM, *words], input=stdin, capture_output=True, timeout=60, check=False)
        if expect is not None and done.returncode != expect:
            raise AssertionError(
                f"macmgr {' '.join(words)}: exit {done.returncode}, not {expect}\n"
                f"{done.stdout.decode()}{done.stderr.decode()}"
            )
        return done

    def audit(self) -> dict[str, Any]:
        """The audit document."""
        return dict(json.loads(self("audit", "--json", expect=None).stdout))

    def codes(self, severity: str = "error") -> set[str]:
        """The codes of the findings of one severity."""
        return {finding["code"] for finding in self.audit()["findings"] if finding["severity"] == severity}

    def configure(self, text: str) -> None:
        """Write /etc/macmgr/macmgr.toml."""
        CONFIG.parent.mkdir(exist_ok=True)
        CONFIG.write_text(text)


def _run_here(words: tuple[str, ...]) -> subprocess.CompletedProcess[bytes]:
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line(words)
    return subprocess.CompletedProcess(["macmgr", *words], code, out.detach().getvalue(), err.detach().getvalue())
