"""The real shims with a daemon: a good one does the work; any other costs time, and never a guest."""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr import config, handover
from macmgr.config import HookSettings
from macmgr.hook import run as hook
from macmgr.model import hookcall
from macmgr.model.hookcall import HookCall
from tests.hooks.conftest import DRIVERS, SCRUBBED, TIMEOUT, Host, Said, domain, domstatus, open_pipe
from tests.hooks.daemons import UNHURRIED, bad_daemon, daemon, process, read_all
from tests.lab.wait import until

CALL = ("qemu", "g1", "started", "begin", "-")
XML = domain("g1").encode()
MANAGED = "[bridge.br-test0]\nmac_table_manager = 'libvirt'\n"
RELEVANT = [(driver, operation) for driver in DRIVERS for operation in hookcall.OPERATIONS[driver]]


def assert_silent(said: Said, code: int = 0) -> None:
    assert (said.code, said.stdout, said.stderr) == (code, b"", "")


def recorder(host: Host) -> Callable[[], list[str]]:
    """Install a program that keeps its words and its input; what it was called with."""
    record = host.root / "record"
    fallback = (
        f'echo "$@" >> {record}; if [ "$2" = --handed ]; then cat /dev/fd/$4 - > {host.root}/input; '
        f"else cat > {host.root}/input; fi"
    )
    host.install(host.program(script=fallback, name="recorder"))
    return lambda: record.read_text().splitlines() if record.exists() else []


def test_the_script_knows_what_the_package_knows() -> None:
    assert handover.MAX_INPUT == hookcall.MAX_INPUT
    assert (handover.TIMEOUT, handover.MIN_TIMEOUT, handover.MAX_TIMEOUT) == (
        config.TIMEOUT,
        config.MIN_TIMEOUT,
        config.MAX_TIMEOUT,
    )
    assert handover.REFUSED == hook.REFUSED


@pytest.mark.parametrize(("driver", "operation"), RELEVANT)
def test_the_daemon_gets_the_call_and_nothing_else_is_started(host: Host, driver: str, operation: str) -> None:
    started = recorder(host)
    with daemon(host.socket) as there:
        assert_silent(host.hook(driver, "g1", operation, "begin", "shut off", stdin=b"<xml>\0</xml>"))
    assert there.calls == [(HookCall(driver, "g1", operation, "begin", "shut off"), b"<xml>\0</xml>")]
    assert started() == []


@pytest.mark.parametrize("name", ["--help", "--", "", "g one", "$(echo g1); `id` & *", "g\n1", "größe", b"g\xff1"])
def test_a_domain_may_be_named_like_anything(host: Host, name: str | bytes) -> None:
    with daemon(host.socket) as there:
        assert_silent(host.hook("qemu", name, "started", "begin", "-", stdin=XML))
    assert [call.object for call, _ in there.calls] == [os.fsdecode(name)]


@pytest.mark.parametrize(
    ("driver", "operation"),
    [("qemu", "prepare"), ("lxc", "prepare"), ("network", "port-created"), ("daemon", "shutdown")],
)
def test_what_is_irrelevant_reaches_no_daemon(host: Host, driver: str, operation: str) -> None:
    with daemon(host.socket) as there:
        assert_silent(host.hook(driver, "g1", operation, "begin", "-", stdin=XML))
    assert there.calls == []


@pytest.mark.parametrize("well", [True, False])
def test_what_the_daemon_says_is_said(host: Host, well: bool) -> None:
    with daemon(host.socket) as there:
        there.well, there.message = well, "something\nto \x1b[2J say"
        said = host.hook(*CALL, stdin=XML)
    assert (said.code, said.stdout) == (0, b"")
    assert said.lines == ["macmgr: qemu g1 started: something to ?[2J say"]


@pytest.mark.parametrize(("driver", "operation"), RELEVANT)
def test_only_a_start_is_refused_and_only_if_that_is_wanted(host: Host, driver: str, operation: str) -> None:
    refusable = (driver, operation) in {("qemu", "start"), ("lxc", "start")}
    for refuse in (False, True):
        with daemon(host.socket, replace(UNHURRIED, refuse=refuse)) as there:
            there.well = False
            assert_silent(host.hook(driver, "g1", operation, "begin", "-", stdin=XML), int(refuse and refusable))


def test_a_daemon_that_refuses_what_cannot_be_refused_kills_no_guest(host: Host) -> None:
    with bad_daemon(host.socket, refuse):
        codes = {each: host.hook("qemu", "g1", each, "begin", "-").code for each in hookcall.OPERATIONS["qemu"]}
    assert codes == {operation: int(operation == "start") for operation in codes}


@pytest.mark.parametrize("what", ["no directory", "no socket", "nobody listens"])
def test_without_a_daemon_macmgr_gets_its_input_untouched(host: Host, what: str) -> None:
    started = recorder(host)
    if what != "no directory":
        host.run.mkdir()
    if what == "nobody listens":
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(host.socket))
    assert_silent(host.hook(*CALL, stdin=XML))
    (words,) = started()
    assert words.split()[:2] == ["hook", "--handed"]
    assert words.split()[3:] == ["0", *CALL]
    assert (host.root / "input").read_bytes() == XML


def gone(client: socket.socket, seconds: float = 2 * TIMEOUT) -> bool:
    """Wait until the client has gone, for longer than a hook may take; whether it has."""
    poll = select.poll()
    poll.register(client, 0)  # what is always reported is its end
    return bool(poll.poll(seconds * 1000))


def hang(client: socket.socket) -> None:
    read_all(client)
    gone(client)


def trickle(client: socket.socket) -> None:
    read_all(client)
    while not gone(client, 0.02):
        client.sendall(b"o")


def refuse(client: socket.socket) -> None:
    read_all(client)
    client.sendall(b"refuse no\n")


def babble(client: socket.socket) -> None:
    read_all(client)
    while True:
        client.sendall(b"ok " + b"x" * 65536)


def reset(client: socket.socket) -> None:
    client.recv(1)


def answering(answer: bytes) -> Callable[[socket.socket], None]:
    def behave(client: socket.socket) -> None:
        read_all(client)
        client.sendall(answer)

    return behave


BAD: dict[str, Callable[[socket.socket], object]] = {
    "hangs": hang,
    "hangs and does not read": gone,
    "trickles": trickle,
    "babbles": babble,
    "closes at once": lambda client: None,
    "closes before it has read": reset,
    "closes when it has read": answering(b""),
    "answers nothing": answering(b"\n"),
    "answers another word": answering(b"yes\n"),
    "answers in capitals": answering(b"OK\n"),
    "does not end its line": answering(b"ok"),
    "answers two lines": answering(b"ok\nok\n"),
    "answers bytes": answering(bytes(range(256)) + b"\n"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_daemon_that_is_no_good_costs_time_and_nothing_else(host: Host, what: str) -> None:
    """What was read of the input reaches `macmgr hook` with what was not, and the hook ends."""
    started = recorder(host)
    (host.run).mkdir()
    (host.run / "hook.timeout").write_text("1\n")
    with bad_daemon(host.socket, BAD[what]):
        said = host.hook(*CALL, stdin=XML)
    assert_silent(said)
    (words,) = started()
    assert words.split()[4:] == list(CALL)
    assert (host.root / "input").read_bytes() == XML


@pytest.mark.parametrize("size", [len(XML), 4 << 20])
def test_a_daemon_that_is_stopped_holds_no_guest(host: Host, size: int) -> None:
    """It is alive, and its socket takes connections, as much as the kernel keeps for it."""
    started = recorder(host)
    given = XML.ljust(size)
    with process(host.socket) as there:
        assert_silent(host.hook(*CALL, stdin=given))
        assert started() == []
        there.send_signal(signal.SIGSTOP)
        (host.run / "hook.timeout").write_text("1\n")
        assert_silent(host.hook(*CALL, stdin=given))
    assert len(started()) == 1
    assert (host.root / "input").read_bytes() == given


def test_a_daemon_that_comes_to_itself_in_its_time_still_does_the_work(host: Host) -> None:
    """A hook waits for a daemon that does not answer at once: nothing else is started meanwhile."""
    started = recorder(host)
    with process(host.socket) as there:
        there.send_signal(signal.SIGSTOP)
        later = threading.Timer(0.2, there.send_signal, [signal.SIGCONT])
        later.start()
        assert_silent(host.hook(*CALL, stdin=XML))
        later.join()
    assert started() == []


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the script ends with its process
def test_half_of_the_time_since_libvirt_waits_is_the_daemons(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wait for the daemon or for the input ends then, by the clock that `left` reads."""
    ends: set[float] = set()

    def left(deadline: float, _taken: object = None) -> float:
        ends.add(deadline)
        return 30.0

    monkeypatch.setattr(handover, "left", left)
    monkeypatch.setattr(handover, "read_input", left)
    monkeypatch.setattr(handover, "be_ended_after", lambda _: None)
    with daemon(host.socket, HookSettings(timeout=4.0)) as there:
        assert handover.hand_over(str(host.run), list(CALL), 1000.0, []) == 0
    assert len(there.calls) == 1
    assert ends == {1002.0}


def test_a_daemon_that_is_killed_while_it_works_is_replaced_by_macmgr_itself(host: Host) -> None:
    started = recorder(host)
    with process(host.socket, "--silent") as there:

        def kill() -> None:
            assert there.stdout is not None
            assert there.stdout.readline() == "called\n"
            there.kill()

        killer = threading.Thread(target=kill)
        killer.start()
        assert_silent(host.hook(*CALL, stdin=XML))
        killer.join()
    (words,) = started()
    assert words.split()[3] != "0", "the input was read for the daemon"
    assert (host.root / "input").read_bytes() == XML


def test_the_real_macmgr_goes_on_where_the_daemon_does_not(host: Host) -> None:
    host.configure(MANAGED)
    host.status_file("qemu/g1.xml", domstatus("g1", "running"))
    with bad_daemon(host.socket, hang):
        own = host.hook(*CALL, stdin=XML)
        another = host.hook(*CALL, stdin=domain("g2").encode())
    assert_silent(own)
    assert another.code == 0
    assert another.lines == [
        "macmgr: qemu g1 started: the hook's input describes domain 'g2', but the call names 'g1'",
    ]


def test_input_that_comes_late_is_read_as_a_whole(host: Host) -> None:
    """The first part is read for the daemon, and the rest by `macmgr hook`, once the daemon's time is over."""
    host.configure(MANAGED)
    host.status_file("qemu/g1.xml", domstatus("g1", "running"))
    begun = host.root / "begun"
    host.install(host.program(script=f'touch {begun}; exec {sys.executable} {host.root}/program.py "$@"'))
    reader, writer = os.pipe()
    os.write(writer, XML[:100])

    def rest() -> None:
        until(begun.exists, "macmgr itself is started")
        os.write(writer, XML[100:])
        os.close(writer)

    with daemon(host.socket, HookSettings(timeout=0.4)) as there:
        late = threading.Thread(target=rest)
        late.start()
        said = host.hook(*CALL, stdin=reader)
        late.join()
    os.close(reader)
    assert_silent(said)
    assert there.calls == []


@pytest.mark.parametrize(("operation", "code"), [("start", 1), ("started", 0)])
def test_an_input_that_never_ends_is_given_up_in_the_time_that_libvirt_waits(
    host: Host, operation: str, code: int
) -> None:
    """One time for both: half of it with the daemon, the rest by itself. And what on_error says holds."""
    host.configure("[hook]\non_error = 'refuse'\ntimeout = 2\n")
    with daemon(host.socket, HookSettings(refuse=True)) as there, open_pipe() as stdin:
        said = host.hook("qemu", "g1", operation, "begin", "-", stdin=stdin)
    assert (said.code, said.stdout) == (code, b"")
    assert said.lines == [
        f"macmgr: qemu g1 {operation}: gave up after 2 s; run 'macmgr audit' to see what is left to do",
    ]
    assert there.calls == []


def test_an_input_without_an_end_is_read_no_further_than_a_document_may_be_long(host: Host) -> None:
    zero = os.open("/dev/zero", os.O_RDONLY)
    with daemon(host.socket) as there:
        assert_silent(host.hook(*CALL, stdin=zero))
    os.close(zero)
    assert [len(data) for _, data in there.calls] == [hookcall.MAX_INPUT + 1]


@pytest.mark.parametrize("stdin", ["/dev/null", "a file"])
def test_an_input_that_is_no_pipe(host: Host, stdin: str) -> None:
    (host.root / "a file").write_bytes(XML)
    given = os.open("/dev/null" if stdin == "/dev/null" else host.root / stdin, os.O_RDONLY)
    with daemon(host.socket) as there:
        assert_silent(host.hook(*CALL, stdin=given))
    os.close(given)
    assert [data for _, data in there.calls] == [b"" if stdin == "/dev/null" else XML]


@pytest.mark.parametrize("told", ["", "soon", "nan", "inf", "-1", "0", "31", "1e300", "2" * 100, "FIFO", "directory"])
def test_a_time_that_makes_no_sense_is_the_default(host: Host, told: str) -> None:
    """And so it is where something else than a file tells it."""
    place = host.run / "hook.timeout"
    host.run.mkdir()
    if told == "FIFO":
        os.mkfifo(place)
    elif told == "directory":
        place.mkdir()
    else:
        place.write_text(told)
    assert handover.allowed(str(host.run)) == config.TIMEOUT


def test_the_time_that_is_told_holds(host: Host) -> None:
    host.run.mkdir()
    (host.run / "hook.timeout").write_text("0.5\n")
    assert handover.allowed(str(host.run)) == 0.5


SAID = {
    "missing": "/nonexistent/handover.py is gone",
    "broken": "ModuleNotFoundError: No module named 'nonexistent'",
    "killed": "(exit 137)",
    "no Python": "/nonexistent/python3",
    "no program": "cannot be started: No such file or directory",
}


@pytest.mark.parametrize("kind", SAID)
def test_what_cannot_be_started_refuses_nobody(host: Host, kind: str) -> None:
    program = host.program(name="gone")
    host.install(program)
    program.unlink()
    damage = {
        "missing": ("handover", "/nonexistent/handover.py"),
        "broken": ("handover", str(host.root / "broken.py")),
        "killed": ("handover", str(host.root / "killed.py")),
        "no Python": ("python", "/nonexistent/python3"),
    }
    (host.root / "broken.py").write_text("import nonexistent\n")
    (host.root / "killed.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    for driver, operation in RELEVANT:
        shim = host.hooks / f"{driver}.d" / "99-macmgr"
        if kind in damage:
            name, value = damage[kind]
            lines = shim.read_text().splitlines()
            shim.write_text("\n".join(f"{name}={value}" if each.startswith(f"{name}=") else each for each in lines))
        said = host.hook(driver, "g1", operation, "begin", "-")
        assert (said.code, said.stdout) == (0, b"")
        (line,) = said.lines
        assert line.startswith(f"macmgr: the {driver} hook did nothing at {operation}: {program} does not work (exit ")
        assert line.endswith("; fix that, or run 'macmgr install' again")
        assert SAID[kind] in line


NO_PROCESSES = [("sh", *each) for each in RELEVANT] + [("bash", "qemu", "started")]  # bash tries again for 15 s


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody with a limit")
@pytest.mark.parametrize(("shell", "driver", "operation"), NO_PROCESSES)
def test_where_no_process_can_be_started_nobody_is_refused(host: Host, shell: str, driver: str, operation: str) -> None:
    """A host that is out of processes, or of memory for one more: the shell itself gives up, with a code of its own."""
    shim = host.hooks / f"{driver}.d" / "99-macmgr"
    words = [
        "prlimit",
        "--nproc=1",
        "setpriv",
        "--reuid=54321",
        "--clear-groups",
        shell,
        "-s",
        "g1",
        operation,
        "begin",
    ]
    with shim.open("rb") as text:
        said = subprocess.run(words, stdin=text, capture_output=True, check=False, env=SCRUBBED, timeout=60)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_it_needs_no_module_that_is_not_built_in() -> None:
    """What it imports is what its time is: os alone is a fifth."""
    words = ["/usr/bin/python3", "-ISE", "-X", "importtime", handover.__file__, "/nonexistent", "/bin/true"]
    bare = ["/usr/bin/python3", "-ISE", "-X", "importtime", "-c", "pass"]
    mine, theirs = (
        {line.rpartition("|")[2].strip() for line in _errors(each).splitlines() if line.startswith("import time:")}
        for each in (words, bare)
    )
    assert mine - theirs <= {"_socket", "select"}


def _errors(words: list[str]) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, env=SCRUBBED).stderr


@pytest.mark.parametrize("words", [("x", "0"), ("1", "x"), ("nan", "0"), ("-5", "0"), ("1e300", "0")])
def test_words_of_the_shim_that_make_no_sense_are_no_harm(host: Host, words: tuple[str, str]) -> None:
    program = shlex.quote(str(host.program()))
    command = ["sh", "-c", f'exec {program} hook --handed "$@"', "sh", *words, *CALL]
    said = subprocess.run(command, check=False, input=XML, capture_output=True, cwd="/", env=SCRUBBED)
    assert (said.returncode, said.stdout, said.stderr) == (0, b"", b"")


def test_nothing_of_a_hook_outlives_it(host: Host, tmp_path: Path) -> None:
    """Neither the script nor what it became holds the input, when the hook has ended."""
    host.configure("[hook]\ntimeout = 0.4\n")
    fifo = tmp_path / "input"
    os.mkfifo(fifo)
    keeper = os.open(fifo, os.O_RDWR)
    with daemon(host.socket, HookSettings(timeout=0.4)):
        said = host.hook(*CALL, stdin=keeper)
    assert said.code == 0
    holders = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _holds(pid, fifo)}
    os.close(keeper)
    assert holders == {os.getpid()}


def _holds(pid: int, path: Path) -> bool:
    try:
        return any(each.readlink() == path for each in Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
