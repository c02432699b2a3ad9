"""Prints where frames go for `macmgr trace`: the answer first, then each way with who gets them and who does not.

The model decides (`macmgr.forwarding`). Here its answers get names, and ports with one fate share a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from macmgr.forwarding.reasons import Fate, Learned, Reason
from macmgr.forwarding.tracewords import because, moved, tagged
from macmgr.forwarding.tracing import Owner, Sender, Trace, guests_with, vids_of
from macmgr.model.intent import GuestPort
from macmgr.model.relay import Tag
from macmgr.model.roles import Role, roles_of
from macmgr.model.vids import fold_vids
from macmgr.phrases import counted, listed
from macmgr.view import View

_MOST = 6  # ports that a row names; more are counted by their role
_PARTS = 4  # of a verdict
_FEW = 2  # ports of one role that it names then
_HOST = "the host"
_ORDER = (True, None, False)
Row = tuple[str, str, str]


@dataclass(frozen=True)
class Traced:
    """All ways of the frames for one destination. ``vid`` is the one asked for, and so is the ``group`` of IP."""

    view: View
    destination: str
    traces: Sequence[Trace]
    vid: int | None = None
    group: str = ""

    @property
    def arrives(self) -> bool | None:
        """Somebody gets a frame; None if nobody surely does and somebody may."""
        fates = {fate.reached for trace in self.traces for fate in trace.fates.values()}
        return True if True in fates else None if None in fates else False

    @cached_property
    def guests(self) -> Mapping[str, GuestPort]:
        there = self.view.snapshot
        return {each.port: each for each in self.view.intent.ports if there.port_on(each.bridge, each.port)}

    @cached_property
    def roles(self) -> Mapping[str, Role]:
        return roles_of(self.view.snapshot.ports.values(), {guest.port for guest in self.view.intent.ports})

    def name(self, place: str, *, nic: bool = False) -> str:
        """Returns a port with what is behind it, or the host for a bridge."""
        if place in self.view.snapshot.bridges:
            return _HOST
        if (guest := self.guests.get(place)) is not None:
            return f"{place} of {guest.domain}{f' ({guest.alias})' if nic and guest.alias else ''}"
        return f"{place} ({self.roles[place].words})"

    def names(self, places: Sequence[str], first: str = "") -> str:
        """Names the host first, and the NIC of a guest where the port is alone.

        More than a few ports are counted by their role, but for the ``first``.
        """
        ordered = sorted(places, key=lambda place: place not in self.view.snapshot.bridges)
        if len(ordered) <= _MOST:
            return ", ".join(self.name(place, nic=len(ordered) == 1) for place in ordered)
        alike: dict[str, list[str]] = {}
        for place in ordered:
            kind = _HOST if place in self.view.snapshot.bridges else self.roles[place].words
            alike.setdefault("" if place == first else f"{kind} port", []).append(place)
        named = [
            ", ".join(map(self.name, those)) if len(those) <= _FEW else counted(len(those), kind)
            for kind, those in sorted(alike.items(), key=lambda item: item[0] != "")
        ]
        return listed(named)

    def target(self, trace: Trace) -> str:
        """The port behind which the destination is to be; empty for a group, and for an address that nobody knows."""
        answer = trace.answer
        ports = [name for name, guest in self._mine.items() if guest.bridge == answer.bridge]
        if len(ports) > 1:
            ports = [port for port in ports if answer.vid in self.view.snapshot.ports[port].vids] or ports
        if ports:
            return next((port for port in ports if trace.fates[port].reached), ports[0])
        port = answer.aim.port if answer.aim.entry else None
        return port if port and self.view.snapshot.bridge_of(port) == answer.bridge else ""

    @property
    def succeeds(self) -> bool:
        """A frame surely gets to its destination, from one of its senders at least: another port's is no success."""
        return any(self.reached(trace) for trace in self.traces)

    def reached(self, trace: Trace) -> bool | None:
        """The destination gets the frame; of a group, or of an address that nobody knows, somebody does."""
        target = self.target(trace)
        fates = {fate.reached for fate in ([trace.fates[target]] if target else trace.fates.values())}
        return True if True in fates else None if None in fates else False

    @cached_property
    def verdicts(self) -> list[str]:
        """One sentence for each bridge and VLAN."""
        groups: dict[tuple[str, int, str], list[Trace]] = {}
        for trace in self.traces:
            target = self.target(trace)
            vid = (self.vid or trace.senders[0].vid or 0) if target else trace.answer.vid
            groups.setdefault((trace.answer.bridge, vid, target), []).append(trace)
        several = [len({key[index] for key in groups}) > 1 for index in (0, 1)]
        return [
            f"{f'{bridge}: ' if several[0] else ''}"
            f"{f'in VLAN {vid}, ' if several[1] and vid else ''}{self._verdict(target, traces)}."
            for (bridge, vid, target), traces in groups.items()
        ]

    def _verdict(self, target: str, traces: Sequence[Trace]) -> str:
        """Who gets the frame, from whom, and why not from others."""
        alone = sum(len(trace.senders) for trace in self.traces) == 1
        said = self._targeted(target, traces, alone) if target else self._untargeted(traces, alone)
        return "; ".join(said[:_PARTS] + ([f"for {len(said) - _PARTS} more ways see below"] if said[_PARTS:] else []))

    def _targeted(self, target: str, traces: Sequence[Trace], alone: bool) -> list[str]:
        said: list[str] = []
        for reached in (True, None):
            if those := [trace for trace in traces if self.reached(trace) is reached]:
                tags = tagged(those[0].fates[target].tags)
                why = f": {self._why(target, those[0])}" if reached is None else ""
                said.append(f"{self._at(target, reached)}, {tags}{self._from_whom(those, alone)}{why}")
        lost: dict[str, list[Trace]] = {}
        for trace in traces:
            if self.reached(trace) is False:
                lost.setdefault(self._why(target, trace), []).append(trace)
        for number, (why, those) in enumerate(lost.items()):
            start = self._at(target, False) if not said else "not" if number == 0 else "nor"
            everywhere = len(lost) == 1 and not said and not alone
            origin = " from anywhere" if everywhere else self._from_whom(those, alone).lstrip(",")
            others = list(dict.fromkeys(name for each in those for name, fate in each.fates.items() if fate.reached))
            verb = "gets" if len(others) == 1 else "get"
            instead = f"; {self.names(others)} {verb} it instead" if others else ""
            said.append(f"{start}{origin}: {why}{instead}")
        return said

    def _untargeted(self, traces: Sequence[Trace], alone: bool) -> list[str]:
        """A frame for a group, or for an address that nobody knows. Ports that get it from each other are one part."""
        together: dict[tuple[bool | None, frozenset[str], str], list[Trace]] = {}
        for trace in sorted(traces, key=lambda trace: _ORDER.index(self.reached(trace))):
            those = self._those(trace)
            why = because(trace.fates[those[0]].reason, trace.answer.vid, "", "") if those else self._why("", trace)
            everybody = frozenset(those).union(sender.place for sender in trace.senders)
            together.setdefault((self.reached(trace), everybody, why), []).append(trace)
        said = []
        for (reached, everybody, why), alike in together.items():
            senders = {sender.place for trace in alike for sender in trace.senders}
            whole = all(len(trace.senders) == 1 or everybody == {*self._those(trace)} for trace in alike)
            each_other = not alone and bool(reached) and whole and senders == everybody
            for trace in alike[:1] if each_other else alike:
                origin = " from each other" if each_other else self._from_whom([trace], alone)
                those = [name for name in trace.fates if name in everybody] if each_other else self._those(trace)
                verb = "may get it" if reached is None else "gets it" if len(those) < 2 else "get it"
                if trace.answer.stopped is Reason.LINK_LOCAL:
                    verb = "gets it by way of the bridge"
                said.append(f"{self.names(those) or 'nobody'} {verb}{origin}: {why}")
        return said

    def _those(self, trace: Trace) -> list[str]:
        """Those that get the frame, or else those that may."""
        reached = self.reached(trace)
        return [name for name, fate in trace.fates.items() if fate.reached is reached is not False]

    def _from_whom(self, traces: Sequence[Trace], alone: bool) -> str:
        senders = [sender.place for trace in traces for sender in trace.senders]
        return "" if alone else f", from {self.names(senders)}"

    def _at(self, target: str, reached: bool | None) -> str:
        """The frame at its destination: a guest, the host, or a port that leads to it."""
        if target not in self.view.snapshot.bridges and target not in self._mine:
            leaves = {True: "leaves", None: "may leave", False: "does not leave"}[reached]
            return f"a frame to {self.destination} {leaves} by {self.name(target)}"
        gets = {True: "gets it", None: "may get it", False: "does not get it"}[reached]
        if target in self.view.snapshot.bridges:
            return f"{_HOST} {gets}"
        where = "" if reached is False else f" on {target}"
        return f"{self.destination} of {self._mine[target].domain} {gets}{where}"

    @cached_property
    def _mine(self) -> Mapping[str, GuestPort]:
        """The guests' ports with the destination's address."""
        return {each.port: each for each in guests_with(self.view.snapshot, self.view.intent, self.destination)}

    def _why(self, target: str, trace: Trace) -> str:
        answer = trace.answer
        sender = self.name(trace.senders[0].place) if len(trace.senders) == 1 else ""
        if answer.stopped is not None:
            return because(answer.stopped, answer.vid, sender, "")
        fates = trace.fates
        place = target or next(iter(name for name in fates if name != trace.senders[0].place), answer.bridge)
        why = because(fates[place].reason, answer.vid, sender, self.name(place))
        entry = answer.entry
        return f"its entry leads to {entry.port} ({entry.in_words})" if entry and entry.port != place else why

    def notes(self) -> Iterator[str]:
        """What a reader may take wrongly: a tag that no bridge reads, a VLAN that nobody asked for, a shared MAC.

        And what one more frame would do.
        """
        yield from self._taken_away()
        if self.group:
            yield f"Frames for {self.group} have the destination {self.destination}."
        elif any(fate.reason is Reason.PACKET for trace in self.traces for fate in trace.fates.values()):
            yield f"Several groups share {self.destination}: --to takes the IP address of one."
        for name in dict.fromkeys(trace.answer.bridge for trace in self.traces):
            filtering = self.view.snapshot.bridges[name].vlan_filtering
            if self.vid and not filtering:
                yield f"{name} does not filter VLANs: it does not read the tag of VLAN {self.vid}."
            there = [guest for guest in self._mine.values() if guest.bridge != name]
            if there and len(there) == len(self._mine):
                yield f"{self.destination} of {there[0].domain} is on {there[0].bridge}; this is what {name} does."
            vids = vids_of(self.view.snapshot, self.view.intent, name, self.destination)
            used = {trace.answer.vid for trace in self.traces if trace.answer.bridge == name}
            if not self.vid and filtering and set(vids) - used:
                which = f" {vids[0]}" if len(vids) == 1 else ""
                yield f"On {name}, {self.destination} is in VLAN {fold_vids(vids)}: --vid{which} sends the frame there."

    def _taken_away(self) -> Iterator[str]:
        for reach in self.view.reaches:
            if reach.mac == self.destination and reach.taken_from and reach.guest.port in self._mine:
                yield (
                    f"One frame from {self.names(reach.taken_from)} with {reach.mac} as its source takes it away from "
                    f"{reach.guest.port}, and no frame of the guest's brings it back."
                )

    def rows(self, trace: Trace) -> Iterator[Row]:
        """A label, somebody, and what there is to say; each label once."""
        yield from _labelled("From", self._from(trace))
        answer = trace.answer
        if answer.stopped is not None:
            sender = trace.senders[0].place if len(trace.senders) == 1 else ""
            yield "Stopped", answer.bridge, because(answer.stopped, answer.vid, sender, "")
        elif answer.entry is not None:
            yield "Entry", self.destination, f"leads to {answer.entry.port} ({answer.entry.in_words})"
        if answer.stopped is None:
            target = self.target(trace)
            ordered = sorted(trace.fates.items(), key=lambda item: item[0] != target)
            fates = {name: fate for name, fate in ordered if not self._is_sender(trace, name, fate)}
            for reached, label in zip(_ORDER, ("Gets it", "May get it", "Does not"), strict=True):
                yield from _labelled(label, self._fates(trace, fates, reached))
        yield from _labelled("Then", self._learned(trace))

    @staticmethod
    def _is_sender(trace: Trace, name: str, fate: Fate) -> bool:
        """The sender's own row is left out, unless the destination is behind the same port."""
        return len(trace.senders) == 1 and not fate.reached and name == trace.senders[0].place != trace.answer.aim.port

    def _from(self, trace: Trace) -> Iterator[tuple[str, str]]:
        alike: dict[tuple[tuple[Tag, ...], str], list[Sender]] = {}
        for sender, answer in zip(trace.senders, trace.answers, strict=True):
            shared = "" if sender.owner is Owner.GUEST else sender.source
            alike.setdefault((answer.entered.frame.tags, shared), []).append(sender)
        for (tags, _), senders in alike.items():
            first, one = senders[0], len(senders) == 1
            source = {
                Owner.GUEST: f"{first.source}, the guest's own" if one else "each guest's own address",
                Owner.HOST: f"{first.source}, the host's own",
                Owner.GIVEN: first.source,
                Owner.NOBODY: f"{first.source}, which no entry has",
            }[first.owner]
            yield self.names([sender.place for sender in senders]), f"{tagged(tags)}, as {source}"

    def _fates(self, trace: Trace, fates: Mapping[str, Fate], reached: bool | None) -> Iterator[tuple[str, str]]:
        alike: dict[tuple[str, tuple[Tag, ...]], list[str]] = {}
        for name, fate in fates.items():
            if fate.reached is reached:
                sender = trace.senders[0].place if len(trace.senders) == 1 else ""
                why = because(fate.reason, trace.answer.vid, sender, "it")
                alike.setdefault((why, fate.tags if reached is not False else ()), []).append(name)
        for (why, tags), names in alike.items():
            yield self.names(names, self.target(trace)), why if reached is False else f"{tagged(tags)}: {why}"

    def _learned(self, trace: Trace) -> Iterator[tuple[str, str]]:
        new = [each for each in trace.answers if each.move.learned is Learned.NEW]
        if new:
            what = moved(new[0].move, new[0].entered.frame.source if len(new) == 1 else "the source address")
            yield self.names([each.entered.port.name for each in new if each.entered.port]), what
        for answer in trace.answers:
            if answer.entered.port and answer not in new and (what := moved(answer.move, answer.entered.frame.source)):
                yield self.name(answer.entered.port.name), what


def _labelled(label: str, rows: Iterable[tuple[str, str]]) -> Iterator[Row]:
    for index, (who, what) in enumerate(rows):
        yield label if index == 0 else "", who, what
