"""What the hook shims start: hands libvirt's call to the daemon, or becomes `macmgr hook` where none answers in time.

libvirt waits for this. So it is a script of its own, for an interpreter that has not even loaded its `os`: it imports
nothing but what is built in, which keeps it at the time of a bare interpreter. It asks for the daemon before it reads
anything, so that `macmgr hook` finds its input untouched where no daemon is; where one is and does not answer within
half of the time, what was read goes along in a memory file. What is spoken: docs/adr/0006; who guards it: 0002.

The host's own Python may be older than macmgr's: it is written for 3.6 and newer, and the annotations of its
functions are quoted where one of those cannot evaluate them.

    python3 -ISE handover.py RUN MACMGR DRIVER OBJECT OPERATION SUB-OPERATION EXTRA

Without a word it does nothing: `macmgr install` asks in this way whether an interpreter runs it.
"""

import _signal  # type: ignore[import-not-found] # typeshed has no stub of it
import _socket
import posix
import select
import sys
import time

# As in macmgr.model.hookcall, macmgr.config and macmgr.hook.run, which are too slow to ask; a test holds them together.
MAX_INPUT = 8 * 1024 * 1024
TIMEOUT, MIN_TIMEOUT, MAX_TIMEOUT = 2.0, 0.1, 30.0
REFUSED = 10
# How long `macmgr hook` may take to begin (macmgr.__main__ goes on with it), and this script beside what it waits for.
TO_BEGIN = 10.0
# A line is shorter than that; a daemon that says more is none.
MAX_ANSWER = 65536


def main() -> int:
    """Hand the call of the command line over; the exit code of the hook."""
    if len(sys.argv) == 1:
        return 0
    be_ended_after(TO_BEGIN)
    since = process_started()
    run, macmgr, *words = sys.argv[1:]
    taken: list[bytes] = []
    if len(words) == 5:
        try:
            return hand_over(run, words, since, taken)
        except OSError:  # no daemon, or none that answers; a timeout is one too
            pass
    return start(run, macmgr, words, since, taken)


def hand_over(run: str, words: "list[str]", since: float, taken: "list[bytes]") -> int:
    """Let the daemon do it; OSError where it does not. ``taken`` then holds what was read of the input."""
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
    """Let the kernel end this process then, whatever it has become: a timer outlives execve(2)."""
    _signal.signal(_signal.SIGALRM, _signal.SIG_DFL)
    _signal.pthread_sigmask(_signal.SIG_UNBLOCK, (_signal.SIGALRM,))
    _signal.setitimer(_signal.ITIMER_REAL, seconds)


def process_started() -> float:
    """When libvirt began to wait, by the clock that does not jump: we may have been stopped, or starved, since."""
    try:
        file = posix.open("/proc/self/stat", posix.O_RDONLY | posix.O_CLOEXEC)
        ticks = int(posix.read(file, 4096).rpartition(b")")[2].split()[19])
        posix.close(file)
        boottime = 7  # CLOCK_BOOTTIME, which has a name from Python 3.7 on
        age = time.clock_gettime(boottime) - ticks / posix.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        age = time.process_time()
    return time.monotonic() - max(0.0, age)


def allowed(run: str) -> float:
    """How long libvirt may wait, as the daemon has written it down."""
    try:
        file = posix.open(run + "/hook.timeout", posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
        seconds = float(posix.read(file, 32))
    except (OSError, ValueError):
        return TIMEOUT
    return seconds if MIN_TIMEOUT <= seconds <= MAX_TIMEOUT else TIMEOUT


def left(deadline: float) -> float:
    """The seconds until ``deadline``. With none, a socket does not wait, and says so by an OSError."""
    return max(0.0, deadline - time.monotonic())


def read_input(deadline: float, taken: "list[bytes]") -> None:
    """Read standard input to its end, or one byte more than a document may have; TimeoutError where neither comes."""
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
    """Become `macmgr hook`, which is told since when libvirt waits, and where the first part of its input is."""
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
    """What was read of the input, in a file that has no name and is passed on."""
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
    """One line on standard error, where libvirt picks it up."""
    posix.write(2, (line + "\n").encode("utf-8", "backslashreplace"))


if __name__ == "__main__":
    code = 1
    try:
        code = main()
    except BaseException as error:  # noqa: BLE001 - libvirt must not see a traceback, whatever it is
        say(f"macmgr: the hook failed unexpectedly ({type(error).__name__}); please report it; run 'macmgr audit'")
    finally:
        posix._exit(code)  # without taking the interpreter apart, which takes a millisecond
