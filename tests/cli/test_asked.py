"""The verbs that a person asks in an incident answer first, on narrow and on wide terminals: golden text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from rich.console import Console

from macmgr.model.snapshot import EntryState
from macmgr.report import terminal
from tests.cli.conftest import Host
from tests.cli.test_trace import as_the_kernel_makes_it
from tests.conftest import Golden

HERE = Path(__file__).parent / "asked"
WIDTHS = (60, 80, 120)
WEB1 = "52:54:00:aa:00:01"
PLAIN = "two-guests-and-a-plain-bridge"
COMMANDS = ("    fix: ", "    would run: ", "       $ ")  # they are to be copied, so each is one line
Words = Sequence[str]


def migrated_away(host: Host) -> None:
    """web1 was managed here. It left while nobody looked; its first frame from there moved the entry to the uplink."""
    status, away = host.run_dir / "qemu" / "web1.xml", host.run_dir / "web1.away"
    if away.exists():
        away.rename(status)
    host.macmgr("apply")
    status.rename(away)
    del host.kernel.ports["vnet0"], host.kernel.masters["vnet0"]
    for key, entry in list(host.kernel.fdb.items()):
        if entry.mac == WEB1:
            host.kernel.fdb[key] = entry._replace(port="eth0", state=EntryState.STATIC, sticky=False)


def managed(host: Host) -> None:
    host.macmgr("apply")


def nothing(host: Host) -> None:
    pass


QUESTIONS: dict[str, tuple[str, Callable[[Host], None], Sequence[Words]]] = {
    "explain": (PLAIN, nothing, [("explain", "web1"), ("explain", "-v", "web1"), ("explain", "eth0")]),
    "explain-drift": ("drift", nothing, [("explain", "web3"), ("explain", "br0")]),
    "explain-not-reached": ("not-reached", nothing, [("explain", "web1"), ("explain", "db1"), ("explain", "eth1")]),
    "explain-trunk": ("many-vids", nothing, [("explain", "router")]),
    "explain-observed": ("observed-host", nothing, [("explain", "web1"), ("explain", "br0")]),
    "doctor": ("drift", nothing, [("doctor", "br0")]),
    "doctor-not-reached": ("not-reached", nothing, [("doctor",)]),
    "doctor-without-filtering": ("conflict-vlan-without-filtering", nothing, [("doctor",)]),
    "release": ("drift", managed, [("release",), ("release",)]),
    "incident-source": (
        PLAIN,
        migrated_away,
        [("explain", "web1"), ("explain", WEB1), ("trace", "--to", WEB1), ("doctor", "br0")],
    ),
    "incident-destination": (
        "stolen-entry",
        nothing,
        [("explain", "web1"), ("explain", WEB1), ("trace", "--to", WEB1), ("doctor", "br0")],
    ),
}


@pytest.fixture
def width(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The width of the terminal, to be set."""
    chosen = [80]
    made = terminal.console

    def narrow(color: bool) -> Console:
        console = made(color)
        console.width = chosen[0]
        return console

    monkeypatch.setattr(terminal, "console", narrow)
    return chosen


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.case(case)) for name, (case, _, _) in QUESTIONS.items()]
)
def test_an_answer_fits_its_terminal(host: Host, width: list[int], name: str, golden: Golden) -> None:
    _, begin, questions = QUESTIONS[name]
    texts = []
    for each in WIDTHS:
        host.start_over()
        as_the_kernel_makes_it(host)
        begin(host)
        width[0] = each
        for words in questions:
            said = host.macmgr(*words)
            lines = [line.rstrip() for line in said.stdout.splitlines()]
            assert [line for line in lines if len(line) > each and not line.startswith(COMMANDS)] == []
            said_at = f"{'-' * each}\n$ macmgr {' '.join(words)}\n"
            texts.append(said_at + "\n".join(lines) + f"\nexit code {said.code}\n{said.stderr}")
    golden(HERE / f"{name}.txt", "\n".join(texts))


@pytest.mark.case(PLAIN)
def test_the_source_of_a_migration_says_what_is_left_and_what_helps(host: Host) -> None:
    migrated_away(host)
    for what in ("web1", WEB1):
        first, second, third, *_ = host.macmgr("explain", what).stdout.splitlines()
        assert first.endswith("web1 does not run here, but this is left of it here.")
        assert second.startswith("  error stale-entry: ")
        assert third.startswith(f"    fix: bridge fdb del {WEB1} dev eth0 ")


@pytest.mark.case("stolen-entry")
def test_the_destination_says_who_is_cut_off_and_what_helps(host: Host) -> None:
    as_the_kernel_makes_it(host)
    first, second, third, *_ = host.macmgr("explain", "web1").stdout.splitlines()
    assert first.startswith("web1 is cut off in VID 1")
    assert second.startswith("  error stolen-entry: ")
    assert third == f"    fix: bridge fdb replace {WEB1} dev vnet0 master static sticky"
