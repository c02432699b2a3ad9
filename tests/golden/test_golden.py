"""Each folder beside this file is a case: what macmgr says of it is what its files hold. See case.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import jsonschema
import pytest
from rich.cells import cell_len

from tests.conftest import Golden
from tests.golden.case import (
    CASES,
    RUN_DIR,
    Case,
    audit_json,
    audit_text,
    explain_text,
    intent_text,
    plan_text,
    read_case,
)

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "audit-v1.schema.json").read_text())


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case(folder: Path, tmp_path: Path, golden: Golden) -> None:
    case = read_case(folder, tmp_path)
    document = audit_json(case)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    texts = {
        "intent.json": intent_text(case),
        "plan.txt": plan_text(case),
        "audit.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        "audit.txt": audit_text(case),
        "explain.txt": explain_text(case),
    }
    for name, text in texts.items():
        assert "hunter2" not in text, "status files hold passwords, and no report does"
        golden(folder / name, text.replace(str(tmp_path / "run"), RUN_DIR))


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Case]:
    """Reads a case once, for all widths."""
    return cache(lambda folder: read_case(folder, tmp_path_factory.mktemp(folder.name)))


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_a_table_fits_the_terminal(folder: Path, read: Callable[[Path], Case], width: int) -> None:
    """Only commands may be longer than a line: they are to be copied. Each port and its verdict is there."""
    case = read(folder)
    lines = audit_text(case, width).splitlines()
    long = [line for line in lines if cell_len(line) > width]
    assert [line for line in long if not line.startswith(("        fix: ", "        would run: "))] == []
    shown = [line for line in lines if line.startswith((" ├─", " └─"))]
    ports = [port for port in case.view.snapshot.ports.values() if port.bridge in case.view.intent.managed_bridges]
    stacked = [each for each in case.view.snapshot.stacked if each.bridge in case.view.intent.managed_bridges]
    assert len(shown) == len(ports) + len(stacked)
    assert all(any(f"  {port.name[:4]}" in line for line in shown) for port in ports)


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_there_are_cases() -> None:
    """A walk over an empty directory would pass."""
    assert len(CASES) >= 25


def read_all(workshop: Path) -> list[Case]:
    cases = []
    for folder in CASES:
        place = workshop / folder.name
        place.mkdir()
        cases.append(read_case(folder, place))
    return cases
