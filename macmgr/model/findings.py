"""What an audit can find, each with a code that scripts may rely on (DESIGN: the contract, audit JSON version 1)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from macmgr.model.changes import Change

Command = tuple[str, ...]  # an argument vector: a person runs it, and macmgr does not
Mend = Change | Command


class Severity(StrEnum):
    """How bad a finding is. Only errors make a host out of sync."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Code(StrEnum):
    """The finding codes, in the order of the contract."""

    MISSING_ENTRY = "missing-entry"
    STOLEN_ENTRY = "stolen-entry"
    LOCAL_ENTRY = "local-entry"
    EXTRA_ENTRY = "extra-entry"
    STALE_ENTRY = "stale-entry"
    EARLY_ENTRY = "early-entry"
    LEFT_ON_UPLINK = "left-on-uplink"
    CLOSED_WITHOUT_ENTRY = "closed-without-entry"
    NOT_GIVEN_BACK = "not-given-back"
    LEARNING_ON = "learning-on"
    FLOOD_ON = "flood-on"
    UNLOCKED = "unlocked"
    STILL_LOCKED = "still-locked"
    NOT_STICKY = "not-sticky"
    LEARNED_ON_MANAGED_PORT = "learned-on-managed-port"
    ADDRESS_IN_USE = "address-in-use"
    MISSING_PORT = "missing-port"
    WRONG_BRIDGE = "wrong-bridge"
    SHARED_TAP = "shared-tap"
    WRONG_VLAN = "wrong-vlan"
    NO_VLAN = "no-vlan"
    NOT_ISOLATED = "not-isolated"
    DUPLICATE_MAC = "duplicate-mac"
    MAC_COLLISION = "mac-collision"
    GUEST_MAC_CHANGED = "guest-mac-changed"
    UNMANAGED_AUTO_PORT = "unmanaged-auto-port"
    VLAN_FILTERING_OFF = "vlan-filtering-off"
    UPLINK_PROMISCUOUS = "uplink-promiscuous"
    UPLINK_NO_UNICAST_FILTER = "uplink-no-unicast-filter"
    FOREIGN_ENTRY = "foreign-entry"
    CONFLICTING_SETTINGS = "conflicting-settings"
    PIN_AGAINST_CONTROL_PLANE = "pin-against-control-plane"
    UNSUPPORTED = "unsupported"
    UNREADABLE_XML = "unreadable-xml"
    NO_SUCH_BRIDGE = "no-such-bridge"
    NOTHING_MANAGED = "nothing-managed"
    TABLE_TOO_LONG = "table-too-long"


_WARNINGS = {
    Code.ADDRESS_IN_USE,
    Code.LEFT_ON_UPLINK,
    Code.NOT_STICKY,
    Code.LEARNED_ON_MANAGED_PORT,
    Code.GUEST_MAC_CHANGED,
    Code.CONFLICTING_SETTINGS,
    Code.PIN_AGAINST_CONTROL_PLANE,
    Code.UNSUPPORTED,
    Code.NO_SUCH_BRIDGE,
    Code.TABLE_TOO_LONG,
}
_INFOS = {
    Code.UNMANAGED_AUTO_PORT,
    Code.VLAN_FILTERING_OFF,
    Code.UPLINK_PROMISCUOUS,
    Code.UPLINK_NO_UNICAST_FILTER,
    Code.FOREIGN_ENTRY,
    Code.NOTHING_MANAGED,
}


def severity(code: Code) -> Severity:
    """The severity the contract gives to a code."""
    if code in _INFOS:
        return Severity.INFO
    return Severity.WARNING if code in _WARNINGS else Severity.ERROR


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the intent and the snapshot, or one thing a person should know.

    ``message`` is a whole sentence. ``mends`` repair it, in this order: each is a change that an apply makes, or a
    command for a person. ``note`` says in prose what no command does, or what to know before one is run. Empty and None
    fields do not apply to the finding. `macmgr.report.fixes` prints both.

    Findings are compared without ``mends``: thousands of VIDs of one trunk share a change that names all of them.
    """

    code: Code
    message: str
    bridge: str = ""
    port: str = ""
    domain: str | None = None
    mac: str = ""
    vid: int | None = None
    mends: tuple[Mend, ...] = field(default=(), compare=False)
    note: str = ""

    @property
    def severity(self) -> Severity:
        return severity(self.code)

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes among ``mends``: an apply repairs the finding where there are some."""
        return tuple(mend for mend in self.mends if not isinstance(mend, tuple))
