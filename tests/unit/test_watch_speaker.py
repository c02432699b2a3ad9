"""What the daemon says at all, and how often."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from macmgr.model.kernelevents import LOST
from macmgr.watch.journal import Journal
from macmgr.watch.speaker import Speaker


def test_lost_events_are_all_counted_and_said_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    clock = iter((1000.0, 1001.0, 1059.0, 1060.0, 1061.0))
    with log.open("w") as stderr:
        speaker = Speaker(Journal(stderr=stderr.fileno(), stream=""))
        monkeypatch.setattr("macmgr.watch.speaker.time.monotonic", lambda: next(clock))
        for _ in range(5):
            speaker.events([LOST])
        monkeypatch.undo()
    assert log.read_text().count("the kernel dropped netlink events") == 2
    assert json.loads(speaker.status())["events"] == {"read": 5, "lost": 5}
