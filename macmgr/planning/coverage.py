"""Reports what was not looked at: bridges that are not here, tables that are too long, nothing managed.

Pure. An audit that compares nothing must not look like one that found nothing wrong.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.snapshot import MOST_LISTED, Snapshot
from macmgr.options import nearest

_FEW = 5  # bridges that a line names


def coverage_findings(intent: Intent, snapshot: Snapshot, told: Iterable[Finding]) -> Iterator[Finding]:
    """Policy asks for it and it is not here. ``told`` are the findings so far: a guest's own says it already."""
    named = {name: f'[bridge."{name}"] in the configuration' for name in intent.named} | dict(intent.managed_bridges)
    missing = sorted(named.keys() - snapshot.bridges.keys())
    known = {finding.bridge for finding in told if finding.code is Code.WRONG_BRIDGE} if missing else set()
    for name in missing:
        if name not in known:
            meant = sorted(snapshot.bridges.keys() - set(intent.named)) if name in intent.named else []
            yield _missing(name, named[name], nearest(name, meant), snapshot)
    yield from (_too_long(name) for name in sorted(intent.managed_bridges) if _is_too_long(name, snapshot))
    if manages_nothing(intent, snapshot):
        yield Finding(Code.NOTHING_MANAGED, f"nothing is managed here: {left_to_the_kernel(intent.ports)}")


def _is_too_long(bridge: str, snapshot: Snapshot) -> bool:
    return bridge in snapshot.bridges and not snapshot.lists(bridge)


def _too_long(bridge: str) -> Finding:
    return Finding(
        Code.TABLE_TOO_LONG,
        f"the MAC table of {bridge} has more than {MOST_LISTED:,} entries: those of guests' addresses and on managed "
        "ports were read; of all others, such as static ones left on an uplink, nothing is said",
        bridge,
        mends=(("bridge", "fdb", "show", "br", bridge, "dynamic"),),
        note="see who sends from so many addresses",
    )


def manages_nothing(intent: Intent, snapshot: Snapshot) -> bool:
    """No bridge here and no guest's port is managed."""
    here = not snapshot.bridges.keys().isdisjoint(intent.managed_bridges)
    return not here and not any(guest.managed for guest in intent.ports)


def left_to_the_kernel(guests: Iterable[GuestPort]) -> str:
    """The guests that nobody but the kernel manages, in words."""
    guests = list(guests)
    bridges = sorted({guest.bridge for guest in guests if guest.bridge})
    if not bridges:
        return "no guest has a port on a bridge"
    domains = {guest.domain for guest in guests}
    who = next(iter(domains)) if len(domains) == 1 else f"{len(domains)} guests"
    on = ", ".join(bridges[:_FEW]) + (f" and {len(bridges) - _FEW} more" if len(bridges) > _FEW else "")
    return f"{who} on {on} {'is' if len(domains) == 1 else 'are'} left to the kernel"


def _missing(name: str, place: str, meant: str | None, snapshot: Snapshot) -> Finding:
    what = "is no Linux bridge" if name in snapshot.masters else "is not here"
    hint = f"; did you mean {meant}?" if meant else ""
    return Finding(Code.NO_SUCH_BRIDGE, f"{name} {what}, and policy names it ({place}){hint}", name)
