"""A finding: a difference between the intent and the snapshot, with its repair, and the text of that repair.

The text is made here alone, for tables, JSON and the journal.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field

from macmgr.model.changes import Change, bridge_command, requests
from macmgr.model.codes import Code, Consequence, Severity

__all__ = ["Code", "Command", "Consequence", "Finding", "Fix", "Fixes", "Repair", "Severity", "fix_of"]

MANY_COMMANDS = 3  # nobody types more of an apply's commands: the fix is then the apply that sends them
MANY_BY_HAND = 8  # more commands for a person fit no line: a VLAN trunk may need one for each of thousands of VIDs

Command = tuple[str, ...]  # an argument vector: a person runs it, and macmgr does not
Repair = Change | Command


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the intent and the snapshot, or one thing a person should know.

    ``message`` is a whole sentence. ``mends`` repair it, in this order: each is a change that an apply makes, or a
    command for a person. ``note`` is prose: a repair without a command, or advice before one is run. Empty and None
    fields do not apply to the finding. `Fix` prints both. ``vids`` are those of all findings that differ only in the
    VID; ``vid`` is then the first. ``judged`` is what the forwarding model says that it does to
    frames, and ``reached`` whether its guest gets any from beyond this host; None if it was not asked, or nobody can
    say (`macmgr.planning.reached`).

    Findings are compared without ``mends``: thousands of VIDs of one trunk share a change that names all of them.
    """

    code: Code
    message: str
    bridge: str = ""
    port: str = ""
    domain: str | None = None
    mac: str = ""
    vid: int | None = None
    mends: tuple[Repair, ...] = field(default=(), compare=False)
    note: str = ""
    judged: Consequence | None = field(default=None, compare=False)
    reached: bool | None = field(default=None, compare=False)
    vids: tuple[int, ...] = field(default=(), compare=False)

    @property
    def consequence(self) -> Consequence:
        """Returns the worst that it does to frames: as judged by frames, otherwise as its code can at worst."""
        return self.judged or self.code.consequence

    @property
    def severity(self) -> Severity:
        return self.code.severity

    @property
    def changes(self) -> tuple[Change, ...]:
        """Returns the changes among ``mends``. If there are some, an apply repairs the finding."""
        return tuple(repair for repair in self.mends if not isinstance(repair, tuple))

    @property
    def fix(self) -> str:
        """Returns the text of the repair. For many findings, `Fixes` is quicker."""
        return fix_of(self).text


@dataclass(frozen=True, slots=True)
class Fix:
    """The repair of a finding. ``by_apply``: an apply does it. ``is_apply``: the apply is named, not its commands."""

    commands: tuple[Command, ...] = ()
    note: str = ""
    by_apply: bool = False
    is_apply: bool = False

    @property
    def line(self) -> str:
        """Returns the commands as a shell line, for copying; empty if there are none, or too many for a line."""
        return "" if len(self.commands) > MANY_BY_HAND else _typed(self.commands)

    @property
    def prose(self) -> str:
        """Returns all that is not in the line: the note, and the number of commands that are too many for it."""
        if len(self.commands) > MANY_BY_HAND:
            return f"{len(self.commands)} commands: 'macmgr audit --json' has them{self.note and f'; {self.note}'}"
        return self.note

    @property
    def text(self) -> str:
        """Returns a shell line if there are commands: each runs only if the one before it succeeded."""
        return "  # ".join(filter(None, (self.line, self.prose)))


class Fixes:
    """Keeps the fixes made: thousands of findings may share one change of as many commands, which is read once."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, str], tuple[tuple[Repair, ...], Fix]] = {}

    def of(self, finding: Finding) -> Fix:
        if not finding.mends:
            return Fix(note=finding.note)
        key = id(finding.mends), finding.note
        if key not in self._made:
            self._made[key] = finding.mends, fix_of(finding)  # keeps the tuple, so that no other gets its id
        return self._made[key][1]


def fix_of(finding: Finding) -> Fix:
    commands: list[Command] = []
    for repair in finding.mends:
        commands += (
            [repair] if isinstance(repair, tuple) else [tuple(bridge_command(each)) for each in requests(repair)]
        )
    changes = finding.changes
    # an apply for a domain that is gone cannot name it, and is about its bridge
    gone = any(change.because is Code.STALE_ENTRY for change in changes)
    if changes and len(commands) > (MANY_BY_HAND if gone else MANY_COMMANDS):
        again = _apply(changes)
        shown = ": 'macmgr plan' shows them" if again[1] == "apply" else ""
        note = f"{len(commands)} commands{shown}{finding.note and f'; {finding.note}'}"
        return Fix((again,), note, by_apply=True, is_apply=True)
    return Fix(tuple(commands), finding.note, by_apply=bool(changes))


def _typed(commands: tuple[Command, ...]) -> str:
    """Joins commands with ``&&``. A link that the first makes for the others goes also if one of them fails."""
    first, *rest = [shlex.join(command) for command in commands] or [""]
    if not rest or commands[0][:3] != ("ip", "link", "add") or commands[-1] != ("ip", "link", "del", commands[0][3]):
        return " && ".join([first, *rest])
    return f"{first} && {{ {' && '.join(rest)} || {{ {rest[-1]}; false; }}; }}"


def _apply(changes: Iterable[Change]) -> Command:
    """Returns the apply for the changes, or the release if they are one's (only its changes say why in words).

    An apply names a sole domain, unless that is gone and apply would not know it.
    """
    bridges, domains, left, back = set(), set(), False, False
    for change in changes:
        bridges.add(change.bridge)
        domains.add(change.domain)
        left = left or change.because is Code.STALE_ENTRY
        back = back or bool(change.why)
    words = [word for bridge in sorted(bridges) for word in ("--bridge", bridge)]
    if back:
        return ("macmgr", "release", *words)
    (domain,) = domains if len(domains) == 1 and not left else (None,)
    return ("macmgr", "apply", *words, *(() if domain is None else ("--domain", domain)))
