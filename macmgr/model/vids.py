"""The VIDs of a bridge port, in runs, and as people write them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PortVids:
    """The VIDs that a bridge port carries, ascending, the one its untagged frames get, and those it sends untagged."""

    vids: tuple[int, ...] = ()
    pvid: int | None = None
    untagged: tuple[int, ...] = ()

    @property
    def carried(self) -> Mapping[int, tuple[bool, bool]]:
        """Of each VID: untagged frames get it, and its frames leave untagged."""
        untagged = frozenset(self.untagged)
        return {vid: (vid == self.pvid, vid in untagged) for vid in self.vids}


def runs(vids: Iterable[int]) -> list[tuple[int, int]]:
    """Folds ascending VIDs into the first and last of each run."""
    found: list[tuple[int, int]] = []
    for vid in vids:
        if found and vid == found[-1][1] + 1:
            found[-1] = found[-1][0], vid
        else:
            found.append((vid, vid))
    return found


def fold_vids(vids: Sequence[int]) -> str:
    """Folds runs of ascending VIDs: 1-4094 rather than four thousand numbers.

    Two neighbours are no run. VID 0 is never in one: it is no VLAN, but the entry for frames without any.
    """
    runs: list[list[int]] = []
    for vid in vids:
        if runs and runs[-1][0] and vid == runs[-1][-1] + 1:
            runs[-1].append(vid)
        else:
            runs.append([vid])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)
