"""The lab's outer half, tested from outside: exit status, isolation, and the end of a lab that hangs."""

import contextlib
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lab.boot import CHECKOUT, CPUS, KERNEL, Limits, a_cpu

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab's root file system is the machine's own: root only")

LONG = 600  # seconds; only a lab that never ends needs them
OURS = f"MACMGR_TEST_LABS_OF={os.getpid()}"


def boot(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "tests.lab.boot", *arguments],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=LONG,
        check=False,
    )


def labs() -> set[str]:
    """The process ids of every lab kernel that this process has started: others may run theirs on this machine."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if KERNEL in (process / "cmdline").read_text() and OURS in (process / "environ").read_text().split("\0"):
                found.add(process.name)
    return found


@pytest.fixture(autouse=True)
def marked(monkeypatch: pytest.MonkeyPatch) -> None:
    name, _, value = OURS.partition("=")
    monkeypatch.setenv(name, value)


def console_log(stderr: str) -> Path:
    return CHECKOUT / stderr.strip().rpartition("console log: ")[2]


def test_output_status_and_isolation(tmp_path: Path) -> None:
    """What the command prints and how it ends come out; what it writes does not."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    new = CHECKOUT / "tests" / "written-in-the-lab"
    done = boot(
        "--timeout", str(LONG), "--", "sh", "-c", f"echo 'two words'; echo gone > {new}; rm -f {victim}; exit 7"
    )
    assert done.returncode == 7
    assert done.stdout == "two words\n"
    assert "the command ended with 7" in done.stderr
    assert not new.exists()
    assert victim.read_text() == "untouched"
    console_log(done.stderr).unlink()


def claiming(known: Path) -> subprocess.Popen[str]:
    """Another process that takes a CPU, says which, and keeps it."""
    program = (
        "import pathlib, sys; from tests.lab.boot import a_cpu\n"
        "with a_cpu(pathlib.Path(sys.argv[1])) as cpu: print(cpu, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(known)]
    return subprocess.Popen(command, cwd=CHECKOUT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def claimed(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


def test_labs_that_start_at_once_have_a_cpu_each_while_there_are_enough(tmp_path: Path) -> None:
    """Each finds the same one the quietest, and would take twice as long on it."""
    cpus = os.sched_getaffinity(0)
    for cpu in cpus:
        (tmp_path / f"cpu{cpu}").mkdir()
    with contextlib.ExitStack() as ending:
        processes = [ending.enter_context(claiming(tmp_path)) for _ in cpus]
        for process in processes:
            ending.callback(process.kill)
        assert {claimed(process) for process in processes} == cpus
        last = ending.enter_context(claiming(tmp_path))
        ending.callback(last.kill)
        assert claimed(last) in cpus


def test_a_lab_that_is_gone_leaves_its_cpu_to_others(tmp_path: Path) -> None:
    for cpu in os.sched_getaffinity(0):
        (tmp_path / f"cpu{cpu}").mkdir()
    with claiming(tmp_path) as first:
        place = os.open(tmp_path / f"cpu{claimed(first)}", os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            first.kill()
            first.wait()
            fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            first.kill()
            os.close(place)


def test_where_there_is_nothing_to_claim_the_lab_has_a_cpu_all_the_same(tmp_path: Path) -> None:
    assert all((CPUS / f"cpu{cpu}").is_dir() for cpu in os.sched_getaffinity(0))
    with a_cpu(tmp_path) as cpu:
        assert cpu in os.sched_getaffinity(0)


def test_a_lab_that_hangs_is_killed_and_its_log_kept() -> None:
    """Killed from outside when nothing more is heard, with all its processes; the log holds what was heard."""
    for silence in (10, 40, 160):  # a busy machine may boot in silence for longer than the first
        done = boot("--silence", str(silence), "--", "sh", "-c", "echo still here; sleep 1000 & sleep 1000")
        assert done.returncode == 124
        assert done.stderr.startswith(f"lab: killed: no output for {silence} s; console log: ")
        heard = console_log(done.stderr).read_text()
        console_log(done.stderr).unlink()
        assert not labs()
        if done.stdout:
            break
    assert done.stdout == "still here\n"
    assert "still here" in heard


def test_a_lab_has_time_while_something_is_heard_but_not_for_ever() -> None:
    """A busy machine makes a lab slow, and not silent."""
    limits = Limits(whole=3600, silence=600)
    assert limits.left(ran=3000, silent=10) == 590
    assert limits.left(ran=3590, silent=0) == 10
    assert limits.left(ran=700, silent=600) == 0
    assert limits.passed(ran=700) == "killed: no output for 600 s"
    assert limits.passed(ran=3600) == "killed after 3600 s"
    assert Limits().left(ran=600, silent=600) == 300


def test_a_reader_who_has_seen_enough_ends_the_lab() -> None:
    """`./run demo | head`: no traceback, and nothing is left running."""
    lab = [sys.executable, "-m", "tests.lab.boot", "--timeout", str(LONG), "--"]
    words = [*lab, "sh", "-c", "while echo more; do :; done"]
    with subprocess.Popen(words, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "more\n"
        assert labs()
        process.stdout.close()
        assert process.stderr.read() == "lab: ended, because nobody reads its output any more\n"
    assert process.returncode == 141
    assert not labs()
