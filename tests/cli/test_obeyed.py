"""What XML allows in a name, a terminal may take for a command: no verb lets it through, in whatever format."""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

from macmgr import cli, paths
from macmgr.oneline import harmless, harmless_json
from macmgr.report.terminal import console
from tests.cli.conftest import Host
from tests.unit.verbs.test_secrets import NUMBERS, STATUS, VERBS, formats, places, run_dir, verbs, write

__all__ = ["run_dir"]  # the fixture: a host with one bridge and one port

NAME = "web1\u009b31m\u202eevil\u2028\u007f\u0085"
CONTROLS = set(range(0x7F, 0xA0)) | {0x2028, 0x202E}
OBEYED = CONTROLS | set(range(0x20)) - {ord("\n")}


def test_no_verb_lets_a_terminal_obey_a_name(run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    status = STATUS.replace("<name>web1", f"<name>{NAME}").replace("alias name='net0'", f"alias name='{NAME}'")
    write(run_dir, {"qemu/w.xml": status.encode(), "network/lan.xml": b"<networkstatus/>"})
    parsers = verbs()
    calls: dict[str, list[list[str]]] = {
        **VERBS,
        "audit": [[], ["--domain", NAME]],
        "plan": [[]],
        "explain": [[NAME], ["vnet0"]],
    }
    for name, words in calls.items():
        for call in words:
            for form in formats(parsers[name]):
                files = [word.format(run=run_dir, number=next(NUMBERS)) for word in call]
                codes = range(4) if "plugin" in form else (0, 1, 65, 69)
                assert cli.run([name, *files, *form, *places(name, run_dir)]) in codes
    captured = capfd.readouterr()
    assert "evil" in captured.out
    obeyed = [line for line in (captured.out + captured.err).split("\n") if CONTROLS & set(map(ord, line))]
    assert obeyed == []


def said(capfd: pytest.CaptureFixture[str], lines: int = 1) -> str:
    """The one line on standard error, in which nothing is obeyed; or as many as there are."""
    errors = capfd.readouterr().err
    assert all(line.startswith("macmgr: ") for line in errors.splitlines())
    assert errors.count("\n") == lines
    assert CONTROLS.isdisjoint(map(ord, errors))
    return errors


def test_no_error_lets_a_terminal_obey_a_name(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ["--config", str(run_dir.with_name("macmgr.toml"))]
    assert cli.run(["audit", "--run-dir", str(tmp_path / f"{NAME}\n")]) == 69
    assert "web1?31m?evil" in said(capfd)

    def fail(_: object) -> int:
        raise OSError(errno.EIO, os.strerror(errno.EIO), NAME)

    monkeypatch.setattr("macmgr.verbs.host.audit", fail)
    assert cli.run(["audit", "--run-dir", str(run_dir), *config]) == 71
    assert "web1?31m?evil" in said(capfd)


def test_no_mistake_in_the_words_does(capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["audit", NAME]) == 2
    errors = capfd.readouterr().err
    assert errors.splitlines()[-1].startswith("macmgr audit: error: unrecognized arguments: web1?31m?evil")
    assert CONTROLS.isdisjoint(map(ord, errors))


def test_what_is_told_beside_a_verb_does_not_either(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run_dir, {"network/lan.xml": b"<networkstatus/>"})
    damaged = tmp_path / NAME / "state.json"
    damaged.parent.mkdir(0o700)
    damaged.write_text("{")
    damaged.chmod(0o600)
    monkeypatch.setattr(paths, "STATE", damaged)
    monkeypatch.setattr(paths, "REMEMBERED", tmp_path / "remembered")
    assert cli.run(["audit", "--run-dir", str(run_dir), "--config", str(run_dir.with_name("macmgr.toml"))]) in (0, 1)
    assert said(capfd, lines=2).count("web1?31m?evil") == 2


def test_json_says_the_same() -> None:
    document = {"name": NAME, "größe": "机"}
    text = json.dumps(document, ensure_ascii=False)
    assert json.loads(harmless_json(text)) == document
    assert "größe" in harmless_json(text)


def test_what_is_no_command_is_as_it_was() -> None:
    assert harmless("größe-机-😀\n\tred") == "größe-机-😀\n\tred"


def test_the_kernels_own_names_are_not_obeyed(host: Host) -> None:
    """An interface's name may hold ESC, and any byte but a space, / and : (dev_valid_name)."""
    odd = "v\x1b[2J\x07\r\x0b\x9bx"
    ports, entries = host.kernel.ports, host.kernel.read_snapshot().entries
    ports[odd] = replace(ports["eth0"], name=odd, ifindex=77)
    assert entries
    for verb in ("audit", "show", "doctor", "plan", "apply", "audit --json", "show --json"):
        printed = host.macmgr(*verb.split())
        assert {ord(letter) for letter in printed.stdout + printed.stderr} & OBEYED == set(), verb
    assert "[2J" in host.macmgr("show").stdout


def test_our_own_colours_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    out = console(color=True)
    out.print(Text("a\x1b[2Jb", "red"))
    table = Table(box=None)
    table.add_column("\x1b[31mname")
    table.add_row(Text("x\x07", "green"))
    out.print(table)
    printed = terminal.getvalue()
    assert "\x1b[31ma\N{REPLACEMENT CHARACTER}[2Jb\x1b[0m" in printed
    assert "\x1b[2J" not in printed
    assert "\x07" not in printed
    assert "\x1b[31mname" not in printed
