"""The file that says what was seen: root's own, whole or not at all, and nothing wrong in it becomes an entry."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from macmgr.model.intent import Observed
from macmgr.state.observedfile import read_observed, write_observed

RECORD = Observed(
    *("vnet0", 7, "u1", "52:54:00:00:00:01", "52:54:00:00:00:02"),
    *(("02:00:00:00:00:01", "02:00:00:00:00:02"), ("02:00:00:00:00:02",), ("02:00:00:00:00:03",), True),
)
OTHER = Observed("vnet1", 8, "u2", "52:54:00:00:00:03", current="52:54:00:00:00:04")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "macmgr" / "observed.json"


def change(path: Path, **values: Any) -> None:
    """Somebody writes something else into the first record."""
    document = json.loads(path.read_text())
    document["namespaces"][""][0] |= values
    path.write_text(json.dumps(document))


def test_what_is_written_is_read(path: Path) -> None:
    assert read_observed(path=path) == ((), "")
    assert write_observed([RECORD, OTHER], path=path) == ""
    assert read_observed(path=path) == ((RECORD, OTHER), "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755  # the daemon's socket is in it too
    assert write_observed([], path=path) == ""
    assert read_observed(path=path) == ((), "")


def test_network_namespaces_do_not_forget_each_other(path: Path) -> None:
    write_observed([RECORD], path=path)
    write_observed([OTHER], "blue", path)
    assert read_observed(path=path)[0] == (RECORD,)
    assert read_observed("blue", path)[0] == (OTHER,)


@pytest.mark.parametrize(
    "values",
    [
        {"port": 5},
        {"ifindex": "7"},
        {"ifindex": True},
        {"uuid": None},
        {"nic_mac": ""},
        {"nic_mac": "01:00:5e:00:00:01"},
        {"current": "ff:ff:ff:ff:ff:ff"},
        {"current": "00:00:00:00:00:00"},
        {"current": ["02:00:00:00:00:01"]},
        {"macs": "02:00:00:00:00:01"},
        {"macs": ["02:00:00:00:00:01", "01:00:5e:00:00:01"]},
        {"macs": ["x"]},
        {"macs": [f"02:00:00:00:00:{number:02x}" for number in range(100)]},
        {"fresh": {}},
        {"gone": [5]},
    ],
)
def test_a_record_of_a_wrong_shape_is_left_out_and_the_rest_is_read(path: Path, values: dict[str, Any]) -> None:
    write_observed([RECORD, OTHER], path=path)
    change(path, **values)
    records, problem = read_observed(path=path)
    assert records == (OTHER,)
    assert problem == f"{path}: 1 of its records are not understood and left out"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": 2}', '{"version": 1, "namespaces": []}', "[" * 9999]
)
def test_what_is_no_such_document_is_one_line(path: Path, text: str) -> None:
    write_observed([RECORD], path=path)
    path.write_text(text)
    records, problem = read_observed(path=path)
    assert records == ()
    assert problem.startswith(f"{path}: is not what macmgr watch wrote")
    assert write_observed([OTHER], path=path) == ""
    assert read_observed(path=path) == ((OTHER,), "")


def test_a_link_and_a_fifo_are_not_read(path: Path, tmp_path: Path) -> None:
    write_observed([RECORD], path=tmp_path / "else" / "observed.json")
    path.parent.mkdir()
    path.symlink_to(tmp_path / "else" / "observed.json")
    assert read_observed(path=path) == ((), f"{path}: is a symbolic link, which is not followed; {UNKNOWN}")
    path.unlink()
    os.mkfifo(path)
    assert read_observed(path=path) == ((), f"{path}: is not a regular file; {UNKNOWN}")


UNKNOWN = "addresses that guests have changed to are not known until macmgr watch sees them again"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_somebody_elses_file_is_not_read(path: Path) -> None:
    write_observed([RECORD], path=path)
    os.chown(path, 4711, 4711)
    assert read_observed(path=path) == ((), f"{path}: belongs to user 4711; {UNKNOWN}")
    os.chown(path.parent, 4711, 4711)
    assert read_observed(path=path)[0] == ()
    assert "belongs to user 4711" in write_observed([RECORD], path=path)
