"""The connection's manners when the kernel's answers are late, lost, interrupted or not meant for it."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from macmgr.errors import KernelError, NoPermission
from macmgr.kernel import netlink, wire
from macmgr.kernel.netlink import Connection

Answer = Callable[[int, int], list[bytes]]
"""What the other side says to a datagram: from its first sequence number, and how many datagrams came before."""

Scripted = Callable[..., Connection]
"""Opens a connection to a kernel that answers so; ``timeout`` is for one that does not answer."""

INTERRUPTED = wire.NLM_F_DUMP_INTR


def message(kind: int, sequence: int, body: bytes = b"", flags: int = 2) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, flags, sequence, 0) + body


def done(sequence: int, code: int = 0) -> bytes:
    return message(wire.NLMSG_DONE, sequence, struct.pack("=i", -code))


def error(sequence: int, code: int) -> bytes:
    return message(wire.NLMSG_ERROR, sequence, struct.pack("=i", -code) + bytes(16))


@pytest.fixture
def kernel_that(monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A connection to a scripted kernel, which is a thread behind a pair of sockets."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(netlink, "open_socket", lambda _: ours)

    def serve(answer: Answer) -> None:
        count = 0
        while request := theirs.recv(65536):
            for datagram in answer(struct.unpack_from("=I", request, 8)[0], count):
                theirs.send(datagram)
            count += 1

    threads: list[threading.Thread] = []

    def connect(answer: Answer, timeout: float = 60) -> Connection:
        threads.append(threading.Thread(target=serve, args=(answer,)))
        threads[0].start()
        return Connection(timeout=timeout)

    yield connect
    theirs.shutdown(socket.SHUT_RDWR)
    threads[0].join()
    theirs.close()
    ours.close()


def test_a_dump_ends_with_its_last_part(kernel_that: Scripted) -> None:
    connection = kernel_that(lambda seq, _: [message(28, seq, b"abcd"), message(28, seq, b"efgh") + done(seq)])
    (found,) = connection.dump(wire.fdb_dump(), "reading").values()
    assert b"".join(block[16:] for block in found) == b"abcdefgh"


def test_an_interrupted_dump_is_asked_for_again(kernel_that: Scripted) -> None:
    def answer(sequence: int, count: int) -> list[bytes]:
        flags = 2 if count == 2 else 2 | INTERRUPTED
        return [message(28, sequence, bytes((count,) * 4), flags), done(sequence)]

    (found,) = kernel_that(answer).dump(wire.fdb_dump(), "reading").values()
    assert [block[16:] for block in found] == [b"\2\2\2\2"]


def test_a_dump_that_is_always_interrupted_is_given_up(kernel_that: Scripted) -> None:
    connection = kernel_that(lambda seq, _: [message(28, seq, b"abcd", 2 | INTERRUPTED), done(seq)])
    with pytest.raises(KernelError, match="reading the FDB: interfaces kept changing"):
        connection.dump(wire.fdb_dump(), "reading the FDB")


def test_a_dump_that_fails_says_why(kernel_that: Scripted) -> None:
    connection = kernel_that(lambda seq, count: [[done, error][count](seq, errno.EINVAL)])
    for _ in range(2):
        with pytest.raises(KernelError, match=r"^reading: Invalid argument \(EINVAL\)$"):
            connection.dump(wire.fdb_dump(), "reading")


def test_no_permission_is_told_apart(kernel_that: Scripted) -> None:
    with pytest.raises(NoPermission, match="CAP_NET_ADMIN"):
        kernel_that(lambda seq, _: [error(seq, errno.EPERM)]).dump(wire.fdb_dump(), "reading")


def test_what_answers_something_else_is_ignored(kernel_that: Scripted) -> None:
    connection = kernel_that(
        lambda seq, count: [error(seq - 1, errno.EINVAL), message(28, 77, b"old!"), [done, error][count](seq, 0)]
    )
    assert connection.dump(wire.fdb_dump(), "reading") == {}
    answers = connection.transact([wire.fdb_get(1, "52:54:00:00:00:01", 0)], "asking")
    assert (answers.failures, answers.replies) == ({}, {})


def test_a_silent_kernel_ends_the_connection(kernel_that: Scripted) -> None:
    connection = kernel_that(lambda *_: [], timeout=0.2)
    with pytest.raises(KernelError, match="did not answer in time"):
        connection.dump(wire.fdb_dump(), "reading")
    with pytest.raises(KernelError, match="Bad file descriptor"):
        connection.dump(wire.fdb_dump(), "reading")


def test_failures_and_replies_find_their_requests(kernel_that: Scripted) -> None:
    connection = kernel_that(
        lambda first, _: [message(28, first), error(first + 1, errno.EEXIST), error(first + 2, errno.ENODEV)]
    )
    answers = connection.transact([wire.fdb_get(1, "52:54:00:00:00:01", 0)] * 3, "asking")
    assert answers.failures == {1: (errno.EEXIST, ""), 2: (errno.ENODEV, "")}
    assert list(answers.replies) == [0]


def test_nonsense_from_the_kernel_is_an_error(kernel_that: Scripted) -> None:
    with pytest.raises(wire.WireError):
        kernel_that(lambda *_: [b"nonsense"]).dump(wire.fdb_dump(), "reading")
