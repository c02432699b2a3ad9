"""Worlds: what is wanted of a host, and a kernel that has drifted from it in every way we know of.

A world is made from a string of bytes, one for each choice, with the first option for 0. Hypothesis draws the string:
a hundred draws of its own for each world took three quarters of the time of a law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from hypothesis import strategies as st

from macmgr.model.flags import FLAGS, ISOLATED, PortFlags
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Pin, Policy
from macmgr.model.known import Known
from macmgr.model.snapshot import VXLAN, Bridge, BridgePort, Entry, EntryState, Snapshot, Stacked
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import remembers_gone

T = TypeVar("T")
CHOICES = 192  # more than a world has; those that it lacks are 0

BRIDGES = ("br0", "br1")
DOMAINS = ("web1", "web2", "web3")
TAPS = tuple(f"vnet{number}" for number in range(4))
MACS = tuple(f"52:54:00:00:00:{number:02x}" for number in range(1, 7))  # few, so that they are often shared
VIRTUAL = "00:00:5e:00:01:0a"  # no NIC's own, and allowed to several
STRANGERS = ("52:54:00:0f:00:01", "52:54:00:0f:00:02")  # no guest's
GONE = "gone"
STACKED = (*[()] * 6, (Stacked("br0", "br0.10", MACS[0], (10,)),), (Stacked("br0", "br0-v0", VIRTUAL, (1,)),))
STATES = {"running": True, "paused": False, "incoming": False}


@dataclass(frozen=True)
class World:
    """What is wanted, and what is there at the start."""

    intent: Intent
    start: Snapshot
    known: Known

    def kernel(self) -> FakeKernel:
        return FakeKernel(self.start)

    @property
    def gone(self) -> frozenset[str]:
        """The MACs of guests that have left."""
        return frozenset(each.mac for each in self.known.memory.macs)

    @property
    def there(self) -> list[GuestPort]:
        """The guest ports whose tap is on the bridge that the XML names."""
        return [guest for guest in self.intent.ports if self.start.masters.get(guest.port) == guest.bridge]

    def uplinks(self, bridge: str) -> list[str]:
        return [port.name for port in self.start.ports.values() if port.bridge == bridge and port.name[:3] == "eth"]


def _number(name: str) -> int:
    return 10 * "bevx".index(name[0]) + int(name[-1]) + 1


def address(name: str) -> str:
    """The address of a bridge or port."""
    return f"fe:00:00:00:00:{_number(name):02x}"


class Choices:
    """Bytes, as choices among options."""

    def __init__(self, drawn: bytes) -> None:
        self._rest = iter(drawn)

    def one(self, options: Sequence[T]) -> T:
        return options[next(self._rest, 0) % len(options)]

    def flag(self) -> bool:
        return self.one((False, True))

    def seldom(self, times: int) -> bool:
        """True once in so many times."""
        return self.one((*[False] * (times - 1), True))

    def some(self, options: Sequence[T], most: int) -> list[T]:
        """Up to ``most`` of the options, the same one more than once or not."""
        return [self.one(options) for _ in range(self.one(range(most + 1)))]


def _flags(choose: Choices, has_lock: bool) -> PortFlags:
    """No port is isolated here: then what is kept from whom is another question, and has tests of its own."""
    said: dict[str, Any] = {
        flag.field: choose.flag() if has_lock or not flag.since else None for flag in FLAGS if flag is not ISOLATED
    }
    return PortFlags(**said)


def _policy(choose: Choices) -> Policy:
    return Policy(
        manager=choose.one([Manager.LIBVIRT, Manager.LIBVIRT, Manager.LIBVIRT, Manager.KERNEL]),
        pin=choose.one([Pin.AUTO, Pin.AUTO, Pin.STICKY, Pin.STATIC]),
        lock=choose.flag(),
        allow=choose.one([(), (), ("52:54:00:0f:00:*",)]),
    )


def _guest(choose: Choices, number: int, states: dict[str, str]) -> GuestPort:
    """One NIC of a domain. A domain is in one state, whatever its number of NICs."""
    domain = choose.one(DOMAINS)
    # a MAC of its own in most worlds; else one of all, and some have several
    own = choose.one(MACS) if choose.seldom(4) else MACS[number]
    more = choose.some((*MACS, VIRTUAL), 2) if choose.seldom(4) else []
    more += [VIRTUAL] * choose.one([0, 0, 1])
    changed = choose.one(MACS) if choose.seldom(8) else ""
    collision = [choose.one([address("br0"), address("eth0")])] if choose.seldom(16) else []
    return GuestPort(
        port=TAPS[number],
        bridge=choose.one(("br0", "br0", "br0", "br1")),
        domain=domain,
        uuid=f"uuid-{domain}",
        macs=tuple(dict.fromkeys([own, *more, *collision])),
        alias=f"net{number}",
        state=states[domain],
        running=STATES[states[domain]],
        entry_comes=choose.flag(),
        policy=_policy(choose),
        facts=NicFacts(configured_mac=changed),
    )


def _entries_for(choose: Choices, guest: GuestPort, mac: str, ports: dict[str, BridgePort]) -> list[Entry]:
    """The entries of one MAC of a guest, as wanted or drifted, in all its VIDs alike or in each VID on its own."""
    tap = ports[guest.port]
    others = [name for name, port in ports.items() if port.bridge == tap.bridge and name != tap.name]
    wanted = Entry(mac, 0, tap.name, EntryState.STATIC, guest.policy.pin is not Pin.STATIC)
    fates = [None, wanted, wanted, *(wanted._replace(sticky=sticky) for sticky in (True, False))]
    for port in (tap.name, *others):
        fates += [
            Entry(mac, 0, port, EntryState.STATIC),
            Entry(mac, 0, port, EntryState.STATIC, sticky=True),
            Entry(mac, 0, port, EntryState.LOCAL),
            Entry(mac, 0, port, EntryState.DYNAMIC, extern_learn=True),
            Entry(mac, 0, port, EntryState.STATIC, sticky=True, extern_learn=True),
        ]
        fates += [Entry(mac, 0, port, EntryState.DYNAMIC)] * ports[port].up
    vids = sorted({0, *tap.vids, *choose.one([(), (), (), (20,)])})
    chosen = [choose.one(fates)] * len(vids) if choose.flag() else [choose.one(fates) for _ in vids]
    return [entry._replace(vid=vid) for entry, vid in zip(chosen, vids, strict=True) if entry is not None]


def _strange_entry(choose: Choices, ports: dict[str, BridgePort]) -> Entry:
    """An entry that no guest asks for: of a stranger, or of a guest in another VID, on any port."""
    up = [name for name, port in ports.items() if port.up]
    kind = choose.one(("dynamic", "other", "sticky", "external")) if up else "other"
    if kind == "dynamic":
        return Entry(choose.one(STRANGERS), choose.one((0, 1, 10)), choose.one(up), EntryState.DYNAMIC)
    mac, vid, port = choose.one((*STRANGERS, *MACS)), choose.one((0, 0, 1, 10, 20)), choose.one(sorted(ports))
    if kind == "external":
        return Entry(mac, vid, port, EntryState.DYNAMIC, extern_learn=True)
    state = choose.one((EntryState.STATIC, EntryState.STATIC, EntryState.LOCAL))
    return Entry(mac, vid, port, state, sticky=kind == "sticky" and state is EntryState.STATIC)


def worlds() -> st.SearchStrategy[World]:
    """A host with one or two bridges, up to four guest NICs, and a MAC table in any state."""
    return st.binary(min_size=CHOICES, max_size=CHOICES).map(lambda drawn: _world(Choices(drawn)))


def _world(choose: Choices) -> World:
    has_vlans, has_lock = choose.one([(True, True), (True, True), (False, True), (True, False)])
    bridges = {
        name: Bridge(name, number + 1, address(name), has_vlans and choose.flag())
        for number, name in enumerate(BRIDGES)
    }

    def port(name: str, bridge: str, up: bool) -> BridgePort:
        vids: tuple[int, ...] = choose.one([(1,), (1,), (10,), (1, 10), ()]) if has_vlans else ()
        pvid = vids[0] if vids else None
        flags = _flags(choose, has_lock)
        return BridgePort(name, 100 + _number(name), bridge, address(name), flags, vids, pvid, up=up)

    states = {domain: choose.one(["running", "running", *STATES]) for domain in DOMAINS}
    wanted = [_guest(choose, number, states) for number in range(choose.one(range(len(TAPS) + 1)))]
    ports = {name: port(name, "br0", True) for name in ("eth0", "eth1")[: choose.one((1, 2))]}
    if "eth1" in ports:  # an uplink, or a tunnel to other hosts that learns, or whose addresses a control plane puts
        kinds = [("", None), ("", None), (VXLAN, True), (VXLAN, False), (VXLAN, False)]
        kind, learns = choose.one(kinds)
        ports["eth1"] = replace(ports["eth1"], kind=kind, tunnel_learning=learns)
    ports["eth8"] = port("eth8", "br1", True)
    masters: dict[str, str | None] = {}
    for guest in wanted:
        place = choose.one(["there"] * 8 + ["elsewhere", "on no bridge", "missing"])
        if place in ("there", "elsewhere"):
            other = BRIDGES[1 - BRIDGES.index(guest.bridge)]
            ports[guest.port] = port(guest.port, guest.bridge if place == "there" else other, not choose.seldom(8))
        elif place == "on no bridge":
            masters[guest.port] = None
    entries = [_strange_entry(choose, ports) for _ in range(choose.one(range(5)))]
    for guest in wanted:
        if guest.port in ports:
            own = {address(name) for name in (*ports, *bridges)}
            for mac in guest.macs:
                entries += _entries_for(choose, guest, mac, ports) if mac not in own else []
    start = make_snapshot(bridges.values(), ports.values(), entries)
    managed = {guest.bridge for guest in wanted if guest.managed} | {*choose.some(BRIDGES, 1)}
    departed = dict.fromkeys(choose.some((*MACS, STRANGERS[0]), 2), GONE)
    return World(
        Intent(tuple(wanted), dict.fromkeys(sorted(managed), "a test says so")),
        replace(start, masters={**start.masters, **masters}, stacked=choose.one(STACKED)),
        replace(remembers_gone(departed, *BRIDGES), cut=True),
    )
