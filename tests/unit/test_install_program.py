"""The program that hooks and unit start: one that would not start is refused before anything is put."""

from __future__ import annotations

from pathlib import Path

import pytest

from macmgr.cli import run
from macmgr.errors import NotThere
from macmgr.hookcheck import DRIVERS, NAME, UNIT
from tests.unit.test_install import tree, write


def words(tmp_path: Path, program: str) -> list[str]:
    places = ["--hooks-dir", str(tmp_path / "hooks"), "--units-dir", str(tmp_path / "units")]
    return ["install", *places, "--program", program]


@pytest.mark.parametrize(
    "program", ["no/such/macmgr", "/nonexistent/macmgr", "plain", "directory", "dangling", "", "."]
)
def test_what_cannot_be_started_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], program: str
) -> None:
    write(tmp_path / "plain", "#!/bin/sh\n", 0o644)
    (tmp_path / "directory").mkdir()
    (tmp_path / "dangling").symlink_to("nothing")
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    assert run(words(tmp_path, program)) == NotThere.exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert (
        said.err
        == f"macmgr: {tmp_path / program}: is not an executable file; name the macmgr to start with --program\n"
    )
    assert tree(tmp_path) == before


@pytest.mark.parametrize("program", ["macmgr", "./macmgr", "link"])
def test_hooks_and_unit_name_it_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    """A link is kept: it leads to the next version, when that comes."""
    write(tmp_path / "macmgr", "#!/bin/sh\n")
    (tmp_path / "link").symlink_to("macmgr")
    monkeypatch.chdir(tmp_path)
    assert run(words(tmp_path, program)) == 0
    named = tmp_path / program
    for driver in DRIVERS:
        assert f"\nmacmgr={named}\n" in (tmp_path / "hooks" / f"{driver}.d" / NAME).read_text()
    assert f"\nExecStart={named} watch\n" in (tmp_path / "units" / UNIT).read_text()
