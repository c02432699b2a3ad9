"""Decides what is read of which FDB: all of a managed bridge's, of any other the few entries that matter. Pure.

Whoever can send frames fills a bridge's table. So the table of a bridge that is nobody's business here is not read, and
one that is too long is not read to its end (`Snapshot.listed`). There the kernel is asked for the entries that the
planner's rules are about, each by its name: those of the guests' addresses, and of the addresses that are remembered.

An audit that compares nothing must not look like one that found nothing wrong. So bridges that are not here, tables
that are too long, and a host on which nothing is managed are findings.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from macmgr.model.changes import Change, SetEntries, SetVids
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent
from macmgr.model.known import Known, Memory
from macmgr.model.snapshot import MOST_LISTED, Key, Snapshot
from macmgr.options import nearest
from macmgr.phrases import are, first_few
from macmgr.planning.draft import MANY_VIDS, Carriers

_FEW = 5  # bridges that a line names


@dataclass(frozen=True, slots=True)
class Beside:
    """Somebody wants to see more than the plan is made of.

    ``bridges`` are listed too, and with ``whole`` all are, however long their tables. ``macs`` are looked for on each
    bridge, and with ``bystanders`` the addresses of guests that are not managed are on theirs.

    ``closed_ports`` is for who is in a hurry: where a table is too long, only these of the ports that learn nothing are
    listed, and those in scope that learn. None: all are.
    """

    bridges: frozenset[str] = frozenset()
    whole: bool = False
    macs: frozenset[str] = frozenset()
    bystanders: bool = False
    closed_ports: frozenset[str] | None = None


NOTHING_BESIDE = Beside()


def bridges_to_read(intent: Intent, memory: Memory, beside: Beside) -> frozenset[str]:
    """The bridges whose FDB the plan is made of."""
    remembered = [each.bridge for each in memory.ports] + [each.bridge for each in memory.macs]
    return beside.bridges.union(intent.managed_bridges, remembered)


def ports_to_read(intent: Intent, memory: Memory) -> frozenset[str]:
    """The ports of which all entries matter, however long the table: one that nothing asks for is reported.

    Those whose bridge is not known yet may be managed.
    """
    guests = {guest.port for guest in intent.ports if guest.managed} | {guest.port for guest in intent.unplaced}
    return frozenset(guests.union(each.port for each in memory.ports if each.domain))


def keys_to_look_up(intent: Intent, known: Known, snapshot: Snapshot, beside: Beside) -> Iterator[Key]:
    """The entries to ask for by name, on bridges whose FDB was not read to its end.

    Those of a managed guest in the VIDs in which it needs them. Where an address may be anywhere, in the VIDs that
    ports of the bridge have; but no trunk's, for a tenant must not decide how many thousands are asked for.
    """
    unlisted = {name for name in snapshot.bridges if not snapshot.lists(name)}
    if not unlisted:
        return
    memory, by_port = known.memory, {record.port: record for record in known.seen}
    carriers = Carriers(snapshot)
    wanted: set[tuple[str, str]] = set()
    for guest in intent.ports:
        port = snapshot.port_on(guest.bridge, guest.port)
        if guest.bridge not in unlisted or port is None:
            continue
        if guest.managed:
            record = by_port.get(guest.port)
            seen = (record.current, *record.macs, *record.moved) if record else ()
            macs = [mac for mac in (*guest.macs, guest.facts.configured_mac, guest.facts.current_mac, *seen) if mac]
            wanted.update((guest.bridge, mac) for mac in macs)
            yield from _keys(guest.bridge, macs, carriers.vids_of(port))
        elif beside.bystanders:
            yield from _keys(guest.bridge, guest.macs[:1], port.vids[:MANY_VIDS])
    for before in memory.ports:
        if before.bridge in unlisted and (port := snapshot.ports.get(before.port)) is not None:
            yield from _keys(before.bridge, (held.mac for held in before.held), carriers.vids_of(port))
    anywhere = {(each.bridge, each.mac) for each in memory.macs}
    anywhere |= {(guest.bridge, mac) for guest in intent.gone_ports for mac in guest.macs}
    anywhere -= wanted
    anywhere |= {(bridge, mac) for bridge in unlisted for mac in beside.macs}
    vids = {bridge: _vids(bridge, snapshot) for bridge in unlisted.intersection(bridge for bridge, _ in anywhere)}
    for bridge, mac in sorted(anywhere):
        if bridge in unlisted:
            yield from _keys(bridge, (mac,), vids[bridge])


def suspects(changes: Iterable[Change], intent: Intent, snapshot: Snapshot) -> list[Key]:
    """The entries that changes rest on: those they name, and for a port to be closed or opened its guest's MACs.

    VID 0 is dropped only together with every VID of its port, so a copy there that a dump left out counts as named.
    """
    guests = {guest.port: guest for guest in intent.ports}
    found: dict[Key, None] = {}
    vids_of = {name: port.vids for name, port in snapshot.ports.items()}
    for change in changes:
        if isinstance(change, SetVids):
            vids_of[change.port] = change.after.vids
        elif isinstance(change, SetEntries):
            named = {each.vid for each in (*change.before, *change.after)}
            if not change.after:
                named.update(*(vids_of[each.port] for each in change.before if each.vid == 0))
            found |= {(change.bridge, change.mac, vid): None for vid in named}
        else:
            macs = guests[change.port].macs if change.port in guests else ()  # a release needs no XML
            vids = vids_of[change.port]
            found |= {(change.bridge, mac, vid): None for mac in macs for vid in (0, *vids)}
    return list(found)


def _keys(bridge: str, macs: Iterable[str], vids: Iterable[int]) -> Iterator[Key]:
    vids = dict.fromkeys((0, *vids))
    return ((bridge, mac, vid) for mac in macs for vid in vids)


def _vids(bridge: str, snapshot: Snapshot) -> frozenset[int]:
    members = [port.vids for port in snapshot.ports.values() if port.bridge == bridge]
    return frozenset().union(*(vids for vids in (snapshot.bridges[bridge].vids, *members) if len(vids) <= MANY_VIDS))


def coverage_findings(intent: Intent, snapshot: Snapshot, reported: Iterable[Finding]) -> Iterator[Finding]:
    """Policy asks for it and it is not here. ``reported`` are the findings so far: a guest's own says it already."""
    named = {name: f'[bridge."{name}"] in the configuration' for name in intent.named} | dict(intent.managed_bridges)
    missing = sorted(named.keys() - snapshot.bridges.keys())
    known = {finding.bridge for finding in reported if finding.code is Code.WRONG_BRIDGE} if missing else set()
    for name in missing:
        if name not in known:
            meant = sorted(snapshot.bridges.keys() - set(intent.named)) if name in intent.named else []
            yield _missing(name, named[name], nearest(name, meant), snapshot)
    for name in sorted(intent.managed_bridges):
        if name in snapshot.bridges and not snapshot.lists(name):
            yield _too_long(name)
    if _manages_nothing(intent, snapshot):
        yield Finding(Code.NOTHING_MANAGED, f"nothing is managed here: {left_to_the_kernel(intent.ports)}")


def _too_long(bridge: str) -> Finding:
    return Finding(
        Code.TABLE_TOO_LONG,
        f"the MAC table of {bridge} has more than {MOST_LISTED:,} entries: only those of guests' addresses and on "
        "managed ports were read, not others, such as static ones left on an uplink",
        bridge,
        mends=(("bridge", "fdb", "show", "br", bridge, "dynamic"),),
        note="see who sends from so many addresses",
    )


def _manages_nothing(intent: Intent, snapshot: Snapshot) -> bool:
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
    return f"{who} on {first_few(bridges, _FEW)} {are(domains)} left to the kernel"


def _missing(name: str, place: str, meant: str | None, snapshot: Snapshot) -> Finding:
    what = "is no Linux bridge" if name in snapshot.masters else "is not here"
    hint = f"; did you mean {meant}?" if meant else ""
    return Finding(Code.NO_SUCH_BRIDGE, f"{name} {what}, but policy names it ({place}){hint}", name)
