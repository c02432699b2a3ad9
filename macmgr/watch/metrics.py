"""The counters as Prometheus text (format 0.0.4), for node_exporter's textfile collector or for /metrics on loopback.

Labels are those of libvirt's exporters: ``domain``, ``source_bridge``, ``target_device``. A MAC is a label only on
request: each costs a series. Counters start with 0: increase() misses the first step of one that appears later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from macmgr.errors import Busy
from macmgr.model.findings import Code, Severity
from macmgr.report.exposition import Family, Sample, counter, exposed, gauge
from macmgr.report.hostmetrics import (
    build_info,
    guests_reached,
    in_sync_family,
    last_look,
    look_families,
    ports_in_sync,
)
from macmgr.watch.counters import Counters
from macmgr.watch.words import THEFT

_REPAIRABLE = tuple(code for code in Code if code.why)


def metrics(counters: Counters, now: float, *, per_mac: bool = False) -> str:
    """Returns all metrics; families without a sample are left out."""
    known = counters.unknown(now) is None
    families = [*_state(counters, now), *(_ports(counters, per_mac=per_mac) if known else ()), *_counters(counters)]
    return exposed(families)


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


def _state(counters: Counters, now: float) -> Iterator[Family]:
    yield build_info()
    yield gauge("start_time_seconds", "When the daemon started, since the epoch.", counters.started_at)
    yield in_sync_family(counters.in_sync(now))
    unknown = counters.unknown(now)
    since = unknown.since if unknown else None
    yield gauge("unknown_since_timestamp_seconds", "When the state became unknown, since the epoch.", since)
    held = unknown is not None and unknown.exit_code == Busy.exit_code
    yield gauge("lock_held", "1 while another writer's lock keeps the daemon from looking, 0 otherwise.", held)
    yield last_look(counters.last_round_at)
    seconds = counters.last_round_seconds if counters.rounds else None
    yield gauge("last_round_duration_seconds", "How long the last look and its repairs took.", seconds)
    yield gauge(
        "last_resync_timestamp_seconds", "When all was last read anew, since the epoch.", counters.last_resync_at
    )
    if counters.view is None:
        return
    yield from look_families(counters.view, counters.modes.observes)
    yield gauge("standing_back", "Changes left out because another program undoes them.", len(counters.standing_back))


def _ports(counters: Counters, *, per_mac: bool) -> Iterator[Family]:
    if counters.view is None:
        return
    yield ports_in_sync(counters.view.guests, counters.findings)
    yield guests_reached(counters.reached)
    faulty = {(each.port, each.mac) for each in counters.findings if each.severity is Severity.ERROR}
    macs: list[Sample] = []
    for guest in counters.managed_ports if per_mac else ():
        labels = {"domain": guest.domain, "source_bridge": guest.bridge, "target_device": guest.port}
        macs += [({**labels, "mac": mac}, not faulty & {(guest.port, mac), (guest.port, "")}) for mac in guest.macs]
    yield gauge("mac_in_sync", "1 when the last look found no error at a MAC of a managed port, 0 when it did.", macs)


def _counters(counters: Counters) -> Iterator[Family]:
    yield counter("rounds", "Looks at the host.", counters.rounds)
    yield counter("rounds_failed", "Looks that could not be taken.", counters.failed_rounds)
    yield counter("resyncs", "Looks for which all sources were read anew.", counters.resyncs)
    yield counter("repairs", "Changes made and read back.", _by_code(_REPAIRABLE, counters.repairs))
    yield counter(
        "repair_failures", "Changes that the kernel refused, or that could not be read back.", counters.failures
    )
    yield counter("alarms", "Warnings to a person.", _by_code((THEFT, Code.GUEST_MAC_CHANGED), counters.alarms))
    yield counter("stood_back", "How often macmgr paused a change that another program undoes.", counters.stood_back)
    yield counter(
        "hook_calls",
        "Calls that libvirt's hooks handed over.",
        [
            ({"driver": driver, "operation": operation}, count)
            for (driver, operation), count in sorted(counters.hook_calls.items())
        ],
    )
    yield counter("hook_failures", "Hook calls that were answered with a failure.", counters.hook_failures)
    yield counter("hook_timeouts", "Hook calls that ended before the answer.", counters.hook_timeouts)
    yield counter("events_read", "Events read from the kernel.", counters.events_read)
    yield counter("events_lost", "How often the kernel had dropped events.", counters.events_lost)


def _by_code(codes: tuple[str, ...], counts: Mapping[str, int]) -> list[Sample]:
    return [({"code": code}, count) for code, count in {**dict.fromkeys(map(str, codes), 0), **counts}.items()]
