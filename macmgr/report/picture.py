"""A picture of bridges, what is on them, and the lines between: its records, and how what is alike is folded. Pure.

`macmgr.report.painter` makes it of a look; `dotpicture` and `mermaidpicture` write it down. All text in it is on one
line, and not longer than a reader wants.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from macmgr.model.vids import fold_vids
from macmgr.oneline import one_line
from macmgr.phrases import first_few

NAME = 40  # letters of a name: a tenant chooses how long it is
_SENTENCE = 300
_VIDS = 80
_MANY = 12  # boxes on a bridge, from which on those that are alike are folded
_TOO_MANY = 30  # boxes that are left then, from which on those are folded that only begin alike
_ALIKE = 3
_NAMES = 60  # in a folded box


class Look(StrEnum):
    """How a thing is drawn; the worst first. Its words say the same, for whoever cannot tell colours apart."""

    CUT_OFF = "cut-off"
    AT_RISK = "at-risk"
    DRIFT = "drift"  # other errors and warnings
    PLAIN = "plain"
    RESTING = "resting"  # its CPUs do not run here, or its link is to be down
    OBSERVED = "observed"  # on a bridge that is only observed
    OTHER = "other"  # no guest's: uplinks, containers, foreign taps, the host


@dataclass(frozen=True, slots=True)
class Box:
    """A thing on a bridge, or several that are alike. ``key`` is its own in the picture."""

    key: str
    lines: tuple[str, ...]
    look: Look


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two boxes, by their keys; with ``look`` CUT_OFF no frame passes that is to."""

    tail: str
    head: str
    look: Look
    text: str = ""
    aside: bool = False  # it has no say in where the boxes stand


@dataclass(frozen=True, slots=True)
class Yard:
    """A bridge with all that is on it. ``name`` is empty for what is on none."""

    name: str
    title: str
    look: Look
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """``title`` is the verdict: the answer stands first, here too."""

    title: str
    yards: tuple[Yard, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Leaf:
    """A box that may be folded. ``name`` stands for it then; ``words`` and ``kind`` are what others may share."""

    box: Box
    name: str
    kind: str
    words: tuple[str, ...]
    vids: tuple[int, ...] = ()


def folded(leaves: Sequence[Leaf]) -> list[tuple[Box, tuple[Leaf, ...]]]:
    """Returns the boxes, each with the leaves in it. Where they are many, those that are alike share one."""
    if len(leaves) <= _MANY:
        return [(leaf.box, (leaf,)) for leaf in leaves]
    boxes = _by_words(leaves, most=None)
    return boxes if len(boxes) <= _TOO_MANY else _by_words(leaves, most=1)


def _by_words(leaves: Iterable[Leaf], most: int | None) -> list[tuple[Box, tuple[Leaf, ...]]]:
    alike: dict[tuple[Look, str, tuple[str, ...]], list[Leaf]] = {}
    for leaf in leaves:
        alike.setdefault((leaf.box.look, leaf.kind, leaf.words[:most]), []).append(leaf)
    boxes: list[tuple[Box, tuple[Leaf, ...]]] = []
    for (look, kind, words), found in alike.items():
        if len(found) < _ALIKE:
            boxes += [(leaf.box, (leaf,)) for leaf in found]
            continue
        vids = sorted({vid for leaf in found for vid in leaf.vids})
        names = first_few(sorted(leaf.name for leaf in found), _NAMES)
        lines = f"{len(found)} {kind}", in_vlans(vids) if vids else "", *words, names
        boxes.append((Box(found[0].box.key, said(*lines), look), tuple(found)))
    return boxes


def in_vlans(vids: Iterable[int]) -> str:
    """Returns the VIDs, as far as a box has room: every other one of four thousand makes a long list."""
    found = list(vids)
    return shortened(f"VID {fold_vids(found)}", _VIDS) if found else "in no VLAN"


def said(*lines: str) -> tuple[str, ...]:
    return tuple(line for line in lines if line)


def shortened(text: str, most: int = _SENTENCE) -> str:
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"
