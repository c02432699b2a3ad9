"""A hook ends, with 0 and one line at most, whatever stands where it reads, and whatever macmgr itself is like.

A hook that waits waits for ever: that each ends at all is what is tested, and no clock of a busy machine decides.
"""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from macmgr.hook import run as hook
from macmgr.model.hookcall import HookCall
from tests.hooks.conftest import SCRUBBED, TIMEOUT, Host, Said, domain, domstatus
from tests.strangefiles import STRANGE, strange

CALL = ("qemu", "g1", "started", "begin", "-")
XML = domain("g1").encode()
MANAGED = "[bridge.br-test0]\nmac_table_manager = 'libvirt'\n"
# Each with a trusting network, so that its ports are read too.
NETWORK = "<networkstatus><network><name>lan</name><bridge name='br-test0'/>{}</network></networkstatus>"


def assert_one_line(said: Said) -> None:
    assert (said.code, said.stdout) == (0, b"")
    assert len(said.lines) <= 1, said.stderr
    assert "Traceback" not in said.stderr


@pytest.mark.parametrize("kind", STRANGE)
@pytest.mark.parametrize(
    "place",
    [
        "macmgr.toml",
        "libvirt/qemu/g1.xml",
        "libvirt/qemu/g2.xml",
        "libvirt/lxc",
        "libvirt/network/lan.xml",
        "libvirt/network/lan/ports/p.xml",
        "state/state.json",
        "run/hook.timeout",
        "run/hook.sock",
        "lock",
    ],
)
def test_whatever_stands_where_it_reads(host: Host, kind: str, place: str) -> None:
    host.configure(MANAGED)
    host.status_file("qemu/g1.xml", domstatus("g1", "running"))
    host.status_file("network/lan.xml", NETWORK.format("<portgroup name='p' trustGuestRxFilters='yes'/>"))
    (host.root / place).unlink(missing_ok=True)
    # what stands in /run/macmgr the shim reads, and the rest macmgr itself
    call = host.hook if place.startswith("run/") else host.macmgr
    with strange(kind, host.root / place):
        assert_one_line(call(*CALL, stdin=XML))


@pytest.mark.parametrize("name", ["handover", "python", "macmgr"])
@pytest.mark.parametrize("kind", STRANGE)
def test_whatever_stands_where_the_shim_starts_something(host: Host, kind: str, name: str) -> None:
    if (name, kind) == ("handover", "huge file"):
        pytest.skip("a program of ours that is a terabyte of zeros is read by Python, not by us")
    with strange(kind, host.root / "what"):
        shim = host.hooks / "qemu.d" / "99-macmgr"
        shim.write_text(re.sub(rf"(?m)^{name}=.*$", f"{name}={host.root}/what", shim.read_text()))
        said = host.hook(*CALL, stdin=XML)
    assert_one_line(said)
    assert said.lines[0].startswith("macmgr: the qemu hook did nothing at started: ")


@pytest.mark.parametrize("logger", ["there", "hangs", "no programs at all"])
def test_a_macmgr_that_does_not_work_is_in_the_system_log(host: Host, logger: str) -> None:
    """libvirt drops what a hook says that ends with 0."""
    host.install(host.root / "gone")
    log, programs = host.root / "log", host.root / "bin"
    programs.mkdir()
    (programs / "logger").write_text(
        f'#!/bin/sh\necho "$@" > {log}\n' + ("exec sleep 600\n" if logger == "hangs" else "")
    )
    (programs / "logger").chmod(0o755)
    path = "/nonexistent" if logger.startswith("no") else f"{programs}:{SCRUBBED['PATH']}"
    shim = host.hooks / "qemu.d" / "99-macmgr"
    said = subprocess.run(
        [shim, *CALL[1:]], input=XML, capture_output=True, check=False, env={**SCRUBBED, "PATH": path}, timeout=TIMEOUT
    )
    assert (said.returncode, said.stdout) == (0, b"")
    (line,) = said.stderr.decode().splitlines()
    assert line.startswith(f"macmgr: the qemu hook did nothing at started: {host.root}/gone does not work (exit 1")
    if not logger.startswith("no"):
        assert log.read_text() == f"-t macmgr -p daemon.warning -- {line}\n"


def macmgr(host: Host, *, inside: str = "", limits: str = "") -> Said:
    """`macmgr hook` itself, started by somebody's own shim; ``inside`` runs in it before macmgr."""
    program = host.root / "program.py"
    host.program()
    program.write_text(program.read_text().replace("import sys\n", f"import sys\n{inside}\n", 1))
    words = ["sh", "-c", f'{limits} exec "$@"', "sh", sys.executable, str(program), "hook", *CALL]
    said = subprocess.run(words, input=XML, capture_output=True, check=False, cwd="/", env=SCRUBBED, timeout=TIMEOUT)
    return Said(said.returncode, said.stdout, said.stderr.decode())


BREAK = "import macmgr.{0}\nmacmgr.{0}.{1} = lambda *_, **__: (_ for _ in ()).throw({2})"
BROKEN = {
    "a module is missing": "sys.modules['macmgr.hook.run'] = None",
    "the work's module is missing": "sys.modules['macmgr.hook.work'] = None",
    "no memory": BREAK.format("config", "read_regular", "MemoryError()"),
    "no end of recursion": BREAK.format("config", "read_regular", "RecursionError()"),
    "a bug in the parent": BREAK.format("hook.run", "process_started", "AttributeError('items')"),
    "a bug in the guard": BREAK.format("hook.run", "_guarded", "AttributeError('items')"),
    "no descriptor": BREAK.format("hook.run", "_guarded", "OSError(24, 'Too many open files')"),
    "the child is killed": "import macmgr.hook.run as r\nr.load_config = lambda *_: r.os.kill(r.os.getpid(), 9)",
    "the child leaves": "import macmgr.hook.run as r\nr.load_config = lambda *_: r.os._exit(3)",
}


@pytest.mark.parametrize("what", BROKEN)
def test_whatever_goes_wrong_in_it(host: Host, what: str) -> None:
    said = macmgr(host, inside=BROKEN[what])
    assert_one_line(said)
    assert len(said.lines) == 1


@pytest.mark.parametrize("kib", [0, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000])
def test_however_little_memory_there_is(host: Host, kib: int) -> None:
    """The shim: Python itself cannot start with the least of it."""
    host.program()
    words = ["sh", "-c", f'ulimit -v {kib}; exec "$@"', "sh", str(host.hooks / "qemu.d" / "99-macmgr"), *CALL[1:]]
    if kib == 0:
        words = [str(host.hooks / "qemu.d" / "99-macmgr"), *CALL[1:]]
    said = subprocess.run(words, input=XML, capture_output=True, check=False, cwd="/", env=SCRUBBED, timeout=TIMEOUT)
    if kib and said.returncode in (-11, 127) and not said.stderr.startswith(b"macmgr"):
        pytest.skip("not even a shell starts")
    assert (said.returncode, said.stdout) == (0, b"")
    assert said.stderr.count(b"\n") <= 1, said.stderr


def test_what_waits_before_it_has_begun_is_ended(host: Host) -> None:
    """A module on a disk that does not answer: the clock runs from the first line on."""
    inside = (
        "import time\nclass Never:\n    def find_spec(self, name, *_):\n"
        "        if name == 'macmgr.hook.run': time.sleep(600)\n"
        "import macmgr.__main__ as m\nm._TO_BEGIN = 0.5\nsys.meta_path.insert(0, Never())"
    )
    said = macmgr(host, inside=inside)
    assert_one_line(said)
    assert said.lines == ["macmgr: the hook could not begin within 0.5 s and gave up; run 'macmgr audit'"]


def test_what_the_script_becomes_is_ended_too(host: Host) -> None:
    """The timer that the script sets outlives what it becomes, where that does not even get to its first line."""
    host.install(host.program(script="exec sleep 600", name="hangs"))
    shim = host.hooks / "qemu.d" / "99-macmgr"
    script = Path(hook.__file__).parent.parent / "handover.py"
    copy = host.root / "handover.py"
    copy.write_text(script.read_text().replace("TO_BEGIN = 10.0", "TO_BEGIN = 0.5"))
    shim.write_text(re.sub(r"(?m)^handover=.*$", f"handover='{copy}'", shim.read_text()))
    said = host.hook(*CALL, stdin=XML)
    assert_one_line(said)
    assert "does not work (exit 142)" in said.lines[0]


@pytest.mark.parametrize(("limit", "left"), [(8, 0.0), (10, 0.0), (12, 2.0), (30, 20.0)])
def test_the_time_counts_from_the_start_of_the_process(
    monkeypatch: pytest.MonkeyPatch, limit: int, left: float
) -> None:
    """It was stopped, or had no CPU, for 10 s before it came to anything: that was libvirt's time too."""
    waits, lines = list[float](), list[str]()

    def wait(readers: list[int], _writers: object, _others: object, seconds: float) -> object:
        waits.append(seconds)
        return select.select(readers, [], [], TIMEOUT if len(waits) == 1 else 0)

    def never_end(*words: object) -> None:
        writer = words[-1]
        assert isinstance(writer, int)
        os.write(writer, f"{limit}.0 0\n".encode())
        while True:
            signal.pause()

    monkeypatch.setattr(hook, "process_started", lambda: 990.0)
    monkeypatch.setattr(hook, "time", SimpleNamespace(monotonic=lambda: 1000.0))
    monkeypatch.setattr(hook, "select", SimpleNamespace(select=wait))
    monkeypatch.setattr(hook, "say", lines.append)
    monkeypatch.setattr(hook, "_work", never_end)
    assert hook.run_hook(HookCall("qemu", "g1", "started", "begin")) == 0
    assert waits == [2.0, left], "the default's time until the configuration is known; then what is left of its own"
    assert lines == [f"macmgr: qemu g1 started: gave up after {limit} s; run 'macmgr audit' to see what is left to do"]


def test_both_know_when_they_were_started(tmp_path: Path) -> None:
    """Sleep is no CPU time, and being stopped is none either."""
    script = (
        "import time, sys\nfrom macmgr import handover\nfrom macmgr.hook.run import process_started\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "now = time.monotonic(); print(now - process_started(), now - handover.process_started())"
    )
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-c", script], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGSTOP)
    time.sleep(stopped := 0.5)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate("\n", timeout=TIMEOUT)
    ages = [float(word) for word in output.split()]
    lived = time.monotonic() - begun + 0.02  # and two ticks of the clock in /proc
    assert all(stopped <= age <= lived for age in ages), ages


def test_a_child_that_was_done_is_heard_however_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process may have been stopped meanwhile: what is in the pipe counts."""
    heard, forked, fork = hook._ChildReport(time.monotonic() - 100), list[int](), os.fork

    def work(*words: object) -> None:
        writer = words[-1]
        assert isinstance(writer, int)
        os.write(writer, b"30.0 1\nsomething to say-")
        os._exit(0)

    def remember() -> int:
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(hook, "_work", work)
    monkeypatch.setattr(os, "fork", remember)
    # it ends before this process first looks at the pipe
    monkeypatch.setattr(signal, "setitimer", lambda *_: os.waitid(os.P_PID, forked[0], os.WEXITED | os.WNOWAIT))
    hook._guarded(HookCall("qemu", "g1", "start"), None, Path("/nonexistent"), None, heard, 0)
    assert heard.verdict() == ("something to say", True)
    assert heard.settings.refuse
