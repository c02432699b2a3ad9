"""The doctor's answer: who is cut off, which uplink is promiscuous and by what, and the steps that end it. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from macmgr.doctor.diagnose import BridgeDiagnosis
from macmgr.doctor.expectedgain import Key, UplinkState, key_of
from macmgr.doctor.promiscuity import Cause, Reason
from macmgr.model.codes import Severity
from macmgr.phrases import are, counted, first_few, listed

_FEW = 3
_WORDS = {
    Reason.NO_VLAN_FILTERING: "this kernel has no VLAN filtering",
    Reason.VLAN_FILTERING_OFF: "VLAN filtering is off",
    Reason.BRIDGE: "{} itself is promiscuous",
    Reason.SECOND_UPLINK: "{} is an uplink too",
    Reason.NO_UNICAST_FILTER: "it cannot filter",
    Reason.ADMINISTRATOR: "an administrator set it",
    Reason.PACKET_SOCKET: "{} asks for it",
    Reason.UPPER_DEVICE: "{} is stacked on it",
    Reason.OWN_ADDRESSES: "it must receive for further addresses",
    Reason.UNSEEN: "something asks for it that cannot be seen from here",
}


class Answer(NamedTuple):
    """A sentence: an error where somebody is cut off, a warning where it costs something."""

    severity: Severity
    text: str


def answers(found: BridgeDiagnosis) -> Iterator[Answer]:
    name = found.bridge.name
    if found.cut_off:
        by_filtering = first_few(found.cut_by_filtering, _FEW)
        by = f" ({by_filtering} by VLAN filtering)" if by_filtering else ""
        who = f"{first_few(found.cut_off, _FEW)} {are(found.cut_off)} cut off on {name}{by}"
        yield Answer(Severity.ERROR, f"{who}: {_help(found)}.")
    for sentence in found.cut_stacked:
        yield Answer(Severity.ERROR, sentence)
    for uplink in found.uplinks:
        if uplink.held:
            yield Answer(Severity.WARNING, _promiscuous(found, uplink))
        else:
            yield Answer(Severity.INFO, f"{uplink.name} is not promiscuous.")
        if uplink.lost:
            whose = first_few([f"{mac} of {domain}" for mac, domain in uplink.lost], _FEW)
            yield Answer(Severity.ERROR, f"But its filter lacks {whose}: unicast from the LAN does not arrive.")
    if not found.uplinks:
        yield Answer(Severity.INFO, f"{name} has no uplink: no NIC is promiscuous for it.")


def _help(found: BridgeDiagnosis) -> str:
    if not found.steps_for_guests:
        return f"'macmgr explain {shlex.quote(found.cut_off[0])}' says why"
    steps = found.steps_for_guests
    return (
        "step 1 below says why, and what helps" if steps == 1 else f"steps 1 to {steps} below say why, and what helps"
    )


def _promiscuous(found: BridgeDiagnosis, uplink: UplinkState) -> str:
    certain = [cause for cause in uplink.held if cause.certain]
    causes, perhaps = certain or uplink.held, "" if certain else "perhaps "
    return (
        f"{uplink.name} is promiscuous, {perhaps}because {listed(_in_words(found, causes))}. {_way_out(found, uplink)}."
    )


def _in_words(found: BridgeDiagnosis, causes: Sequence[Cause]) -> list[str]:
    domains = {port.member.name: port.member.guest.domain for port in found.ports if port.member.guest}
    auto = [cause.subject for cause in causes if cause.reason is Reason.AUTO_PORT]
    others = [cause for cause in causes if cause.reason is not Reason.AUTO_PORT]
    words = [_WORDS[cause.reason].format(cause.subject) for cause in others[:_FEW]]
    if auto:
        first = f"{auto[0]} of {domains[auto[0]]}" if auto[0] in domains else auto[0]
        more = f" and {counted(len(auto) - 1, 'more port')}" if auto[1:] else ""
        words.append(f"{first}{more} {'learn or flood' if more else 'learns or floods'}")
    return [*words, f"of {len(others) - _FEW} more causes"] if others[_FEW:] else words


def _way_out(found: BridgeDiagnosis, uplink: UplinkState) -> str:
    """The steps that end it together, as they are numbered; and the command if it is one of them."""
    keys = uplink.keys
    steps = [(number, step) for number, step in enumerate(found.steps, 1) if step.removes & keys]
    ended: frozenset[Key] = frozenset().union(*(step.removes for _, step in steps))
    left = [cause for cause in uplink.held if cause.certain and key_of(cause) not in ended]
    if left:
        return f"No step here ends that: {listed(_in_words(found, left))}"
    if not steps:
        return "Nothing that can be seen from here ends that"
    condition = f", if {uplink.name} can filter" if uplink.unsure else ""
    if len(steps) > 1:
        return f"Steps {listed([str(number) for number, _ in steps])} below end that{condition}"
    number, step = steps[0]
    how = f": '{step.commands[0]}'" if len(step.commands) == 1 and not step.where else ""
    return f"One step ends that{condition}{how or f': number {number} below'}"
