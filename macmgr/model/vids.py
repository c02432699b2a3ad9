"""Writes VIDs for people."""

from __future__ import annotations

from collections.abc import Sequence


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
