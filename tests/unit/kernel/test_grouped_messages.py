"""The walk over a dump that was sorted by its headers: each message of the kinds asked for, and none cut short."""

from __future__ import annotations

import pytest

from macmgr.kernel.wire import HEADER, RTM_NEWLINK, RTM_NEWNEIGH, WireError, group, grouped_messages


def message(kind: int, body: bytes) -> bytes:
    data = HEADER.pack(HEADER.size + len(body), kind, 0, 1, 2) + body
    return data + bytes(-len(data) % 4)


def test_messages_come_without_their_padding_and_others_are_left_out() -> None:
    groups: dict[bytes, list[bytes]] = {}
    group(message(RTM_NEWLINK, b"onety") + message(RTM_NEWLINK, b"twoty") + message(RTM_NEWNEIGH, b"three"), groups)
    found = [each[HEADER.size :] for each in grouped_messages(groups, (RTM_NEWLINK,), HEADER.size + 5)]
    assert found == [b"onety", b"twoty"]


def test_one_without_its_fixed_part_is_an_error() -> None:
    groups: dict[bytes, list[bytes]] = {}
    group(message(RTM_NEWLINK, b"abcd"), groups)
    with pytest.raises(WireError, match="netlink message of 20 bytes where 21 are due"):
        list(grouped_messages(groups, (RTM_NEWLINK,), HEADER.size + 5))
