"""The metrics, read by Prometheus' own parser; the file that is replaced as a whole; the port that is on loopback."""

from __future__ import annotations

import asyncio
import http.client
import math
import socket
import stat
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.errors import Busy, KernelError
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import Modes
from macmgr.watch import metricsport
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
from macmgr.watch.metrics import metrics, write_textfile
from macmgr.watch.metricsport import MetricsPort
from tests.unit.watch.test_watch_counters import G1, G2, NOON, change, line, view

parser = pytest.importorskip("prometheus_client.parser")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

OBSERVE_BR0 = Modes(named=(("br0", True),))


def read(text: str) -> Samples:
    """The samples as Prometheus reads them; each family once, with its type and its help."""
    samples: Samples = {}
    names: list[str] = []
    for family in parser.text_string_to_metric_families(text):
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter")
        names.append(family.name)
        for sample in family.samples:
            assert sample.name.startswith("macmgr_")
            assert sample.name.endswith("_total") == (family.type == "counter")
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples
            samples[key] = sample.value
    assert len(names) == len(set(names))
    return samples


def value(samples: Samples, name: str, **labels: str) -> float | None:
    return samples.get((f"macmgr_{name}", frozenset(labels.items())))


def busy() -> Counters:
    """Counters in which each count is another."""
    found = Finding(Code.MISSING_ENTRY, "none", "br0", "vnet3", "web1", G2)
    counters = after_round(
        Counters(NOON), view(found), at=NOON + 1, seconds=0.25, done=[change()] * 3, lines=[line()] * 3, failures=4
    )
    counters = after_resync(counters, "timer", at=NOON + 2)
    counters = after_alarms(counters, [line(code="theft")] * 5, at=NOON)
    counters = standing_back(counters, [StandingBack(line(), NOON, NOON)] * 6, begun=7)
    for _ in range(8):
        counters = after_hook(counters, "qemu", "started")
    counters = after_hook(counters, "lxc", "stopped", failed=True, timed_out=True)
    reached = {("web1", "br0", "vnet0"): 1.0, ("web1", "br0", "vnet1"): 0.0, ("db1", "br0", "vnet2"): math.nan}
    return replace(after_events(counters, read=10, lost=11), reached=reached)


def test_what_was_counted_is_what_is_read() -> None:
    samples = read(metrics(busy(), NOON))
    expected = {
        "start_time_seconds": NOON,
        "in_sync": 0,
        "last_round_timestamp_seconds": NOON + 1,
        "last_round_duration_seconds": 0.25,
        "last_resync_timestamp_seconds": NOON + 2,
        "standing_back": 6,
        "rounds_total": 1,
        "resyncs_total": 1,
        "repair_failures_total": 4,
        "stood_back_total": 7,
        "hook_failures_total": 1,
        "hook_timeouts_total": 1,
        "events_read_total": 10,
        "events_lost_total": 11,
    }
    assert {name: value(samples, name) for name in expected} == expected
    assert value(samples, "repairs_total", code="missing-entry") == 3
    assert value(samples, "alarms_total", code="theft") == 5
    assert value(samples, "hook_calls_total", driver="qemu", operation="started") == 8
    assert value(samples, "findings", code="missing-entry", severity="error") == 1
    assert value(samples, "findings", code="not-sticky", severity="warning") == 0
    assert value(samples, "managed_ports", source_bridge="br0") == 2
    assert value(samples, "managed_ports", source_bridge="br9") == 0


def test_while_nobody_knows_no_verdict_is_exported() -> None:
    """Not the last one either: an alert on `== 0` would sleep through it, and one on `absent` wakes up."""
    failing = after_failure(after_failure(busy(), KernelError("no"), at=NOON + 5), KernelError("no"), at=NOON + 6)
    samples = read(metrics(failing, NOON + 7, per_mac=True))
    assert not [name for name, _ in samples if name.endswith("in_sync")]
    assert value(samples, "unknown_since_timestamp_seconds") == NOON + 5
    assert value(samples, "rounds_failed_total") == 2
    assert value(samples, "last_round_timestamp_seconds") == NOON + 1
    samples = read(metrics(busy(), NOON + 7))
    assert value(samples, "unknown_since_timestamp_seconds") is None
    assert value(samples, "rounds_failed_total") == 0


def test_a_bridge_that_is_only_observed_is_told_from_one_that_is_managed() -> None:
    samples = read(metrics(after_round(Counters(NOON, modes=OBSERVE_BR0), view(), at=NOON, seconds=0.1), NOON))
    assert value(samples, "bridge_observed", source_bridge="br0") == 1
    assert value(samples, "bridge_observed", source_bridge="br9") == 0


def test_a_port_with_an_error_is_told_from_one_without() -> None:
    where = {"domain": "web1", "source_bridge": "br0"}
    samples = read(metrics(busy(), NOON))
    assert value(samples, "port_in_sync", target_device="vnet0", **where) == 1
    assert value(samples, "port_in_sync", target_device="vnet3", **where) == 0
    missing = Finding(Code.MISSING_PORT, "vnet1 does not exist", "br0", "vnet1", "web1")
    samples = read(metrics(replace(busy(), view=view(missing)), NOON))
    assert value(samples, "port_in_sync", target_device="vnet1", **where) == 0
    assert not any("mac" in dict(labels) for _, labels in samples)


def test_who_is_reached_is_that_of_the_last_judgement() -> None:
    samples = read(metrics(busy(), NOON))
    assert value(samples, "guest_reached", domain="web1", source_bridge="br0", target_device="vnet0") == 1
    assert value(samples, "guest_reached", domain="web1", source_bridge="br0", target_device="vnet1") == 0
    unsaid = value(samples, "guest_reached", domain="db1", source_bridge="br0", target_device="vnet2")
    assert unsaid is not None
    assert math.isnan(unsaid)
    failing = after_failure(busy(), KernelError("no"), at=NOON)
    assert not [name for name, _ in read(metrics(failing, NOON)) if name == "macmgr_guest_reached"]


def test_a_lock_that_is_held_is_told_from_other_reasons() -> None:
    for error, held in ((Busy("process 812 holds it", 812, "macmgr"), 1), (KernelError("no"), 0)):
        failing = after_failure(busy(), error, at=NOON)
        assert value(read(metrics(failing, NOON)), "lock_held") == held
    assert value(read(metrics(busy(), NOON)), "lock_held") == 0


def test_macs_are_labels_only_where_that_is_asked_for() -> None:
    where = {"domain": "web1", "source_bridge": "br0"}
    samples = read(metrics(busy(), NOON, per_mac=True))
    assert value(samples, "mac_in_sync", target_device="vnet0", mac=G1, **where) == 1
    assert value(samples, "mac_in_sync", target_device="vnet3", mac=G2, **where) == 0
    floods = Finding(Code.FLOOD_ON, "it floods", "br0", "vnet0", "web1")
    samples = read(metrics(replace(busy(), view=view(floods)), NOON, per_mac=True))
    assert value(samples, "mac_in_sync", target_device="vnet0", mac=G1, **where) == 0


def test_counters_begin_with_nought_and_what_is_unknown_is_left_out() -> None:
    samples = read(metrics(Counters(NOON), NOON))
    assert value(samples, "repairs_total", code="stolen-entry") == 0
    assert value(samples, "alarms_total", code="theft") == 0
    assert value(samples, "rounds_total") == 0
    assert value(samples, "in_sync") is None
    assert value(samples, "last_round_timestamp_seconds") is None
    assert value(samples, "last_round_duration_seconds") is None


@pytest.mark.parametrize("name", ['we"b', "we\\b", "we\nb", "we\\nb", "web\\", 'a="b",c="d', "{}", "wéb € ", "\r\x1b"])
def test_any_name_of_a_guest_comes_through(name: str) -> None:
    counters = after_round(Counters(NOON), view(), at=NOON, seconds=0)
    assert counters.view is not None
    guests = tuple(replace(guest, domain=name) for guest in counters.view.intent.ports)
    named = replace(counters, view=replace(counters.view, intent=replace(counters.view.intent, ports=guests)))
    samples = read(metrics(named, NOON))
    assert value(samples, "port_in_sync", domain=name, source_bridge="br0", target_device="vnet0") == 1


def test_the_file_is_replaced_and_readable_by_the_collector(tmp_path: Path) -> None:
    path = tmp_path / "macmgr.prom"
    write_textfile(path, "one\n")
    held = path.open()
    (tmp_path / ".macmgr.prom.new").write_text("of a daemon that was killed")
    write_textfile(path, "two \ud800\n")
    with held:
        assert held.read() == "one\n"
    assert path.read_text() == "two \\ud800\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [each.name for each in tmp_path.iterdir()] == ["macmgr.prom"]


def test_a_link_in_the_collectors_directory_is_replaced_and_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "passwd"
    victim.write_text("root")
    directory = tmp_path / "collector"
    directory.mkdir()
    for name in ("macmgr.prom", ".macmgr.prom.new"):
        (directory / name).symlink_to(victim)
    write_textfile(directory / "macmgr.prom", "text\n")
    assert victim.read_text() == "root"
    assert (directory / "macmgr.prom").read_text() == "text\n"
    assert not (directory / "macmgr.prom").is_symlink()


def test_where_the_file_cannot_be_written_the_caller_hears_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_textfile(tmp_path / "nowhere" / "macmgr.prom", "text\n")
    (tmp_path / "macmgr.prom").mkdir()
    with pytest.raises(IsADirectoryError):
        write_textfile(tmp_path / "macmgr.prom", "text\n")


def with_port(client: Callable[[int], Awaitable[None]], text: str = "", timeout: float = 30) -> None:
    """Run the client beside an open port."""

    async def both() -> None:
        port = MetricsPort(lambda: text, timeout)
        number = await port.listen(0)
        try:
            await client(number)
        finally:
            await port.close()

    asyncio.run(asyncio.wait_for(both(), 60))


def ask(port: int, method: str, path: str) -> tuple[int, dict[str, str], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, dict(response.headers), response.read().decode()
    finally:
        connection.close()


def test_a_client_gets_the_metrics() -> None:
    text = metrics(busy(), NOON)

    async def client(port: int) -> None:
        for path in ("/metrics", "/metrics?name[]=x"):
            code, headers, body = await asyncio.to_thread(ask, port, "GET", path)
            assert (code, body) == (200, text)
            assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"

    with_port(client, text)


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [("GET", "/", 404), ("GET", "/metrics/", 404), ("GET", "/../metrics", 404), ("POST", "/metrics", 405)],
)
def test_nothing_else_is_answered(method: str, path: str, code: int) -> None:
    async def client(port: int) -> None:
        assert (await asyncio.to_thread(ask, port, method, path))[0] == code

    with_port(client, "text")


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET /metrics\r\n\r\n", 400),
        (b"GET  /metrics HTTP/1.1\r\n\r\n", 400),
        (b"GET /metrics HTTP/2\r\n\r\n", 400),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /metrics HTTP/1.1\r\nHost: x\r\n", 408),
    ],
)
def test_what_is_no_request_is_refused(request_bytes: bytes, code: int) -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request_bytes)
        assert int((await reader.readline()).split()[1]) == code
        writer.close()

    with_port(client, "text", timeout=0.2 if code == 408 else 30)


def test_half_a_request_is_the_end() -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metr")
        writer.write_eof()
        assert b"400" in await reader.readline()
        writer.close()

    with_port(client)


def test_many_who_never_ask_do_not_pile_up_and_do_not_hold_the_end() -> None:
    async def client(port: int) -> None:
        open_ones = [await asyncio.open_connection("127.0.0.1", port) for _ in range(metricsport._MOST)]
        code, _, _ = await asyncio.to_thread(ask, port, "GET", "/metrics")
        assert code == 503
        for _, writer in open_ones[:1]:
            writer.close()
            await writer.wait_closed()
        while (await asyncio.to_thread(ask, port, "GET", "/metrics"))[0] == 503:
            pass
        for _, writer in open_ones[1:]:
            writer.close()

    with_port(client, "text")


def test_the_port_is_on_loopback_only() -> None:
    async def client(port: int) -> None:
        with socket.socket(socket.AF_INET) as taken:
            taken.bind(("127.0.0.2", port))  # somebody who listens on all addresses would hold it

    with_port(client)


def test_a_port_that_is_taken_is_an_error_to_tell() -> None:
    async def client(port: int) -> None:
        with pytest.raises(OSError, match="address already in use"):
            await MetricsPort(str).listen(port)

    with_port(client)
