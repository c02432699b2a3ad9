"""`apply --try` goes back by itself, whatever ends it; only a yes in time keeps the changes."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually
from tests.netns.house import House, house
from tests.netns.test_observe import LAN, guest, remembered, state

TRY = ("apply", "--bridge", "br0", "--try")


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        made.config.write_text('[defaults]\nmode = "observe"\n')
        made.write("network/lan.xml", LAN)
        guest(made, 1)
        yield made


@pytest.fixture(autouse=True)
def signals_as_on_a_terminal() -> Iterator[None]:
    """Who runs the tests under nohup, or behind a shell's &, lets them inherit that signals are ignored."""
    before = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)}
    for number, handler in before.items():
        if handler is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def begun(host: House, seconds: str = "600", **how: object) -> subprocess.Popen[bytes]:
    """A trial that has made its changes, and waits for an answer."""
    words = host.macmgr_command(*TRY, seconds)
    process = subprocess.Popen(words, **{"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, **how})  # type: ignore[call-overload]
    eventually(lambda: host.managed(1), "the changes are made")
    return process  # type: ignore[no-any-return]


def test_a_yes_keeps_it(host: House) -> None:
    with begun(host) as process:
        said, _ = process.communicate(b"yes\n", timeout=60)
    assert (process.returncode, b"Kept. br0 is observed still" in said) == (0, True)
    assert host.managed(1)
    assert [each["port"] for each in remembered(host)] == ["vnet1"]
    again = host.macmgr(*TRY, "600")
    assert (again.returncode, b"cannot be tried" in again.stderr) == (69, True)
    assert host.managed(1)


@pytest.mark.parametrize("answer", [b"no\n", b"\n", b""], ids=["no", "an empty line", "no input"])
def test_anything_else_goes_back(host: House, answer: bytes) -> None:
    before = state(host)
    with begun(host) as process:
        said, _ = process.communicate(answer, timeout=60)
    assert (process.returncode, b"Gone back: br0 is as it was" in said) == (1, True)
    assert state(host) == before
    assert remembered(host) == []


def test_nobody_answers(host: House) -> None:
    before = state(host)
    with begun(host, "3") as process:
        assert process.wait(60) == 1
    assert state(host) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_the_process_dies(host: House, number: signal.Signals) -> None:
    before = state(host)
    with begun(host, start_new_session=True) as process:
        os.killpg(process.pid, number)  # nsenter becomes macmgr; a terminal sends it to all of its group
        process.wait(60)
        eventually(lambda: state(host) == before and remembered(host) == [], "the guard goes back")


def test_it_dies_in_the_middle(host: House) -> None:
    """As soon as the first change is seen, the others are not made yet, or just being made."""
    for number in range(2, 9):
        guest(host, number)
    before = state(host)
    with subprocess.Popen(host.macmgr_command(*TRY, "600"), stdin=subprocess.PIPE) as process:
        eventually(lambda: state(host) != before, "the first change is made")
        process.kill()
        process.wait(60)
        eventually(lambda: state(host) == before and remembered(host) == [], "the guard goes back")


def test_the_process_is_stopped(host: House) -> None:
    """Ctrl-Z, and forgotten."""
    before = state(host)
    with begun(host, "5") as process:
        process.send_signal(signal.SIGSTOP)
        eventually(lambda: state(host) == before, "the guard goes back")
        process.kill()


def test_the_terminal_is_closed(host: House) -> None:
    before = state(host)
    ours, theirs = pty.openpty()
    with begun(host, start_new_session=True, stdin=theirs, stdout=theirs, stderr=theirs):
        os.close(theirs)
        os.close(ours)
        eventually(lambda: state(host) == before, "the guard goes back")


def test_the_guard_dies(host: House) -> None:
    """A yes that nobody hears keeps nothing, and no answer is forgotten."""
    before = state(host)
    with begun(host) as process:
        (guard,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(guard), signal.SIGKILL)
        said, _ = process.communicate(b"yes\n", timeout=60)
    assert (process.returncode, b"Gone back" in said) == (1, True)
    assert state(host) == before


def test_what_cannot_be_tried(host: House) -> None:
    before = state(host)
    for words in (("apply", "--try", "60"), (*TRY, "0"), (*TRY, "x"), (*TRY, "60", "--json")):
        assert host.macmgr(*words).returncode == 2
    host.config.write_text('[defaults]\nmode = "manage"\n')
    said = host.macmgr(*TRY, "60")
    assert (said.returncode, b"'macmgr observe br0' first" in said.stderr) == (69, True)
    assert state(host) == before
