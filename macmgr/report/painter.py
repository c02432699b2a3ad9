"""Makes the picture of one look: bridges, what is on them, who reaches each guest, what is wrong. Decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from macmgr.forwarding.consequences import Reach
from macmgr.model.codes import Consequence, Severity
from macmgr.model.findings import Finding
from macmgr.model.intent import GuestPort
from macmgr.model.roles import roles_of
from macmgr.model.snapshot import Bridge, BridgePort, Stacked
from macmgr.phrases import first_few
from macmgr.report.picture import NAME, Box, Leaf, Line, Look, Picture, Yard, folded, in_vlans, said, shortened
from macmgr.report.portwords import PortWord, bridge_words, guest_word, port_faults
from macmgr.report.reachwords import reach_phrases
from macmgr.report.verdict import MARKED, verdict_of
from macmgr.view import View

_FEW = 3
_LOOKS = {
    PortWord.NOTHING: Look.PLAIN,
    PortWord.OK: Look.PLAIN,
    PortWord.LEFT: Look.DRIFT,
    PortWord.WARNING: Look.DRIFT,
    PortWord.AT_RISK: Look.AT_RISK,
    PortWord.DRIFT: Look.DRIFT,
    PortWord.CUT_OFF: Look.CUT_OFF,
}


def picture_of(view: View, *, each: bool = False) -> Picture:
    """Returns the picture of what is in scope. With ``each``, nothing is folded, however many guests there are."""
    return _Painter(view, each=each).paint()


class _Painter:
    def __init__(self, view: View, *, each: bool) -> None:
        self._view, self._each = view, each
        self._guests = {guest.port: guest for guest in view.intent.ports}
        self._nics = Counter(guest.domain for guest in view.intent.ports)
        self._roles = roles_of(view.snapshot.ports.values(), self._guests)
        self._verdict = verdict_of(view)
        self._faults = port_faults(view, self._verdict.at_risk)
        self._reaches: dict[str, list[Reach]] = {}
        for reach in view.reaches:
            self._reaches.setdefault(reach.guest.port, []).append(reach)
        self._findings: dict[tuple[str, str], list[Finding]] = {}
        for finding in view.plan.findings:
            self._findings.setdefault((finding.bridge * (not finding.port), finding.port), []).append(finding)
        self._keys: set[str] = set()
        self._places: dict[str, str] = {}  # the box in which an interface stands

    def paint(self) -> Picture:
        lines: list[Line] = []
        yards = [self._yard(bridge, lines) for bridge in self._view.bridges]
        there = {bridge.name for bridge in self._view.bridges}
        strays = [self._guest(guest) for guest in self._view.guests if guest.bridge not in there]
        strays += self._portless()
        if strays:
            boxes = [leaf.box for leaf in strays] if self._each else [box for box, _ in folded(strays)]
            yards.append(Yard("", "On no bridge of this host", Look.OTHER, tuple(boxes)))
        lines += [*self._cables(), *self._detours()]
        title = shortened(self._verdict.text.replace(MARKED, ""), 600) if yards else "There is no bridge here."
        return Picture(title, tuple(yards), tuple(lines))

    def _yard(self, bridge: Bridge, lines: list[Line]) -> Yard:
        observed = bridge.name in self._view.intent.managed_bridges and self._view.scope.observes(bridge.name)
        middle = self._bridge(bridge)
        boxes: list[Box] = []
        leaves: list[Leaf] = []
        for port in self._ports(bridge.name):
            guest = self._guests.get(port.name)
            if guest is not None and guest.bridge == bridge.name:  # another bridge's stands there, where it is missing
                leaves.append(self._guest(guest, port, observed=observed))
                continue
            leaf = self._other(port)
            if self._roles[port.name].leads_out:
                boxes.append(leaf.box)
                lines.append(Line(leaf.box.key, middle.key, leaf.box.look))
            else:
                leaves.append(leaf)
        leaves += [
            self._guest(guest, observed=observed)
            for guest in self._view.guests
            if guest.bridge == bridge.name and self._view.snapshot.port_on(bridge.name, guest.port) is None
        ]
        leaves += [self._stacked(device, bridge) for device in self._view.stacked_on(bridge.name)]
        boxes.append(middle)
        leaves.sort(key=lambda leaf: list(Look).index(leaf.box.look))
        for box, within in [(leaf.box, (leaf,)) for leaf in leaves] if self._each else folded(leaves):
            boxes.append(box)
            lines.append(Line(middle.key, box.key, box.look))
            keys = {leaf.box.key for leaf in within if len(within) > 1}
            self._places |= {name: box.key for name, key in self._places.items() if key in keys}
        title = shortened(f"{bridge.name}: {bridge_words(bridge, self._view)}")
        return Yard(bridge.name, title, Look.OBSERVED if observed else Look.PLAIN, tuple(boxes))

    def _ports(self, bridge: str) -> list[BridgePort]:
        """The ports in scope. Of a domain its own, and the ways out: by these it is reached."""
        mine = {port.name for port in self._view.ports_of(bridge)}
        ports = [port for port in self._view.snapshot.ports.values() if port.bridge == bridge]
        ports = [port for port in ports if port.name in mine or self._roles[port.name].leads_out]
        return sorted(ports, key=lambda port: port.ifindex)

    def _bridge(self, bridge: Bridge) -> Box:
        about = self._findings.get((bridge.name, ""), ())
        words = _cuts(each for each in about if each.domain is None)
        down = () if bridge.up else ("down",)
        key = self._places[bridge.name] = self._key(bridge.name)
        lines = said(shortened(bridge.name, NAME), "bridge, and the host", *down, *words)
        return Box(key, lines, Look.CUT_OFF if words else Look.OTHER)

    def _other(self, port: BridgePort) -> Leaf:
        role, about = self._roles[port.name], self._findings.get(("", port.name), ())
        fault, words = self._faults.get(port.name), _cuts(about)
        look = Look.CUT_OFF if words else _LOOKS[fault] if fault else Look.OTHER
        words = words or ((_codes(fault, about),) if fault else ())
        kind = f" ({port.kind})" if port.kind and role.leads_out else ""
        down = () if port.up else ("down",)
        return self._leaf(port.name, f"{role.words}s", (f"{role.words}{kind}", *down, *words), look, port.name, port)

    def _stacked(self, device: Stacked, bridge: Bridge) -> Leaf:
        words = said("the host's own, on the bridge", device.kind)
        leaf = self._leaf(device.name, "devices of the host", words, Look.OTHER, device.name)
        if not bridge.vlan_filtering or not device.vids:
            return leaf
        lines = *leaf.box.lines, in_vlans(device.vids)
        return replace(leaf, box=replace(leaf.box, lines=lines), vids=device.vids)

    def _guest(self, guest: GuestPort, port: BridgePort | None = None, *, observed: bool = False) -> Leaf:
        about = [each for each in self._findings.get(("", guest.port), ()) if each.domain == guest.domain]
        word = guest_word(guest, self._faults.get(guest.port))
        look = _LOOKS[word]
        if look is Look.PLAIN and (not guest.running or guest.facts.link_down):
            look = Look.RESTING
        elif look in (Look.PLAIN, Look.DRIFT) and observed:
            look = Look.OBSERVED
        name = f"{guest.domain} {guest.alias}" if self._nics[guest.domain] > 1 else guest.domain
        words = self._guest_words(guest, word, about, there=port is not None)
        key = guest.port if port is not None else f"{name} {guest.port}"
        return self._leaf(key, "guests", words, look, name, port, f"{guest.port} {guest.macs[0]}")

    def _guest_words(self, guest: GuestPort, word: PortWord, about: list[Finding], *, there: bool) -> tuple[str, ...]:
        if word is PortWord.CUT_OFF:
            why = _cuts((each for each in about if each.reached is False), guest.domain)
            return why or tuple(phrase.replace("cut off", "CUT OFF", 1) for phrase in self._reach_phrases(guest)[:1])
        fault = _codes(word, about) if word not in (PortWord.OK, PortWord.NOTHING) else ""
        words = said(fault, "" if guest.managed else "left to the kernel")
        if not guest.running:
            return *words, guest.state
        if guest.facts.link_down:
            return *words, "its link is to be down"
        if not there:
            return *words, "has no port on this bridge"
        phrases = self._reach_phrases(guest)
        more = (f"{len(phrases) - _FEW} more VLANs",) if phrases[_FEW:] else ()
        return *words, *phrases[:_FEW], *more

    def _reach_phrases(self, guest: GuestPort) -> list[str]:
        """The box has the VIDs already: a phrase names them only where they differ."""
        cut = self._faults.get(guest.port) is PortWord.CUT_OFF
        own = [each for each in self._reaches.get(guest.port, ()) if each.guest is guest and each.mac == guest.macs[0]]
        own = [each for each in own if cut or each.reached is not False]  # a trunk may have VLANs that lead nowhere
        phrases = reach_phrases(own, self._guests, explained=False)
        if len(phrases) > 1:
            return phrases
        return reach_phrases([replace(each, vids=()) for each in own], self._guests, explained=False)

    def _portless(self) -> Iterator[Leaf]:
        for nic in self._view.portless:
            name = f"{nic.domain} {nic.alias}"
            yield self._leaf(f"{name} {nic.mac}", "NICs", said(nic.kind, nic.why), Look.OTHER, name, at=nic.mac)

    def _leaf(
        self,
        key: str,
        kind: str,
        words: Iterable[str],
        look: Look,
        name: str,
        port: BridgePort | None = None,
        at: str = "",
    ) -> Leaf:
        words, name, key, where = tuple(map(shortened, words)), shortened(name, NAME), self._key(key), ""
        vids: tuple[int, ...] = ()
        if port is not None:
            self._places[port.name] = key
            if self._view.snapshot.bridges[port.bridge].vlan_filtering:
                vids, where = port.vids, in_vlans(port.vids)
        return Leaf(Box(key, said(name, shortened(at), where, *words), look), name, kind, words, vids)

    def _cables(self) -> Iterator[Line]:
        """Yields the veths that join two bridges of the picture."""
        for port in self._view.snapshot.ports.values():
            if port.name < port.peer and port.name in self._places and port.peer in self._places:
                yield Line(self._places[port.name], self._places[port.peer], Look.OTHER, "one cable", aside=True)

    def _detours(self) -> Iterator[Line]:
        """Yields where the frames go that a guest does not get, though they are its own."""
        found: dict[tuple[str, str], set[str]] = {}
        for reach in self._view.reaches:
            if self._faults.get(reach.guest.port) is not PortWord.CUT_OFF or reach.mac != reach.guest.macs[0]:
                continue
            ports = {name for way in reach.ways if way.reached is False for name in way.instead}
            for port in ports if len(ports) <= _FEW else ():  # else they are flooded, to no place in particular
                if port in self._places and reach.guest.bridge in self._places:
                    places = self._places[reach.guest.bridge], self._places[port]
                    found.setdefault(places, set()).add(shortened(reach.guest.domain, NAME))
        for (bridge, port), domains in sorted(found.items()):
            yield Line(bridge, port, Look.CUT_OFF, f"frames for {first_few(sorted(domains), _FEW)}", aside=True)

    def _key(self, wanted: str) -> str:
        """A key that no other box has. Two interfaces may have names that read alike."""
        name = key = shortened(wanted, 2 * NAME)
        number = 1
        while key in self._keys:
            number += 1
            key = f"{name} ({number})"
        self._keys.add(key)
        return key


def _codes(word: PortWord, about: Iterable[Finding]) -> str:
    severity = Severity.ERROR if word is PortWord.DRIFT else Severity.WARNING
    codes = dict.fromkeys(str(each.code) for each in about if each.severity is severity)
    return f"{word}: {first_few(list(codes), _FEW)}" if codes else str(word)


def _cuts(about: Iterable[Finding], domain: str | None = None) -> tuple[str, ...]:
    """Returns the words about the first finding that cuts a guest off; of a ``domain``, without its name."""
    for each in about:
        if each.consequence is Consequence.CUT_OFF and each.severity is not Severity.INFO:
            head = "CUT OFF" if domain is not None else "CUTS OFF GUESTS"
            return f"{head} ({each.code})", each.message.removeprefix(f"{domain} is cut off: ")
    return ()
