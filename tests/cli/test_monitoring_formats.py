"""`macmgr audit` for monitoring: a plugin's one line with its numbers, and metrics that Prometheus' parser reads."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.errors import KernelError
from macmgr.readers.document import MAX_NAME
from macmgr.verbs import host as verbs
from tests.cli.conftest import CASES, Host
from tests.cli.hostworlds import WORLDS

parser = pytest.importorskip("prometheus_client.parser")

EVERY = sorted(path.parent.name for path in CASES.glob("*/snapshot.json")) + list(WORLDS)
every_case = pytest.mark.parametrize("case", [pytest.param(each, marks=pytest.mark.case(each)) for each in EVERY])
PLUGIN = ("audit", "--format", "plugin")
LINE = re.compile(
    r"MACMGR (OK|WARNING|CRITICAL|UNKNOWN): [^|\n]+ \| (errors=\d+ warnings=\d+ cut_off=\d+ managed=\d+)\n"
)
CODES = {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}
HOSTILE = 'a|b=9;\nerrors=0 "\\\\| x'

Series = dict[tuple[str, ...], float]


def samples(text: str) -> Iterator[tuple[str, tuple[str, ...], float]]:
    for family in parser.text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name.removeprefix("macmgr_"), tuple(sample.labels.values()), sample.value


def series(text: str, name: str) -> Series:
    return {labels: value for found, labels, value in samples(text) if found == name}


def numbers(line: str) -> dict[str, int]:
    found = LINE.fullmatch(line)
    assert found, line
    return {name: int(value) for name, value in (each.split("=") for each in found[2].split())}


@every_case
def test_line_numbers_metrics_and_json_agree(host: Host, case: str) -> None:
    said = host.macmgr(*PLUGIN)
    found = numbers(said.stdout)
    document = json.loads(host.macmgr("audit", "--json").stdout)
    text = host.macmgr("audit", "--format", "prometheus").stdout
    assert CODES[said.stdout.split()[1].rstrip(":")] == said.code
    assert (said.code == 2) == (found["cut_off"] > 0)
    assert found["errors"] == document["summary"]["error"]
    assert found["warnings"] == document["summary"]["warning"]
    assert series(text, "guests_cut_off") == {(): found["cut_off"]}
    assert series(text, "in_sync") == {(): document["in_sync"]}
    by_code: dict[tuple[str, ...], float] = {}
    for finding in document["findings"]:
        key = finding["code"], finding["severity"]
        by_code[key] = by_code.get(key, 0) + 1
    assert {key: value for key, value in series(text, "findings").items() if value} == by_code
    assert len(series(text, "port_in_sync")) <= found["managed"]
    assert len(list(samples(text))) == len({(name, labels) for name, labels, _ in samples(text)})
    reached = series(text, "guest_reached")
    assert set(series(text, "port_in_sync")) <= set(reached)
    assert len({domain for (domain, *_), value in reached.items() if value == 0}) == found["cut_off"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        pytest.param(0, "OK: In sync: 3 managed ports", marks=pytest.mark.case("two-guests-and-a-plain-bridge")),
        pytest.param(1, "WARNING: At risk: 2 managed ports", marks=pytest.mark.case("at-risk")),
        pytest.param(1, "WARNING: Nothing is managed here", marks=pytest.mark.case("nothing-managed")),
        pytest.param(2, "CRITICAL: web1 is cut off (stolen-entry). ", marks=pytest.mark.case("one-guest-cut-off")),
        pytest.param(2, "CRITICAL: 5 guests are cut off: ci01 (", marks=pytest.mark.case("twenty-guests")),
        pytest.param(3, "UNKNOWN: Some of libvirt's XML is not", marks=pytest.mark.case("unreadable-files")),
    ],
)
def test_the_state_is_that_of_the_guests(host: Host, code: int, text: str) -> None:
    said = host.macmgr(*PLUGIN)
    assert said.stdout.startswith(f"MACMGR {text}")
    assert "marked" not in said.stdout  # there is nothing below it
    assert said.code == code


@pytest.mark.case("old-kernel")
def test_warnings_count_where_they_are_to(host: Host) -> None:
    assert host.macmgr(*PLUGIN).code == 0
    assert host.macmgr(*PLUGIN, "--strict").code == 1
    assert host.macmgr("--format", "plugin", "audit", "--strict").code == 1


@pytest.mark.case("one-guest-cut-off")
def test_no_name_breaks_the_line_or_the_metrics(host: Host) -> None:
    for path in host.run_dir.rglob("*.xml"):
        escaped = HOSTILE.replace('"', "&quot;")
        path.write_text(path.read_text().replace("<name>web1</name>", f"<name>{escaped}</name>"))
    said = host.macmgr(*PLUGIN)
    assert said.code == 2
    assert numbers(said.stdout) == {"errors": 3, "warnings": 0, "cut_off": 1, "managed": 3}
    text = host.macmgr("audit", "--format", "prometheus").stdout
    reached = series(text, "guest_reached")
    assert [labels[1:] for labels, value in reached.items() if value == 0] == [("br0", "vnet0")]
    assert any("|b=9;" in labels[0] for labels in reached)


@pytest.mark.case("one-guest-cut-off")
def test_the_numbers_are_there_however_long_a_name_is(host: Host) -> None:
    for path in host.run_dir.rglob("*.xml"):
        path.write_text(path.read_text().replace("<name>web1</name>", f"<name>{'w' * MAX_NAME}</name>"))
    said = host.macmgr(*PLUGIN)
    assert len(said.stdout) < 1000
    assert numbers(said.stdout)["cut_off"] == 1


@pytest.mark.case("missing-port-and-wrong-bridge")
def test_a_guest_without_a_port_has_its_series(host: Host) -> None:
    text = host.macmgr("audit", "--format", "prometheus").stdout
    document = json.loads(host.macmgr("audit", "--json").stdout)
    missing = {each["port"] for each in document["findings"] if each["code"] == "missing-port"}
    assert missing
    for name in ("guest_reached", "port_in_sync"):
        assert missing <= {labels[2] for labels, value in series(text, name).items() if value == 0}


@pytest.mark.case("paused")
def test_of_a_guest_at_rest_nobody_says_that_it_is_cut_off(host: Host) -> None:
    said = host.macmgr("audit", "--format", "prometheus")
    assert said.code == 0  # whatever was found: a script that keeps the metrics goes on
    assert all(map(math.isnan, series(said.stdout, "guest_reached").values()))


def test_what_keeps_macmgr_from_looking_is_unknown(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.config.write_text("mode = ")
    said = host.macmgr(*PLUGIN)
    assert (said.code, said.stdout.count("\n")) == (3, 1)
    assert said.stdout.startswith("MACMGR UNKNOWN: ")
    assert "macmgr.toml" in said.stdout
    assert host.macmgr("audit").code == 78
    host.config.write_text("")
    for error in (KernelError("no | way\nerrors=0"), OSError(5, "I/O error"), ZeroDivisionError("|")):

        def fail(*_: object, why: Exception = error) -> None:
            raise why

        monkeypatch.setattr(verbs, "view_of", fail)
        if isinstance(error, OSError):
            monkeypatch.setattr("macmgr.cli._drop_output", lambda: None)  # it is this test's own
        said = host.macmgr(*PLUGIN)
        assert (said.code, said.stdout.count("\n"), said.stdout.count("|")) == (3, 1, 0)
        assert said.stdout.startswith("MACMGR UNKNOWN: ")
        assert "Traceback" not in said.stderr


def test_libvirt_that_is_not_there_and_a_domain_that_does_not_run_are_unknown(host: Host, tmp_path: Path) -> None:
    for words in (("--run-dir", str(tmp_path / "none")), ("--domain", "nobody"), ("--bridge", "br7"), ("--what",)):
        said = host.macmgr(*PLUGIN, *words)
        assert (said.code, said.stdout.count("\n")) == (3, 1), words
        assert said.stdout.startswith("MACMGR UNKNOWN: ")


def test_a_broken_installation_is_unknown_too() -> None:
    program = "import sys; sys.modules['macmgr.cli'] = None; from macmgr.__main__ import main; sys.exit(main())"
    for words, code in ((["--format", "plugin"], 3), (["--format=plugin"], 3), (["--json"], 70)):
        command = [sys.executable, "-c", program, "audit", *words]
        said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert said.returncode == code
        assert said.stdout.startswith("MACMGR UNKNOWN: ") == (code == 3)
        assert "Traceback" not in said.stderr


@pytest.mark.parametrize("words", ["show --format plugin", "--format plugin plan", "--format=prometheus status"])
def test_only_the_audit_has_these_formats(host: Host, words: str) -> None:
    said = host.macmgr(*words.split())
    assert said.code == (3 if "plugin" in words else 2)
    assert "macmgr_" not in said.stdout
    assert "format" in said.stderr


def test_the_last_format_counts(host: Host) -> None:
    host.config.write_text("mode = ")
    assert host.macmgr(*PLUGIN, "--json").code == 78
    assert host.macmgr("audit", "--json", "--form=plugin").code == 3
    assert host.macmgr("audit", "--domain", "plugin").code == 78
