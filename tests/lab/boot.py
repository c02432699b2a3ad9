"""The lab: a full Linux kernel in user mode, on a throw-away copy of this machine's files.

`python3 -m tests.lab.boot -- COMMAND…` boots it, runs the command inside (in the checkout, as
root), shows its output as it comes and ends with its exit status. Nothing the command writes
reaches this machine, except what it puts in `$LAB_RESULTS` (found afterwards in `.lab/results/`).
A lab that does not come to an end, or of which nothing is heard any more, is killed from here, and its console log is
kept.

Only the standard library is used: this is the one part that runs before anything is installed.
"""

import argparse
import contextlib
import fcntl
import math
import os
import re
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import termios
import time
import tty
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import BinaryIO

CHECKOUT = Path(__file__).resolve().parents[2]
STATE = CHECKOUT / ".lab"
CPUS = Path("/sys/devices/system/cpu")
KERNEL = "linux.uml"
TIMED_OUT = 124  # what timeout(1) answers
NO_STATUS = 125  # the lab ended without saying how its command ended


@dataclass(frozen=True)
class Limits:
    """When a lab is killed, in seconds: how long it may take in all, and how long its command may print nothing.

    A busy machine makes everything slow, and nothing silent: a long run has its limit on silence.
    """

    whole: float = 900
    silence: float = math.inf

    def left(self, ran: float, silent: float) -> float:
        """For how long yet the lab may run without another word."""
        return min(self.whole - ran, self.silence - silent)

    def passed(self, ran: float) -> str:
        """The limit that has passed when nothing is left."""
        return f"killed after {self.whole:g} s" if ran >= self.whole else f"killed: no output for {self.silence:g} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Boot a lab for one command and answer with the command's exit status."""
    options = _parse(arguments)
    for name in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(name, _interrupted)
    try:
        return run(options.command, Limits(options.timeout, options.silence), options.memory, options.interactive)
    except KeyboardInterrupt:
        print("lab: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `./run demo | head`: who read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print("lab: ended, because nobody reads its output any more", file=sys.stderr)
        return 141


def run(
    command: Sequence[str],
    limits: Limits = Limits(),
    memory: str = "4G",
    interactive: bool = False,
) -> int:
    """Run `command` in a lab of its own; several labs may run at the same time."""
    if shutil.which(KERNEL) is None:
        print(f"lab: {KERNEL} is not here: apt-get install user-mode-linux", file=sys.stderr)
        return NO_STATUS
    log = _new_log()
    # The path of this directory goes on a kernel command line: it must hold no blank or comma.
    with tempfile.TemporaryDirectory(prefix="macmgr-lab-", dir="/tmp") as name:
        directory = Path(name)
        _write_settings(directory, command, interactive)
        with log.open("wb") as console, a_cpu() as cpu:
            killed = _boot(directory, cpu, memory, limits, interactive, console)
        status = _status(directory / "results")
        if killed:
            problem, status = killed, TIMED_OUT
        elif status is None:
            problem, status = "ended without a status", NO_STATUS
        else:
            problem = f"the command ended with {status}" if status else ""
            _keep_results(directory / "results")
    if problem and not interactive:
        print(f"lab: {problem}; console log: {log.relative_to(CHECKOUT)}", file=sys.stderr)
    return status


def _boot(directory: Path, cpu: int, memory: str, limits: Limits, interactive: bool, console: BinaryIO) -> str:
    """Start the kernel and pass its output on; why it is killed, and nothing where it ends by itself."""
    output, line = os.pipe()
    arguments = [
        # Each page fault in there is a ping-pong between two processes here: on one CPU, it is three times
        # as fast as on two.
        *("taskset", "--cpu-list", str(cpu)),
        KERNEL,
        f"mem={memory}",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",
        f"init={directory}/stage1",
        f"LAB_DIR={directory}",
        f"uml_dir={directory}/uml",
        "con=null",
        "ssl=null",
    ]
    if interactive:
        arguments += ["con0=fd:0,fd:1", "quiet"]
        kernel = subprocess.Popen(arguments, pass_fds=[line], process_group=0)
    else:
        arguments += ["con0=null,fd:1", f"ssl0=null,fd:{line}"]
        kernel = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            pass_fds=[line],
            process_group=0,
        )
    os.close(line)
    try:
        with _dies_with_us(kernel.pid), _terminal(kernel.pid) if interactive else contextlib.nullcontext():
            return _pass_on(output, kernel, limits, console)
    finally:
        os.close(output)
        # The kernel's own processes are in its group, and nobody else's are.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(kernel.pid, signal.SIGKILL)
        kernel.wait()


@contextlib.contextmanager
def _dies_with_us(group: int) -> Iterator[None]:
    """Should this program be killed outright, the lab is killed too: a watcher sees its end of a pipe close."""
    watcher = subprocess.Popen(
        ["sh", "-c", 'read line; kill -KILL "-$1"', "lab-watcher", str(group)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield
    finally:
        watcher.kill()  # first: the number of a group that has ended may be given to another
        watcher.communicate()


@contextlib.contextmanager
def a_cpu(known: Path = CPUS) -> Iterator[int]:
    """A CPU that no other lab has, or the quietest where each has one: two labs on one take twice as long.

    The claim is a lock on the CPU's directory in sysfs: there is nothing to make or to clear, and it ends with us.
    """
    cpus = _quietest_first()
    with contextlib.ExitStack() as opened:
        for cpu in cpus:
            with contextlib.suppress(OSError):  # another lab's, or no sysfs here, which is no reason to have no lab
                claim = os.open(known / f"cpu{cpu}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                opened.callback(os.close, claim)
                fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
        else:
            cpu = cpus[0]
        yield cpu


def _quietest_first() -> list[int]:
    """The CPUs that we may use, first the one that had most time to spare just now."""

    def idle() -> dict[int, int]:
        rows = [line.split() for line in Path("/proc/stat").read_text().splitlines()]
        return {int(row[0][3:]): int(row[4]) for row in rows if re.fullmatch(r"cpu\d+", row[0])}

    before = idle()
    time.sleep(0.1)
    after = idle()
    return sorted(os.sched_getaffinity(0), key=lambda cpu: before.get(cpu, 0) - after.get(cpu, 0))


def _pass_on(output: int, kernel: subprocess.Popen[bytes], limits: Limits, console: BinaryIO) -> str:
    """Copy what the lab's command writes to stdout and to the log, until its end or a limit: which one, in words."""
    process = os.pidfd_open(kernel.pid)
    began = heard = time.monotonic()
    with contextlib.ExitStack() as ending, selectors.DefaultSelector() as selector:
        ending.callback(os.close, process)
        selector.register(process, selectors.EVENT_READ)
        selector.register(output, selectors.EVENT_READ)
        while (left := limits.left((now := time.monotonic()) - began, now - heard)) > 0:
            ready = {key.fd for key, _ in selector.select(left)}
            if output in ready:
                if data := os.read(output, 1 << 16):
                    heard = time.monotonic()
                    sys.stdout.buffer.write(data)
                    sys.stdout.buffer.flush()
                    console.write(data)
                    console.flush()
                else:
                    selector.unregister(output)
            elif process in ready:
                kernel.wait()
                return ""
    return limits.passed(now - began)


def _write_settings(directory: Path, command: Sequence[str], interactive: bool) -> None:
    """Leave what the lab must know where its first program looks: shell text, quoted."""
    (directory / "results").mkdir()
    (directory / "uml").mkdir()
    settings = {
        "LAB_CHECKOUT": str(CHECKOUT),
        "LAB_INTERACTIVE": "yes" if interactive else "no",
        "LAB_TERM": os.environ.get("TERM", "dumb") if interactive else "dumb",
    }
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in settings.items()]
    (directory / "settings").write_text("".join(lines))
    size = shutil.get_terminal_size()
    prepare = f"stty rows {size.lines} cols {size.columns}\n" if interactive else ""
    (directory / "command").write_text(f"{prepare}exec {shlex.join(command)}\n")
    shutil.copy(CHECKOUT / "tests/lab/stage1.sh", directory / "stage1")


def _new_log() -> Path:
    """Name the console log of this lab; two labs never share one."""
    directory = STATE / "log"
    directory.mkdir(parents=True, exist_ok=True)
    return directory / f"lab-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"


def _status(results: Path) -> int | None:
    """Read how the command ended; None when the lab never got that far."""
    try:
        return int((results / "status").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _keep_results(results: Path) -> None:
    """Keep what the command left, and what libvirt learned about QEMU (20 s in the next lab)."""
    (results / "status").unlink()
    cache = results / "cache" / "libvirt"
    if any(cache.rglob("*.xml")):
        kept = STATE / "cache" / "libvirt"
        new = kept.with_name(f"libvirt.{os.getpid()}")
        shutil.copytree(cache, new)
        old = kept.with_name(f"libvirt.{os.getpid()}.old")
        with contextlib.suppress(FileNotFoundError):
            kept.rename(old)
        with contextlib.suppress(OSError):  # another lab was faster: its cache is as good
            new.rename(kept)
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(results / "cache")
    if any(results.iterdir()):
        shutil.copytree(results, STATE / "results", dirs_exist_ok=True)


@contextlib.contextmanager
def _terminal(group: int) -> Iterator[None]:
    """Lend our terminal to the lab's console: raw, so that the lab's own terminal line edits."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(0)
    # A background process that takes or gives the terminal is stopped by SIGTTOU.
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, group)
    tty.setraw(0)
    try:
        yield
    finally:
        os.tcsetpgrp(0, os.getpgrp())
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def _interrupted(number: int, frame: FrameType | None) -> None:
    """Turn SIGTERM and SIGHUP into the exception that ends the lab on its way out."""
    raise KeyboardInterrupt


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.lab.boot", description="Run a command in a lab with a full kernel."
    )
    parser.add_argument("--timeout", type=float, default=900, metavar="S", help="for all of it; default: 900")
    parser.add_argument(
        "--silence", type=float, default=math.inf, metavar="S", help="without output; default: no limit"
    )
    parser.add_argument("--memory", default="4G", help="default: 4G, taken as it is used")
    parser.add_argument("--interactive", action="store_true", help="attach the terminal")
    parser.add_argument("command", nargs="+", metavar="COMMAND")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
