"""A traceback is a bug, and a bug is one line with an exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from macmgr import cli
from macmgr.verbs import validate as validateverb


@pytest.mark.parametrize(
    "error", [AttributeError("items"), MemoryError(), RecursionError(), KeyError("x\n\x1b[2J"), AssertionError()]
)
def test_a_bug_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(validateverb, "check_file", fail)
    monkeypatch.setattr(cli, "_drop_output", lambda: None)
    assert cli.run(["validate", "file"]) == 70
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith(f"macmgr: failed unexpectedly ({type(error).__name__} at test_guard.py:")
    assert line.endswith("; please report it, with a 'macmgr capture'")


@pytest.mark.parametrize("module", ["macmgr.cli", "macmgr.verbs.validate", "macmgr.model.hookcall", "lxml"])
@pytest.mark.parametrize("words", [("validate", "/dev/null"), ("hook", "qemu", "g1", "started", "begin", "-")])
def test_an_installation_that_is_not_whole(module: str, words: tuple[str, ...]) -> None:
    """A module that is gone: one line for a person, and for libvirt 0."""
    script = f"import sys; sys.modules[{module!r}] = None\nfrom macmgr.__main__ import main\nraise SystemExit(main())"
    said = subprocess.run(
        [sys.executable, "-c", script, *words], input=b"", capture_output=True, check=False, timeout=60
    )
    assert said.stdout == b"" or words[0] == "validate"
    assert b"Traceback" not in said.stderr
    assert said.stderr.count(b"\n") <= 1
    assert said.returncode == 0 if words[0] == "hook" else said.returncode in (0, 70)


def test_who_looks_for_the_bug_sees_it() -> None:
    script = "import sys; sys.modules['macmgr.cli'] = None\nfrom macmgr.__main__ import main\nraise SystemExit(main())"
    words = [sys.executable, "-X", "dev", "-W", "ignore", "-c", script, "audit"]
    said = subprocess.run(words, capture_output=True, check=False, timeout=60)
    assert b"Traceback" in said.stderr
