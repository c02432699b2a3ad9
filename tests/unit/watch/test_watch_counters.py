"""What the daemon counted, and the document that `macmgr status` gets: the schema holds, and no field is forgotten."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from macmgr.errors import Busy, KernelError, MacmgrError
from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import MANAGE_ALL, OBSERVE_ALL, GuestPort, Intent, Manager, Modes, Policy
from macmgr.model.snapshot import Bridge, BridgePort, Entry
from macmgr.planning.draft import Plan
from macmgr.planning.reached import Outage
from macmgr.view import View
from macmgr.watch.counters import (
    KEPT,
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
from macmgr.watch.messages import Line, Priority
from macmgr.watch.outages import Standing, Time
from macmgr.watch.statusdocument import document
from tests.fake_kernel import make_snapshot

SCHEMA = json.loads((Path(__file__).parents[3] / "docs/status-v1.schema.json").read_text())
G1, G2 = "52:54:00:00:00:01", "52:54:00:00:00:02"
NOON = 1_795_003_200.0  # 2026-11-18T12:00:00Z


def guest(port: str, mac: str, domain: str, manager: Manager = Manager.LIBVIRT) -> GuestPort:
    return GuestPort(port, "br0", domain, f"uuid-{domain}", (mac,), policy=Policy(manager=manager))


def view(*findings: Finding) -> View:
    """A bridge with two NICs of web1, one of which has no tap yet, and a guest that is the kernel's."""
    ports = [BridgePort(name, 10, "br0", "fe:00:00:00:00:01") for name in ("eth0", "vnet0", "vnet2", "vnet3")]
    guests = (
        guest("vnet0", G1, "web1"),
        guest("vnet1", G1, "web1"),
        guest("vnet2", G2, "db1", Manager.KERNEL),
        guest("vnet3", G2, "web1"),
    )
    intent = Intent(guests, {"br0": "network lan: macTableManager", "br9": "configuration"})
    return View(intent, make_snapshot([Bridge("br0", 1, "fe:00:00:00:01:00")], ports, ()), Plan((), findings))


def change(code: Code = Code.MISSING_ENTRY) -> SetEntries:
    return SetEntries(G1, (), (Entry(G1, 0, "vnet0"),), "br0", "web1", code)


def line(message: str = "put the entry", code: str = "missing-entry") -> Line:
    return Line(Priority.NOTICE, message, domain="web1", port="vnet0", bridge="br0", mac=G1, code=code)


def told(counters: Counters, now: float = NOON) -> dict[str, Any]:
    answer = document(counters, now)
    jsonschema.Draft202012Validator(SCHEMA).validate(answer)
    return answer


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_before_the_first_look_nobody_knows() -> None:
    answer = told(Counters(NOON - 3))
    assert answer["started_at"] == "2026-11-18T11:59:57Z"
    assert answer["taken_at"] == "2026-11-18T12:00:00Z"
    assert answer["in_sync"] is None
    assert answer["unknown"] == {
        "since": "2026-11-18T11:59:57Z",
        "why": "the first look is not over yet",
        "exit_code": 69,
        "lock_holder": None,
    }
    assert answer["managed"] == {"bridges": [], "ports": 0, "guests": 0}
    assert answer["rounds"]["last_at"] is None


def test_everything_that_is_counted_is_told() -> None:
    """Also a test of the schema: each of its fields is there, and it knows each field that is there."""
    counters = Counters(NOON - 60)
    counters = after_round(
        counters,
        view(Finding(Code.DUPLICATE_MAC, "two of them"), Finding(Code.UPLINK_PROMISCUOUS, "it is")),
        at=NOON - 30,
        seconds=0.0712345678,
        done=[change(), change(), change(Code.STALE_ENTRY)],
        lines=[line("one"), line("two"), line("three")],
        failures=2,
    )
    counters = after_resync(counters, "libvirtd came back", at=NOON - 30)
    counters = after_alarms(
        counters, [line("seen on eth0", "theft"), line("it changed", "guest-mac-changed")], at=NOON - 20
    )
    counters = standing_back(counters, [StandingBack(line(), NOON - 1, NOON + 1)], begun=1)
    counters = after_hook(counters, "qemu", "started")
    counters = after_hook(counters, "qemu", "started", failed=True)
    counters = after_hook(counters, "lxc", "stopped", timed_out=True)
    counters = after_events(counters, read=5, lost=1)
    counters = after_events(counters, read=2)
    down = Finding(Code.PORT_DOWN, "eth0 is down", "br0", "eth0", mends=(("ip", "link", "set", "dev", "eth0", "up"),))
    guests = counters.managed_ports[:1]
    counters = replace(counters, outages=(Standing(Outage(down, tuple(guests)), Time(0.0, NOON - 30)),))
    answer = told(counters)
    event = {"domain": "web1", "port": "vnet0", "bridge": "br0", "mac": G1, "code": "missing-entry"}
    assert answer.pop("pid") > 0
    assert answer.pop("macmgr")
    assert answer == {
        "version": 1,
        "taken_at": "2026-11-18T12:00:00Z",
        "started_at": "2026-11-18T11:59:00Z",
        "in_sync": False,
        "verdict": "drift",
        "unknown": None,
        "configuration": {"problem": None},
        "managed": {
            "bridges": [
                {"name": "br0", "reason": "network lan: macTableManager", "mode": "manage", "there": True, "ports": 2},
                {"name": "br9", "reason": "configuration", "mode": "manage", "there": False, "ports": 0},
            ],
            "ports": 2,
            "guests": 1,
        },
        "not_reached": [
            {
                "since": "2026-11-18T11:59:30Z",
                "domains": [guests[0].domain],
                "code": "port-down",
                "bridge": "br0",
                "port": "eth0",
                "message": "eth0 is down",
                "fix": "ip link set dev eth0 up",
            }
        ],
        "findings": {"duplicate-mac": 1, "uplink-promiscuous": 1},
        "rounds": {"count": 1, "failed": 0, "last_at": "2026-11-18T11:59:30Z", "last_seconds": 0.071235},
        "resyncs": {"count": 1, "last_at": "2026-11-18T11:59:30Z", "last_why": "libvirtd came back"},
        "repairs": {
            "count": 3,
            "by_code": {"missing-entry": 2, "stale-entry": 1},
            "failed": 2,
            "last": [
                {"at": "2026-11-18T11:59:30Z", "message": message, **event} for message in ("three", "two", "one")
            ],
        },
        "alarms": {
            "count": 2,
            "by_code": {"theft": 1, "guest-mac-changed": 1},
            "last": [
                {"at": "2026-11-18T11:59:40Z", "message": "it changed", **event, "code": "guest-mac-changed"},
                {"at": "2026-11-18T11:59:40Z", "message": "seen on eth0", **event, "code": "theft"},
            ],
        },
        "standing_back": {
            "count": 1,
            "now": [
                {
                    "since": "2026-11-18T11:59:59Z",
                    "until": "2026-11-18T12:00:01Z",
                    "message": "put the entry",
                    **event,
                }
            ],
        },
        "hooks": {
            "calls": [
                {"driver": "qemu", "operation": "started", "count": 2},
                {"driver": "lxc", "operation": "stopped", "count": 1},
            ],
            "failed": 1,
            "timeouts": 1,
            "guests_started": 0,
            "never_came": False,
        },
        "events": {"read": 7, "lost": 1},
    }
    jsonschema.Draft202012Validator(_closed(SCHEMA)).validate(document(counters, NOON))


def _closed(schema: Any) -> Any:
    """The schema as it would be if no field might be added: what the document holds, the schema must know."""
    if isinstance(schema, dict):
        closed = {name: _closed(value) for name, value in schema.items()}
        return closed | ({"additionalProperties": False} if "properties" in schema else {})
    return [_closed(each) for each in schema] if isinstance(schema, list) else schema


def test_only_errors_are_drift() -> None:
    clean = after_round(Counters(NOON), view(Finding(Code.NOT_STICKY, "not sticky")), at=NOON, seconds=0.1)
    assert told(clean)["in_sync"] is True
    assert told(after_round(clean, view(Finding(Code.FLOOD_ON, "it floods")), at=NOON, seconds=0.1))["in_sync"] is False


def test_a_bridge_that_is_only_observed_says_so() -> None:
    counters = after_round(Counters(NOON, modes=Modes(named=(("br9", True),))), view(), at=NOON, seconds=0.1)
    assert [bridge["mode"] for bridge in told(counters)["managed"]["bridges"]] == ["manage", "observe"]
    everywhere = replace(counters, modes=OBSERVE_ALL)
    assert [bridge["mode"] for bridge in told(everywhere)["managed"]["bridges"]] == ["observe", "observe"]


def test_the_memory_of_a_thousand_repairs_is_short() -> None:
    counters = Counters(NOON)
    for number in range(1000):
        counters = after_round(
            counters, view(), at=NOON, seconds=0.1, done=[change()] * 30, lines=[line(str(number))] * 30
        )
        counters = after_alarms(counters, [line(str(number), "theft")], at=NOON)
    answer = told(counters)
    assert answer["repairs"]["count"] == 30_000
    assert [event["message"] for event in answer["repairs"]["last"]] == ["999"] * KEPT
    assert [event["message"] for event in answer["alarms"]["last"]] == [str(n) for n in range(999, 999 - KEPT, -1)]


def test_a_record_is_never_changed() -> None:
    first = after_hook(Counters(NOON), "qemu", "started")
    second = after_hook(first, "qemu", "started")
    assert (first.hook_calls, second.hook_calls) == ({("qemu", "started"): 1}, {("qemu", "started"): 2})


def test_guests_that_come_and_no_hook_that_calls() -> None:
    """Hooks are installed and libvirt does not, or may not, run them: nothing else tells."""
    before, after = view(), view()
    more = replace(after, intent=replace(after.intent, ports=(*after.intent.ports, guest("vnet7", G1, "new1"))))
    counters = after_round(Counters(NOON - 60), before, at=NOON, seconds=0)
    assert (told(counters)["hooks"]["guests_started"], told(counters)["hooks"]["never_came"]) == (0, False)
    counters = after_round(counters, more, at=NOON, seconds=0)
    counters = after_round(
        counters, replace(more, intent=replace(more.intent, ports=tuple(more.intent.ports))), at=NOON, seconds=0
    )
    assert (told(counters)["hooks"]["guests_started"], told(counters)["hooks"]["never_came"]) == (1, True)
    assert told(after_hook(counters, "network", "started"))["hooks"]["never_came"]
    assert not told(after_hook(counters, "qemu", "stopped"))["hooks"]["never_came"]
    assert not told(replace(counters, hooks_taken=False))["hooks"]["never_came"]


# What nobody knows


def looked() -> Counters:
    return after_round(Counters(NOON - 900, MANAGE_ALL, 300.0), view(), at=NOON - 10, seconds=0.1)


@pytest.mark.parametrize("error", [KernelError("no buffer space"), Busy("it is held"), MacmgrError("a bug")])
def test_while_looks_fail_nobody_knows_and_the_cause_says_the_exit_code(error: MacmgrError) -> None:
    counters = after_failure(after_failure(looked(), KernelError("at first"), at=NOON - 8), error, at=NOON - 2)
    answer = told(counters)
    assert answer["in_sync"] is None
    assert answer["unknown"] == {
        "since": "2026-11-18T11:59:52Z",
        "why": str(error),
        "exit_code": error.exit_code,
        "lock_holder": None,
    }
    assert answer["rounds"]["failed"] == 2
    again = told(after_round(counters, view(), at=NOON - 1, seconds=0.1))
    assert (again["in_sync"], again["unknown"], again["rounds"]["failed"]) == (True, None, 2)


def test_who_holds_the_lock_is_told() -> None:
    for program, said in (("macmgr", "macmgr"), ("", None)):
        counters = after_failure(looked(), Busy("it is held", 812, program), at=NOON - 2)
        assert told(counters)["unknown"]["lock_holder"] == {"pid": 812, "program": said}


def test_a_look_that_does_not_end_says_nothing_of_now() -> None:
    assert told(replace(looked(), looking_since=NOON - 29))["in_sync"] is True
    answer = told(replace(looked(), looking_since=NOON - 31))
    assert answer["in_sync"] is None
    assert answer["unknown"]["since"] == "2026-11-18T11:59:29Z"
    assert answer["unknown"]["exit_code"] == 69
    assert "has not ended" in told(Counters(NOON - 60, looking_since=NOON - 60))["unknown"]["why"]


def test_a_look_long_ago_says_nothing_of_now() -> None:
    """Three full looks that did not come: 300 s each."""
    assert told(looked(), NOON + 889)["in_sync"] is True
    answer = told(looked(), NOON + 891)
    assert answer["in_sync"] is None
    assert answer["unknown"]["since"] == "2026-11-18T11:59:50Z"
    assert "300 s" in answer["unknown"]["why"]
