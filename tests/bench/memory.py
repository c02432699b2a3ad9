"""What one reading of a network namespace's bridges takes: the peak of resident memory over what the imports took.

In a process of its own: ``python -m tests.bench.memory NETNS`` prints megabytes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from macmgr.kernel import Kernel


def _resident(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def main(namespace: str) -> None:
    with Kernel(namespace) as kernel:
        before = _resident("VmRSS")
        snapshot = kernel.read_snapshot()
        print((_resident("VmHWM") - before) / 1000)
    assert snapshot.entries


if __name__ == "__main__":
    main(*sys.argv[1:])
