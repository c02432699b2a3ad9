"""The guard of the real /run/macmgr and /var/lib/macmgr sees what a test could leave there."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from tests import conftest


def test_every_write_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conftest, "OURS_HERE", (tmp_path / "run", tmp_path / "lib"))
    seen = [conftest.what_is_here()]
    for write in (
        (tmp_path / "run").mkdir,
        (tmp_path / "run" / "lock").touch,
        lambda: (tmp_path / "run" / "lock").write_text("1"),
        (tmp_path / "lib").mkdir,
        (tmp_path / "run" / "lock").unlink,
    ):
        write()
        seen.append(conftest.what_is_here())
    assert all(one != other for one, other in pairwise(seen))
