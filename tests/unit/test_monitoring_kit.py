"""packaging/monitoring: each rule is about metrics that macmgr exports, and each command is one that it takes."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")

from macmgr.commands import make_parser  # noqa: E402
from macmgr.report.hostmetrics import host_metrics  # noqa: E402
from macmgr.watch.counters import Counters  # noqa: E402
from macmgr.watch.metrics import metrics  # noqa: E402
from tests.unit.watch.test_watch_counters import NOON, view  # noqa: E402
from tests.unit.watch.test_watch_metrics import busy  # noqa: E402

TOP = Path(__file__).parents[2]
KIT = TOP / "packaging/monitoring"
RULES = KIT / "macmgr-alerts.yml"
FIRING = Path(__file__).with_name("macmgr-alerts.test.yml")
LABELS = {"domain", "source_bridge", "target_device", "instance"}


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    return list(group["rules"])


def test_each_rule_is_about_metrics_that_are_there() -> None:
    daemon = metrics(busy(), NOON) + metrics(Counters(NOON), NOON)
    exported = set(re.findall(r"(?m)^# TYPE (\w+)", daemon))
    for rule in rules():
        names = set(re.findall(r"macmgr_\w+", rule["expr"]))
        assert names, rule
        assert names <= exported
        for code in re.findall(r'code="([\w-]+)"', rule["expr"]):
            assert f'code="{code}"' in daemon


def test_the_metrics_of_an_audit_alarm_too() -> None:
    exported = set(re.findall(r"(?m)^# TYPE (\w+)", host_metrics(view(), NOON)))
    fed = {rule["alert"] for rule in rules() if set(re.findall(r"macmgr_\w+", rule["expr"])) <= exported}
    assert {"MacmgrGuestNotReached", "MacmgrDrift", "MacmgrGuestAtRisk", "MacmgrNoLook", "MacmgrGone"} <= fed


def test_both_ways_say_the_same_about_a_metric() -> None:
    """One collector reads both files of different hosts: a name has one type and one help."""
    heads = re.findall(r"(?m)^# (?:HELP|TYPE) (\w+) (.*)$", metrics(busy(), NOON) + host_metrics(view(), NOON))
    by_name: dict[str, set[str]] = {}
    for name, text in heads:
        by_name.setdefault(name, set()).add(text)
    assert {len(texts) for texts in by_name.values()} == {2}  # its help, and its type


def test_each_alarm_says_what_it_is_and_how_bad() -> None:
    for rule in rules():
        assert rule["alert"].startswith("Macmgr")
        assert rule["labels"]["severity"] in ("critical", "warning")
        words = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", words)) <= LABELS
        assert {"summary", "description"} == set(rule["annotations"])


def test_each_alarm_is_seen_to_fire() -> None:
    tested = FIRING.read_text()
    assert [rule["alert"] for rule in rules() if f'alertname="{rule["alert"]}"' not in tested] == []


@pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus' promtool is not here")
@pytest.mark.parametrize("words", [("check", "rules", RULES), ("test", "rules", FIRING)], ids=lambda words: words[0])
def test_prometheus_takes_the_rules(words: tuple[str, ...]) -> None:
    said = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize("name", ["nagios-command.cfg", "icinga-command.conf"])
def test_each_command_is_one_that_macmgr_takes(name: str) -> None:
    text = (KIT / name).read_text()
    plain = re.sub(r'",\s*"', " ", text)
    found = {each.strip().rstrip('" ]') for each in re.findall(r"/usr/local/sbin/macmgr (.*)", plain)}
    assert found == {"audit --format plugin"}
    for command in found:
        assert make_parser().parse_args(shlex.split(command)).format == "plugin"
    assert text.count("{") == text.count("}")
