"""The bridge port flags that macmgr reads, sets, remembers and reports: one row each.

Every module that treats all flags alike reads `FLAGS`. docs/contributing.rst walks through adding one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class PortFlags:
    """A port's flags, with the values that the kernel gives to a new port.

    None: the kernel has no such flag, or an older macmgr did not remember it.
    """

    learning: bool = True
    unicast_flood: bool = True
    locked: bool | None = False
    isolated: bool | None = False

    @property
    def open(self) -> bool:
        """No flag keeps frames from the port, or the port's own frames from the bridge: the port needs no entry."""
        return all(self.value(flag) != flag.shut for flag in FLAGS if flag.shut is not None)

    def value(self, flag: Flag) -> bool | None:
        value: bool | None = getattr(self, flag.field)
        return value

    def differing(self, other: PortFlags) -> list[Flag]:
        return [flag for flag in FLAGS if self.value(flag) != other.value(flag)]

    def opened(self) -> PortFlags:
        """Returns the same flags, with those opened that shut the port."""
        return _each(lambda flag, value: value if None in (flag.shut, value) else not flag.shut, self)

    def before_closing(self, wanted: PortFlags) -> PortFlags:
        """Returns the ``wanted`` flags, except those that would shut an open port."""
        return _each(lambda flag, now, then: then if now == flag.shut or flag.shut is None else now, self, wanted)

    def for_kernel_of(self, port: PortFlags) -> PortFlags:
        """Returns these flags as the kernel of ``port`` can hold them. A missing value is open there, or stays."""

        def fit(flag: Flag, mine: bool | None, there: bool | None) -> bool | None:
            if mine is None and flag.shut is not None:
                mine = not flag.shut
            return there if None in (mine, there) else mine

        return _each(fit, self, port)

    def document(self) -> dict[str, bool | None]:
        return {flag.field: self.value(flag) for flag in FLAGS}


class Flag(NamedTuple):
    """One row: the field of the record above, the kernel's number and other names of a flag.

    ``shut`` is the value that stops frames to the port or the bridge unless an entry lets them pass; None if neither
    value does. ``since`` is the first Linux with the flag; empty if every supported Linux, and every state file of
    macmgr, has it.
    """

    field: str
    number: int  # IFLA_BRPORT_…, include/uapi/linux/if_link.h
    bridge_word: str  # bridge(8): bridge link set dev … WORD on
    words: str  # for people
    shut: bool | None
    since: str = ""

    def says(self, value: bool | None) -> str:
        return f"{self.words} {'on' if value else 'off'}"


LEARNING = Flag("learning", 8, "learning", "learning", shut=False)
UNICAST_FLOOD = Flag("unicast_flood", 9, "flood", "unicast flood", shut=False)
LOCKED = Flag("locked", 39, "locked", "locked", shut=True, since="5.18")
ISOLATED = Flag("isolated", 33, "isolated", "isolated", shut=None, since="4.18")
FLAGS = (LEARNING, UNICAST_FLOOD, LOCKED, ISOLATED)
NEW_PORT = PortFlags()


def flags_of(values: Mapping[str, bool | None]) -> PortFlags:
    named: dict[str, Any] = {flag.field: values[flag.field] for flag in FLAGS}
    return PortFlags(**named)


def with_flag(flags: PortFlags, flag: Flag, value: bool | None) -> PortFlags:
    named: dict[str, Any] = {flag.field: value}
    return replace(flags, **named)


def _each(decide: Callable[..., bool | None], *several: PortFlags) -> PortFlags:
    return flags_of({flag.field: decide(flag, *(flags.value(flag) for flags in several)) for flag in FLAGS})
