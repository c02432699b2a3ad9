"""Colours mark words, not whole lines: a message has none, wherever it wraps."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from macmgr.report.audittext import print_audit
from tests.golden.case import CASES, read_case

RED, YELLOW = "\x1b[31m", "\x1b[33m"


@pytest.mark.parametrize(
    ("case", "coloured"),
    [
        ("stolen-entry", [f"{RED}error   \x1b[0m", f"{RED}cut off\x1b[0m"]),
        ("at-risk", [f"{YELLOW}warning \x1b[0m", f"{YELLOW}at risk\x1b[0m"]),
        ("not-reached", [f"{RED}warning \x1b[0m", f"{RED}cut off\x1b[0m"]),  # a warning, and a guest is cut off
    ],
)
def test_what_has_a_colour(case: str, coloured: list[str], tmp_path: Path) -> None:
    (folder,) = (each for each in CASES if each.name == case)
    file = StringIO()
    out = Console(file=file, width=80, height=24, force_terminal=True, color_system="standard", highlight=False)
    print_audit(out, read_case(folder, tmp_path).view)
    said = file.getvalue()
    assert [each for each in coloured if each not in said] == []
