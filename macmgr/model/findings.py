"""A finding: a difference between the intent and the snapshot, with its repair."""

from __future__ import annotations

from dataclasses import dataclass, field

from macmgr.model.changes import Change
from macmgr.model.codes import Code, Severity

__all__ = ["Code", "Command", "Finding", "Mend", "Severity"]

Command = tuple[str, ...]  # an argument vector: a person runs it, and macmgr does not
Mend = Change | Command


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference between the intent and the snapshot, or one thing a person should know.

    ``message`` is a whole sentence. ``mends`` repair it, in this order: each is a change that an apply makes, or a
    command for a person. ``note`` is prose: a repair without a command, or advice before one is run. Empty and None
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
        return self.code.severity

    @property
    def changes(self) -> tuple[Change, ...]:
        """Returns the changes among ``mends``. If there are some, an apply repairs the finding."""
        return tuple(mend for mend in self.mends if not isinstance(mend, tuple))
