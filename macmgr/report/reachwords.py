"""Says who reaches a guest, who does not, and why, in words for people. The forwarding model decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from macmgr.forwarding.consequences import PEERS, Reach, Way
from macmgr.forwarding.tracewords import because
from macmgr.model.intent import GuestPort
from macmgr.model.roles import Role
from macmgr.model.vids import fold_vids
from macmgr.phrases import first_few, listed
from macmgr.planning.reached import unreached

_FEW = 3  # ports that a line names
_MANY = {Role.GUEST: "other guests", Role.CONTAINER: "containers", Role.TAP: "foreign taps"}


def reach_lines(reaches: Iterable[Reach], guests: Mapping[str, GuestPort]) -> list[str]:
    """Returns a line for each address, in VIDs in which all is alike: who reaches it, who does not, and why."""
    return [f"{reach.mac}{in_vids(reach.vids)}: {'; '.join(_line(reach, guests))}" for reach in reaches]


def _line(reach: Reach, guests: Mapping[str, GuestPort]) -> Iterator[str]:
    if yes := from_whom(reach, guests):
        yield f"reached from {listed(yes)}"
    lost: dict[tuple[str, str], list[Way]] = {}
    for way in reach.ways:
        if not way.reached:
            how = "not from" if way.reached is False else "perhaps from"
            lost.setdefault((how, _why(reach, way)), []).append(way)
    for (how, why), ways in lost.items():
        yield f"{how} {listed(_names(ways, guests, all_of={}))}: {why}"
    if not reach.ways:
        yield f"nobody is on {reach.guest.bridge} with it"
    if reach.taken_from:
        yield f"one frame from {first_few(reach.taken_from, _FEW)} takes it away"


def from_whom(reach: Reach, guests: Mapping[str, GuestPort]) -> list[str]:
    """Returns those that reach the guest; other guests together, if all of them do."""
    all_of = {
        role: all(way.reached for way in reach.ways if way.role is role)
        and sum(len(way.others) for way in reach.ways if way.role is role) > 1
        for role in PEERS
    }
    return _names([way for way in reach.ways if way.reached], guests, all_of)


def why_not(reach: Reach) -> str:
    """Returns why the guest is not reached from beyond this host, or why nobody can say; empty if it is."""
    way = next((way for way in reach.outside if not way.reached), None)
    return _why(reach, way) if way is not None and reach.reached is not True else ""


def in_vids(vids: Sequence[int]) -> str:
    return f" in VID {fold_vids(vids)}" if vids and tuple(vids) != (0,) else ""


def answer(who: str, reaches: Sequence[Reach], guests: Mapping[str, GuestPort], *, explained: bool) -> str:
    """Says in one sentence if a guest's own address is reached, from whom and in which VIDs.

    ``explained``: a finding says why it is not, so the sentence does not.
    """
    said = reach_phrases(reaches, guests, explained=explained)
    more = f"; {len(said) - _FEW} more VLANs below" if said[_FEW:] else ""
    return f"{who} is {'; '.join(said[:_FEW])}{more}"


def reach_phrases(reaches: Sequence[Reach], guests: Mapping[str, GuestPort], *, explained: bool) -> list[str]:
    """Returns a phrase for the VIDs in which all is alike, those first in which the guest is not reached."""
    cut_off = (each for each in reaches if each.cut_off) if explained else (each for each, _ in unreached(reaches))
    lost = {id(reach) for reach in cut_off}
    groups: dict[tuple[bool, bool | None, tuple[str, ...]], list[Reach]] = {}
    for reach in reaches:
        groups.setdefault((id(reach) in lost, reach.reached, tuple(from_whom(reach, guests))), []).append(reach)
    said: list[str] = []
    for (cut, reached, yes), alike in sorted(groups.items(), key=lambda item: _rank(*item[0][:2])):
        vids = sorted({vid for reach in alike for vid in reach.vids})
        why = "" if explained else why_not(alike[0])
        said.append(_said(reached, yes, in_vids(vids), why, cut=cut, led_out=bool(alike[0].outside)))
    return said


def _rank(cut: bool, reached: bool | None) -> int:
    """VLANs that lead nowhere, and that nobody asks for, come last."""
    return 0 if cut else (None, True, False).index(reached) + 1


def _said(reached: bool | None, yes: tuple[str, ...], vids: str, why: str, *, cut: bool, led_out: bool) -> str:
    from_them = f" from {listed(yes)}" if yes else ""
    because_of = f", because {why}" if why else ""
    if reached:
        return f"reached{vids}{from_them}"
    if reached is False:
        many = len(yes) > 1 or yes[:1] != ("the host",)
        only = f": only {listed(yes)} {'reach' if many else 'reaches'} it" if yes else ""
        return f"{'cut off' if cut else 'not reached'}{vids}{only}{because_of}"
    if not led_out:
        return f"reached{vids}{from_them}; nothing leads beyond this host" if yes else f"alone{vids}: nobody is there"
    return f"perhaps not reached{vids}: nobody can say{because_of}"


def _names(ways: Iterable[Way], guests: Mapping[str, GuestPort], all_of: Mapping[Role, bool]) -> list[str]:
    names: list[str] = []
    ports: dict[Role, list[str]] = {}
    for way in ways:
        if way.role is None:
            names.append("the host")
        elif way.role is Role.UPLINK:
            names.append(f"the uplink{'s' * (len(way.others) > 1)} {first_few(way.others, _FEW)}")
        else:
            ports.setdefault(way.role, []).extend(way.others)
    for role, those in ports.items():
        if all_of.get(role):
            names.append(_MANY[role])
        elif len(those) > _FEW:
            names.append(f"{len(those)} {_MANY[role]}")
        else:
            names += [f"{port} of {guests[port].domain}" if port in guests else port for port in those]
    return sorted(names, key=lambda name: not name.startswith("the uplink"))


def _why(reach: Reach, way: Way) -> str:
    """The reason why the first of the three frames is lost: the one for the guest, the broadcast, its own."""
    vid, own = reach.vids[0] if reach.vids else 0, reach.guest.port
    other = "the host" if way.role is None else way.others[0] if len(way.others) == 1 else ""
    for fate, before in ((way.there, ""), (way.broadcast, "broadcasts, which ask for its address, do not arrive: ")):
        if not fate.reached:
            if way.instead and not before:
                return f"frames for it go to {first_few(way.instead, _FEW)} instead"
            return before + because(fate.reason, vid, other, own if way.here else "")
    if way.back.reached:
        return ""
    place = "" if way.here else other or "the other port"
    return f"its own frames do not arrive: {because(way.back.reason, vid, own, place)}"
