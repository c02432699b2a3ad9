"""Which cables lead out of a host that is a container itself, by what the kernel says of their other ends."""

from __future__ import annotations

import errno
import struct
from typing import cast

import pytest

from macmgr.kernel import wire
from macmgr.kernel.farends import IFLA_TARGET_NETNSID, leading_out
from macmgr.kernel.links import Link, decode_links
from macmgr.kernel.netlink import Answers, Connection

HEADER = struct.pack("=IHHIIBxHiII", 32, wire.RTM_NEWLINK, 0, 1, 0, 0, 1, 7, 1, 0)
TARGET = wire.attribute(IFLA_TARGET_NETNSID, struct.pack("=i", 3))
MASTER = wire.attribute(wire.IFLA_MASTER, struct.pack("=I", 5))


class Asked:
    """A connection that answers each request with a message, or refuses it with a number."""

    def __init__(self, *answers: bytes | int) -> None:
        self.answers = answers
        self.requests: list[wire.Message] = []

    def transact(self, requests: list[wire.Message], _operation: str) -> Answers:
        self.requests = requests
        found = Answers()
        for place, answer in enumerate(self.answers):
            if isinstance(answer, int):
                found.failures[place] = (answer, "")
            else:
                found.replies[place] = answer
        return found


def cable(number: int) -> Link:
    groups: dict[bytes, list[bytes]] = {}
    name, lower = wire.attribute(3, f"c{number}\0\0".encode()), wire.attribute(5, struct.pack("=I", 40 + number))
    body = HEADER[16:] + name + lower + wire.attribute(37, struct.pack("=i", number))
    wire.group(struct.pack("=IHHII", 16 + len(body), wire.RTM_NEWLINK, 2, 1, 0) + body, groups)
    (link,) = decode_links(groups)
    return link


def plugged_into(kind: str, *, repeated: bool = True) -> bytes:
    info = wire.attribute(18, wire.attribute(4, kind.encode() + b"\0" * (4 - len(kind) % 4)))
    return HEADER + (TARGET if repeated else b"") + MASTER + info


ON_NOTHING = HEADER + TARGET


@pytest.mark.parametrize(
    ("answers", "out"),
    [
        ([plugged_into("bridge"), ON_NOTHING], {"c0"}),
        ([plugged_into("openvswitch"), ON_NOTHING], {"c0"}),
        ([plugged_into("vrf"), ON_NOTHING], set()),
        ([ON_NOTHING, errno.EACCES], {"c1"}),
        ([ON_NOTHING, errno.ENODEV], set()),
        ([errno.EACCES, errno.EACCES], set()),
        ([plugged_into("bridge", repeated=False), ON_NOTHING], set()),
    ],
    ids=["a bridge", "Open vSwitch", "a VRF", "out of sight", "gone", "nothing in sight", "a kernel before 4.15"],
)
def test_a_cable_leads_out_if_its_other_end_is_on_a_switch_or_out_of_sight(
    answers: list[bytes | int], out: set[str]
) -> None:
    asked = Asked(*answers)
    assert leading_out(cast("Connection", asked), [cable(0), cable(1)]) == out
    kinds = [(kind, wire.LINK.unpack_from(payload)[2], payload[16:]) for kind, _, payload in asked.requests]
    assert kinds == [
        (wire.RTM_GETLINK, 40 + n, wire.attribute(IFLA_TARGET_NETNSID, struct.pack("=i", n))) for n in (0, 1)
    ]
