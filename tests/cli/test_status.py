"""`macmgr status`: what it asks on the socket, what it prints, and what it says where no daemon answers."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from rich.console import Console

from macmgr import cli, paths
from macmgr.errors import Busy, NotThere
from macmgr.installation import install_hooks
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import Modes, Scope
from macmgr.planning.reached import Outage
from macmgr.report import terminal
from macmgr.verbs import status as statusverb
from macmgr.watch import words
from macmgr.watch.counters import (
    Counters,
    StandingBack,
    after_alarms,
    after_events,
    after_failure,
    after_hook,
    after_resync,
    after_round,
    standing_back,
)
from macmgr.watch.outages import Standing, Time
from macmgr.watch.statusdocument import document
from tests.conftest import Golden
from tests.unit.watch.test_watch_counters import G2, NOON, SCHEMA, view
from tests.unit.watch.test_watch_words import CLOSED, OPEN, SAID, flags, intent

HERE = Path(__file__).parent / "status"


class Daemon:
    """Answers one question on the daemon's socket, and remembers it."""

    def __init__(self, path: Path) -> None:
        self.asked = b""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind(str(path))
        self.socket.listen()
        self.thread: threading.Thread | None = None

    def answers(self, answer: bytes) -> None:
        def serve() -> None:
            connection, _ = self.socket.accept()
            with connection:
                while chunk := connection.recv(4096):
                    self.asked += chunk
                connection.sendall(answer)

        self.thread = threading.Thread(target=serve)
        self.thread.start()

    def end(self) -> None:
        self.socket.close()
        if self.thread:
            self.thread.join(60)


Status = Callable[..., tuple[int, str, str]]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "LIBVIRT_HOOKS", tmp_path / "hooks")
    monkeypatch.setattr(paths, "HOOK_SOCKET", tmp_path / "hook.sock")
    monkeypatch.setenv("COLUMNS", "80")
    return paths.HOOK_SOCKET


@pytest.fixture
def daemon(path: Path) -> Iterator[Daemon]:
    daemon = Daemon(path)
    yield daemon
    daemon.end()


@pytest.fixture
def status(capsys: pytest.CaptureFixture[str]) -> Status:
    def run(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(["status", *arguments])
        return code, *capsys.readouterr()

    return run


def told(counters: Counters) -> dict[str, Any]:
    return document(counters, NOON) | {"macmgr": "1.2", "pid": 1234}


def quiet() -> Counters:
    counters = after_round(Counters(NOON - 90_000), view(), at=NOON - 3, seconds=0.0713)
    return after_resync(counters, "started", at=NOON - 3600)


def locked() -> Counters:
    why = "another macmgr is writing (/run/macmgr/lock is held by process 812, ma\x1bcmgr); nothing was changed"
    return after_failure(after_failure(quiet(), Busy(why, 812, "macmgr"), at=NOON - 125), Busy(why), at=NOON - 2)


def busy() -> Counters:
    changes = [change for change, _ in SAID if change.because]
    missing = Finding(Code.MISSING_ENTRY, "no entry", "br0", "vnet3", "web1", G2)
    promiscuous = Finding(Code.UPLINK_PROMISCUOUS, "it is", "br0", "eth0")
    (guest,) = intent("web1").ports
    fight = words.standing_back(flags(OPEN, CLOSED, Code.LEARNING_ON), 10, 8.0)
    counters = after_round(
        Counters(NOON - 119, modes=Modes(named=(("br9", True),))),
        view(missing, promiscuous),
        at=NOON - 3,
        seconds=0.0713,
        done=changes,
        lines=words.repaired(words.repairs(changes)),
        failures=2,
    )
    counters = after_resync(counters, "netlink events were lost", at=NOON - 60)
    counters = after_alarms(counters, [words.theft(guest, guest.macs[0], "up0", 1, 3)], at=NOON - 1)
    counters = standing_back(counters, [StandingBack(fight, NOON - 5, NOON + 3)], begun=3)
    counters = after_hook(counters, "qemu", "started", timed_out=True)
    return after_events(cut_off(counters), read=12345, lost=2)


def cut_off(counters: Counters) -> Counters:
    (guest,) = intent("web1").ports
    down = Finding(Code.PORT_DOWN, "web1 is cut off: up0 has no carrier", "br0", "up0", note="see to it")
    return replace(counters, outages=(Standing(Outage(down, (guest,)), Time(0.0, NOON - 75)),))


@pytest.mark.parametrize(
    ("name", "counters", "arguments", "code"),
    [
        ("new", Counters(NOON - 1), (), 69),
        ("locked", replace(locked(), config_problem="/etc/macmgr/macmgr.toml:3: no such manager: 'libvrit'"), (), 75),
        ("stuck", replace(quiet(), looking_since=NOON - 100), (), 69),
        ("quiet", quiet(), (), 0),
        ("cut-off", cut_off(quiet()), (), 0),
        ("busy", busy(), (), 1),
        ("busy-verbose", busy(), ("-v",), 1),
    ],
)
def test_what_a_person_sees(
    daemon: Daemon, status: Status, golden: Golden, name: str, counters: Counters, arguments: tuple[str, ...], code: int
) -> None:
    daemon.answers(json.dumps(told(counters)).encode())
    answered, text, errors = status(*arguments)
    assert (answered, errors) == (code, "")
    golden(HERE / f"{name}.txt", "".join(f"{line.rstrip()}\n" for line in text.splitlines()))
    assert daemon.asked == b"status\0"


def test_json_is_the_daemons_document(daemon: Daemon, status: Status) -> None:
    daemon.answers(json.dumps(told(busy())).encode())
    code, text, _ = status("--json")
    assert code == 1
    assert json.loads(text) == told(busy()) | {"hooks": told(busy())["hooks"] | {"problems": []}}
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(text))


def test_hooks_that_never_came_are_told_where_some_are_installed(daemon: Daemon, status: Status) -> None:
    document = told(quiet())
    document["hooks"] |= {"guests_started": 3, "never_came": True}
    daemon.answers(json.dumps(document).encode())
    assert "Hooks:" not in status()[1]
    install_hooks(paths.LIBVIRT_HOOKS, Path("/bin/true"))
    daemon.answers(json.dumps(document).encode())
    _, text, _ = status()
    assert "Hooks: they are installed, but none was called" in text
    assert "for the 3 guests that came since" in " ".join(text.split())


def test_hooks_that_cannot_run_are_told_with_a_daemon_or_without(daemon: Daemon, status: Status) -> None:
    install_hooks(paths.LIBVIRT_HOOKS, Path("/bin/true"))
    shim = paths.LIBVIRT_HOOKS / "qemu.d" / "99-macmgr"
    shim.write_text(shim.read_text().replace("#!/bin/sh", "#!/nonexistent/sh"))
    daemon.answers(json.dumps(told(quiet())).encode())
    _, text, _ = status("--json")
    (problem,) = json.loads(text)["hooks"]["problems"]
    assert problem.startswith(f"{shim}: libvirt cannot execute it (")
    daemon.end()
    paths.HOOK_SOCKET.unlink()
    code, text, errors = status()
    assert (code, text) == (NotThere.exit_code, "")
    assert problem in errors
    assert errors.count("\n") == 1


def test_a_guests_name_moves_no_cursor(daemon: Daemon, status: Status) -> None:
    changes = [replace(change, domain="we\x1b[2Jb\n1[red]") for change, _ in SAID]
    repaired = after_round(
        quiet(), view(), at=NOON, seconds=0, done=changes, lines=words.repaired(words.repairs(changes))
    )
    daemon.answers(json.dumps(told(repaired)).encode())
    _, text, _ = status()
    assert "we?[2Jb 1[red]" in text
    assert "\x1b" not in text


def test_where_no_daemon_runs_one_line_says_what_to_do(path: Path, status: Status) -> None:
    line = (
        f"macmgr: no daemon runs here: nobody listens on {path}; start it with 'systemctl start macmgr', or look "
        "without one: 'macmgr audit'\n"
    )
    assert status() == (69, "", line)
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    assert status("--json") == (69, "", line)


@pytest.mark.parametrize(
    "answer", [b"", b"ok\n", b"[]", b'"status"', b'{"version": 2}', b"{}", b"[" * 100_000, b"\xff"], ids=repr
)
def test_an_answer_that_is_no_status(daemon: Daemon, status: Status, answer: bytes) -> None:
    daemon.answers(answer)
    code, text, errors = status()
    assert (code, text) == (69, "")
    assert errors.endswith("restart the daemon: 'systemctl restart macmgr'\n")
    assert errors.count("\n") == 1


def test_a_daemon_before_this_one_says_less(daemon: Daemon, status: Status) -> None:
    before = told(Counters(NOON - 1))
    del before["unknown"], before["configuration"], before["rounds"]["failed"]
    daemon.answers(json.dumps(before).encode())
    code, text, _ = status()
    assert code == 69
    assert text.startswith("Unknown: the daemon has not taken its first look yet.\n")


def test_a_daemon_that_hangs_is_not_waited_for(daemon: Daemon, path: Path) -> None:
    with pytest.raises(NotThere, match=rf"the daemon \(process {os.getpid()}, .*\) does not answer within"):
        statusverb.ask(path, timeout=0.1)


OBSERVE_BR0 = Modes(named=(("br0", True),))


@pytest.mark.parametrize(
    ("modes", "managed", "found", "said", "code"),
    [
        (Modes(), {"br0": "a test"}, [], "In sync: 2 managed ports of 1 guest on 1 bridge.", 0),
        (
            OBSERVE_BR0,
            {"br0": "a test"},
            [],
            "br0 is only observed: 0 errors, and nothing is changed; 'macmgr plan' shows what would be.",
            0,
        ),
        (
            OBSERVE_BR0,
            {"br0": "a test"},
            [Finding(Code.FLOOD_ON, "it floods", "br0", "vnet0", "web1")],
            "br0 is only observed: 1 error, and nothing is changed; 'macmgr plan' shows what would be.",
            1,
        ),
        (Modes(), {}, [], "Nothing is managed here: all is left to the kernel. 'macmgr show' lists bridges", 0),
        (Modes(), {"br7": "is not here"}, [], "Nothing is managed here: all is left to the kernel. ", 0),
    ],
)
def test_what_nobody_compared_or_changes_is_not_called_in_sync(
    daemon: Daemon, status: Status, modes: Modes, managed: dict[str, str], found: list[Finding], said: str, code: int
) -> None:
    seen = view(*found)
    ports = seen.intent.ports if "br0" in managed else ()
    seen = replace(
        seen,
        intent=replace(seen.intent, managed_bridges=managed, ports=ports),
        scope=Scope(observes=modes.observes),
    )
    counters = after_round(Counters(NOON - 9, modes=modes), seen, at=NOON, seconds=0.1)
    daemon.answers(json.dumps(told(counters)).encode())
    answered, out, _ = status()
    assert (answered, out[: len(said)]) == (code, said)
    daemon.end()


@pytest.mark.parametrize("name", ["busy", "quiet"])
def test_an_account_fits_its_terminal(
    daemon: Daemon, status: Status, golden: Golden, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    document = json.dumps(told({"busy": busy(), "quiet": quiet()}[name])).encode()
    texts = []
    for width in (60, 80, 120):
        daemon.answers(document)
        monkeypatch.setattr(terminal, "Console", lambda columns=width, **how: Console(**{**how, "width": columns}))
        lines = [line.rstrip() for line in status()[1].splitlines()]
        assert [line for line in lines if len(line) > width] == []
        texts.append("\n".join([f"{'-' * width}", *lines, ""]))
    golden(HERE / f"{name}-fits.txt", "\n".join(texts))
