"""The program that the hook shims start: it hands libvirt's call to the daemon, or becomes `macmgr hook`.

libvirt waits for this. So it is a script of its own, for an interpreter that has not even loaded its `os`. It imports
only built-in modules, and so takes no longer than a bare interpreter. It connects to the daemon before it reads
anything, so `macmgr hook` finds its input untouched if there is no daemon. If a daemon does not answer within half of
the time, the input read so far goes along in a memory file. The protocol: docs/adr/0006; the guard: 0002.

The host's own Python may be older than macmgr's. This script runs on 3.6 and newer; annotations are quoted where an old
Python cannot evaluate them.

Arguments: ``python3 -ISE handover.py RUN MACMGR DRIVER OBJECT OPERATION SUB-OPERATION EXTRA``.
Without arguments it does nothing: `macmgr install` tests an interpreter that way.
"""

import _signal  # type: ignore[import-not-found] # typeshed has no stub of it
import _socket
import posix
import select
import sys
import time

# As in macmgr.model.hookcall, macmgr.config and macmgr.hook.run, which load too slowly. A test keeps them equal.
MAX_INPUT = 8 * 1024 * 1024
TIMEOUT, MIN_TIMEOUT, MAX_TIMEOUT = 2.0, 0.1, 30.0
REFUSED = 10
# Seconds for `macmgr hook` to begin (macmgr.__main__ continues the timer), and for this script on top of its waiting.
TO_BEGIN = 10.0
# No answer is that long: a program that sends more is not the daemon.
MAX_ANSWER = 65536


def main() -> int:
    if len(sys.argv) == 1:
        return 0
    be_ended_after(TO_BEGIN)
    since = process_started()
    run, macmgr, *words = sys.argv[1:]
    taken: list[bytes] = []
    if len(words) == 5:
        try:
            return hand_over(run, words, since, taken)
        except OSError:  # no daemon, or no answer from one; a timeout is one too
            pass
    return start(run, macmgr, words, since, taken)


def hand_over(run: str, words: "list[str]", since: float, taken: "list[bytes]") -> int:
    """Lets the daemon do the work. OSError if it does not; ``taken`` then holds the input read so far."""
    deadline = since + allowed(run) / 2
    be_ended_after(left(deadline) + TO_BEGIN)
    daemon = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    daemon.settimeout(left(deadline))
    daemon.connect(run + "/hook.sock")
    read_input(deadline, taken)
    encoding = sys.getfilesystemencoding()
    call = [word.encode(encoding, "surrogateescape") for word in ("hook", *words)]
    daemon.settimeout(left(deadline))
    daemon.sendall(b"\0".join([*call, b"".join(taken)]))
    daemon.shutdown(_socket.SHUT_WR)
    answer = b""
    while not answer.endswith(b"\n"):
        daemon.settimeout(left(deadline))
        said = daemon.recv(MAX_ANSWER)
        answer += said
        if not said or len(answer) > MAX_ANSWER:
            raise OSError
    word, _, line = answer[:-1].partition(b" ")
    if word not in (b"ok", b"failed", b"refuse") or b"\n" in line:
        raise OSError
    if line:
        posix.write(2, line + b"\n")
    return REFUSED if word == b"refuse" else 0


def be_ended_after(seconds: float) -> None:
    """Lets the kernel end this process after ``seconds``, whatever it executes then: a timer outlives execve(2)."""
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


def process_started() -> float:
    """Returns when libvirt began to wait, by a clock that does not jump: we may have stopped, or starved, since."""
    try:
        file = posix.open("/proc/self/stat", posix.O_RDONLY | posix.O_CLOEXEC)
        ticks = int(posix.read(file, 4096).rpartition(b")")[2].split()[19])
        posix.close(file)
        boottime = 7  # CLOCK_BOOTTIME; Python names it from 3.7 on
        age = time.clock_gettime(boottime) - ticks / posix.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        age = time.process_time()
    return time.monotonic() - max(0.0, age)


def allowed(run: str) -> float:
    """Returns libvirt's longest wait in seconds, as the daemon has written it down."""
    try:
        file = posix.open(run + "/hook.timeout", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        seconds = float(posix.read(file, 32))
    except (OSError, ValueError):
        return TIMEOUT
    return seconds if MIN_TIMEOUT <= seconds <= MAX_TIMEOUT else TIMEOUT


def left(deadline: float) -> float:
    """Returns the seconds until ``deadline``. At 0 a socket does not wait, and raises an OSError."""
    return max(0.0, deadline - time.monotonic())


def read_input(deadline: float, taken: "list[bytes]") -> None:
    """Reads standard input to its end, or one byte more than a document may have. TimeoutError if neither comes."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    wanted = MAX_INPUT + 1
    while wanted:
        if not poll.poll(left(deadline) * 1000):
            raise TimeoutError
        chunk = posix.read(0, min(wanted, 1 << 18))
        if not chunk:
            return
        taken.append(chunk)
        wanted -= len(chunk)


def start(run: str, macmgr: str, words: "list[str]", since: float, taken: "list[bytes]") -> int:
    """Becomes `macmgr hook`; passes on the time since which libvirt waits, and the input read so far."""
    if len(words) == 5:
        begun = kept(run, taken) if taken else 0
        words = ["--handed", repr(since), str(begun), *words]
    be_ended_after(TO_BEGIN)
    try:
        posix.execv(macmgr, [macmgr, "hook", *words])
    except OSError as error:
        say(f"macmgr: {macmgr} cannot be started: {error.strerror}")
        return 1


def kept(run: str, taken: "list[bytes]") -> int:
    """Returns a nameless file with the input read so far, for the next program to inherit."""
    if hasattr(posix, "memfd_create"):
        file = posix.memfd_create("hook's input", 0)
    else:  # before Python 3.8; the directory is a tmpfs too, and is there: the daemon's socket was in it
        file = posix.open(run, posix.O_RDWR | posix.O_TMPFILE, 0o600)
        posix.set_inheritable(file, True)
    for chunk in taken:
        posix.write(file, chunk)
    posix.lseek(file, 0, 0)
    return file


def say(line: str) -> None:
    """Writes one line to standard error, which libvirt reads."""
    posix.write(2, (line + "\n").encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    code = 1
    try:
        code = main()
    except BaseException as error:  # noqa: BLE001 - libvirt must not see a traceback, whatever it is
        say(f"macmgr: the hook failed unexpectedly ({type(error).__name__}); please report it; run 'macmgr audit'")
    finally:
        posix._exit(code)  # without taking the interpreter apart, which takes a millisecond
