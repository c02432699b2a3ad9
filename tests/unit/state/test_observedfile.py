"""The file that says what was seen: root's own, whole or not at all, and nothing wrong in it becomes an entry."""

from __future__ import annotations

import errno
import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from macmgr.model.known import Memory, SeenMacs
from macmgr.state.observedfile import read_observed, write_observed

RECORD = SeenMacs(
    *("vnet0", 7, "u1", "52:54:00:00:00:01", "52:54:00:00:00:02"),
    *(("02:00:00:00:00:01", "02:00:00:00:00:02"), ("02:00:00:00:00:02",), ("02:00:00:00:00:03",), True),
)
OTHER = SeenMacs("vnet1", 8, "u2", "52:54:00:00:00:03", current="52:54:00:00:00:04")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "macmgr" / "observed.json"


def change(path: Path, **values: Any) -> None:
    """Somebody writes something else into the first record."""
    document = json.loads(path.read_text())
    document["namespaces"][""][0] |= values
    path.write_text(json.dumps(document))


def test_what_is_written_is_read(path: Path) -> None:
    assert read_observed(path=path)[:2] == ((), "")
    assert write_observed([RECORD, OTHER], path=path) == ""
    assert read_observed(path=path)[:2] == ((RECORD, OTHER), "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755  # the daemon's socket is in it too
    assert write_observed([], path=path) == ""
    assert read_observed(path=path)[:2] == ((), "")


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
    records, problem, lost, _ = read_observed(path=path)
    assert lost
    assert records == (OTHER,)
    assert problem == f"{path}: 1 of its records are not understood; {UNKNOWN}"


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"version": "2"}', '{"version": 1, "namespaces": []}', "[" * 9999]
)
def test_what_is_no_such_document_is_one_line(path: Path, text: str) -> None:
    write_observed([RECORD], path=path)
    path.write_text(text)
    records, problem, lost, _ = read_observed(path=path)
    assert lost
    assert records == ()
    assert problem.startswith(f"{path}: is not what macmgr watch wrote")
    assert write_observed([OTHER], path=path) == ""
    assert read_observed(path=path) == ((OTHER,), "", True, False)  # and what was lost stays so


def test_another_versions_document_is_left_as_it_is(path: Path) -> None:
    write_observed([RECORD], path=path)
    document = path.read_text().replace('"version": 1', '"version": 2')
    path.write_text(document)
    records, problem, lost, _ = read_observed(path=path)
    assert (records, lost) == ((), True)
    assert problem.startswith(f"{path}: is another macmgr's (version 2)")
    assert "is left as it is" in write_observed([OTHER], path=path)
    assert path.read_text() == document


def test_a_newer_ones_records_are_out_of_date_once_an_older_one_has_watched(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A guest may have changed its address meanwhile: where it is now, the FDB says."""
    write_observed([RECORD], "blue", path)
    monkeypatch.setattr("macmgr.state.observedfile._VERSION", 2)
    write_observed([RECORD], path=path)
    monkeypatch.undo()
    write_observed([OTHER], path=path)
    monkeypatch.setattr("macmgr.state.observedfile._VERSION", 2)
    for netns in (None, "blue"):
        records, problem, lost, _ = read_observed(netns, path)
        assert (records, lost) == ((), True)
        assert problem == f"{path}: is out of date, an older macmgr watched meanwhile; {UNKNOWN}"
    assert write_observed([OTHER], path=path, lost=True) == ""
    assert read_observed(path=path) == ((OTHER,), "", True, False)
    assert read_observed("blue", path) == ((), "", True, True)
    assert os.listdir(path.parent) == [path.name]


def test_what_a_newer_one_wrote_into_fields_of_its_own_is_kept(path: Path) -> None:
    write_observed([RECORD, OTHER], path=path)
    change(path, colour="red")
    document = json.loads(path.read_text()) | {"shapes": [1]}
    path.write_text(json.dumps(document))
    assert write_observed([OTHER, replace(RECORD, current="")], path=path) == ""
    written = json.loads(path.read_text())
    assert written["shapes"] == [1]
    assert [record.get("colour") for record in written["namespaces"][""]] == [None, "red"]
    assert write_observed([replace(RECORD, ifindex=9)], path=path) == ""
    assert "colour" not in path.read_text()


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.EACCES, errno.ENOMEM])
@pytest.mark.parametrize("call", ["open", "fdopen", "fstat"])
def test_what_cannot_be_read_now_is_unknown_and_not_overwritten(
    path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_observed([RECORD], path=path)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        read = read_observed(path=path)
        said = write_observed([OTHER], path=path)
    assert (read.records, read.lost, read.missing) == ((), True, False)
    assert read.problem == f"{path}: cannot be read: {os.strerror(number)}; {UNKNOWN}"
    assert os.strerror(number) in said
    assert read_observed(path=path) == ((RECORD,), "", False, False)


def test_a_file_that_is_missing_is_lost_where_it_was_written_in_this_boot(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for memory, lost in ((Memory(), False), (Memory(watched=True), True), (Memory(lost=True), True)):
        monkeypatch.setattr("macmgr.state.observedfile.read_memory", lambda _, found=memory: (found, ""))
        read = read_observed(path=path)
        assert (read.records, read.lost, read.missing) == ((), lost, True)
        assert bool(read.problem) is memory.watched  # of a memory that is lost the memory tells


def test_a_link_and_a_fifo_are_not_read(path: Path, tmp_path: Path) -> None:
    write_observed([RECORD], path=tmp_path / "else" / "observed.json")
    path.parent.mkdir()
    path.symlink_to(tmp_path / "else" / "observed.json")
    assert read_observed(path=path)[:2] == ((), f"{path}: is a symbolic link, which is not followed; {UNKNOWN}")
    path.unlink()
    os.mkfifo(path)
    assert read_observed(path=path)[:2] == ((), f"{path}: is not a regular file; {UNKNOWN}")


UNKNOWN = "entries that may be for addresses which guests have changed to are left"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_somebody_elses_file_is_not_read(path: Path) -> None:
    write_observed([RECORD], path=path)
    os.chown(path, 4711, 4711)
    assert read_observed(path=path)[:2] == ((), f"{path}: belongs to user 4711; {UNKNOWN}")
    os.chown(path.parent, 4711, 4711)
    assert read_observed(path=path)[0] == ()
    assert "belongs to user 4711" in write_observed([RECORD], path=path)
