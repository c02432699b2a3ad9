"""The daemon's lines in a real systemd-journald, which has a /run of its own, and found there by journalctl."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code
from macmgr.model.snapshot import Entry
from macmgr.watch import messages, words
from macmgr.watch.journal import Journal
from macmgr.watch.messages import Line, Priority
from tests.netns.conftest import eventually

PROGRAM = Path("/lib/systemd/systemd-journald")
MAC = "52:54:00:aa:00:01"
# Audit= leaves the machine's auditing as it is; the kernel's log is not ours to read
_START = f"""
mount -t tmpfs run /run
mkdir -p /run/systemd/journal /run/systemd/journald.conf.d /run/log/journal
printf '[Journal]\\nAudit=\\nReadKMsg=no\\nStorage=volatile\\n' >/run/systemd/journald.conf.d/test.conf
exec {PROGRAM}
"""


@dataclass(frozen=True)
class Journald:
    """A running journald, seen from outside of its mount namespace."""

    run: Path

    @property
    def path(self) -> Path:
        return self.run / "systemd/journal/socket"

    def is_ready(self) -> bool:
        """Until its configuration is there, ``run`` is still the machine's own."""
        ours = (self.run / "systemd/journald.conf.d/test.conf").exists()
        return ours and self.path.is_socket() and (self.run / "systemd/journal/stdout").is_socket()

    def stream(self) -> socket.socket:
        """What systemd makes a service's standard error: lines with a priority in front (sd-daemon(3))."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(str(self.run / "systemd/journal/stdout"))
        stream.sendall(b"macmgr\n\n6\n1\n0\n0\n0\n")  # identifier, unit, priority, level prefix, three forwardings
        return stream

    def find(self, *matches: str) -> list[dict[str, str]]:
        command = ["journalctl", "--quiet", "-D", str(self.run / "log/journal"), "-o", "json", *matches]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        return [json.loads(line) for line in said.stdout.splitlines()]


@pytest.fixture
def journald() -> Iterator[Journald]:
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not installed")
    started = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _START]
    with subprocess.Popen(started, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            journald = Journald(Path(f"/proc/{process.pid}/root/run"))
            eventually(journald.is_ready, "journald listens")
            yield journald
        finally:
            process.terminate()


def journal_of(stderr: socket.socket, path: Path) -> Journal:
    status = os.fstat(stderr.fileno())
    return Journal(path, stderr.fileno(), f"{status.st_dev}:{status.st_ino}")


def test_a_repair_is_found_by_guest_by_mac_and_by_kind(journald: Journald) -> None:
    change = SetEntries(MAC, (), (Entry(MAC, 0, "vnet0"),), "br0", "web1", Code.MISSING_ENTRY)
    with journald.stream() as stderr:
        journal_of(stderr, journald.path).write(words.repaired(words.repairs([change])))
        eventually(lambda: bool(journald.find("MACMGR_DOMAIN=web1")), "the line is in the journal")
    (found,) = journald.find("MACMGR_DOMAIN=web1")
    assert found["MESSAGE"] == f"put the entry of web1 ({MAC}) on vnet0: no static entry leads to the guest"
    assert (found["PRIORITY"], found["_TRANSPORT"]) == ("5", "journal")
    assert (found["MACMGR_PORT"], found["MACMGR_BRIDGE"], found["MACMGR_CODE"]) == ("vnet0", "br0", "missing-entry")
    for match in (f"MACMGR_MAC={MAC}", f"MESSAGE_ID={messages.REPAIRED}", "SYSLOG_IDENTIFIER=macmgr"):
        assert journald.find(match) == [found]


def test_a_name_with_a_newline_is_one_value(journald: Journald) -> None:
    name = "web1\nPRIORITY=0\nMACMGR_PORT=eth0"
    with journald.stream() as stderr:
        journal_of(stderr, journald.path).write(
            [Line(Priority.WARNING, f"theft from {name}", message_id=messages.THEFT, domain=name)]
        )
        eventually(lambda: bool(journald.find(f"MESSAGE_ID={messages.THEFT}")), "the line is in the journal")
    (found,) = journald.find(f"MESSAGE_ID={messages.THEFT}")
    assert found["MACMGR_DOMAIN"] == name
    assert found["PRIORITY"] == "4"
    assert "MACMGR_PORT" not in found
    assert found["MESSAGE"] == "theft from web1 PRIORITY=0 MACMGR_PORT=eth0"


def test_over_the_stream_a_line_keeps_its_priority(journald: Journald) -> None:
    with journald.stream() as stderr:
        journal_of(stderr, Path("/nowhere")).write([Line(Priority.ERROR, "the socket is gone")])
        eventually(lambda: bool(journald.find("SYSLOG_IDENTIFIER=macmgr")), "the line is in the journal")
    (found,) = journald.find("SYSLOG_IDENTIFIER=macmgr")
    assert (found["MESSAGE"], found["PRIORITY"], found["_TRANSPORT"]) == ("the socket is gone", "3", "stdout")
