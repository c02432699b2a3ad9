"""Two habits of the lab: a failed command shows its own words, and waiting ends with the condition."""

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def run(*argv: str, check: bool = True, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a command and keep its output; when it fails, the error says what the command said."""
    done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).replace("\n", "; ")
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {words}")
    return done


def until(condition: Callable[[], Value], what: str, timeout: float = 30) -> Value:
    """Wait until the condition holds and answer with its value; after the deadline, say what never came."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {timeout:g} s still waiting: {what}")
        time.sleep(0.05)  # the one place that may: conditions here have no event to wait for
    return value
