"""The stage of the demos: real commands before their output, checks that are counted, a summary with an exit code."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Stage:
    """Where the demo is seen: commands with their output, and checks that are counted."""

    results: list[tuple[bool, str]] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def chapter(self, title: str) -> None:
        """A heading."""
        print(f"\n\033[1m── {title} ─{'─' * (100 - len(title))}\033[0m", flush=True)

    def say(self, text: str) -> None:
        """A sentence for the person who watches."""
        print(f"\n{text}", flush=True)

    def command(self, line: str, expect: int | None = 0) -> str:
        """Run a command as a person would type it; its output. An exit code that was not expected is a failure.

        None: any will do, as grep(1) ends with 1 where it finds nothing.
        """
        print(f"\n\033[1m# {line}\033[0m", flush=True)
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120, check=False)
        if output := (done.stdout + done.stderr).rstrip():
            print(output, flush=True)
        if expect is not None and done.returncode != expect:
            self.check(f"{line}: exit {done.returncode}, {expect} was expected", False)
        return done.stdout

    def audit(self, expect: int, when: str, codes: tuple[str, ...] = ()) -> None:
        """macmgr audit, its verdict, and the differences it must name."""
        output = self.command("macmgr audit", expect)
        said = "drift" if expect else "in sync"
        self.check(f"{when}: audit says {said}", output.startswith("In sync:") == (not expect))
        for code in codes:
            self.check(f"{when}: audit names {code}", code in output)

    def check(self, what: str, holds: bool) -> None:
        """Count one thing that must hold; say so at once when it does not."""
        self.results.append((holds, what))
        if not holds:
            print(f"\033[31m✗ {what}\033[0m", flush=True)

    def pings(self, when: str, pings: dict[str, Callable[[], int]], expected: int, of: int) -> None:
        """Ping, show how many were answered, and check that each is what was expected."""
        print(flush=True)
        right = True
        for who, ping in pings.items():
            answered = ping()
            right &= answered == expected
            print(f"  ping {who:<16} {answered} of {of} answered", flush=True)
        self.check(f"{when}: {expected} of {of} pings answered, {', '.join(pings)}", right)

    def summary(self) -> int:
        """What was checked, and the exit code."""
        failed = [what for holds, what in self.results if not holds]
        self.chapter("Summary")
        for holds, what in self.results:
            print(f"  {'✓' if holds else '✗'} {what}")
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        print(f"\n{len(self.results)} checks, {len(failed)} failed, in {minutes} min {seconds} s.", flush=True)
        return 1 if failed else 0
