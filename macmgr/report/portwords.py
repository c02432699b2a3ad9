"""Says in a word what is wrong with a port, and in a line how a bridge is managed: for table, page and picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

from macmgr.model.codes import Consequence, Severity
from macmgr.model.intent import GuestPort
from macmgr.model.snapshot import Bridge
from macmgr.planning.reached import unreached
from macmgr.view import View


class PortWord(StrEnum):
    """The worst that is to be said of a port; nothing of one that is not managed and has no fault."""

    NOTHING = ""
    OK = "ok"
    LEFT = "left"  # as it is: its network is not active, or its policy is not understood
    WARNING = "warning"
    AT_RISK = "at risk"
    DRIFT = "drift"
    CUT_OFF = "cut off"


def port_faults(view: View, at_risk: Iterable[str]) -> Mapping[str, PortWord]:
    """Returns the worst that is wrong at each port that has a fault."""
    found = [finding for finding in view.plan.findings if finding.port]
    cut = (each for each in found if each.consequence is Consequence.CUT_OFF and each.reached is False)
    return (
        dict.fromkeys((each.port for each in found if each.severity is Severity.WARNING), PortWord.WARNING)
        | dict.fromkeys(at_risk, PortWord.AT_RISK)
        | dict.fromkeys((each.port for each in found if each.severity is Severity.ERROR), PortWord.DRIFT)
        | dict.fromkeys((each.port for each in cut if each.severity is not Severity.INFO), PortWord.CUT_OFF)
        | dict.fromkeys((reach.guest.port for reach, _ in unreached(view.reaches)), PortWord.CUT_OFF)
    )


def guest_word(guest: GuestPort, fault: PortWord | None) -> PortWord:
    if fault is not None and (guest.managed or fault is PortWord.CUT_OFF):
        return fault
    if guest.managed:
        return PortWord.LEFT if guest.frozen else PortWord.OK
    return PortWord.LEFT if guest.policy.problem else PortWord.NOTHING


def bridge_words(bridge: Bridge, view: View) -> str:
    reason = view.intent.managed_bridges.get(bridge.name)
    how = "only observed" if view.scope.observes(bridge.name) else "managed"
    managed = f"{how} ({reason})" if reason else "not managed"
    return f"VLAN filtering {'on' if bridge.vlan_filtering else 'off'}, {managed}"
