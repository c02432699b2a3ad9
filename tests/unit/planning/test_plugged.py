"""A guest's VLAN and isolation against its port: what is told, and commands that bring the port where the XML says."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macmgr.model.findings import Code, Finding, fix_of
from macmgr.model.flags import PortFlags
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Policy, Vlan
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from macmgr.model.vids import PortVids
from macmgr.planning.plugged import plug_findings
from macmgr.planning.portvlans import put_back, vlans_of

MAC = "52:54:00:00:00:01"
ACCESS = NicFacts(vlan=Vlan((42,)), vlan_live=True)
ISOLATED = NicFacts(isolated=True, isolated_live=True)
BR0 = Bridge("br0", 2, "02:00:00:00:00:02", vlan_filtering=True, default_pvid=1)


def guest(facts: NicFacts, manager: Manager = Manager.LIBVIRT, port: str = "vnet0") -> GuestPort:
    return GuestPort(port, "br0", "web1", "", (MAC,), policy=Policy(manager), facts=facts)


def tap(vids: tuple[int, ...] = (1,), pvid: int | None = 1, untagged: tuple[int, ...] = (1,)) -> BridgePort:
    return BridgePort("vnet0", 10, "br0", "fe:54:00:00:00:01", vids=vids, pvid=pvid, untagged=untagged, kind="tun")


def uplink(*vids: int, isolated: bool = False) -> BridgePort:
    return BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", PortFlags(isolated=isolated), vids, 1, untagged=(1,))


def codes(who: GuestPort, *ports: BridgePort, bridge: Bridge = BR0) -> list[Code]:
    return [finding.code for finding in found(who, *ports, bridge=bridge)]


def found(who: GuestPort, *ports: BridgePort, bridge: Bridge = BR0) -> list[Finding]:
    snapshot = Snapshot({"br0": bridge}, {port.name: port for port in ports})
    return list(plug_findings(Intent((who,), {"br0": "a test"}), snapshot))


def trunk(*vids: int, native: int | None = None, tagged: bool = False) -> NicFacts:
    return NicFacts(vlan=Vlan(vids, native, trunk=True, native_tagged=tagged), vlan_live=True)


@pytest.mark.parametrize(
    ("facts", "right"),
    [
        (ACCESS, tap((42,), 42, (42,))),
        (trunk(10, 20, 30, native=20), tap((10, 20, 30), 20, (20,))),
        (trunk(20, 30, native=20, tagged=True), tap((20, 30), 20, ())),
        (trunk(10, 30), tap((10, 30), None, ())),
        (NicFacts(vlan=Vlan((0,)), vlan_live=True), tap()),  # a priority tag: no VLAN of a bridge
        (NicFacts(vlan=Vlan((42,))), tap()),  # only its network says so, and perhaps says so since it was plugged
        (NicFacts(), tap((5,), 5, (5,))),  # set by somebody, as one had to before libvirt 11.0
    ],
)
def test_what_libvirt_sets_is_right(facts: NicFacts, right: BridgePort) -> None:
    assert codes(guest(facts), right, uplink(1, 42)) == []
    for manager in Manager:
        wrong = replace(right, vids=(7,), pvid=7, untagged=(7,))
        expected = [Code.WRONG_VLAN] if vlans_of(guest(facts)) else []
        assert codes(guest(facts, manager), wrong, uplink(1, 42)) == expected


@pytest.mark.parametrize(
    "wrong",
    [
        tap((1, 42), 42, (42,)),  # beside its VLAN in another
        tap((42,), 42, ()),  # it gets tagged frames
        tap((42,), None, (42,)),  # its own go nowhere
        tap((1, 42), 1, (1, 42)),  # its own go into another VLAN
        tap((), None, ()),
    ],
)
def test_each_part_of_it_counts(wrong: BridgePort) -> None:
    assert codes(guest(ACCESS), wrong, uplink(1, 42)) == [Code.WRONG_VLAN]
    assert codes(guest(ACCESS), wrong, uplink(1, 42), bridge=replace(BR0, vlan_filtering=False)) == []


def test_a_port_in_no_vlan() -> None:
    assert codes(guest(NicFacts()), tap((), None, ())) == [Code.NO_VLAN]
    assert codes(guest(NicFacts()), tap((), None, ()), bridge=replace(BR0, vlan_filtering=False)) == []


def test_isolation() -> None:
    assert codes(guest(ISOLATED), tap()) == [Code.NOT_ISOLATED]
    assert codes(guest(ISOLATED), replace(tap(), flags=PortFlags(isolated=True))) == []
    assert codes(guest(NicFacts(isolated=True)), tap()) == []  # only its network says so
    assert fix_of(found(guest(ISOLATED), tap(), uplink(1))[0]).text == "bridge link set dev vnet0 isolated on"
    assert fix_of(found(guest(ISOLATED), tap(), uplink(1, isolated=True))[0]).text.startswith(
        "first end the isolation of the uplink eth0"
    )


def test_nothing_is_told_of_a_bridge_that_is_not_managed() -> None:
    snapshot = Snapshot({"br0": BR0}, {"vnet0": tap()})
    assert list(plug_findings(Intent((guest(ACCESS), guest(ISOLATED))), snapshot)) == []


def test_where_no_uplink_carries_the_vid_the_fix_says_so() -> None:
    (finding,) = found(guest(ACCESS), tap(), uplink(1, 7))
    assert fix_of(finding).text.endswith("macmgr apply --vlans --domain web1  # no uplink of br0 carries VID 42")


vids = st.sets(st.integers(1, 60), min_size=1, max_size=20)


@given(vids, st.integers(0, 30), st.booleans(), vids, st.integers(0, 30), st.sets(st.integers(1, 60)))
def test_the_commands_bring_about_what_the_xml_says(
    wanted: set[int], place: int, tagged: bool, has: set[int], pvid: int, untagged: set[int]
) -> None:
    ordered, had = sorted(wanted), sorted(has)
    native = ordered[place] if place < len(ordered) else None
    who = guest(trunk(*ordered, native=native, tagged=tagged), Manager.KERNEL)
    port = tap(tuple(had), had[pvid] if pvid < len(had) else None, tuple(sorted(untagged & has)))
    told = [" && ".join(map(shlex.join, fix_of(finding).commands)) for finding in found(who, port)]
    after = typed(told[0], port) if told else port.vlans
    assert after == vlans_of(who)


def typed(fix: str, port: BridgePort) -> PortVids:
    """What the kernel makes of the commands (br_vlan.c, __vlan_add, __vlan_add_flags, __vlan_del)."""
    carried, pvid, untagged = set(port.vids), port.pvid, set(port.untagged)
    for command in fix.split("  # ")[0].split(" && "):
        words = shlex.split(command)
        if words[:2] != ["bridge", "vlan"]:
            continue
        first, _, last = words[words.index("vid") + 1].partition("-")
        run = set(range(int(first), int(last or first) + 1))
        untagged -= run
        pvid = None if pvid in run else pvid
        carried = carried | run if words[2] == "add" else carried - run
        if "pvid" in words:
            (pvid,) = run
        if "untagged" in words:
            untagged |= run
    return PortVids(tuple(sorted(carried)), pvid, tuple(sorted(untagged)))


def commands(who: GuestPort, snapshot: Snapshot) -> str:
    mends, note = put_back(who, snapshot)
    assert bool(mends) != bool(note)
    return " && ".join(map(shlex.join, mends))


def test_a_tap_is_put_back_with_what_it_had() -> None:
    snapshot = Snapshot({"br0": BR0}, {"eth0": uplink(1, 42)})
    down, up = "ip link set dev vnet0 down && ip link set dev vnet0 master br0", "ip link set dev vnet0 up"
    cleared = "bridge vlan del dev vnet0 vid 1-4094"
    assert commands(guest(ACCESS), snapshot) == " && ".join(
        [down, cleared, "bridge vlan add dev vnet0 vid 42 pvid untagged", up]
    )
    assert commands(guest(replace(ACCESS, isolated=True, isolated_live=True)), snapshot) == " && ".join(
        [
            *(down, cleared, "bridge vlan add dev vnet0 vid 42 pvid untagged"),
            *("bridge link set dev vnet0 isolated on", up),
        ]
    )
    assert commands(guest(trunk(10, 20, native=10)), snapshot) == " && ".join(
        [
            *(down, cleared, "bridge vlan add dev vnet0 vid 10 pvid untagged"),
            *("bridge vlan add dev vnet0 vid 20", up),
        ]
    )


def test_a_tap_whose_vlan_nobody_knows_is_put_back_in_words() -> None:
    """Where all ports of the bridge are in its default VLAN there is one VLAN, and it is that."""
    one, several = Snapshot({"br0": BR0}, {"eth0": uplink(1)}), Snapshot({"br0": BR0}, {"eth0": uplink(1, 42)})
    flat = Snapshot({"br0": replace(BR0, vlan_filtering=False)}, {"eth0": uplink(1, 42)})
    plain = "ip link set dev vnet0 master br0"
    assert commands(guest(NicFacts()), one) == commands(guest(NicFacts()), flat) == plain
    assert put_back(guest(NicFacts()), several)[1].startswith("put vnet0 back on br0 the way it was put there first")
    assert put_back(guest(ISOLATED), several)[1].startswith("put vnet0 back")
    none = Snapshot({"br0": replace(BR0, default_pvid=0)}, {"eth0": uplink()})
    assert put_back(guest(NicFacts()), none)[1].startswith("put vnet0 back")


def test_without_vlans_in_the_kernel_none_is_set() -> None:
    """`bridge vlan` is refused there, and a tap that stays down is cut off."""
    bare = Snapshot({"br0": Bridge("br0", 2, "02:00:00:00:00:02")}, {"eth0": replace(uplink(), pvid=None)})
    assert commands(guest(ACCESS), bare) == "ip link set dev vnet0 master br0"
    assert "vlan" not in commands(guest(replace(ACCESS, isolated_live=True)), bare)


def test_names_are_one_word_to_a_shell() -> None:
    snapshot = Snapshot({"br0": BR0}, {"eth0": uplink(1, 42)})
    mends, _ = put_back(guest(ACCESS, port="x;id>p"), snapshot)
    assert all("x;id>p" in command for command in mends)
    for command in commands(guest(ACCESS, port="x;id>p"), snapshot).split(" && "):
        assert "x;id>p" in shlex.split(command)
