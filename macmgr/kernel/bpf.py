"""Classic BPF programs on sockets: what a socket is not to get costs its process nothing.

Sources: include/uapi/linux/filter.h, net/core/filter.c.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

LDW, LDH, LDB, LDLEN = 0x20, 0x28, 0x30, 0x80  # BPF_LD | BPF_W, BPF_H, BPF_B | BPF_ABS; BPF_LD | BPF_W | BPF_LEN
RSH = 0x74  # BPF_ALU | BPF_RSH | BPF_K
JA, JEQ, JGE, JSET = 0x05, 0x15, 0x35, 0x45  # BPF_JMP | …
RET = 0x06
FARTHEST = 255  # lines that a conditional jump may pass over

LINE = struct.Struct("=HBBI")  # struct sock_filter: code, lines to pass over if true, if false, operand
_SO_ATTACH_FILTER, _SO_DETACH_FILTER = 26, 27

Line = tuple[int, int, int, int]


def assembled(lines: Iterable[Line]) -> bytes:
    return b"".join(LINE.pack(*line) for line in lines)


def attach(opened: socket.socket, program: bytes) -> None:
    """Attaches a program; one that is there is replaced at once. OSError, ENOMEM where it is too long for the socket.

    A socket has net.core.optmem_max for its programs, as the kernel translates them (20 KiB before Linux 6.9). Both
    count while one replaces another.
    """
    buffer = ctypes.create_string_buffer(program, len(program))
    said = struct.pack("@HP", len(program) // LINE.size, ctypes.addressof(buffer))  # struct sock_fprog
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, said)


def detach(opened: socket.socket) -> None:
    """Takes the program off, if there is one: from now on everything passes."""
    with suppress(FileNotFoundError):  # ENOENT: there is none
        opened.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)
