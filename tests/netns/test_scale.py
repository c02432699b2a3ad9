"""As much as a host has: a bridge with a thousand taps and 35 000 entries, with drift of every kind in it, and mended.

Nothing here is timed: tests/bench is where figures are made.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from macmgr.kernel import Kernel
from macmgr.model.findings import Code, Severity
from macmgr.model.intent import Intent, Manager, Settings
from macmgr.model.snapshot import Entry
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.reconcile import apply, look
from macmgr.sources.statusfiles import StatusFiles
from macmgr.state.lock import hold
from tests import crowd
from tests.crowd import CrowdGuest
from tests.netns.conftest import Namespace
from tests.notebook import Notebook

GUESTS = [CrowdGuest(number) for number in range(1, 1001)]
ENTRIES = 35_000
WRONG = 20  # guests for each kind of drift


def read_intent(run_dir: Path) -> Intent:
    sources = StatusFiles(run_dir).read()
    return build_intent(sources.domains, PolicySources(sources.networks, {"br0": Settings(Manager.LIBVIRT)}))


def host_in_sync(ns: Namespace, run_dir: Path) -> None:
    crowd.write_status_files(run_dir, GUESTS)
    crowd.add_bridge(ns.name)
    crowd.add_taps(ns.name, ["eth0", *(guest.tap for guest in GUESTS)])
    crowd.bridge(ns.name, [f"link set dev {guest.tap} learning off flood off" for guest in GUESTS])
    entries = [f"fdb replace {guest.mac} dev {guest.tap} master static sticky" for guest in GUESTS]
    others = ENTRIES - len(GUESTS)
    entries += [f"fdb replace {crowd.stray_mac(number)} dev eth0 master static" for number in range(others)]
    crowd.bridge(ns.name, entries)


def drift(ns: Namespace) -> Counter[Code]:
    """Make every kind of drift that bridge(8) and ip(8) can make here; what an audit must then count."""
    taken = iter(GUESTS)

    def some() -> list[CrowdGuest]:
        return [next(taken) for _ in range(WRONG)]

    lines = [f"fdb del {guest.mac} dev {guest.tap} master" for guest in some()]
    lines += [f"fdb replace {guest.mac} dev eth0 master static" for guest in some()]
    lines += [f"fdb replace {guest.mac} dev {guest.tap} master permanent" for guest in some()]
    lines += [f"fdb replace {guest.mac} dev {guest.tap} master static" for guest in some()]
    lines += [f"fdb add {crowd.stray_mac(0xF00000 + guest.number)} dev {guest.tap} master static" for guest in some()]
    lines += [f"link set dev {guest.tap} learning on" for guest in some()]
    lines += [f"link set dev {guest.tap} flood on" for guest in some()]
    crowd.bridge(ns.name, lines)
    gone, moved = some(), some()
    crowd.ip(ns.name, [f"link del {guest.tap}" for guest in gone])
    crowd.add_bridge(ns.name, "br1")
    crowd.ip(ns.name, [f"link set {guest.tap} master br1" for guest in moved])
    codes = (
        *(Code.MISSING_ENTRY, Code.STOLEN_ENTRY, Code.LOCAL_ENTRY, Code.NOT_STICKY, Code.EXTRA_ENTRY),
        *(Code.LEARNING_ON, Code.FLOOD_ON, Code.MISSING_PORT, Code.WRONG_BRIDGE),
    )
    return Counter(dict.fromkeys(codes, WRONG))


def repair_by_hand(ns: Namespace) -> None:
    """What no change of an FDB can mend: the taps that went, and those that went to another bridge."""
    gone, moved = GUESTS[7 * WRONG : 8 * WRONG], GUESTS[8 * WRONG : 9 * WRONG]
    crowd.ip(ns.name, [f"link set {guest.tap} master br0" for guest in moved])
    crowd.add_taps(ns.name, [guest.tap for guest in gone])


def test_a_thousand_taps_and_35000_entries_are_audited_and_repaired(ns: Namespace, tmp_path: Path) -> None:
    host_in_sync(ns, tmp_path)
    with Kernel(ns.name) as kernel, hold(tmp_path / "lock") as lock:

        def count() -> Counter[Code]:
            view = look(lambda: read_intent(tmp_path), kernel)
            return Counter(f.code for f in view.plan.findings if f.severity is not Severity.INFO)

        assert len(kernel.read_snapshot().entries) > ENTRIES
        assert count() == Counter()
        expected = drift(ns)
        assert count() == expected
        outcome = apply(lock, lambda: read_intent(tmp_path), kernel, notes=Notebook())
        assert not outcome.failures
        assert outcome.complete
        assert count() == Counter({code: expected[code] for code in (Code.MISSING_PORT, Code.WRONG_BRIDGE)})
        repair_by_hand(ns)
        assert apply(lock, lambda: read_intent(tmp_path), kernel, notes=Notebook()).complete
        assert count() == Counter()
        assert_as_wanted(ns, kernel)


def assert_as_wanted(ns: Namespace, kernel: Kernel) -> None:
    """In iproute2's words, and nothing of what is not managed was touched."""
    guests = {guest.mac: guest.tap for guest in GUESTS}
    said = {row["mac"]: row for row in ns.fdb() if row["state"] == "static"}
    assert {mac: said[mac]["ifname"] for mac in guests} == guests
    assert all("sticky" in said[mac]["flags"] for mac in guests)
    strays = {crowd.stray_mac(number) for number in range(ENTRIES - len(GUESTS))}
    assert said.keys() - guests.keys() == strays
    assert {said[mac]["ifname"] for mac in strays} == {"eth0"}
    flags = {row["ifname"]: (row["learning"], row["flood"]) for row in crowd.bridge_json(ns.name, "link")}
    assert {flags[guest.tap] for guest in GUESTS} == {(False, False)}
    assert flags["eth0"] == (True, True)
    assert Entry(GUESTS[0].mac, 0, GUESTS[0].tap, sticky=True) in kernel.read_snapshot().entries
