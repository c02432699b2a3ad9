"""How VIDs are written, wherever a person reads them."""

from __future__ import annotations

from collections.abc import Sequence


def fold_vids(vids: Sequence[int]) -> str:
    """Ascending VIDs with runs folded: 1-4094 rather than four thousand numbers."""
    runs: list[list[int]] = []
    for vid in vids:
        if runs and vid == runs[-1][1] + 1:
            runs[-1][1] = vid
        else:
            runs.append([vid, vid])
    return ",".join(f"{first}-{last}" if first != last else str(first) for first, last in runs)
