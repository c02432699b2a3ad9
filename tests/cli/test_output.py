"""Where the output goes is not always a terminal: a pipe that closes, a full disk, nothing at all."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import run_macmgr


def test_a_closed_pipe_is_no_error() -> None:
    """`macmgr --help | head -1`: what was wanted has been read."""
    reader, writer = os.pipe()
    os.close(reader)
    done = run_macmgr("--help", stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = run_macmgr("--help", stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (71, "macmgr: standard output: No space left on device\n")


def test_no_output_at_all_is_no_traceback(tmp_path: Path) -> None:
    """`macmgr validate FILE >&-`: the exit code says it all."""
    document = tmp_path / "lan.xml"
    document.write_text("<network>")
    done = run_macmgr("validate", document, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert done.returncode == 65
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_name_that_the_output_cannot_show(encoding: str) -> None:
    """An error about a domain of any name is still one line, and never a traceback."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    done = run_macmgr("validate", "/nonexistent/größe-机", capture_output=True, env=environment, encoding="latin-1")
    assert done.returncode not in (0, 1)
    assert len((done.stdout + done.stderr).splitlines()) == 1
    assert "Traceback" not in done.stderr
