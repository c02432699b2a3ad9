"""Keeps the FDB entries of strangers from the event socket: what a bridge learns and forgets on an uplink wakes nobody.

A LAN with many hosts, or somebody who floods it, makes thousands of such events a second. The kernel drops them before
they are queued (net/netlink/af_netlink.c, do_one_broadcast). What the program cannot be sure of passes.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Collection, Iterator, Sequence

from macmgr.kernel.bpf import FARTHEST, JA, JEQ, JGE, LDB, LDH, LDLEN, LDW, RET, RSH, Line, assembled, attach
from macmgr.kernel.wire import (
    AF_BRIDGE,
    ATTRIBUTE,
    HEADER,
    NDA_LLADDR,
    NDA_MASTER,
    NEIGHBOUR,
    RTM_DELNEIGH,
    RTM_NEWNEIGH,
)
from macmgr.model.kernelevents import Strangers

# Where the kernel puts things in an event of an FDB entry (net/bridge/br_fdb.c, fdb_fill_info).
_KIND, _FAMILY, _PORT = 4, HEADER.size, HEADER.size + 4
_LLADDR = HEADER.size + NEIGHBOUR.size
_MASTER = _LLADDR + 12
_ONE = 110  # bytes; an event has 84, so two in a datagram have more
_MOST_INTERFACES = 120
_MOST_MACS = 900  # the lines for more would not fit, see `macmgr.kernel.bpf.attach`
_ALL = 0xFFFFFFFF


def leave_out(opened: socket.socket, strangers: Strangers) -> None:
    """Attaches the program to a netlink socket; one that the kernel finds too long is made shorter, and lets more pass.

    Raises OSError if it takes none.
    """
    most = _MOST_MACS
    while True:
        try:
            attach(opened, program(strangers, most))
        except OSError as error:
            if error.errno != errno.ENOMEM or most < 2:
                raise
            most //= 2
        else:
            return


def program(strangers: Strangers, most: int = _MOST_MACS) -> bytes:
    """The classic BPF program: 0 for what is left out, and all of it for what passes."""
    lines: list[Line] = [
        (LDH, 0, 0, _KIND),
        (JEQ, 2, 0, _word("=H", RTM_NEWNEIGH)),
        (JEQ, 1, 0, _word("=H", RTM_DELNEIGH)),
        (RET, 0, 0, _ALL),
        (LDLEN, 0, 0, 0),
        (JGE, 0, 1, _ONE),
        (RET, 0, 0, _ALL),
        (LDB, 0, 0, _FAMILY),
        (JEQ, 1, 0, AF_BRIDGE),
        (RET, 0, 0, 0),  # an IP neighbour
        (LDW, 0, 0, _LLADDR),
        (JEQ, 1, 0, int.from_bytes(ATTRIBUTE.pack(10, NDA_LLADDR), "big")),
        (RET, 0, 0, _ALL),
        (LDW, 0, 0, _MASTER),
        (JEQ, 1, 0, int.from_bytes(ATTRIBUTE.pack(8, NDA_MASTER), "big")),
        (RET, 0, 0, _ALL),
    ]
    lines += [(LDW, 0, 0, _MASTER + 4), *_if_one_of(strangers.bridges), (RET, 0, 0, 0)]
    lines += [(LDW, 0, 0, _PORT), *_if_one_of(strangers.ports), (JA, 0, 0, 1), (RET, 0, 0, _ALL)]
    words = sorted({int.from_bytes(bytes.fromhex(mac.replace(":", ""))[2:], "big") for mac in strangers.macs})
    shift = 0
    while len({word >> shift for word in words}) > most:
        shift += 1
    lines += [(LDW, 0, 0, _LLADDR + 6), *([(RSH, 0, 0, shift)] if shift else [])]
    lines += _search(sorted({word >> shift for word in words}))
    return assembled(lines)


def _word(form: str, number: int) -> int:
    """The number as the program loads it: in network order, of a message in the host's."""
    return int.from_bytes(struct.pack(form, number), "big")


def _if_one_of(interfaces: Collection[int]) -> Iterator[Line]:
    """The next line if what was loaded is one of these ifindexes, or else the one behind it."""
    some = sorted(interfaces)[:_MOST_INTERFACES]
    for left, ifindex in zip(range(len(some), 0, -1), some, strict=True):
        yield (JEQ, left, 0, _word("=I", ifindex))
    yield (JA, 0, 0, 1)


def _search(words: Sequence[int]) -> list[Line]:
    """Passes what was loaded if it is one of these, which are in order; leaves it out if it is none."""
    if len(words) < 3:
        lines = [line for word in words for line in ((JEQ, 0, 1, word), (RET, 0, 0, _ALL))]
        return [*lines, (RET, 0, 0, 0)]
    middle = len(words) // 2
    low, high = _search(words[:middle]), _search(words[middle:])
    if len(low) <= FARTHEST:
        return [(JGE, len(low), 0, words[middle]), *low, *high]
    return [(JGE, 0, 1, words[middle]), (JA, 0, 0, len(low)), *low, *high]
