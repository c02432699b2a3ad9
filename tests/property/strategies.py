"""Worlds: what is wanted of a host, and a kernel that has drifted from it in every way we know of.

Most of a property test's time was hypothesis checking strategies that were made anew for each example. What is the same
for all examples is given as tuples, of which hypothesis keeps the strategy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from hypothesis import strategies as st

from macmgr.model.flags import FLAGS
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Pin, Policy
from macmgr.model.known import Known
from macmgr.model.snapshot import VXLAN, Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot, Stacked
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import remembers_gone

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


flags = st.builds(PortFlags, **{flag.field: st.booleans() for flag in FLAGS})
flags_of_an_old_kernel = st.builds(
    PortFlags, **{flag.field: st.none() if flag.since else st.booleans() for flag in FLAGS}
)
policies = st.builds(
    Policy,
    manager=st.sampled_from((Manager.LIBVIRT, Manager.LIBVIRT, Manager.LIBVIRT, Manager.KERNEL)),
    pin=st.sampled_from((Pin.AUTO, Pin.AUTO, Pin.STICKY, Pin.STATIC)),
    lock=st.booleans(),
    allow=st.sampled_from(((), (), ("52:54:00:0f:00:*",))),
)


@st.composite
def guests(draw: st.DrawFn, number: int, states: dict[str, str]) -> GuestPort:
    """One NIC of a domain. A domain is in one state, whatever its number of NICs."""
    domain = draw(st.sampled_from(DOMAINS))
    # a MAC of its own in most worlds; else one of all, and some have several
    own = MACS[number] if draw(st.integers(0, 3)) else draw(st.sampled_from(MACS))
    more = draw(st.lists(st.sampled_from((*MACS, VIRTUAL)), max_size=2)) if draw(st.integers(0, 3)) == 0 else []
    more += [VIRTUAL] * draw(st.sampled_from((0, 0, 1)))
    changed = draw(st.sampled_from(MACS)) if draw(st.integers(0, 7)) == 0 else ""
    collision = [draw(st.sampled_from((address("br0"), address("eth0"))))] if draw(st.integers(0, 15)) == 0 else []
    return GuestPort(
        port=TAPS[number],
        bridge=draw(st.sampled_from(("br0", "br0", "br0", "br1"))),
        domain=domain,
        uuid=f"uuid-{domain}",
        macs=tuple(dict.fromkeys([own, *more, *collision])),
        alias=f"net{number}",
        state=states[domain],
        running=STATES[states[domain]],
        entry_comes=draw(st.booleans()),
        policy=draw(policies),
        facts=NicFacts(configured_mac=changed),
    )


@st.composite
def entries_for(draw: st.DrawFn, guest: GuestPort, mac: str, ports: dict[str, BridgePort]) -> list[Entry]:
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
    vids = sorted({0, *tap.vids, *draw(st.sampled_from(((), (), (), (20,))))})
    fate = st.integers(0, len(fates) - 1)
    numbers = [draw(fate)] * len(vids) if draw(st.booleans()) else [draw(fate) for _ in vids]
    chosen = [fates[number] for number in numbers]
    return [entry._replace(vid=vid) for entry, vid in zip(chosen, vids, strict=True) if entry is not None]


@cache
def strange_entries(up: tuple[str, ...], ports: tuple[str, ...]) -> st.SearchStrategy[list[Entry]]:
    """Entries that no guest asks for: of strangers, or of guests in other VIDs, on any port."""
    dynamic = st.builds(
        Entry, st.sampled_from(STRANGERS), st.sampled_from((0, 1, 10)), st.sampled_from(up), st.just(EntryState.DYNAMIC)
    )
    other = st.builds(
        Entry,
        st.sampled_from((*STRANGERS, *MACS)),
        st.sampled_from((0, 0, 1, 10, 20)),
        st.sampled_from(ports),
        st.sampled_from((EntryState.STATIC, EntryState.STATIC, EntryState.LOCAL)),
    )
    sticky = other.map(lambda entry: entry._replace(sticky=entry.state is EntryState.STATIC))
    external = other.map(lambda entry: entry._replace(state=EntryState.DYNAMIC, extern_learn=True))
    return st.lists(st.one_of(dynamic, other, sticky, external) if up else other, max_size=4)


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """A host with one or two bridges, up to four guest NICs, and a MAC table in any state."""
    has_vlans, has_lock = draw(st.sampled_from(((True, True), (True, True), (False, True), (True, False))))
    port_flags = flags if has_lock else flags_of_an_old_kernel
    bridges = {
        name: Bridge(name, number + 1, address(name), has_vlans and draw(st.booleans()))
        for number, name in enumerate(BRIDGES)
    }
    port_vids = st.sampled_from(((1,), (1,), (10,), (1, 10), ())) if has_vlans else st.just(())

    def port(name: str, bridge: str, up: bool, flags: PortFlags) -> BridgePort:
        vids = draw(port_vids)
        number = 100 + _number(name)
        return BridgePort(name, number, bridge, address(name), flags, vids, vids[0] if vids else None, up=up)

    states = {domain: draw(st.sampled_from(("running", "running", *STATES))) for domain in DOMAINS}
    wanted = [draw(guests(number, states)) for number in range(draw(st.integers(0, len(TAPS))))]
    ports = {name: port(name, "br0", True, draw(port_flags)) for name in ("eth0", "eth1")[: draw(st.integers(1, 2))]}
    if "eth1" in ports:  # an uplink, or a tunnel to other hosts that learns, or whose addresses a control plane puts
        kind, learns = draw(st.sampled_from((("", None), ("", None), (VXLAN, True), (VXLAN, False), (VXLAN, False))))
        ports["eth1"] = replace(ports["eth1"], kind=kind, tunnel_learning=learns)
    ports["eth8"] = port("eth8", "br1", True, draw(port_flags))
    masters: dict[str, str | None] = {}
    for guest in wanted:
        place = draw(st.sampled_from((*["there"] * 8, "elsewhere", "on no bridge", "missing")))
        if place in ("there", "elsewhere"):
            other = BRIDGES[1 - BRIDGES.index(guest.bridge)]
            bridge = guest.bridge if place == "there" else other
            ports[guest.port] = port(guest.port, bridge, draw(st.integers(0, 7)) > 0, draw(port_flags))
        elif place == "on no bridge":
            masters[guest.port] = None
    up = tuple(name for name, port in ports.items() if port.up)
    entries = list(draw(strange_entries(up, tuple(sorted(ports)))))
    for guest in wanted:
        if guest.port in ports:
            own = {address(name) for name in (*ports, *bridges)}
            for mac in guest.macs:
                entries += draw(entries_for(guest, mac, ports)) if mac not in own else []
    start = make_snapshot(bridges.values(), ports.values(), entries)
    managed = {guest.bridge for guest in wanted if guest.managed} | draw(st.sets(st.sampled_from(BRIDGES), max_size=1))
    departed = draw(st.dictionaries(st.sampled_from((*MACS, STRANGERS[0])), st.just(GONE), max_size=2))
    return World(
        Intent(tuple(wanted), dict.fromkeys(sorted(managed), "a test says so")),
        replace(start, masters={**start.masters, **masters}, stacked=draw(st.sampled_from(STACKED))),
        replace(remembers_gone(departed, *BRIDGES), cut=True),
    )
