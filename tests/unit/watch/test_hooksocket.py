"""The daemon's socket, on real sockets: what is spoken, who may, and that no client holds the daemon."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.config import HookSettings
from macmgr.errors import Busy, NoPermission, NotThere
from macmgr.model.hookcall import MAX_INPUT, HookCall
from macmgr.state.lock import hold
from macmgr.watch import hooksocket
from macmgr.watch.hooksocket import TIMEOUT_FILE, HookSocket, Waits

TIMEOUT = 60
UNHURRIED = HookSettings(timeout=30.0)  # a client may take that long: a machine may be busy
STARTED = b"hook\0qemu\0g1\0started\0begin\0-\0"
Handler = Callable[[HookCall, bytes, Waits], Awaitable[tuple[bool, str] | None]]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")


class Daemon:
    """What a daemon does with its calls: keeps them, and answers ``well`` and ``message``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.calls: list[tuple[HookCall, bytes]] = []
        self.answer: tuple[bool, str] | None = (True, "")
        self.waits: Waits = lambda: False
        self.answering = asyncio.Event()
        self.answering.set()

    async def call(self, call: HookCall, data: bytes, waits: Waits) -> tuple[bool, str] | None:
        self.waits = waits
        self.calls.append((call, data))
        await self.answering.wait()
        return self.answer

    async def ask(self, request: bytes) -> bytes:
        """All that is answered to ``request``."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        writer.write(request)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


@contextlib.asynccontextmanager
async def serving(directory: Path, settings: HookSettings | None = None) -> AsyncIterator[tuple[HookSocket, Daemon]]:
    path = directory / "run" / "hook.sock"
    daemon = Daemon(path)
    served = HookSocket(path, daemon.call, lambda: b'{"version": 1}\n', settings or UNHURRIED)
    async with asyncio.timeout(TIMEOUT):
        await served.start()
        try:
            yield served, daemon
        finally:
            await served.close()


async def pour(writer: asyncio.StreamWriter, chunk: bytes, pause: float = 0) -> None:
    while True:
        writer.write(chunk)
        await writer.drain()
        await asyncio.sleep(pause)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await test()

    asyncio.run(within())


def test_a_call_arrives_as_libvirt_made_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(STARTED + b"<domain>\0</domain>") == b"ok\n"
            assert await daemon.ask(b"hook\0lxc\0g\xff 1\n\0release\0end\0shut off\0") == b"ok\n"
            assert daemon.calls == [
                (HookCall("qemu", "g1", "started", "begin", "-"), b"<domain>\0</domain>"),
                (HookCall("lxc", "g\udcff 1\n", "release", "end", "shut off"), b""),
            ]

    run(test)


@pytest.mark.parametrize(
    ("refuse", "operation", "well", "word"),
    [
        (False, "start", True, b"ok"),
        (True, "start", True, b"ok"),
        (False, "start", False, b"failed"),
        (True, "start", False, b"refuse"),
        (True, "started", False, b"failed"),
        (True, "reconnect", False, b"failed"),
        (True, "stopped", False, b"failed"),
        (True, "release", False, b"failed"),
    ],
)
def test_the_answer_says_whether_to_refuse(
    tmp_path: Path, refuse: bool, operation: str, well: bool, word: bytes
) -> None:
    async def test() -> None:
        async with serving(tmp_path, replace(UNHURRIED, refuse=refuse)) as (_, daemon):
            daemon.answer = well, "why\nso"
            said = await daemon.ask(STARTED.replace(b"started", operation.encode()))
            assert said == word + b" macmgr: qemu g1 " + operation.encode() + b": why so\n"

    run(test)


def test_networks_are_never_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, replace(UNHURRIED, refuse=True)) as (_, daemon):
            daemon.answer = False, ""
            assert await daemon.ask(b"hook\0network\0lan\0started\0begin\0-\0") == b"failed\n"

    run(test)


def test_a_line_is_one_line_whatever_the_domain_is_called(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            daemon.answer = True, "told"
            said = await daemon.ask(STARTED.replace(b"g1", b"g\xff\n\x1b[2J"))
            assert said == b"ok macmgr: qemu g? ?[2J started: told\n"

    run(test)


def test_an_operation_with_nothing_to_do_wakes_nobody(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(STARTED.replace(b"started", b"prepare")) == b"ok\n"
            assert daemon.calls == []

    run(test)


def test_status_is_one_document(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(b"status\0") == b'{"version": 1}\n'
            assert daemon.calls == []

    run(test)


@pytest.mark.parametrize(
    "request_",
    [b"", b"\0", b"status", b"status\0x", b"hook\0", b"hook\0qemu\0g1\0started\0begin\0-", b"HOOK" + STARTED[4:]],
)
def test_what_is_no_request_gets_no_answer(tmp_path: Path, request_: bytes) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(request_) == b""
            assert daemon.calls == []

    run(test)


def test_the_largest_document_arrives_and_one_that_is_too_large_can_be_refused(tmp_path: Path) -> None:
    """As in `macmgr hook`: one byte more than a document may have is read, so that its reader tells the size."""

    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(STARTED + b"x" * (MAX_INPUT + 1)) == b"ok\n"
            assert len(daemon.calls.pop()[1]) == MAX_INPUT + 1

    run(test)


def test_a_request_without_an_end_is_dropped(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            reader, writer = await asyncio.open_unix_connection(daemon.path)
            writer.write(STARTED)
            with pytest.raises(ConnectionError):
                await pour(writer, bytes(1 << 20))
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
            assert daemon.calls == []
            assert await daemon.ask(STARTED) == b"ok\n"

    run(test)


@pytest.mark.parametrize("said", [b"", b"hook\0qe", STARTED + b"<dom"])
def test_who_does_not_end_is_dropped_in_time(tmp_path: Path, said: bytes) -> None:
    async def test() -> None:
        async with serving(tmp_path, HookSettings(timeout=0.1)) as (_, daemon):
            reader, writer = await asyncio.open_unix_connection(daemon.path)
            writer.write(said)
            assert await reader.read() == b""
            writer.close()
            assert daemon.calls == []

    run(test)


def test_who_trickles_is_dropped_in_time(tmp_path: Path) -> None:
    """The time is for all of it: each further byte buys none."""

    async def test() -> None:
        async with serving(tmp_path, HookSettings(timeout=0.2)) as (_, daemon):
            _, writer = await asyncio.open_unix_connection(daemon.path)
            writer.write(STARTED)
            with pytest.raises(ConnectionError):
                await pour(writer, b" ", 0.01)
            assert daemon.calls == []

    run(test)


def test_a_call_that_breaks_is_told_to_the_loop_and_not_answered(tmp_path: Path) -> None:
    async def test() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["exception"]))
        async with serving(tmp_path) as (_, daemon):
            daemon.answer = ()  # type: ignore[assignment]
            assert await daemon.ask(STARTED) == b""
            daemon.answer = True, ""
            assert await daemon.ask(STARTED) == b"ok\n"
        assert [type(error) for error in told] == [ValueError]

    run(test)


def test_what_the_hook_is_to_do_itself_is_not_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, replace(UNHURRIED, refuse=True)) as (_, daemon):
            daemon.answer = None
            assert await daemon.ask(STARTED.replace(b"started", b"start")) == b""

    run(test)


def test_whether_the_hook_still_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            daemon.answering.clear()
            _, writer = await asyncio.open_unix_connection(daemon.path)
            writer.write(STARTED)
            writer.write_eof()
            while not daemon.calls:
                await asyncio.sleep(0.01)
            assert daemon.waits()
            writer.close()
            await writer.wait_closed()
            assert not daemon.waits()
            daemon.answering.set()
            assert await daemon.ask(STARTED) == b"ok\n"
            assert not daemon.waits(), "it is answered, and closed on this side"

    run(test)


def test_a_client_that_goes_away_does_no_harm(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            daemon.answering.clear()
            for said in (b"", b"hook\0", STARTED):
                _, writer = await asyncio.open_unix_connection(daemon.path)
                writer.write(said)
                await writer.drain()
                writer.transport.abort()
            _, writer = await asyncio.open_unix_connection(daemon.path)
            writer.write(STARTED)
            writer.write_eof()
            while not daemon.calls:
                await asyncio.sleep(0.01)
            writer.transport.abort()
            daemon.answering.set()
            assert await daemon.ask(STARTED) == b"ok\n"

    run(test)


def test_more_clients_than_places_wait_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooksocket, "_CLIENTS", 2)

    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            daemon.answering.clear()
            asked = [asyncio.create_task(daemon.ask(STARTED)) for _ in range(7)]
            while len(daemon.calls) < 2:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)  # time for a third one, if there were a place
            assert len(daemon.calls) == 2
            daemon.answering.set()
            assert await asyncio.gather(*asked) == [b"ok\n"] * 7

    run(test)


def test_it_is_roots_own_from_the_first_instant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[int] = []
    listen = socket.socket.listen

    def look(listener: socket.socket, queue: int) -> None:
        modes.append(stat.S_IMODE((tmp_path / "run" / "hook.sock").lstat().st_mode))
        listen(listener, queue)

    monkeypatch.setattr(socket.socket, "listen", look)

    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert modes == [0o600]
            assert stat.S_IMODE(daemon.path.stat().st_mode) == 0o600
            assert stat.S_IMODE(daemon.path.parent.stat().st_mode) == 0o755
            assert stat.S_IMODE((daemon.path.parent / TIMEOUT_FILE).stat().st_mode) == 0o644

    umask = os.umask(0)
    try:
        run(test)
    finally:
        os.umask(umask)


@needs_root
def test_somebody_else_is_not_served(tmp_path: Path) -> None:
    """Even where a hand has opened the socket to everybody."""
    client = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'status\\0');"
        "s.shutdown(socket.SHUT_WR); print(s.recv(100))"
    )

    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            daemon.path.chmod(0o666)
            # the inner directories of pytest are root's alone: the name is looked up before root's powers go
            opened = os.open(daemon.path.parent, os.O_PATH)
            process = await asyncio.create_subprocess_exec(
                Path(sys.executable).resolve(), "-c", client, f"/proc/self/fd/{opened}/hook.sock",
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, user=65534, pass_fds=[opened], cwd="/",
            )  # fmt: skip
            output, errors = await process.communicate()
            os.close(opened)
            assert output == b"b''\n" or b"ConnectionResetError" in errors or b"BrokenPipeError" in errors, errors
            assert await daemon.ask(b"status\0") != b""

    run(test)


def test_a_second_daemon_is_told_in_one_line(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            second = HookSocket(daemon.path, daemon.call, lambda: b"", HookSettings())
            with pytest.raises(Busy, match="another 'macmgr watch' runs"):
                await second.start()
            await second.close()
            assert await daemon.ask(STARTED) == b"ok\n"

    run(test)


def test_a_daemon_of_before_the_lock_file_excludes_and_is_excluded(tmp_path: Path) -> None:
    """An upgrade while it runs: it has locked the directory, and listens; the lock file it does not know."""
    path = tmp_path / "run" / "hook.sock"
    path.parent.mkdir(mode=0o755)
    with socket.socket(socket.AF_UNIX) as listener, open_directory(path.parent) as directory:
        fcntl.flock(directory, fcntl.LOCK_EX)
        listener.bind(str(path))
        listener.listen(0)
        for _ in range(3):  # also with a full queue, where nobody accepts

            async def test() -> None:
                with pytest.raises(Busy, match="another 'macmgr watch' runs"):
                    async with serving(tmp_path):
                        pass

            run(test)

    async def alone() -> None:
        async with serving(tmp_path):
            with open_directory(path.parent) as directory, pytest.raises(BlockingIOError):
                fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)

    run(alone)


@needs_root
@pytest.mark.parametrize("lock", [fcntl.LOCK_SH, fcntl.LOCK_EX])
def test_nobody_else_can_lock_a_daemon_out(tmp_path: Path, lock: int) -> None:
    """Everybody may open the directory, and lock what they have opened; the files in it only root can open."""
    directory = tmp_path / "run"
    locker = (
        "import fcntl, os, sys\n"
        "for name in (sys.argv[1], f'{sys.argv[1]}/lock', f'{sys.argv[1]}/watch.lock'):\n"
        "    try: fcntl.flock(os.open(name, os.O_RDONLY), int(sys.argv[2]) | fcntl.LOCK_NB)\n"
        "    except OSError as error: print(os.path.basename(name), error.strerror)\n"
        "print('ready', flush=True); sys.stdin.read()"
    )

    async def test() -> None:
        async with serving(tmp_path):
            pass
        with hold(directory / "lock"):
            pass
        opened = os.open(directory, os.O_PATH)
        words = [str(Path(sys.executable).resolve()), "-c", locker, f"/proc/self/fd/{opened}", str(int(lock))]
        nobody = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=65534, pass_fds=[opened], cwd="/"
        )
        os.close(opened)
        assert nobody.stdout is not None
        said = [nobody.stdout.readline() for _ in range(3)]
        assert said == ["lock Permission denied\n", "watch.lock Permission denied\n", "ready\n"]
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(STARTED) == b"ok\n"
        with hold(directory / "lock", wait=0):
            pass
        nobody.communicate("")

    run(test)


@needs_root
@pytest.mark.parametrize("name", ["lock", "watch.lock"])
@pytest.mark.parametrize("kind", ["somebody's", "FIFO", "directory", "symlink", "socket", "for all to read"])
def test_a_lock_file_is_ours_alone(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / "run" / name
    path.parent.mkdir()
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "symlink":
        path.symlink_to(tmp_path / "victim")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
    else:
        path.touch(0o600)
        if kind == "somebody's":
            os.chown(path, 65534, 65534)
        else:
            path.chmod(0o644)

    async def test() -> None:
        if name == "lock":
            with hold(path):
                pass
        else:
            async with serving(tmp_path):
                pass

    if kind == "for all to read":
        run(test)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    else:
        with pytest.raises((Busy, NotThere, NoPermission), match=str(path.parent)):
            run(test)
        assert not (tmp_path / "victim").exists()


@contextlib.contextmanager
def open_directory(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def test_what_a_killed_daemon_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "run" / "hook.sock"))
    dead.close()
    (tmp_path / "run" / f".{TIMEOUT_FILE}.new").write_text("9")

    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(STARTED) == b"ok\n"

    run(test)


def test_nothing_is_left_after_it_and_who_waits_hears_the_end(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path) as (served, daemon):
            daemon.answering.clear()
            asked = asyncio.create_task(daemon.ask(STARTED))
            while not daemon.calls:
                await asyncio.sleep(0.01)
            await served.close()
            assert await asked == b""
            # the lock's file stays: without it, two daemons could hold two files of one name
            assert [each.name for each in daemon.path.parent.iterdir()] == ["watch.lock"]
            await served.start()
            daemon.answering.set()
            assert await daemon.ask(STARTED) == b"ok\n"

    run(test)


def test_the_time_is_told_to_hooks_and_told_anew(tmp_path: Path) -> None:
    async def test() -> None:
        async with serving(tmp_path, HookSettings(timeout=0.5)) as (served, daemon):
            told = daemon.path.with_name(TIMEOUT_FILE)
            assert told.read_text() == "0.5\n"
            served.configure(HookSettings(refuse=True, timeout=30.0))
            assert told.read_text() == "30\n"
            daemon.answer = False, ""
            assert await daemon.ask(STARTED.replace(b"started", b"start")) == b"refuse\n"

    run(test)


@pytest.mark.parametrize("what", ["file", "symlink", "directory"])
def test_what_is_no_socket_is_not_removed(tmp_path: Path, what: str) -> None:
    place = tmp_path / "run" / "hook.sock"
    place.parent.mkdir()
    if what == "file":
        place.write_text("precious")
    elif what == "symlink":
        place.symlink_to("/dev/null")
    else:
        place.mkdir()

    async def test() -> None:
        with pytest.raises(NotThere, match=r"something that is no socket is there; move hook\.sock away"):
            async with serving(tmp_path):
                pass
        assert sorted(each.name for each in place.parent.iterdir()) == ["hook.sock", "watch.lock"]

    run(test)


def test_a_directory_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "run").symlink_to("elsewhere")

    async def test() -> None:
        with pytest.raises(NotThere, match="is a symbolic link, which is not followed"):
            async with serving(tmp_path):
                pass
        assert list((tmp_path / "elsewhere").iterdir()) == []

    run(test)


@needs_root
def test_somebody_elses_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    os.chown(tmp_path / "run", 65534, 65534)

    async def test() -> None:
        with pytest.raises(NoPermission, match="belongs to user 65534"):
            async with serving(tmp_path):
                pass

    run(test)


def test_it_serves_though_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the file that says how long hooks may wait, they go by the default."""

    def full(_: HookSocket) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(HookSocket, "_announce", full)

    async def test() -> None:
        async with serving(tmp_path) as (_, daemon):
            assert await daemon.ask(STARTED) == b"ok\n"

    run(test)
