"""The macmgr command as tests in the lab run it: the program of the environment that runs the tests."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = Path(sys.executable).with_name("macmgr")
CONFIG = Path("/etc/macmgr/macmgr.toml")
# An emulated machine takes its time, the more so when others use its one CPU: tests/hooks measures on the real one.
HOOK_TIMEOUT = "[hook]\ntimeout = 20\n"


@dataclass(frozen=True)
class Macmgr:
    """`macmgr VERB …` on the lab's host."""

    def __call__(self, *words: str, expect: int | None = 0, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run one verb; an exit code that was not expected shows what the command said."""
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
