"""The daemon's log: what journald receives, what a terminal shows, and that neither can hold the daemon up.

journald here is a real datagram socket, read by a parser of the native protocol (systemd, JOURNAL_NATIVE_PROTOCOL.md).
"""

from __future__ import annotations

import os
import re
import select
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macmgr.watch import messages
from macmgr.watch.journal import Journal, datagram
from macmgr.watch.messages import Line, Priority


class Journald:
    """Receives what is sent to a journal's socket."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.socket.bind(str(path))

    def fields(self) -> dict[str, bytes]:
        return parse(self.socket.recv(1 << 20))


def parse(data: bytes) -> dict[str, bytes]:
    """The fields of one datagram, as journald takes them apart."""
    fields: dict[str, bytes] = {}
    while data:
        name, _, data = data.partition(b"\n")
        if b"=" in name:
            name, _, value = name.partition(b"=")
        else:
            length = int.from_bytes(data[:8], "little")
            value, end, data = data[8 : 8 + length], data[8 + length : 9 + length], data[9 + length :]
            assert len(value) == length
            assert end == b"\n"
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        assert name.decode() not in fields
        fields[name.decode()] = value
    return fields


class Stderr:
    """A pipe or a socket in the place of standard error."""

    def __init__(self, reader: int, writer: int) -> None:
        self.reader, self.writer = reader, writer
        os.set_blocking(reader, False)
        status = os.fstat(writer)
        self.stream = f"{status.st_dev}:{status.st_ino}"

    def text(self) -> str:
        return os.read(self.reader, 1 << 20).decode() if select.select([self.reader], [], [], 0)[0] else ""


@pytest.fixture
def stderr() -> Iterator[Stderr]:
    reader, writer = os.pipe()
    yield Stderr(reader, writer)
    os.close(reader)
    with suppress(OSError):
        os.close(writer)


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[Journald]:
    receiver = Journald(tmp_path / "socket")
    yield receiver
    receiver.socket.close()


def under_systemd(stderr: Stderr, path: Path, least: Priority = Priority.INFO) -> Journal:
    return Journal(path, stderr.writer, stderr.stream, least)


def test_a_line_has_its_fields(journald: Journald, stderr: Stderr) -> None:
    under_systemd(stderr, journald.path).write(
        [
            Line(
                Priority.NOTICE,
                "put the entry",
                message_id=messages.REPAIRED,
                domain="web1",
                port="vnet0",
                bridge="br0",
                mac="52:54:00:aa:00:01",
                code="missing-entry",
            )
        ]
    )
    assert journald.fields() == {
        "MESSAGE": b"put the entry",
        "PRIORITY": b"5",
        "SYSLOG_IDENTIFIER": b"macmgr",
        "MESSAGE_ID": messages.REPAIRED.encode(),
        "MACMGR_DOMAIN": b"web1",
        "MACMGR_PORT": b"vnet0",
        "MACMGR_BRIDGE": b"br0",
        "MACMGR_MAC": b"52:54:00:aa:00:01",
        "MACMGR_CODE": b"missing-entry",
    }
    assert stderr.text() == ""


def test_a_field_that_does_not_apply_is_not_there(journald: Journald, stderr: Stderr) -> None:
    under_systemd(stderr, journald.path).write([Line(Priority.ERROR, "no")])
    assert journald.fields() == {"MESSAGE": b"no", "PRIORITY": b"3", "SYSLOG_IDENTIFIER": b"macmgr"}


def test_a_name_adds_no_field_and_no_line(journald: Journald, stderr: Stderr) -> None:
    name = "web1\nPRIORITY=0\nMESSAGE_ID=" + "f" * 32 + "\n"
    under_systemd(stderr, journald.path).write([Line(Priority.INFO, f"put the entry of {name}\x1b[2J", domain=name)])
    fields = journald.fields()
    assert fields.keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "MACMGR_DOMAIN"}
    assert fields["PRIORITY"] == b"6"
    assert fields["MACMGR_DOMAIN"] == name.encode()
    assert b"\n" not in fields["MESSAGE"]
    assert b"\x1b" not in fields["MESSAGE"]


@given(st.text(max_size=50), st.text(max_size=50))
def test_any_text_arrives_in_its_own_field(domain: str, code: str) -> None:
    fields = parse(datagram(Line(Priority.INFO, "m", domain=domain, code=code)))
    values = {"MACMGR_DOMAIN": domain, "MACMGR_CODE": code}
    assert {name: value for name, value in fields.items() if name in values} == {
        name: value.encode("utf-8", "backslashreplace") for name, value in values.items() if value
    }


def test_what_is_far_too_large_is_cut_between_two_letters_and_arrives(journald: Journald, stderr: Stderr) -> None:
    journal = under_systemd(stderr, journald.path)
    journal.write([Line(Priority.INFO, "€" * 500_000, domain="x\n" * 500_000)])
    fields = journald.fields()
    assert set(fields["MESSAGE"].decode()) == {"€"}
    assert len(fields["MACMGR_DOMAIN"]) == 8192
    assert journal.lost == 0


def test_a_journald_that_does_not_read_loses_lines_and_blocks_nobody(journald: Journald, stderr: Stderr) -> None:
    journal = under_systemd(stderr, journald.path)
    for _ in range(1000):  # net.unix.max_dgram_qlen
        journal.write([Line(Priority.INFO, "again")])
    assert journal.lost > 0
    assert stderr.text() == ""
    while select.select([journald.socket], [], [], 0)[0]:
        assert journald.fields()["MESSAGE"] == b"again"
    lost = journal.lost
    journal.write([Line(Priority.INFO, "and now")])
    assert journald.fields()["MESSAGE"] == b"and now"
    assert journal.lost == lost


def test_where_journald_cannot_be_reached_its_stream_gets_the_priority(tmp_path: Path, stderr: Stderr) -> None:
    journal = under_systemd(stderr, tmp_path / "nothing")
    journal.write([Line(Priority.WARNING, "two\nlines", code="x")])
    assert stderr.text() == "<4>two lines\n"
    receiver = Journald(tmp_path / "nothing")
    journal.write([Line(Priority.WARNING, "it is back")])
    with receiver.socket:
        assert receiver.fields()["MESSAGE"] == b"it is back"


@pytest.mark.parametrize("stream", ["", "0:0", "nonsense", ":"])
def test_a_terminal_gets_readable_lines(journald: Journald, stderr: Stderr, stream: str) -> None:
    journal = Journal(journald.path, stderr.writer, stream)
    journal.write([Line(Priority.INFO, "put the entry of we\x1bb1", domain="web1")])
    journal.write([Line(Priority.ERROR, "br0: no")])
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.fullmatch(rf"{time} put the entry of we\?b1\n{time} error: br0: no\n", stderr.text())
    with pytest.raises(BlockingIOError):
        journald.fields()


def test_a_terminal_that_nobody_reads_blocks_nobody(tmp_path: Path, stderr: Stderr) -> None:
    journal = Journal(tmp_path / "nothing", stderr.writer, "")
    for _ in range(100):
        journal.write([Line(Priority.INFO, "x" * 5000)])
    assert journal.lost > 0
    assert {len(line) for line in stderr.text().splitlines()} == {4095}


def test_a_stream_of_journald_that_nobody_reads_blocks_nobody(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stderr = Stderr(theirs.fileno(), ours.fileno())
        journal = under_systemd(stderr, tmp_path / "nothing")
        for _ in range(1000):
            journal.write([Line(Priority.INFO, "x" * 5000)])
        assert journal.lost > 0


def test_a_closed_standard_error_is_no_error(tmp_path: Path, stderr: Stderr) -> None:
    journal = Journal(tmp_path / "nothing", stderr.writer, stderr.stream)
    os.close(stderr.writer)
    journal.write([Line(Priority.ERROR, "nobody hears this")])
    assert Journal(tmp_path / "nothing", stderr.writer, stderr.stream).lost == 0
    assert journal.lost == 1


def test_what_is_less_urgent_than_asked_for_is_not_said(journald: Journald, stderr: Stderr) -> None:
    under_systemd(stderr, journald.path).write([Line(Priority.DEBUG, "a detail"), Line(Priority.INFO, "a line")])
    assert journald.fields()["MESSAGE"] == b"a line"
    under_systemd(stderr, journald.path, Priority.DEBUG).write([Line(Priority.DEBUG, "a detail")])
    assert journald.fields()["MESSAGE"] == b"a detail"


def test_message_ids_are_128_bits_and_different() -> None:
    ids = [value for name, value in vars(messages).items() if name.isupper()]
    assert len(ids) >= 12
    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert len(set(ids)) == len(ids)
