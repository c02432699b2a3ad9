"""What the daemon says at all, and how often."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.errors import Busy, KernelError
from macmgr.execution import Failure
from macmgr.model.changes import SetEntries, SetFlags
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import MANAGE_ALL, GuestPort, Intent
from macmgr.model.kernelevents import LOST
from macmgr.model.snapshot import Entry, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.reached import Outage
from macmgr.view import Outcome, View
from macmgr.watch.backoff import Fight
from macmgr.watch.daemonlog import DaemonLog
from macmgr.watch.journal import Journal
from macmgr.watch.round import Round

CLOSE = SetFlags("vnet0", PortFlags(), PortFlags(False, False), "br0", "web1", Code.LEARNING_ON)
GONE = Finding(Code.MISSING_PORT, "vnet0 of web1 does not exist on this host", "br0", "vnet0", "web1")


def a_round(*findings: Finding, failures: tuple[Failure, ...] = ()) -> Round:
    return Round((), Outcome((), failures, View(Intent(), Snapshot(), Plan((), findings))))


def test_a_refusal_that_comes_back_in_each_round_is_said_once_until_it_is_gone(tmp_path: Path) -> None:
    log, refused = tmp_path / "log", Failure(CLOSE, "not supported (EOPNOTSUPP)")
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        for failures in ((refused,), (refused,), (), (refused,)):
            daemonlog.round(["learning is on"], a_round(failures=failures))
    assert log.read_text().count("EOPNOTSUPP") == 2


def test_what_passes_while_a_guest_ends_is_said_only_when_it_lasts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, now = tmp_path / "log", [1000.0]
    monkeypatch.setattr("macmgr.watch.daemonlog.time.monotonic", lambda: now[0])
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        assert daemonlog.round(["vnet0 is gone"], a_round(GONE)) == 2.0
        now[0] = 1000.5
        assert daemonlog.round(["status file qemu/web1.xml"], a_round()) is None
        assert log.read_text() == ""
        now[0] = 1001.0
        assert daemonlog.round(["vnet0 is gone"], a_round(GONE)) == 2.0
        now[0] = 1002.5
        assert daemonlog.round(["another"], a_round(GONE)) == 0.5
        now[0] = 1003.0
        assert daemonlog.round(["what may have passed"], a_round(GONE)) is None
        assert daemonlog.round(["another"], a_round(GONE)) is None
    assert log.read_text().count("does not exist on this host") == 1


def test_lost_events_are_all_counted_and_said_once_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    clock = iter((1000.0, 1001.0, 1059.0, 1060.0, 1061.0))
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        monkeypatch.setattr("macmgr.watch.daemonlog.time.monotonic", lambda: next(clock))
        for _ in range(5):
            daemonlog.events([LOST])
        monkeypatch.undo()
    assert log.read_text().count("the kernel dropped netlink events") == 2
    assert json.loads(daemonlog.status())["events"] == {"read": 5, "lost": 5}


def test_a_fight_is_told_once_a_minute_and_not_each_of_its_repairs(tmp_path: Path) -> None:
    log, fight = tmp_path / "log", Fight(CLOSE, "vnet0", 11, 0.25)
    done = Round((), Outcome((CLOSE,), (), View(Intent(), Snapshot(), Plan())))
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        for _ in range(3):
            daemonlog.round(["learning is on"], done)
            daemonlog.fights([fight], ["vnet0"])
    assert log.read_text().count("another program undoes") == 1
    assert log.read_text().count("closed vnet0") == 2  # once by itself, and once in the line of the fight


def test_many_fights_at_one_port_that_begin_together_are_one_line(tmp_path: Path) -> None:
    log, fights = tmp_path / "log", [Fight(CLOSE, "vnet0", 11, 0.25)] * 4000
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        daemonlog.fights(fights, ["vnet0"])
    assert log.read_text().count("another program undoes this change") == 1


def test_looks_that_fail_are_told_with_their_reason_and_so_is_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each reason once, and again after ten minutes; a hook's call in between that needs no look is no end."""
    log, now = tmp_path / "log", [1000.0]
    monkeypatch.setattr("macmgr.watch.daemonlog.time.monotonic", lambda: now[0])
    busy, refused = Round((), failure=Busy("process 812 holds it", 812)), Round((), failure=KernelError("no buffer"))
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        assert daemonlog.headline().startswith("unknown since")
        daemonlog.round(["start"], a_round())
        assert daemonlog.headline() == "the last look found nothing to manage"
        daemonlog.round(["start"], a_round(GONE))
        assert daemonlog.headline() == "managed ports: 0, errors that the last look found: 1"
        for step, done in enumerate((busy, busy, Round(()), busy, refused, refused, busy)):
            now[0] = 1000.0 + step
            daemonlog.round(["the timer"], done)
            assert daemonlog.headline().startswith("unknown since")
        assert json.loads(daemonlog.status())["in_sync"] is None
        assert log.read_text().count("a look could not be made (") == 3
        now[0] = 1700.0
        daemonlog.round(["the timer"], busy)
        assert log.read_text().count("the state is unknown since") == 4
        daemonlog.round(["the timer"], a_round())
        daemonlog.round(["the timer"], a_round())
    assert log.read_text().count("and 7 looks failed") == 1
    assert log.read_text().count("the state is known again") == 1
    assert json.loads(daemonlog.status())["in_sync"] is True


def test_a_loop_over_vids_is_told_together_and_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, now = tmp_path / "log", [1000.0]
    monkeypatch.setattr("macmgr.watch.daemonlog.time.monotonic", lambda: now[0])
    mac, view = "52:54:00:00:00:01", View(Intent(), Snapshot(), Plan())

    def put(vid: int) -> Round:
        change = SetEntries(mac, (), (Entry(mac, vid, "vnet0"),), "br0", "web1", Code.MISSING_ENTRY)
        return Round((), Outcome((change,), (), view))

    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        for vid in range(100, 140):
            wait = daemonlog.round(["the VIDs of vnet0 changed"], put(vid))
            now[0] += 0.15
        assert wait == pytest.approx(10 - 34 * 0.15)
        now[0] += 10
        assert daemonlog.round(["what may have passed"], a_round()) is None
        daemonlog.round(["the VIDs of vnet0 changed"], put(140))
        daemonlog.stopped()
    lines = [line for line in log.read_text().splitlines() if "put the entry" in line]
    assert len(lines) == 7
    assert lines[-2].endswith("(VID 105-139)")
    assert lines[-1].endswith("(VID 140)")


def test_a_loop_over_vids_on_an_observed_bridge_is_a_few_lines_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each VID is a finding more at the same entry; the last word has all of them."""
    log, now = tmp_path / "log", [1000.0]
    monkeypatch.setattr("macmgr.watch.daemonlog.time.monotonic", lambda: now[0])
    missing = Finding(Code.MISSING_ENTRY, "no entry for it", "br0", "vnet0", "web1", "52:54:00:00:00:01")
    found: list[Finding] = []
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        for vid in range(100, 200):
            found.append(replace(missing, vid=vid))
            wait = daemonlog.round(["the VIDs of vnet0 changed"], a_round(*found))
            now[0] += 0.15
        assert wait is not None
        now[0] += 10
        assert daemonlog.round(["what may have passed"], a_round(*found)) is None
        assert daemonlog.round(["another"], a_round(*found)) is None
        now[0] += 60
        daemonlog.round(["another"], a_round())
        daemonlog.round(["another"], a_round(missing))
    lines = [line for line in log.read_text().splitlines() if "no entry for it" in line]
    assert len(lines) == 5 + 1 + 1 + 1
    assert lines[-2].endswith("(VID 100-199)")


def test_a_configuration_that_was_not_taken_is_reported_until_one_is(tmp_path: Path) -> None:
    with (tmp_path / "log").open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        daemonlog.round(["start"], a_round())
        daemonlog.misconfigured("macmgr.toml:3: no")
        status = json.loads(daemonlog.status())
        assert (status["configuration"], status["in_sync"]) == ({"problem": "macmgr.toml:3: no"}, True)
        daemonlog.configured(MANAGE_ALL, 300.0)
    assert json.loads(daemonlog.status())["configuration"] == {"problem": None}


def test_a_look_that_does_not_end_makes_the_state_unknown_until_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr("macmgr.watch.daemonlog.time.time", lambda: now[0])
    with (tmp_path / "log").open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        daemonlog.round(["start"], a_round())
        daemonlog.looking(True)
        now[0] += 31
        assert json.loads(daemonlog.status())["in_sync"] is None
        daemonlog.looking(False)
    assert json.loads(daemonlog.status())["in_sync"] is True


def test_many_guests_that_are_cut_off_each_by_itself_are_counted_and_so_is_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, now = tmp_path / "log", [1000.0]
    monkeypatch.setattr("macmgr.watch.daemonlog.time.monotonic", lambda: now[0])
    guests = [GuestPort(f"vnet{n}", "br0", f"g{n}", "uuid", (f"52:54:00:00:00:{n:02x}",)) for n in range(50)]
    cut = [
        Outage(Finding(Code.VLAN_WITHOUT_UPLINK, f"{guest.domain} is cut off", "br0", guest.port), (guest,))
        for guest in guests
    ]
    view = View(Intent(tuple(guests)), Snapshot(), Plan())
    with log.open("w") as stderr:
        daemonlog = DaemonLog(Journal(stderr=stderr.fileno(), stream=""))
        assert daemonlog.outages(cut, view) == 2.0
        now[0] += 2
        assert daemonlog.outages(cut, view) is None
        assert len(json.loads(daemonlog.status())["not_reached"]) == 50
        now[0] += 9
        daemonlog.outages([], view)
    first, second = log.read_text().splitlines()
    assert "50 places at which guests are cut off on br0: vlan-without-uplink 50" in first
    assert "50 places at which guests are reached again on br0: vlan-without-uplink 50" in second
