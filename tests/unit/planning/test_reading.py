"""Bridges whose table is not read to its end: the plan is the same, and what was not read is not judged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from macmgr.model.changes import SetEntries
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Policy
from macmgr.model.known import NOTHING_KNOWN, Known, SeenMacs
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.planning.reading import NOTHING_BESIDE, Beside
from macmgr.reconcile import look
from macmgr.view import View
from tests.fake_kernel import FakeKernel
from tests.notebook import remembers_gone

G1, G2, GONE, SEEN = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:99", "52:54:00:00:00:55"
STRANGER = "02:00:00:00:00:01"
MANAGED = Policy(Manager.LIBVIRT)


def port(name: str, ifindex: int, bridge: str = "br0", vids: tuple[int, ...] = (1,)) -> BridgePort:
    flags = PortFlags(learning=False, unicast_flood=False) if name.startswith("vnet") else PortFlags()
    return BridgePort(
        name,
        ifindex,
        bridge,
        f"fe:00:00:00:00:{ifindex:02x}",
        flags,
        vids,
        1,
        kind="tun" if name.startswith("vnet") else "",
    )


PORTS = [port("up0", 10), port("vnet1", 11), port("vnet2", 12), port("up9", 20, "br9"), port("vnet9", 21, "br9")]


def kernel_with(*entries: Entry, filtering: bool = False, ports: list[BridgePort] = PORTS) -> FakeKernel:
    bridges = {
        name: Bridge(name, number, f"02:b0:00:00:00:{number:02x}", filtering)
        for number, name in enumerate(("br0", "br9"), 1)
    }
    own = [Entry(bridge.mac, 0, bridge.name, EntryState.LOCAL) for bridge in bridges.values()]
    masters = {each.name: each.bridge for each in ports}
    return FakeKernel(Snapshot(bridges, {each.name: each for each in ports}, masters, (*own, *entries)))


def guest(name: str, mac: str, bridge: str = "br0", policy: Policy = MANAGED) -> GuestPort:
    return GuestPort(name, bridge, f"of-{name}", f"u-{name}", (mac,), policy=policy, facts=NicFacts(configured_mac=mac))


def entries(mac: str, where: str, *vids: int, sticky: bool = False) -> list[Entry]:
    return [Entry(mac, vid, where, EntryState.STATIC, sticky) for vid in vids]


INTENT = Intent((guest("vnet1", G1), guest("vnet2", G2)), {"br0": "the test"})
IN_SYNC = [*entries(G1, "vnet1", 0, 1, sticky=True), *entries(G2, "vnet2", 0, 1, sticky=True)]
STRANGERS = entries(STRANGER, "up0", 0, 1)


def views(kernel: FakeKernel, intent: Intent = INTENT, known: Known = NOTHING_KNOWN) -> tuple[View, View]:
    """Of a table that is too long, and of the same one read to its end."""
    kernel.too_long = {"br0"}
    short = look(lambda: intent, kernel, known=known)
    kernel.too_long = set()
    return short, look(lambda: intent, kernel, known=known)


def told(made: Plan) -> list[Finding]:
    """What is told, but for what only a table that was read to its end can tell."""
    return [
        finding
        for finding in made.findings
        if finding.code is not Code.TABLE_TOO_LONG and (finding.mac != STRANGER or finding.port != "up0")
    ]


def paused(intent: Intent) -> Intent:
    first, *others = intent.ports
    return replace(intent, ports=(replace(first, running=False, state="paused"), *others))


@pytest.mark.parametrize(
    ("wrong", "intent", "known"),
    [
        ([], INTENT, Known()),
        (entries(G1, "up0", 0, 1), INTENT, Known()),
        ([Entry(G1, 1, "up0", EntryState.DYNAMIC)], INTENT, Known()),
        ([Entry(G1, 0, "br0", EntryState.LOCAL)], INTENT, Known()),
        (entries(STRANGER, "vnet2", 0, 1), INTENT, Known()),
        (entries(G1, "up0", 0, 1), paused(INTENT), Known()),
        (entries(GONE, "up0", 0, 1), INTENT, remembers_gone({GONE: "gone"}, "br0")),
        (
            entries(SEEN, "up0", 0, 1),
            INTENT,
            Known(seen=(SeenMacs("vnet1", 11, "u-vnet1", G1, moved=(SEEN,)),)),
        ),
    ],
    ids=["nothing", "stolen", "half stolen", "local", "extra", "waits", "remembered", "moved on"],
)
def test_what_concerns_guests_is_found_all_the_same(wrong: list[Entry], intent: Intent, known: Known) -> None:
    short, whole = views(kernel_with(*IN_SYNC, *STRANGERS, *wrong), intent, known)
    assert short.plan.changes == whole.plan.changes
    assert told(short.plan) == told(whole.plan)
    nothing = plan(INTENT, kernel_with(*IN_SYNC, *STRANGERS).read_snapshot())
    assert (told(short.plan) == told(nothing)) == (not wrong)
    assert STRANGER not in {entry.mac for entry in short.snapshot.entries if entry.port == "up0"}


def test_no_flush_takes_along_what_was_not_read() -> None:
    """The uplink has lost VID 7: a guest's copy is stranded there, and so may be others that nobody has read."""
    ports = [port("up0", 10, vids=(1,)), port("vnet1", 11, vids=(1, 7)), port("vnet2", 12)]
    copies = [*entries(G1, "vnet1", 0, 1, sticky=True), *entries(G1, "up0", 7), *entries(STRANGER, "up0", 7)]
    kernel = kernel_with(*copies, *entries(G2, "vnet2", 0, 1, sticky=True), filtering=True, ports=ports)
    short, whole = views(kernel, paused(INTENT))
    for view in (short, whole):
        drops = [change for change in view.plan.changes if isinstance(change, SetEntries) and change.stranded]
        assert not drops
        assert (Code.STALE_ENTRY, 7) in {(finding.code, finding.vid) for finding in view.plan.findings}


BYSTANDER = Intent((*INTENT.ports, guest("vnet9", SEEN, "br9", Policy())), INTENT.managed_bridges)


@pytest.mark.parametrize(
    ("beside", "shown"),
    [
        (NOTHING_BESIDE, set()),
        (Beside(bystanders=True), {SEEN}),
        (Beside(macs=frozenset({STRANGER})), {STRANGER}),
        (Beside(frozenset({"br9"})), {SEEN, STRANGER}),
        (Beside(whole=True), set()),
    ],
    ids=["plan", "audit and show", "explain MAC", "explain PORT, doctor BRIDGE", "doctor"],
)
def test_of_other_bridges_only_what_is_asked_for_is_read(beside: Beside, shown: set[str]) -> None:
    kernel = kernel_with(*IN_SYNC, *entries(SEEN, "vnet9", 0, 1), *entries(STRANGER, "up9", 0, 1))
    view = look(lambda: BYSTANDER, kernel, beside=beside)
    read = {entry.mac for entry in view.snapshot.entries if view.snapshot.bridge_of(entry.port) == "br9"}
    assert read - {kernel.bridges["br9"].mac} == shown
    assert not view.plan.changes


def test_a_bridge_that_is_remembered_is_read() -> None:
    kernel = kernel_with(*IN_SYNC, *entries(GONE, "up9", 0, 1))
    known = remembers_gone({GONE: "gone"}, "br9")
    view = look(lambda: INTENT, kernel, known=known)
    assert view.snapshot.lists("br9")
    assert view.snapshot.lists_port("up9")
