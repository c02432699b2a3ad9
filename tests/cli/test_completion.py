"""Completion in the real shells: what a person types, then Tab and Enter; macmgr's arguments are what is compared.

Names of domains, networks and interfaces are chosen by others: none is executed, and each arrives as it is.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from macmgr.commands import make_parser
from tests.cli.test_options import PARSERS
from tests.conftest import Golden

PACKAGING = Path(__file__).parents[2] / "packaging"
FILES = {"bash": "macmgr.bash", "zsh": "_macmgr", "fish": "macmgr.fish"}
SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell), reason=f"no {shell} here")) for shell in FILES
]
# Each begins with two letters of its own, and would make the file `canary`, end the line or match something.
HOSTILE = (
    "aa$(touch canary)",
    "ab`touch canary`",
    "ac;touch canary",
    "ad|touch canary",
    "ae&touch canary",
    "af>canary",
    "ag two words",
    "ah'single",
    'ai"double',
    "aj\\slash",
    "ak*",
    "al[a-z]?",
    "am{1,2}",
    "an!!",
    "ao#hash ~ =ls",
    "ap${HOME}$HOME",
    "aq-é中",
    "ar:colon,comma%s%n",
    "as(touch canary)",
    "at''\"\"",
    "au\\",
)
# Special where a word begins.
LEADING = ("$(touch canary)", "`touch canary`", "~root", "=ls", "#comment", "'", '"', "\\", "!!", "@x", "%s")
LEFT_OUT = ("ba\nbb", "bc\tx", "bd\x1b[31m", "be\rx", "-bf", "--cut")


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A host's directories, and the shells' files that read these in place of the machine's own."""
    for name in ("web1", "db1.example.com", *HOSTILE, *LEFT_OUT):
        touch(tmp_path / "run/libvirt/qemu" / f"{name}.xml")
    touch(tmp_path / "run/libvirt/qemu/web1.pid")
    touch(tmp_path / "run/libvirt/lxc/box1.xml")
    touch(tmp_path / "run/libvirt/network/lan.xml")
    touch(tmp_path / "etc/libvirt/qemu/networks/idle.xml")
    for name, kind in (("br0", "bridge"), ("br-$(touch canary)", "bridge"), ("vnet0", "brport"), ("eth0", "device")):
        touch(tmp_path / "net" / name / kind / "x")
    for number, name in enumerate(LEADING):
        touch(tmp_path / f"other{number}/qemu" / f"{name}.xml")
    touch(tmp_path / "cwd/file one.toml")
    for name in FILES.values():
        text = (PACKAGING / "completion" / name).read_text()
        text = text.replace("/run/libvirt", f"{tmp_path}/run/libvirt").replace("/sys/class/net", f"{tmp_path}/net")
        (tmp_path / name).write_text(text)
    return tmp_path


def touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


SETUP = {
    "bash": """
        set -u; PS1='REA''DY>'; HISTFILE=
        macmgr() { printf '%s\\0' "$@" >>HOST/seen; printf '\\n\\0' >>HOST/seen; printf 'DO''NE'; }
        . HOST/macmgr.bash
    """,
    "zsh": """
        PS1='REA''DY>'; PS2='MORE>'; HISTFILE=; fpath=(HOST $fpath)
        autoload -Uz compinit; compinit -u -D; zstyle ':completion:*' insert-tab false
        macmgr() { printf '%s\\0' "$@" >>HOST/seen; printf '\\n\\0' >>HOST/seen; printf 'DO''NE'; }
    """,
    "fish": """
        function fish_prompt; printf 'REA''DY>'; end
        function macmgr; printf '%s\\0' $argv >>HOST/seen; printf '\\n\\0' >>HOST/seen; printf 'DO''NE'; end
        source HOST/macmgr.fish
    """,
}
COMMANDS = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i"),
}


class Shell:
    """An interactive shell on a terminal, in which ``macmgr`` writes down its arguments."""

    def __init__(self, name: str, host: Path) -> None:
        self.name = name
        self._host = host
        self._records = 0
        setup = host / "setup"
        setup.write_text(SETUP[name].replace("HOST", str(host)))
        self._pid, self._terminal = pty.fork()
        if not self._pid:
            os.chdir(host / "cwd")
            home = {"HOME": str(host), "TERM": "xterm", "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]}
            os.execvpe(COMMANDS[name][0], COMMANDS[name], home)  # noqa: S606
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self._send(f"{'source' if name == 'fish' else '.'} {setup}; printf 'DO''NE'\r")

    def _send(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())
        said = b""
        end = time.monotonic() + 60
        while b"READY>" not in said.partition(b"DONE")[2]:
            if select.select([self._terminal], [], [], 0.5)[0]:
                with suppress(OSError):
                    said += os.read(self._terminal, 65536)
            assert time.monotonic() < end, said.decode(errors="replace")

    def typed(self, keys: str) -> list[str]:
        """Types ``keys`` and Enter. Returns the arguments that macmgr got."""
        self._send(f"{keys}\r")
        records = (self._host / "seen").read_bytes().decode().split("\n\0")[:-1]
        assert len(records) == self._records + 1
        self._records += 1
        return records[-1].split("\0")[:-1]

    def close(self) -> None:
        os.close(self._terminal)
        os.kill(self._pid, 9)
        os.waitpid(self._pid, 0)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, host: Path) -> Iterator[Shell]:
    running = Shell(request.param, host)
    yield running
    running.close()


@pytest.mark.parametrize("name", FILES.values())
def test_the_files_have_the_parsers_verbs_and_options(name: str, golden: Golden) -> None:
    """With --update-golden it writes them."""
    made = subprocess.run(
        [sys.executable, PACKAGING / "completions.py", name], capture_output=True, text=True, check=True
    )
    golden(PACKAGING / "completion" / name, made.stdout)


def test_what_a_person_types(shell: Shell, host: Path) -> None:
    other = host / "other3"
    for keys, wanted in (
        ("aud\t", "audit"),
        ("help expl\t", "help explain"),
        ("--json aud\t", "--json audit"),
        ("--config x aud\t", "--config x audit"),
        ("net ge\t", "net get"),
        ("net set la\tlib\t", "net set lan libvirt"),
        ("net get id\t", "net get idle"),
        ("audit --pro\t", "audit --problems"),
        ("audit --domain we\t", "audit --domain web1"),
        ("audit --domain db1.\t", "audit --domain db1.example.com"),
        ("audit --domain bo\t--strict", "audit --domain box1 --strict"),
        ("audit --network l\t", "audit --network lan"),
        ("audit --format j\t", "audit --format json"),
        ("explain vn\t", "explain vnet0"),
        ("explain web\t", "explain web1"),
        ("doctor br0\t", "doctor br0"),
        ("trace --from vn\t", "trace --from vnet0"),
        ("explain --bridge", "explain --bridge"),
        (f"audit --run-dir {other} --domain \t", f"audit --run-dir {other} --domain =ls"),
        (f"audit --run-dir={other} --domain \t", f"audit --run-dir={other} --domain =ls"),
    ):
        assert shell.typed(f"macmgr {keys}") == wanted.split(), keys
    assert shell.typed("macmgr audit --domain=we\t") in (["audit", "--domain=web1"], ["audit", "--domain=web1", ""])
    assert shell.typed("macmgr validate fil\t") == ["validate", "file one.toml"]


def test_a_name_is_never_executed_and_arrives_as_it_is(shell: Shell, host: Path) -> None:
    """fish would leave ~ unquoted, so such a name is not offered."""
    for name in HOSTILE:
        assert shell.typed(f"macmgr audit --domain {name[:2]}\t") == ["audit", "--domain", name]
        assert shell.typed(f"macmgr explain {name[:2]}\t") == ["explain", name]
    for number, name in enumerate(LEADING):
        other = f"{host}/other{number}"
        got = shell.typed(f"macmgr audit --run-dir {other} --domain \t")
        assert got == ["audit", "--run-dir", other, "--domain", name] or (shell.name, name, len(got)) == (
            "fish",
            "~root",
            4,
        )
    assert shell.typed("macmgr doctor br-\t") == ["doctor", "br-$(touch canary)"]
    for name in LEFT_OUT[:4]:
        assert shell.typed(f"macmgr explain {name[:2]}\t") == ["explain", name[:2]]
    assert [path.name for path in (host / "cwd").iterdir()] == ["file one.toml"]


def test_quotes_that_are_open_stay(host: Path) -> None:
    shell = Shell("bash", host)
    try:
        for keys, name in (("'ag", "ag two words"), ('"ag', "ag two words"), ("'aa", "aa$(touch canary)")):
            assert shell.typed(f"macmgr explain {keys}\t") == ["explain", name]
        assert shell.typed("macmgr explain ag\\ tw\t") == ["explain", "ag two words"]
        assert shell.typed('macmgr explain "aa\t"') == ["explain", "aa"]  # in these quotes it would be executed
    finally:
        shell.close()
    assert not (host / "cwd/canary").exists()


def offered(shell: str, host: Path, *words: str) -> set[str]:
    """Returns what the shell offers for the last word. No program can be started meanwhile."""
    if shell == "bash":
        ask = f'. {host}/macmgr.bash; PATH=/nowhere; compopt() {{ :; }}; COMP_WORDS=(macmgr "$@")'
        ask += "; COMP_CWORD=$#; _macmgr; printf '%s\\n' \"${COMPREPLY[@]}\""
    else:
        ask = f'source {host}/macmgr.fish; set PATH; complete -C "macmgr $argv"'
    done = subprocess.run(
        [shutil.which(shell) or shell, *(["--no-config"] if shell == "fish" else ["--norc"]), "-c", ask]
        + ([shell] if shell == "bash" else [])
        + list(words),
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(host), "LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]},
    )
    assert done.stderr == ""
    return {line.partition("\t")[0] for line in done.stdout.splitlines() if line}


@pytest.mark.parametrize("shell", [each for each in SHELLS if each.values[0] != "zsh"])
def test_what_is_offered(shell: str, host: Path) -> None:
    verbs = next(action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)).choices
    assert offered(shell, host, "") == {*verbs, "help", "version"}
    for verb, parser in PARSERS.items():
        options = {option for action in parser._actions for option in action.option_strings if option[:2] == "--"}
        assert offered(shell, host, *(verb.split() if verb != "macmgr" else ()), "--") == options, verb
    domains = offered(shell, host, "audit", "--domain", "")
    assert len(domains) == len(HOSTILE) + 3
    assert offered(shell, host, "apply", "--vlan-filtering", "br0") == {"br0"}
    assert offered(shell, host, "net", "get", "") == {"lan", "idle"}
    assert offered(shell, host, "trace", "--to", "") == set()
    assert offered(shell, host, "net", "set", "lan", "") == {"kernel", "libvirt"}


@pytest.mark.parametrize("shell", [each for each in SHELLS if each.values[0] != "zsh"])
def test_without_libvirt_nothing_is_said(shell: str, host: Path) -> None:
    shutil.rmtree(host / "run")
    shutil.rmtree(host / "etc")
    shutil.rmtree(host / "net")
    assert offered(shell, host, "explain", "") - {"-h", "--help"} == set()
    assert offered(shell, host, "audit", "--network", "") == set()
