"""What the lab's environments select is there: a test that is left out fails nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_all_of_a_guests_life_is_selected_with_what_needs_a_full_kernel() -> None:
    files = sorted(str(path) for path in (ROOT / "tests" / "lab").glob("test_life_*.py"))
    words = ["--collect-only", "-q", "-p", "no:cacheprovider", "-m", "full_kernel", *files]
    listed = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, capture_output=True, check=True).stdout
    assert b"deselected" not in listed
    assert all(Path(file).name.encode() in listed for file in files)
