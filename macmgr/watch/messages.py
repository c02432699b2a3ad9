"""The kinds of the daemon's messages, each with its message id for journalctl.

Monitoring picks one kind out with ``journalctl MESSAGE_ID=…``, so an id never changes its meaning, nor a kind its id.
docs/watch.rst has the table. Priorities are those of syslog(3).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """The urgency of a line, in the numbers of syslog(3): the smaller, the more urgent."""

    ERROR = 3
    WARNING = 4
    NOTICE = 5
    INFO = 6
    DEBUG = 7


STARTED = "76163134703e4559b5ccdd5d29c8e849"
STOPPED = "a048b1856a0d4b7da08e2e3e5dc72067"
LOOK_FAILED = "25f5bf690cd84dd19147daf56c00d6c2"
LOOKS_AGAIN = "07661356a9cf4a74921dd15fc56277b2"
RESYNC = "bcca7d50305741258ef96f19535da4c5"
REPAIRED = "5bbb9967f843425188bf3e1d54c8e37d"
REPAIR_FAILED = "181490142ed44bdb9191f429b3924d81"
STANDING_BACK = "080f0207c64e4320ab4eb7c2204d4882"
THEFT = "a1eb0378a63d43bda009d5e8aacd8e64"
GUEST_MAC_CHANGED = "c00da90a72dc49b8b6492ad3d214da65"
DRIFT = "cc06d188ea9e46febd8135f939966f3b"
LEFT_TO_A_PERSON = "179bbfa83ec04a47be81533ac6fc249c"
HOOK_FAILED = "f26897fd63e84f64b1effa0d0b50c265"
HOOK_SAID = "f69801809865472d938a20cbfa9f5139"
UNREADABLE = "7b7dc668943246c5a51f703bc0e90b68"
NOT_REACHED = "6f0a2c9be3c14d5e9a7d4b1c8e52f603"
REACHED_AGAIN = "b41c7f3d9a0e4c268d5f1e7a36c90b82"
EVENTS_LOST = "5f5b514cb01b4b2a836f6265c44a8b68"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the journal. Empty fields do not apply to it."""

    priority: Priority
    message: str
    message_id: str = ""
    domain: str = ""
    port: str = ""
    bridge: str = ""
    mac: str = ""
    code: str = ""
