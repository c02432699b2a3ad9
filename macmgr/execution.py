"""Carries out changes in phases and batches, looks each put up again, and closes no port whose entry is missing.

It decides nothing. A change that fails becomes a `Failure` with the kernel's own words, and the rest goes on.
"""

from __future__ import annotations

import errno
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from macmgr.model.changes import Change, Request, SetEntries, SetFlags, SetVids, one_flag_each, ports_of, requests
from macmgr.model.snapshot import Entry, Key, Snapshot
from macmgr.state.lock import WriterLock


class Refusal(Protocol):
    """The kernel's reason for refusing a request, in its own words."""

    @property
    def errno(self) -> int: ...

    @property
    def text(self) -> str: ...


class Kernel(Protocol):
    """The kernel as reconciling needs it; `macmgr.kernel.Kernel` is the real one."""

    def read_snapshot(
        self,
        bridges: Collection[str] | None = None,
        ports: Collection[str] = (),
        *,
        whole: bool = False,
        if_open: Collection[str] | None = None,
    ) -> Snapshot: ...

    def look_up(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, Entry | None]: ...

    def refreshed(self, keys: Iterable[Key], snapshot: Snapshot) -> dict[Key, tuple[float, float]]: ...

    def send(self, requests: Sequence[Request], snapshot: Snapshot) -> Sequence[Refusal | None]: ...


@dataclass(frozen=True, slots=True)
class Failure:
    change: Change
    why: str


def execute(
    _lock: WriterLock, changes: Sequence[Change], kernel: Kernel, snapshot: Snapshot
) -> tuple[list[Change], tuple[Failure, ...]]:
    """Carry out ``changes`` phase by phase, in their order; a port whose put failed is not closed.

    A port whose VIDs could not be set gets those back that it had. All else that is planned for it is left out, for it
    is about the port as it was to be.
    """
    failures: list[Failure] = []
    made: list[Change] = []
    open_ports: set[str] = set()
    not_set: set[str] = set()
    for whole_phase in _phases(changes):
        phase = [change for change in whole_phase if not_set.isdisjoint(ports_of(change))]
        held_back = [
            change for change in phase if isinstance(change, SetFlags) and change.closes and change.port in open_ports
        ]
        failures += [Failure(change, "its entry could not be put, so the port stays open") for change in held_back]
        to_make = [change for change in phase if change not in held_back]
        to_make, refused = _send_or_split(to_make, kernel, snapshot)
        refused |= _not_there(to_make, refused, kernel, snapshot)
        refused |= _vids_not_there(to_make, refused, kernel)
        if undo := [change.undone for change in to_make if isinstance(change, SetVids) and change in refused]:
            _send(undo, kernel, snapshot)
            not_set.update(change.port for change in undo)
        for change in to_make:
            if change in refused:
                failures.append(Failure(change, refused[change]))
                if isinstance(change, SetEntries):
                    open_ports.update(entry.port for entry in change.after)
            else:
                made.append(change)
    return made, tuple(failures)


def execute_release(
    lock: WriterLock, changes: Sequence[Change], kernel: Kernel, snapshot: Snapshot
) -> tuple[list[Change], tuple[Failure, ...]]:
    """Opens ports, reads back, and only then drops entries: on a port that is still closed that is an outage."""
    opens = [change for change in changes if isinstance(change, SetFlags) and not change.closes]
    made, failures = execute(lock, opens, kernel, snapshot)
    now = kernel.read_snapshot(()).ports if opens else {}
    shut = {change.port for change in opens if change.port not in now or now[change.port].flags != change.after}
    rest = [change for change in changes if change not in opens]
    held_back = [change for change in rest if not shut.isdisjoint(ports_of(change))]
    more, refused = execute(lock, [change for change in rest if change not in held_back], kernel, snapshot)
    failures += tuple(Failure(change, "its port could not be opened, so its entry stays") for change in held_back)
    return [change for change in made if shut.isdisjoint(ports_of(change))] + more, failures + refused


def _phases(changes: Sequence[Change]) -> Iterable[list[Change]]:
    """Runs of changes of one kind, in order. One phase may be sent in one batch."""
    run: list[Change] = []
    for change in changes:
        if run and _phase(run[-1]) != _phase(change):
            yield run
            run = []
        run.append(change)
    if run:
        yield run


def _phase(change: Change) -> str:
    if isinstance(change, SetFlags):
        return "close" if change.closes else "open"
    if isinstance(change, SetVids):
        return "vids"
    return "put" if change.after else "drop"


def _send_or_split(
    changes: Sequence[Change], kernel: Kernel, snapshot: Snapshot
) -> tuple[list[Change], dict[Change, str]]:
    """Send ``changes``; the answer is what was sent in the end, and why some of it was refused.

    The driver of a switch refuses all flags of a request for the sake of one that it does not know (br_switchdev.c,
    br_switchdev_set_port_flag: EOPNOTSUPP), so there each flag is asked for by itself.
    """
    refusals = _send(changes, kernel, snapshot)
    parts = {
        change: one_flag_each(change)
        for change, refusal in refusals.items()
        if isinstance(change, SetFlags) and refusal.errno == errno.EOPNOTSUPP
    }
    single = [part for split in parts.values() if len(split) > 1 for part in split]
    if single:
        whole = [change for change in changes if change not in parts or len(parts[change]) == 1]
        refusals = {change: refusals[change] for change in whole if change in refusals}
        refusals |= _send(single, kernel, snapshot)
        changes = [*whole, *single]
    return list(changes), {change: refusal.text for change, refusal in refusals.items()}


def _send(changes: Sequence[Change], kernel: Kernel, snapshot: Snapshot) -> dict[Change, Refusal]:
    # by its place: the hash of a change is that of thousands of entries on a trunk, and so many requests may be refused
    batch = [(place, request) for place, change in enumerate(changes) for request in requests(change)]
    answers = kernel.send([request for _, request in batch], snapshot)
    refused = {place: answer for (place, _), answer in zip(batch, answers, strict=True) if answer is not None}
    return {changes[place]: refusal for place, refusal in refused.items()}


def _not_there(
    changes: Sequence[Change], refused: dict[Change, str], kernel: Kernel, snapshot: Snapshot
) -> dict[Change, str]:
    """The puts that the kernel acknowledged and does not show: an ACK alone proves nothing."""
    puts = [change for change in changes if isinstance(change, SetEntries) and change.after and change not in refused]
    if not puts:
        return {}
    wanted = {
        (change.bridge, entry.mac, entry.vid): (place, entry)
        for place, change in enumerate(puts)
        for entry in change.after
    }
    there = kernel.look_up(wanted, snapshot)
    lost = {
        place: f"the kernel acknowledged the entry in VID {entry.vid}, but does not show it"
        for key, (place, entry) in wanted.items()
        if (found := there.get(key)) is None or found.port != entry.port or found.state is not entry.state
    }
    return {puts[place]: why for place, why in lost.items()}


def _vids_not_there(changes: Sequence[Change], refused: Collection[Change], kernel: Kernel) -> dict[Change, str]:
    """The ports that do not carry the VIDs that the kernel acknowledged."""
    sent = [change for change in changes if isinstance(change, SetVids) and change not in refused]
    ports = kernel.read_snapshot(()).ports if sent else {}
    return {
        change: "the kernel acknowledged the VIDs, but the port does not carry them"
        for change in sent
        if (port := ports.get(change.port)) is None or port.vlans != change.after
    }
