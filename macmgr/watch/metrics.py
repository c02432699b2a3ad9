"""The counters as Prometheus text (format 0.0.4), for node_exporter's textfile collector or for /metrics on loopback.

Labels are those of libvirt's exporters: ``domain``, ``source_bridge``, ``target_device``. A MAC is a label only on
request: each costs a series. Counters start with 0: increase() misses the first step of one that appears later.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from macmgr import __version__
from macmgr.model.findings import Code, Severity
from macmgr.watch.counters import Counters
from macmgr.watch.words import THEFT

Sample = tuple[Mapping[str, str], float]

_REPAIRABLE = tuple(code for code in Code if code.why)
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


@dataclass(frozen=True, slots=True)
class _Family:
    name: str
    kind: str
    text: str
    samples: list[Sample]


def metrics(counters: Counters, now: float, *, per_mac: bool = False) -> str:
    """Returns all metrics; families without a sample are left out."""
    known = counters.unknown(now) is None
    families = [*_state(counters, now), *(_ports(counters, per_mac=per_mac) if known else ()), *_counters(counters)]
    return "".join(line for family in families if family.samples for line in _lines(family))


def write_textfile(path: Path, text: str) -> None:
    """Replaces the file as a whole: the collector never reads a part. Raises OSError if it cannot be written.

    The directory may belong to the collector's user, so nothing in it is followed. No fsync: after a crash of the host
    the next round writes it anew.
    """
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        temporary = f".{path.name}.new"  # the collector takes *.prom only
        with suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=directory)  # left by a killed daemon
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=directory), "wb") as file:
            os.fchmod(file.fileno(), 0o644)  # whatever the umask is: the collector is another user
            file.write(text.encode("utf-8", "backslashreplace"))
        os.rename(temporary, path.name, src_dir_fd=directory, dst_dir_fd=directory)
    finally:
        os.close(directory)


def _state(counters: Counters, now: float) -> Iterator[_Family]:
    yield _gauge("build_info", "The version of the daemon.", [({"version": __version__}, 1)])
    yield _gauge("start_time_seconds", "When the daemon started, since the epoch.", counters.started_at)
    yield _gauge(
        "in_sync",
        "1 when the last look found no error, 0 when it did; absent while the state is unknown.",
        counters.in_sync(now),
    )
    unknown = counters.unknown(now)
    since = unknown.since if unknown else None
    yield _gauge("unknown_since_timestamp_seconds", "When the state became unknown, since the epoch.", since)
    yield _gauge(
        "last_round_timestamp_seconds", "When the last look was taken, since the epoch.", counters.last_round_at
    )
    seconds = counters.last_round_seconds if counters.rounds else None
    yield _gauge("last_round_duration_seconds", "How long the last look and its repairs took.", seconds)
    yield _gauge(
        "last_resync_timestamp_seconds", "When all was last read anew, since the epoch.", counters.last_resync_at
    )
    if counters.view is None:
        return
    found = Counter(finding.code for finding in counters.findings)
    yield _gauge(
        "findings",
        "What the last look found.",
        [({"code": str(code), "severity": str(code.severity)}, found[code]) for code in Code],
    )
    ports = Counter(guest.bridge for guest in counters.managed_ports)
    yield _gauge(
        "managed_ports",
        "Managed ports of a bridge.",
        [({"source_bridge": name}, ports[name]) for name in sorted(counters.view.intent.managed_bridges)],
    )
    yield _gauge(
        "bridge_observed",
        "1 where a managed bridge is only observed and nothing is changed, 0 where it is managed.",
        [
            ({"source_bridge": name}, counters.modes.observes(name))
            for name in sorted(counters.view.intent.managed_bridges)
        ],
    )
    yield _gauge("standing_back", "Changes left out because another program undoes them.", len(counters.standing_back))


def _ports(counters: Counters, *, per_mac: bool) -> Iterator[_Family]:
    errors = [finding for finding in counters.findings if finding.severity is Severity.ERROR]
    faulty_macs = {(finding.port, finding.mac) for finding in errors}
    faulty_ports = {finding.port for finding in errors}
    ports: list[Sample] = []
    macs: list[Sample] = []
    for guest in counters.managed_ports:
        labels = {"domain": guest.domain, "source_bridge": guest.bridge, "target_device": guest.port}
        ports.append((labels, guest.port not in faulty_ports))
        macs += [
            ({**labels, "mac": mac}, not faulty_macs & {(guest.port, mac), (guest.port, "")})
            for mac in (guest.macs if per_mac else ())
        ]
    yield _gauge("port_in_sync", "1 when the last look found no error at a managed port, 0 when it did.", ports)
    yield _gauge("mac_in_sync", "1 when the last look found no error at a MAC of a managed port, 0 when it did.", macs)


def _counters(counters: Counters) -> Iterator[_Family]:
    yield _counter("rounds", "Looks at the host.", counters.rounds)
    yield _counter("rounds_failed", "Looks that could not be taken.", counters.failed_rounds)
    yield _counter("resyncs", "Looks for which all sources were read anew.", counters.resyncs)
    yield _counter("repairs", "Changes made and read back.", _by_code(_REPAIRABLE, counters.repairs))
    yield _counter(
        "repair_failures", "Changes that the kernel refused, or that could not be read back.", counters.failures
    )
    yield _counter("alarms", "Warnings to a person.", _by_code((THEFT, Code.GUEST_MAC_CHANGED), counters.alarms))
    yield _counter("stood_back", "How often macmgr paused a change that another program undoes.", counters.stood_back)
    yield _counter(
        "hook_calls",
        "Calls that libvirt's hooks handed over.",
        [
            ({"driver": driver, "operation": operation}, count)
            for (driver, operation), count in sorted(counters.hook_calls.items())
        ],
    )
    yield _counter("hook_failures", "Hook calls that were answered with a failure.", counters.hook_failures)
    yield _counter("hook_timeouts", "Hook calls that ended before the answer.", counters.hook_timeouts)
    yield _counter("events_read", "Events read from the kernel.", counters.events_read)
    yield _counter("events_lost", "How often the kernel had dropped events.", counters.events_lost)


def _by_code(codes: tuple[str, ...], counts: Mapping[str, int]) -> list[Sample]:
    return [({"code": code}, count) for code, count in {**dict.fromkeys(map(str, codes), 0), **counts}.items()]


def _gauge(name: str, text: str, value: float | list[Sample] | None) -> _Family:
    return _Family(f"macmgr_{name}", "gauge", text, _samples(value))


def _counter(name: str, text: str, value: float | list[Sample]) -> _Family:
    return _Family(f"macmgr_{name}_total", "counter", text, _samples(value))


def _samples(value: float | list[Sample] | None) -> list[Sample]:
    if value is None:
        return []
    return value if isinstance(value, list) else [({}, value)]


def _lines(family: _Family) -> Iterator[str]:
    yield f"# HELP {family.name} {family.text}\n# TYPE {family.name} {family.kind}\n"
    for labels, value in family.samples:
        words = ",".join(f'{name}="{text.translate(_ESCAPES)}"' for name, text in labels.items())
        yield f"{family.name}{f'{{{words}}}' if words else ''} {float(value)!r}\n"
