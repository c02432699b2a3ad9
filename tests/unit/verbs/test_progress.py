"""A line about what takes long: on a terminal only, and gone when it is done."""

from __future__ import annotations

import threading
from contextlib import suppress
from io import StringIO

import pytest

from macmgr.verbs.progress import Progress, ToldKernel
from tests.fake_kernel import FakeKernel, make_snapshot


class Terminal(StringIO):
    """``shown`` is set once a line stands there."""

    def __init__(self, *, terminal: bool = True) -> None:
        super().__init__()
        self.terminal, self.shown = terminal, threading.Event()

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        written = super().write(text)
        if "reading" in text:
            self.shown.set()
        return written


@pytest.fixture(autouse=True)
def term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")


def test_a_line_is_shown_and_gone_when_it_is_done() -> None:
    stream = Terminal()
    with Progress("reading", stream, after=0):
        assert stream.shown.wait(30)
    assert "\r\x1b[K| reading" in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_what_takes_no_time_shows_nothing() -> None:
    stream = Terminal()
    with Progress("reading", stream, after=3600):
        pass
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("terminal", "term"), [(False, "xterm"), (True, "dumb"), (True, "")])
def test_nobody_else_gets_it(terminal: bool, term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal(terminal=terminal)
    threads = threading.enumerate()
    with Progress("reading", stream, after=0):
        assert threading.enumerate() == threads  # nobody is there to write
    assert stream.getvalue() == ""


def test_a_line_is_no_longer_than_the_terminal() -> None:
    stream = Terminal()
    with Progress("reading " * 20, stream, after=0):
        assert stream.shown.wait(30)
    assert max(len(line.removeprefix("\x1b[K")) for line in stream.getvalue().split("\r")) == 39


def test_an_error_takes_it_away_too() -> None:
    stream = Terminal()
    with suppress(KeyboardInterrupt), Progress("reading", stream, after=0):
        assert stream.shown.wait(30)
        raise KeyboardInterrupt
    assert stream.getvalue().endswith("\r\x1b[K")


def test_it_says_what_the_kernel_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress("", Terminal())
    said: list[str] = []
    monkeypatch.setattr(progress, "say", said.append)
    kernel = ToldKernel(FakeKernel(make_snapshot([], [], [])), progress)
    snapshot = kernel.read_snapshot(())
    kernel.look_up([], snapshot)
    kernel.send([], snapshot)
    assert progress.telling("reading", lambda: 1)() == 1
    assert said == [
        "reading bridges, ports and MAC tables",
        "comparing",
        "looking up 0 entries",
        "sending 0 requests to the kernel",
        "reading",
    ]
