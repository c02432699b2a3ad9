"""The hooks' script runs in the host's own Python, which may be years older than the one that macmgr has."""

from __future__ import annotations

import ast
import os
import posix
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from macmgr import handover, installation
from macmgr.cli import run
from macmgr.errors import NotThere
from macmgr.hookcheck import DRIVERS, NAME
from tests.hooks.conftest import SCRUBBED, TIMEOUT, Host, domain
from tests.hooks.daemons import bad_daemon, read_all

SCRIPT = Path(handover.__file__)
OLDEST = (3, 6)
CALL = ("qemu", "g1", "started", "begin", "-")
XML = domain("g1").encode()
NAMES = [f"python3.{minor}" for minor in range(OLDEST[1], 21)]


def interpreters() -> list[str]:
    """Those on PATH that start; a version manager has stand-ins for some that do not."""
    found = [path for path in map(shutil.which, NAMES) if path is not None]
    return [path for path in found if not subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode]


def test_nothing_in_it_is_newer_than_the_oldest() -> None:
    """Its grammar, and its annotations: those of functions that are not quoted are evaluated when it starts."""
    tree = ast.parse(SCRIPT.read_text(), feature_version=OLDEST)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    arguments = [each for node in functions for each in (*node.args.args, *node.args.kwonlyargs)]
    annotations = [*(each.annotation for each in arguments), *(node.returns for node in functions)]
    annotations += [node.annotation for node in tree.body if isinstance(node, ast.AnnAssign)]
    assert len(annotations) > 20
    assert [ast.unparse(each) for each in annotations if each and not isinstance(each, ast.Name | ast.Constant)] == []


def test_every_interpreter_that_is_here_runs_it(host: Host) -> None:
    """Whatever it lacks: the input that a daemon has not taken reaches what the script becomes."""
    kept = host.root / "input"
    fallback = host.program(script=f"cat /dev/fd/$4 - > {kept}", name="fallback")
    for python in interpreters():
        kept.unlink(missing_ok=True)
        with bad_daemon(host.socket, read_all):
            words = [python, "-ISE", str(SCRIPT), str(host.run), str(fallback), *CALL]
            said = subprocess.run(words, input=XML, capture_output=True, check=False, env=os.environ | SCRUBBED)
        assert (python, said.returncode, said.stdout, said.stderr) == (python, 0, b"", b"")
        assert kept.read_bytes() == XML


def test_a_python_without_memory_files_keeps_the_input_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(posix, "memfd_create")
    kept = handover.kept(str(tmp_path), [b"one ", b"two"])
    said = subprocess.run(["cat", f"/dev/fd/{kept}"], pass_fds=(), close_fds=False, capture_output=True, check=True)
    os.close(kept)
    assert said.stdout == b"one two"
    assert list(tmp_path.iterdir()) == []


def python_that(tmp_path: Path, script: str) -> Path:
    path = tmp_path / "python3"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("fault", ["exit 1", "kill -9 $$", "exec sleep 600", None])
def test_hooks_get_ours_where_the_hosts_own_does_not_run_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str | None
) -> None:
    ours = Path(sys.executable).resolve()
    theirs = python_that(tmp_path, fault) if fault else tmp_path / "missing"
    monkeypatch.setattr(installation, "PYTHON", theirs)
    limits, run_process = list[float](), subprocess.run

    def run_with_less_time(words: list[Path], *, timeout: float, **how: Any) -> Any:
        limits.append(timeout)  # theirs alone has less: ours may be slow on a busy machine
        return run_process(words, timeout=0.5 if words[0] == theirs else TIMEOUT, **how)

    monkeypatch.setattr(subprocess, "run", run_with_less_time)
    list(installation.install_hooks(tmp_path / "hooks", Path("/usr/bin/macmgr")))
    for driver in DRIVERS:
        assert f"\npython={ours}\n" in (tmp_path / "hooks" / f"{driver}.d" / NAME).read_text()
    assert limits == [installation._TIMEOUT] * 2


def test_the_hosts_own_is_taken_where_it_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked with the script and no words, as a shim starts it."""
    theirs = python_that(tmp_path, f'echo "$@" > {tmp_path}/asked')
    monkeypatch.setattr(installation, "PYTHON", theirs)
    assert installation.find_python() == theirs
    assert (tmp_path / "asked").read_text() == f"-ISE {SCRIPT}\n"


def test_without_an_interpreter_nothing_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = python_that(tmp_path, "exit 1")
    monkeypatch.setattr(installation, "PYTHON", broken)
    monkeypatch.setattr(sys, "executable", str(broken))
    program = shutil.which("true")
    assert run(["install", "--hooks-dir", str(tmp_path / "hooks"), "--program", str(program)]) == NotThere.exit_code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"macmgr: neither {broken} nor {broken} runs {SCRIPT}: ")
    assert said.err.count("\n") == 1
    assert not (tmp_path / "hooks").exists()
