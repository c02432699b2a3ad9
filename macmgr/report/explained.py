"""The answer of `macmgr explain` about one thing: the verdict first, then the facts behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from macmgr.forwarding.consequences import Reach
from macmgr.model.findings import Finding, fix_of
from macmgr.model.roles import Role
from macmgr.model.vids import fold_vids
from macmgr.report.auditdocument import reached_document


@dataclass(frozen=True, slots=True)
class Explanation:
    """The ``answer`` is a sentence, with the ``findings`` that it is about. ``headline`` says what the thing is.

    Each labelled section lists facts, line by line. ``short`` has what is read instead of a long section. ``role`` is a
    port's, or of a device on a bridge. ``reached`` are lines about ``reaches``. ``observed``: the bridge is only
    observed, and no apply changes it.
    """

    headline: str
    answer: str
    style: str = ""
    findings: tuple[Finding, ...] = ()
    sections: tuple[tuple[str, list[str]], ...] = ()
    short: Mapping[str, list[str]] = field(default_factory=dict)
    reaches: tuple[Reach, ...] = ()
    reached: tuple[str, ...] = ()
    observed: bool = False
    more: str = ""
    cut_off: bool = False
    role: Role | None = None

    @property
    def rank(self) -> int:
        """Returns 0 for the worst: a guest that is cut off."""
        return 0 if self.cut_off else ("red", "yellow", "", "green").index(self.style) + 1

    def document(self) -> dict[str, Any]:
        """Returns the same for scripts: ``xml_says``, ``policy_says`` and so on are lists of lines."""
        sections = {label.lower().replace(" ", "_"): said for label, said in self.sections}
        verdict = [line for finding in self.findings for line in _finding_lines(finding)]
        return {
            "headline": self.headline,
            "answer": self.answer,
            "role": str(self.role) if self.role else None,
            "reached": [reached_document(reach) for reach in self.reaches],
            **sections,
            "verdict": verdict or [self.answer],
        }


def _finding_lines(finding: Finding) -> Iterator[str]:
    yield f"{finding.severity} {finding.code}: {message_of(finding)}"
    if fix := fix_of(finding).text:
        yield f"  fix: {fix}"


def message_of(finding: Finding) -> str:
    return finding.message + (f" (VID {fold_vids(finding.vids)})" if finding.vids else "")
