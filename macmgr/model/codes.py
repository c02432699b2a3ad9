"""The finding codes, one row each: the word for scripts, severity, consequence, and the reason for a change.

docs/findings has a page for each: its meaning for a guest, its causes, and the remedy. docs/contributing.rst lists the
steps for a new code.
"""

from __future__ import annotations

from enum import StrEnum


class Severity(StrEnum):
    """The severity of a finding. Only errors make a host out of sync."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Consequence(StrEnum):
    """The worst that a finding does to frames."""

    CUT_OFF = "cut-off"  # a guest is unreachable, or its frames go elsewhere
    EXPOSED = "exposed"  # somebody gets the frames of others, or sends as another
    AT_RISK = "at-risk"  # the next frame, start or migration may cut a guest off
    COST = "cost"  # every guest is reached, and the host works more than it needs to
    NONE = "none"  # nothing changes for a frame


_ERROR, _WARNING, _INFO = Severity.ERROR, Severity.WARNING, Severity.INFO
_CUT_OFF, _EXPOSED, _AT_RISK = Consequence.CUT_OFF, Consequence.EXPOSED, Consequence.AT_RISK
_COST, _NONE = Consequence.COST, Consequence.NONE


class Code(StrEnum):
    """A finding's code. ``why`` is the reason for a change that repairs it; empty if no change does."""

    severity: Severity
    consequence: Consequence
    why: str

    def __new__(cls, word: str, severity: Severity, consequence: Consequence, why: str = "") -> Code:
        code = str.__new__(cls, word)
        code._value_ = word
        code.severity, code.consequence, code.why = severity, consequence, why
        return code

    MISSING_ENTRY = "missing-entry", _ERROR, _CUT_OFF, "no static entry leads to the guest"
    STOLEN_ENTRY = "stolen-entry", _ERROR, _CUT_OFF, "the guest's entry leads to another port"
    LOCAL_ENTRY = "local-entry", _ERROR, _CUT_OFF, "the entry is a local one, and the host swallows the guest's frames"
    EXTRA_ENTRY = "extra-entry", _ERROR, _EXPOSED, "nothing asks for the entry"
    STALE_ENTRY = "stale-entry", _ERROR, _CUT_OFF, "the guest does not run here"
    EARLY_ENTRY = "early-entry", _ERROR, _CUT_OFF, "the guest's CPUs do not run here"
    LEFT_ON_UPLINK = "left-on-uplink", _WARNING, _AT_RISK
    CLOSED_WITHOUT_ENTRY = (
        "closed-without-entry",
        _ERROR,
        _CUT_OFF,
        "without an entry, a closed port cuts the guest off",
    )
    NOT_GIVEN_BACK = "not-given-back", _ERROR, _AT_RISK, "the policy now leaves the port to the kernel"
    LEARNING_ON = "learning-on", _ERROR, _EXPOSED, "the port learns source addresses"
    FLOOD_ON = "flood-on", _ERROR, _EXPOSED, "the port gets every frame with an unknown destination"
    UNLOCKED = "unlocked", _ERROR, _EXPOSED, "the port takes frames from any source address"
    STILL_LOCKED = "still-locked", _ERROR, _CUT_OFF, "the policy no longer asks for the lock"
    NOT_STICKY = "not-sticky", _WARNING, _AT_RISK, "the entry is not pinned as the policy says"
    LEARNED_ON_MANAGED_PORT = (
        "learned-on-managed-port",
        _WARNING,
        _EXPOSED,
        "the policy does not give the guest this address",
    )
    WOULD_HARM = "would-harm", _WARNING, _AT_RISK
    ADDRESS_IN_USE = "address-in-use", _WARNING, _AT_RISK
    MISSING_PORT = "missing-port", _ERROR, _CUT_OFF
    WRONG_BRIDGE = "wrong-bridge", _ERROR, _CUT_OFF
    SHARED_TAP = "shared-tap", _ERROR, _AT_RISK
    WRONG_VLAN = "wrong-vlan", _ERROR, _CUT_OFF, "the XML says other VLANs"
    NO_VLAN = "no-vlan", _ERROR, _CUT_OFF
    VLAN_WITHOUT_UPLINK = "vlan-without-uplink", _WARNING, _CUT_OFF
    NOT_FORWARDING = "not-forwarding", _WARNING, _CUT_OFF
    PORT_DOWN = "port-down", _WARNING, _CUT_OFF
    NOT_ISOLATED = "not-isolated", _ERROR, _EXPOSED, "the XML says that the port is isolated"
    DUPLICATE_MAC = "duplicate-mac", _ERROR, _CUT_OFF
    MAC_COLLISION = "mac-collision", _ERROR, _CUT_OFF
    GUEST_MAC_CHANGED = "guest-mac-changed", _WARNING, _CUT_OFF
    UNMANAGED_AUTO_PORT = "unmanaged-auto-port", _INFO, _COST
    VLAN_FILTERING_OFF = "vlan-filtering-off", _INFO, _COST
    UPLINK_PROMISCUOUS = "uplink-promiscuous", _INFO, _COST
    UPLINK_NO_UNICAST_FILTER = "uplink-no-unicast-filter", _INFO, _COST
    FOREIGN_ENTRY = "foreign-entry", _INFO, _NONE
    CONFLICTING_SETTINGS = "conflicting-settings", _WARNING, _AT_RISK
    FILTERING_AT_NEXT_START = "filtering-at-next-start", _WARNING, _AT_RISK
    PIN_AGAINST_CONTROL_PLANE = "pin-against-control-plane", _WARNING, _AT_RISK
    MTU = "mtu", _WARNING, _AT_RISK
    UNSUPPORTED = "unsupported", _WARNING, _AT_RISK, "this kernel has no sticky entries"
    UNREADABLE_XML = "unreadable-xml", _ERROR, _AT_RISK
    NO_SUCH_BRIDGE = "no-such-bridge", _WARNING, _NONE
    NOTHING_MANAGED = "nothing-managed", _INFO, _NONE
    TABLE_TOO_LONG = "table-too-long", _WARNING, _NONE
