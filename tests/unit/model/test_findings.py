"""A finding code is complete: its row, its words, its schema. Its page: test_findings_docs.py; a case: tests/golden."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from macmgr.model.changes import SetFlags
from macmgr.model.codes import Code, Consequence, Severity
from macmgr.model.findings import Finding
from macmgr.model.snapshot import PortFlags
from macmgr.watch.counters import Counters
from macmgr.watch.metrics import metrics

DOCS = Path(__file__).parents[3] / "docs"
SCHEMA = json.loads((DOCS / "audit-v1.schema.json").read_text())["$defs"]


def test_a_row_that_is_not_complete_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        Code.__new__(Code, "new-code", Severity.ERROR)  # type: ignore[call-arg]


def test_each_code_is_in_the_schema() -> None:
    examples = SCHEMA["code"]["examples"]
    assert sorted(examples) == sorted(map(str, Code))
    assert all(re.fullmatch(SCHEMA["code"]["pattern"], code) for code in Code)
    words = SCHEMA["finding"]["properties"]
    assert words["severity"]["enum"] == [*map(str, Severity)]
    assert words["consequence"]["enum"] == [*map(str, Consequence)]


def test_the_metrics_count_each_code_from_the_start() -> None:
    text = metrics(Counters(0.0), 0.0)
    counted = re.findall(r'^macmgr_repairs_total\{code="(.+)"\} 0\.0$', text, re.MULTILINE)
    assert counted == [str(code) for code in Code if code.why]


def test_what_an_apply_repairs_is_known_by_the_type() -> None:
    change = SetFlags("vnet0", PortFlags(), PortFlags(learning=False), "br0", "web1", Code.LEARNING_ON)
    found = Finding(Code.LEARNING_ON, "it learns", mends=(change, ("macmgr", "apply")))
    assert found.changes == (change,)
    assert not Finding(Code.NO_VLAN, "none", mends=(("bridge", "vlan", "add"),)).changes
