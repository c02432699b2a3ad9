"""docs/watch.rst names every message id and every metric, and none that is not."""

from __future__ import annotations

import re
from pathlib import Path

from macmgr.watch import messages
from macmgr.watch.counters import Counters
from macmgr.watch.metrics import metrics
from tests.unit.watch.test_watch_counters import NOON
from tests.unit.watch.test_watch_metrics import busy

DOCS = (Path(__file__).parents[3] / "docs/watch.rst").read_text()


def test_message_ids() -> None:
    documented = dict(re.findall(r"^([0-9a-f]{32})    ([A-Z_]+) ", DOCS, re.MULTILINE))
    assert documented == {value: name for name, value in vars(messages).items() if name.isupper()}


def test_metrics() -> None:
    rows = re.findall(r"^macmgr_.*?  ", DOCS, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"macmgr_\w+", row)}
    known, unknown = metrics(busy(), NOON, per_mac=True), metrics(Counters(NOON), NOON)
    assert documented == set(re.findall(r"^# TYPE (\w+)", known + unknown, re.MULTILINE))


def test_the_alarms_name_metrics_that_are_there() -> None:
    _, alarms = DOCS.split("Alarms worth having::")
    names = set(re.findall(r"macmgr_\w+", alarms))
    assert len(names) == 5
    exported = metrics(busy(), NOON) + metrics(Counters(NOON), NOON)
    assert names <= set(re.findall(r"^# TYPE (\w+)", exported, re.MULTILINE))
