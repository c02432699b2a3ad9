"""The rtnetlink connection: dumps, and batches of requests, with the failure of each.

pyroute2 opens the socket and enters the network namespace; the bytes go through a plain blocking socket, because its
event loop costs more per message than the kernel's work does. One `Connection` belongs to one thread at a time.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import NoReturn

from pyroute2 import IPRSocket, netns

from macmgr.errors import KernelError, NoPermission, NotThere
from macmgr.kernel import wire

_RECEIVE_SIZE = 64 * 1024  # constant, and above the 32 KiB that the kernel puts in one piece of a dump
_RECEIVE_BUFFER = 8 * 1024 * 1024
_ANSWER_COST = 2048  # bytes of receive buffer that one answer takes at most: the default one holds about 250
_LARGEST_BATCH = 500
_DUMP_TRIES = 10
_SO_RCVBUFFORCE = 33  # include/uapi/asm-generic/socket.h
_SOL_NETLINK = 270
_NETLINK_CAP_ACK = 10  # 4.2: errors do not repeat the request
_NETLINK_EXT_ACK = 11  # 4.12: they have words
_NETLINK_GET_STRICT_CHK = 12  # 4.20: dumps are of what was asked for
_OPTIONS = (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK)

Groups = Mapping[bytes, Sequence[bytes]]


class Gone(KernelError):
    """The bridge or port of a dump is gone (ENODEV)."""


class Lacking(KernelError):
    """This kernel knows no such request (EOPNOTSUPP)."""


class TooLong(Exception):
    """A dump has more messages than were asked for. It never leaves `macmgr.kernel`."""


@dataclass(slots=True)
class Answers:
    """The kernel's answers to a batch, by the position of the request. A request in neither was carried out."""

    failures: dict[int, tuple[int, str]] = field(default_factory=dict)
    replies: dict[int, bytes] = field(default_factory=dict)


class Connection:
    """An rtnetlink socket in the network namespace ``namespace``, or in that of the calling thread."""

    def __init__(self, namespace: str | None = None, timeout: float = 5.0) -> None:
        self._namespace, self._timeout = namespace, timeout
        self._open()

    def _open(self) -> None:
        self._socket = open_socket(self._namespace)
        # The kernel keeps the time limit: Python's own would add a poll() to each recv().
        seconds, fraction = divmod(self._timeout, 1)
        limit = struct.pack("@ll", int(seconds), int(fraction * 1_000_000))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, limit)
        self._sequence = 0
        # As many requests as may fail at once without overflowing the receive buffer.
        size = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._batch = max(1, min(_LARGEST_BATCH, size // _ANSWER_COST))

    def close(self) -> None:
        self._socket.close()

    def dump(self, request: wire.Message, operation: str, most: int | None = None) -> Groups:
        """The messages that answer a dump request, as `wire.group` sorts them.

        A dump that the kernel marks as interrupted (NLM_F_DUMP_INTR: interfaces came or went meanwhile) or whose
        parts were lost is asked for again. `TooLong` where there are more than ``most`` messages: the dump is given up
        then, and the socket with it, for the kernel would go on sending.
        """
        for _ in range(_DUMP_TRIES):
            groups = self._dump_once(request, operation, most)
            if groups is not None:
                return groups
        raise KernelError(f"{operation}: interfaces kept changing during {_DUMP_TRIES} readings; try again")

    def _dump_once(self, request: wire.Message, operation: str, most: int | None) -> Groups | None:
        sequence = self._next()
        self._send(wire.frame(request, sequence), operation)
        answers: dict[bytes, list[bytes]] = {}
        whole, ended, count = True, False, 0
        while not ended:
            data = self._receive(operation)
            if data is None:
                whole = False
                continue
            groups: dict[bytes, list[bytes]] = {}
            wire.group(data, groups)
            for header, blocks in groups.items():
                length, kind, flags, answered, _ = wire.HEADER.unpack(header)
                if answered != sequence:
                    continue  # left over from a request that was given up
                count += sum(map(len, blocks)) // (length + -length % 4)
                if flags & wire.NLM_F_DUMP_INTR or kind == wire.NLMSG_OVERRUN:
                    whole = False
                if kind in (wire.NLMSG_DONE, wire.NLMSG_ERROR):
                    ended = True
                    code, text = wire.parse_error(blocks[0])
                    if code == errno.EBUSY:
                        self._end_other_dump(operation)
                        return None
                    if code == errno.ENODEV:
                        raise Gone(f"{operation}: {words(code, text)}")
                    if code == errno.EOPNOTSUPP:
                        raise Lacking(f"{operation}: {words(code, text)}")
                    if code:
                        raise_for(code, text, operation)
                else:
                    answers.setdefault(header, []).extend(blocks)
            if most is not None and count > most and not ended:
                self.close()
                self._open()
                raise TooLong
        return answers if whole else None

    def _end_other_dump(self, operation: str) -> None:
        """Read a dump that was given up to its end: until then the socket can have no other (EBUSY)."""
        while (data := self._receive(operation)) is None or not any(
            kind == wire.NLMSG_DONE for kind, *_ in wire.messages(data)
        ):
            pass

    def transact(self, requests: Sequence[wire.Message], operation: str) -> Answers:
        """Send all requests, in order; a request that fails does not stop those behind it.

        Only the last of each batch asks for an acknowledgement: failures are reported anyway, and what the
        kernel says comes in the order of the requests (af_netlink.c, netlink_rcv_skb). A batch whose answers were
        lost (ENOBUFS) is sent again in smaller ones: each request of ours may be carried out twice.
        """
        answers = Answers()
        start, size = 0, self._batch
        while start < len(requests):
            batch = requests[start : start + size]
            heard = self._transact_batch(batch, start, operation)
            if heard is not None:
                answers.failures |= heard.failures
                answers.replies |= heard.replies
                start += len(batch)
            elif size > 1:
                size = max(1, size // 8)
                self._forget_waiting()
            else:
                raise KernelError(f"{operation}: answers of the kernel were lost; some requests were carried out")
        return answers

    def _transact_batch(self, batch: Sequence[wire.Message], start: int, operation: str) -> Answers | None:
        """The answers to one batch; None when some of them were lost."""
        answers = Answers()
        first = self._next(len(batch))
        last = first + len(batch) - 1
        self._send(wire.batch(batch, first), operation)
        ended = False
        while not ended:
            data = self._receive(operation)
            if data is None:
                return None
            for kind, _, answered, message in wire.messages(data):
                if not first <= answered <= last:
                    continue
                if kind == wire.NLMSG_ERROR:
                    ended = answered == last
                    code, text = wire.parse_error(message)
                    if code:
                        answers.failures[start + answered - first] = code, text
                else:
                    answers.replies[start + answered - first] = message
        return answers

    def _forget_waiting(self) -> None:
        """Empty the receive queue: the kernel adds nothing to one that has overflowed until that was read."""
        while True:
            try:
                self._socket.recv(_RECEIVE_SIZE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise_for(error.errno or 0, "", "emptying the netlink socket")

    def _next(self, count: int = 1) -> int:
        if self._sequence + count > 0xFFFFFFFF:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def _send(self, data: bytes, operation: str) -> None:
        try:
            self._socket.send(data)
        except OSError as error:
            raise_for(error.errno or 0, "", operation)

    def _receive(self, operation: str) -> bytes | None:
        """One datagram; None when the receive buffer overflowed and some were lost."""
        try:
            data = self._socket.recv(_RECEIVE_SIZE)
        except BlockingIOError as error:
            self.close()  # what is still to come would be taken for the answer to something else
            raise KernelError(f"{operation}: the kernel did not answer in time") from error
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return None
            raise_for(error.errno or 0, "", operation)
        if len(data) == _RECEIVE_SIZE:
            raise wire.WireError(f"{operation}: a netlink datagram of {_RECEIVE_SIZE} bytes or more: its end is lost")
        return data


def raise_for(code: int, text: str, operation: str) -> NoReturn:
    """The kernel's refusal as an exception for the person who must act."""
    if code in (errno.EPERM, errno.EACCES):  # the capability, or a security module
        raise NoPermission(f"{operation}: {words(code, text)}; CAP_NET_ADMIN is needed")
    raise KernelError(f"{operation}: {words(code, text)}")


def words(code: int, text: str = "") -> str:
    said = f"{os.strerror(code)} ({errno.errorcode.get(code, code)})"
    return f"{said}: {text}" if text else said


def open_socket(namespace: str | None, groups: int = 0) -> socket.socket:
    """An rtnetlink socket that hears the multicast ``groups`` (a mask), opened in a thread of its own.

    Entering a network namespace changes only the calling thread. That one ends here, so nothing has to be restored,
    and no process is forked.
    """
    outcome: list[socket.socket | BaseException] = []

    def open_there() -> None:
        try:
            if namespace is not None:
                netns.setns(namespace, flags=0)  # the default flags would create a namespace that is not there
            with IPRSocket(rcvbuf=_RECEIVE_BUFFER) as opened:
                opened.bind(groups=groups)  # by itself it would join those of interface and route events
                for option in _OPTIONS:
                    with suppress(OSError):  # ENOPROTOOPT: an older kernel
                        opened.setsockopt(_SOL_NETLINK, option, 1)
                with suppress(PermissionError):  # only CAP_NET_ADMIN may go beyond the system's limit
                    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _RECEIVE_BUFFER)
                outcome.append(socket.socket(fileno=os.dup(opened.fileno())))
        except BaseException as error:  # noqa: BLE001 - handed over to the thread that waits
            outcome.append(error)

    thread = threading.Thread(target=open_there, name="macmgr-netlink-open")
    thread.start()
    thread.join()
    match outcome[0]:
        case socket.socket() as opened:
            return opened
        case FileNotFoundError() as error if namespace is not None:
            raise NotThere(
                f"network namespace {namespace!r} does not exist (ip netns list shows those that do)"
            ) from error
        case OSError() as error:
            where = f" in network namespace {namespace!r}" if namespace is not None else ""
            if error.errno in (errno.EPERM, errno.EACCES):
                raise NoPermission(f"opening a netlink socket{where}: {words(error.errno)}") from error
            raise KernelError(f"opening a netlink socket{where}: {words(error.errno or 0)}") from error
        case error:
            raise error
