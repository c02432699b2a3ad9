"""States the gain of an uplink out of promiscuous mode, in measured terms, and claims no more than is known.

A frame for a MAC that nobody here has costs twice: it reaches the host because the uplink is promiscuous, and every
port that floods gets a copy. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from macmgr.doctor.promiscuity import Cause, Member, Reason
from macmgr.model.roles import Role
from macmgr.phrases import first_few

# CPU time for a frame with an unknown destination of which every tap gets a copy, as a multiple of the time with closed
# taps, by number of taps. Measured with raw frames; docs/doctor.rst says how far to trust it.
MEASURED = ((1, "1.4"), (10, "4.3"), (100, "24"), (1000, "54"))

_OPEN_PORTS = (Reason.AUTO_PORT, Reason.SECOND_UPLINK)
_FEW = 5  # ports that a sentence names

Key = tuple[Reason, str]
"""A cause without its words: the reason and the subject."""


@dataclass(frozen=True, slots=True)
class UplinkState:
    """An uplink: ``held`` are the causes that keep it promiscuous, or would; ``lost`` the guests its filter lacks.

    ``open_below`` are devices below it that receive every frame in any case.
    """

    name: str
    held: tuple[Cause, ...] = ()
    lost: tuple[tuple[str, str], ...] = ()
    open_below: tuple[str, ...] = ()

    @property
    def keys(self) -> frozenset[Key]:
        """The causes that must go, without those that are uncertain or unknown."""
        return frozenset(key_of(cause) for cause in self.held if cause.certain)

    @property
    def unsure(self) -> bool:
        return any(cause.reason is Reason.NO_UNICAST_FILTER and not cause.certain for cause in self.held)


def key_of(cause: Cause) -> Key:
    return cause.reason, cause.subject


def in_measured_words(taps: int) -> str:
    below = [ratio for count, ratio in MEASURED if count <= taps]
    above = [ratio for count, ratio in MEASURED if count >= taps]
    if below and above:
        return f"about {below[-1]} times" if below[-1] == above[0] else f"between {below[-1]} and {above[0]} times"
    return f"{below[-1]} times or more"


def expected_gain(
    everyone: Sequence[Member],
    uplinks: Sequence[UplinkState],
    resting: Sequence[UplinkState],
    left: Mapping[str, frozenset[Key]],
) -> Iterator[str]:
    """Yields the gain of all steps together. With them the uplinks in ``resting`` leave promiscuous mode.

    ``left`` has what still holds each uplink then.
    """
    closing = (Role.GUEST, Role.DUMMY)  # all others stay open: hosts are reached through them
    flooded = [member for member in everyone if member.port.flags.unicast_flood and member.role in closing]
    held = [uplink for uplink in uplinks if uplink.held]
    if flooded:
        count = len(flooded)
        yield (
            f"A frame for a MAC that nobody here has is now copied to {count} port{'s' if count > 1 else ''}. With "
            f"{'it' if count == 1 else 'them'} closed it is not: in our measurements a frame copied so "
            f"took {in_measured_words(count)} the CPU time of one that is not."
        )
    if resting:
        names = " and ".join(uplink.name for uplink in resting)
        unsure = any(uplink.unsure for uplink in resting)
        condition = f" (if {names} can filter, which is not known)" if unsure else ""
        below = " and ".join(name for uplink in resting for name in uplink.open_below)
        yield f"With {names} out of promiscuous mode{condition}, such frames do not reach " + (
            f"the bridge. They still reach the host, because {below} below it receives everything."
            if below
            else "the host at all."
        )
    for uplink in held:
        if any(cause.reason is Reason.NO_UNICAST_FILTER and cause.certain for cause in uplink.held):
            yield f"{uplink.name} itself stays promiscuous in any case, because it cannot filter."
        elif open_still := sorted(subject for reason, subject in left[uplink.name] if reason in _OPEN_PORTS):
            names, learn = first_few(open_still, _FEW), "learns or floods" if len(open_still) == 1 else "learn or flood"
            yield f"{uplink.name} stays promiscuous while {names} {learn}: hosts are reached that way."
        elif uplink not in resting:
            yield f"Whether {uplink.name} comes to rest is not certain: not every cause can be seen from here."
    if not flooded and not held:
        yield "Nothing: no port gets foreign frames, and no uplink is promiscuous."
