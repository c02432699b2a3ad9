"""What is wrong between hosts, and right on each of them alone. Pure.

Each host's own audit says who reaches its guests: nothing about a frame is judged here. This joins what they say.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import TypeVar

from macmgr.comparing.hostaudits import HostAudit, HostGuest, LeftEntry
from macmgr.model.codes import Consequence
from macmgr.model.vids import fold_vids
from macmgr.phrases import listed

_MOMENT = 60  # seconds between two audits, in which a guest may have moved
_MANY = 12  # of one kind, of which each pair is named
_FIRST = tuple(Consequence)


_T = TypeVar("_T")


class Word(StrEnum):
    """The kinds of differences, for scripts."""

    ALIVE_TWICE = "alive-twice"
    ALIVE_NOWHERE = "alive-nowhere"
    DUPLICATE_MAC = "duplicate-mac"
    UNREACHED = "unreached"
    LEFT_BEHIND = "left-behind"
    MANAGERS = "managers-differ"
    PINS = "pins-differ"
    VLANS = "vlans-differ"


@dataclass(frozen=True, slots=True)
class Difference:
    """``hosts`` are those it is between; one alone is at odds with all others. ``fix`` is for the host ``fix_on``."""

    word: Word
    consequence: Consequence
    hosts: tuple[str, ...]
    message: str
    domain: str = ""
    mac: str = ""
    network: str = ""
    note: str = ""
    fix: str = ""
    fix_on: str = ""


def differences(audits: Sequence[HostAudit]) -> list[Difference]:
    """Returns what is wrong between the hosts: by hosts, those first where the consequence is the worst."""
    guests = [guest for audit in audits for guest in audit.guests]
    found = [*_lives(guests, audits), *_duplicates(guests), *_moved(guests, audits), *_networks(guests, audits)]
    worst: dict[tuple[str, ...], int] = {}
    for each in found:
        rank = _FIRST.index(each.consequence)
        worst[each.hosts] = min(rank, worst.get(each.hosts, rank))
    return sorted(
        dict.fromkeys(found),
        key=lambda each: (worst[each.hosts], each.hosts, _FIRST.index(each.consequence), each.domain, each.message),
    )


def _lives(guests: Iterable[HostGuest], audits: Iterable[HostAudit]) -> Iterator[Difference]:
    """Finds guests that run on two hosts, and those that several hosts have and none runs."""
    taken = {audit.host: audit.taken_at for audit in audits}
    for found in _grouped(guests, lambda guest: guest.uuid).values():
        hosts = _hosts(found)
        if len(hosts) < 2 or not found[0].uuid:
            continue
        running = _hosts(guest for guest in found if guest.running)
        times = [taken[host] for host in hosts]
        apart = int((max(times) - min(times)).total_seconds())
        note = f"the audits are {apart} s apart, and it may have moved in between" if apart > _MOMENT else ""
        domain, mac = found[0].domain, found[0].macs[0] if found[0].macs else ""
        if not running:
            what = f"{domain} is on {listed(hosts)}, and runs on none of them: nobody answers for it"
            yield Difference(Word.ALIVE_NOWHERE, Consequence.CUT_OFF, hosts, what, domain, mac, note=note)
        for pair in _pairs(running):
            what = f"{domain} runs on {listed(pair)}: each of the two gets a part of its frames"
            stop = note or "end it on one of them before it writes to its disk from both"
            yield Difference(Word.ALIVE_TWICE, Consequence.CUT_OFF, pair, what, domain, mac, note=stop)


def _duplicates(guests: Iterable[HostGuest]) -> Iterator[Difference]:
    """Finds two guests with one address. Allowed addresses are shared on purpose, as a virtual router's."""
    heard = (each for each in guests if each.running and each.macs and not each.alone)
    for mac, found in _grouped(heard, lambda guest: guest.macs[0]).items():
        for one, other in _pairs(found):
            apart = one.vids is not None and other.vids is not None and not one.vids & other.vids
            if one.uuid == other.uuid or one.host == other.host or apart:
                continue
            first, second = sorted((one, other), key=lambda each: each.host)
            yield Difference(
                Word.DUPLICATE_MAC,
                Consequence.CUT_OFF,
                (first.host, second.host),
                f"{first.domain} on {first.host} and {second.domain} on {second.host} both have {mac}: where their "
                "networks are one, frames go to who has sent last",
                first.domain,
                mac,
                note="give one of them another address, unless their networks are apart",
            )


def _moved(guests: Iterable[HostGuest], audits: Iterable[HostAudit]) -> Iterator[Difference]:
    """Finds guests that nobody beyond their host reaches, and entries that they left on other hosts."""
    running: dict[str, list[HostGuest]] = defaultdict(list)
    traces: dict[str, set[str]] = defaultdict(set)
    for guest in guests:
        traces[guest.uuid].add(guest.host)
        for mac in guest.macs if guest.running else ():
            running[mac].append(guest)
    for left in (left for audit in audits for left in audit.left):
        here = any(guest.host == left.host for guest in running[left.mac])
        for guest in () if here else running[left.mac]:
            traces[guest.uuid].add(left.host)
            yield _left_behind(left, guest)
    for guest in dict.fromkeys(guest for found in running.values() for guest in found if guest.unreached):
        others = sorted(traces[guest.uuid] - {guest.host}) if guest.uuid else []
        for hosts in [tuple(sorted((guest.host, other))) for other in others] or [(guest.host,)]:
            yield Difference(
                Word.UNREACHED,
                Consequence.CUT_OFF,
                hosts,
                f"other hosts do not reach {guest.domain} on {guest.host}: {guest.unreached}",
                guest.domain,
                guest.macs[0],
                fix=guest.fix,
                fix_on=guest.host if guest.fix else "",
            )


def _left_behind(left: LeftEntry, guest: HostGuest) -> Difference:
    where = f"{left.port} of {left.host}"
    if left.on_uplink:
        consequence = Consequence.AT_RISK
        then = f"it is cut off when it comes to {left.host} again"
    else:
        consequence = Consequence.CUT_OFF
        then = f"frames for it from {left.host} go there"
    return Difference(
        Word.LEFT_BEHIND,
        consequence,
        (min(left.host, guest.host), max(left.host, guest.host)),
        f"{guest.domain} runs on {guest.host} and has left a static entry for {left.mac} on {where}: {then}",
        guest.domain,
        left.mac,
        fix=left.fix,
        fix_on=left.host if left.fix else "",
    )


def _networks(guests: Iterable[HostGuest], audits: Iterable[HostAudit]) -> Iterator[Difference]:
    """Finds libvirt networks of one name that treat their guests otherwise. Those are known by the guests on them."""
    uplinks = {(audit.host, name): vids for audit in audits for name, vids in audit.uplinks.items()}
    named = [guest for guest in guests if guest.network]
    for (network, group), found in _grouped(named, lambda guest: (guest.network, guest.portgroup)).items():
        name = f"{network} (portgroup {group})" if group else network
        yield from _settings(Word.MANAGERS, Consequence.EXPOSED, name, found, lambda each: each.manager)
        managed = [each for each in found if each.manager == "libvirt"]
        yield from _settings(Word.PINS, Consequence.AT_RISK, name, managed, lambda each: each.pin)
    for network, found in _grouped(named, lambda guest: guest.network).items():
        yield from _vlans(network, found, {(each.host, each.bridge) for each in found}, uplinks)


def _settings(
    word: Word,
    consequence: Consequence,
    network: str,
    guests: Iterable[HostGuest],
    setting: Callable[[HostGuest], str],
) -> Iterator[Difference]:
    """Holds each host against what most have. A guest's own metadata differs on one host, too, and says nothing."""
    values = {
        host: frozenset(filter(None, map(setting, found)))
        for host, found in sorted(_grouped(guests, lambda guest: guest.host).items())
    }
    values = {host: said for host, said in values.items() if said}
    usual, _ = Counter(values.values()).most_common(1)[0] if values else (frozenset(), 0)
    example = next((host for host, said in values.items() if said == usual), "")
    rest = sum(said == usual for said in values.values()) - 1
    others = f"{example} and {rest} more" if rest else example
    what = "who manages the MAC table" if word is Word.MANAGERS else "the pin of entries"
    for host, said in values.items():
        if not said & usual:
            one, other = listed(sorted(said)), listed(sorted(usual))
            yield Difference(
                word,
                consequence,
                (min(host, example), max(host, example)),
                f"network {network}: {what} is {one} on {host}, and {other} on {others}",
                network=network,
                note="a guest that moves between them changes its protection; make the network the same on both",
            )


def _vlans(
    network: str,
    guests: Iterable[HostGuest],
    places: Iterable[tuple[str, str]],
    uplinks: dict[tuple[str, str], frozenset[int] | None],
) -> Iterator[Difference]:
    """Finds VLANs of a network's guests that its uplinks on another host do not carry."""
    users: dict[int, HostGuest] = {}
    for guest in guests:
        for vid in sorted(guest.vids or ()):
            users.setdefault(vid, guest)
    for host, bridge in sorted(places):
        carried = uplinks.get((host, bridge))
        lost = sorted(vid for vid in users if carried is not None and vid not in carried and users[vid].host != host)
        if lost:
            guest = users[lost[0]]
            yield Difference(
                Word.VLANS,
                Consequence.AT_RISK,
                (min(host, guest.host), max(host, guest.host)),
                f"network {network}: no uplink of {bridge} on {host} carries VID {fold_vids(lost)}, in which "
                f"{guest.domain} is on {guest.host}: it is cut off when it moves there",
                guest.domain,
                network=network,
            )


def _pairs(things: Sequence[_T]) -> Iterator[tuple[_T, _T]]:
    """Yields each pair; of many, each with the first one."""
    yield from combinations(things, 2) if len(things) <= _MANY else ((things[0], each) for each in things[1:])


def _hosts(guests: Iterable[HostGuest]) -> tuple[str, ...]:
    return tuple(sorted({guest.host for guest in guests}))


def _grouped(guests: Iterable[HostGuest], key: Callable[[HostGuest], _T]) -> dict[_T, list[HostGuest]]:
    groups: dict[_T, list[HostGuest]] = defaultdict(list)
    for guest in guests:
        groups[key(guest)].append(guest)
    return groups
