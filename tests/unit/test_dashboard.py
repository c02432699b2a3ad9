"""packaging/monitoring/macmgr-dashboard.json: Grafana takes it, and each query is about metrics that are exported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from macmgr.watch.counters import Counters
from macmgr.watch.metrics import metrics
from tests.unit.watch.test_watch_counters import NOON
from tests.unit.watch.test_watch_metrics import busy

TOP = Path(__file__).parents[2]
BOARD: dict[str, Any] = json.loads((TOP / "packaging/monitoring/macmgr-dashboard.json").read_text())
PANELS: list[dict[str, Any]] = BOARD["panels"]
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
KINDS = {"row", "stat", "table", "timeseries", "state-timeline"}
GUEST = 'macmgr_guest_reached{instance="%s", domain="%s", source_bridge="br0", target_device="vnet%s"}'
with_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="Prometheus' promtool is not here")


def targets() -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield panel["title"], target


def asked(expression: str) -> str:
    """The query as Grafana asks it: of all hosts, and over five minutes."""
    return expression.replace("$instance", ".*").replace("$__rate_interval", "5m")


def query(title: str) -> str:
    return asked(next(target["expr"] for each, target in targets() if each == title))


def test_each_query_is_about_metrics_that_are_there() -> None:
    daemon = metrics(busy(), NOON) + metrics(Counters(NOON), NOON)
    exported: dict[str, set[str]] = {}
    for name, labels in re.findall(r"(?m)^(macmgr_\w+)(?:\{(.*)\})? ", daemon):
        exported.setdefault(name, {"instance", "job"}).update(re.findall(r'(\w+)="', labels))
    exported["macmgr_unknown_since_timestamp_seconds"] = {"instance", "job"}
    for title, target in targets():
        expression, words = target["expr"], target.get("legendFormat", "")
        found = re.findall(r"(macmgr_\w+)\{(.*?)\}", expression)
        assert len(found) == expression.count("macmgr_"), title  # each has its hosts
        known: set[str] = set()
        for name, labels in found:
            assert name in exported, title
            assert 'instance=~"$instance"' in labels
            assert set(re.findall(r"(\w+)[=!]", labels)) <= exported[name], title
            known |= exported[name]
            for code in re.findall(r'code="([\w-]+)"', labels):
                assert f'code="{code}"' in daemon
        for names in re.findall(r"(?:by|on) \(([\w, ]+)\)", expression):
            assert set(names.split(", ")) <= known, title
        assert set(re.findall(r"\{\{(\w+)\}\}", words)) <= known, title


def test_it_is_a_dashboard() -> None:
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)
    assert BOARD["uid"] == "macmgr"
    assert BOARD["schemaVersion"] >= 36  # data sources are objects
    assert {panel["type"] for panel in PANELS} == KINDS
    variables = {each["name"]: each for each in BOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    assert variables["instance"]["datasource"] == DATASOURCE
    for panel in PANELS:
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == DATASOURCE
        assert panel["title"]
        assert panel["description"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        assert all(target["datasource"] == DATASOURCE for target in panel["targets"])
    assert "id" not in BOARD  # it is the other Grafana's, and would replace another dashboard here


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        cells = {(place["x"] + right, place["y"] + down) for right in range(place["w"]) for down in range(place["h"])}
        assert not cells & taken, panel["title"]
        assert max(right for right, _ in cells) < 24
        taken |= cells


def test_the_answer_stands_first() -> None:
    first = sorted(PANELS, key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"]))
    assert [panel["title"] for panel in first[:2]] == ["Guests cut off", "Hosts of which nobody knows"]
    assert "Who is cut off" in [panel["title"] for panel in first[:6]]
    for panel in PANELS:
        if panel["type"] == "stat":
            assert panel["fieldConfig"]["defaults"]["noValue"] == "nobody knows"


@with_promtool
def test_prometheus_takes_each_query(tmp_path: Path) -> None:
    rules = [{"record": f"r{number}", "expr": asked(target["expr"])} for number, (_, target) in enumerate(targets())]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    said = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr
    assert f"{len(rules)} rules found" in said.stdout


@with_promtool
@pytest.mark.parametrize(
    ("series", "answers"),
    [
        pytest.param(
            {
                GUEST % ("h1", "web1", 0): "0x200",
                GUEST % ("h1", "web1", 1): "0x200",
                GUEST % ("h2", "db1", 0): "0x200",
                GUEST % ("h2", "db2", 1): "1x200",
                GUEST % ("h2", "asleep", 2): "NaN " * 200,
                'macmgr_in_sync{instance="h1"}': "0x200",
                'macmgr_in_sync{instance="h2"}': "1x200",
                'macmgr_build_info{instance="h1", job="node"}': "1x200",
                'macmgr_build_info{instance="h2", job="node"}': "1x200",
                'macmgr_last_round_timestamp_seconds{instance="h1"}': "0+60x200",
            },
            {"Guests cut off": 2, "Hosts of which nobody knows": 0, "Hosts with drift": 1},
            id="two-cut-off",
        ),
        pytest.param(
            {
                GUEST % ("h2", "db1", 0): "1x200",
                'macmgr_in_sync{instance="h2"}': "1x200",
                'macmgr_build_info{instance="h1", job="node"}': "1x80",
                'macmgr_build_info{instance="h2", job="node"}': "1x200",
                'macmgr_build_info{instance="h3", job="node"}': "1x200",
                'macmgr_build_info{instance="h4", job="node"}': "1x200",
                'macmgr_unknown_since_timestamp_seconds{instance="h3", job="node"}': "60x200",
                'macmgr_last_round_timestamp_seconds{instance="h3", job="node"}': "60x200",
                'macmgr_last_round_timestamp_seconds{instance="h4", job="node"}': "60x200",
            },
            {"Guests cut off": 0, "Hosts of which nobody knows": 3, "Hosts with drift": 0},
            id="one-gone-one-fails-one-dead",
        ),
        pytest.param(
            {'macmgr_build_info{instance="h1", job="node"}': "1x200"},
            {"Guests cut off": None, "Hosts of which nobody knows": 0, "Hosts with drift": None},
            id="nothing-known",
        ),
        pytest.param({}, {"Guests cut off": None, "Hosts of which nobody knows": None}, id="nothing-exported"),
    ],
)
def test_what_the_first_panels_say(tmp_path: Path, series: dict[str, str], answers: dict[str, int | None]) -> None:
    """Nobody is called reached of whom nobody knows."""
    expected = [
        {
            "expr": query(title),
            "eval_time": "120m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }
        for title, value in answers.items()
    ]
    given = [{"series": name, "values": values} for name, values in series.items()]
    test = {"interval": "1m", "input_series": given, "promql_expr_test": expected}
    path = tmp_path / "test.yml"
    path.write_text(json.dumps({"evaluation_interval": "1m", "tests": [test]}))
    said = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False, timeout=60)
    assert said.returncode == 0, said.stdout + said.stderr
