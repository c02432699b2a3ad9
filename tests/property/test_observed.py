"""Whatever guests and the LAN send, in whatever order: an address is where it was seen last, or where it belongs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from macmgr.model.intent import GuestMac, Policy
from macmgr.model.snapshot import EntryState
from macmgr.watch.addresses import BOTH
from tests.onlooker import (
    ALERTS,
    BRIDGE_MAC,
    FOLLOW,
    LAN,
    NEIGHBOUR,
    NEW,
    NO_WORD,
    OTHER,
    OWN,
    UPLINK_MAC,
    VIRTUAL,
    VRRP,
    Host,
    guest,
)

ADDRESSES = (OWN, NEIGHBOUR, NEW, OTHER, VIRTUAL, BRIDGE_MAC, UPLINK_MAC)
policies = st.builds(
    lambda says, allow, lock: replace(VRRP, guest_mac=says, allow=allow, lock=lock),
    st.sampled_from(GuestMac),
    st.sampled_from([(), VRRP.allow, ("52:54:00:*", "02:00:00:*")]),
    st.booleans(),
)
frames = st.tuples(st.sampled_from(["vnet0", "vnet1", "eth0"]), st.sampled_from(ADDRESSES))


def play(host: Host, steps: list[tuple[str, str]]) -> None:
    """Frames, each with the rounds that it leads to."""
    for port, mac in steps:
        if port == "eth0":
            host.kernel.frame(port, mac, LAN)
            host.round()
        else:
            host.sees(mac, port=port)
        for _ in range(2):
            host.round()


@given(policies, policies, st.lists(frames, max_size=12))
def test_nobody_loses_an_address_to_what_another_sends(
    one: Policy, other: Policy, steps: list[tuple[str, str]]
) -> None:
    host = Host([guest(one), guest(other, "vnet1", NEIGHBOUR, "web2")])
    local = {key: entry for key, entry in host.kernel.fdb.items() if entry.state is EntryState.LOCAL}
    play(host, steps)
    assert {key: entry for key, entry in host.kernel.fdb.items() if entry.state is EntryState.LOCAL} == local
    assert host.port_of(OWN) != "vnet1"
    assert host.port_of(NEIGHBOUR) != "vnet0"
    for port in ("vnet0", "vnet1"):  # a closed port has an entry: no guest is cut off
        assert any(entry.port == port and entry.state is EntryState.STATIC for entry in host.kernel.fdb.values())


@given(policies, policies, st.lists(frames, max_size=12))
def test_it_comes_to_rest_and_nothing_stays_behind(one: Policy, other: Policy, steps: list[tuple[str, str]]) -> None:
    host = Host([guest(one), guest(other, "vnet1", NEIGHBOUR, "web2")])
    play(host, steps)
    assert not host.audit().plan.changes
    records = host.records
    host.round()
    assert host.records == records
    assert not any(record.moved or record.fresh for record in records)
    assert not [
        entry for entry in host.kernel.fdb.values() if entry.port == "eth0" and entry.state is EntryState.STATIC
    ]


@given(policies.filter(lambda policy: VRRP.allow[0] in policy.allow), st.lists(frames, max_size=8))
def test_what_is_allowed_and_was_seen_last_is_reached(policy: Policy, steps: list[tuple[str, str]]) -> None:
    host = Host([guest(policy), guest(VRRP, "vnet1", NEIGHBOUR, "web2")])
    play(host, steps)
    for port in ("vnet0", "vnet1", "vnet0"):
        play(host, [(port, VIRTUAL)])
        assert host.kernel.deliver("br0", "eth0", VIRTUAL) == {port}
        play(host, [("eth0", VIRTUAL)])
        assert host.kernel.deliver("br0", "vnet1", VIRTUAL) == {"eth0"}


def gone(host: Host) -> None:
    host.guests = []


def off_its_bridge(host: Host) -> None:
    if "vnet0" in host.kernel.ports:
        host.kernel.leave_bridge("vnet0")


def says(policy: Policy) -> Callable[[Host], None]:
    def said(host: Host) -> None:
        host.guests = [guest(policy)]

    return said


TROUBLES = {
    "its file cannot be read": gone,
    "a mistake in its metadata": says(NO_WORD),
    "its network, which trusts it, is not active": says(replace(ALERTS, incomplete=True)),
    "its network, which has the only word, is not active": says(Policy(incomplete=True)),
    "its network is not active, and its domain says follow": says(replace(FOLLOW, incomplete=True)),
    "its tap is off its bridge": off_its_bridge,
}
ROAMS = replace(FOLLOW, allow=VRRP.allow)


@given(
    st.lists(st.tuples(st.sets(st.sampled_from(sorted(TROUBLES)), min_size=1), st.integers(1, 900)), max_size=4),
    st.booleans(),
)
def test_whatever_it_was_that_was_odd_for_a_while_what_was_seen_has_its_entry_after_it(
    troubles: list[tuple[set[str], int]], locked: bool
) -> None:
    """And had it all the while, but for a tap that was taken off."""
    host = Host([guest(replace(ROAMS, lock=locked))])
    whole = host.guests
    host.sees(NEW)
    host.sees(VIRTUAL)
    records = host.records
    for names, seconds in troubles:
        for name in sorted(names):
            TROUBLES[name](host)
        for _ in range(2):
            host.now += seconds
            host.round()
            assert host.records == records
            if not host.kernel.left:
                reached(host)
        host.guests = whole
        if host.kernel.left:
            host.kernel.come_back("vnet0")
        host.kernel.after_each_send = lambda: reached(host)
        host.round()
        assert (host.port_of(NEW), host.port_of(VIRTUAL), host.port_of(OWN)) == ("vnet0", "vnet0", None)
        host.kernel.after_each_send = lambda: None


def reached(host: Host) -> None:
    for mac in (NEW, VIRTUAL):
        assert "vnet0" in host.kernel.deliver("br0", "eth0", mac)
        assert host.kernel.takes("vnet0", mac)


class Nic:
    """The NIC of a trusted guest on libvirt 11.2 or newer, and what the daemon can know of it."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.mac, self.known, self.saved, self.standing = OWN, True, OWN, OWN

    def changes(self, mac: str) -> None:
        if mac != self.mac:
            self.mac, self.known = mac, False

    def sends(self) -> None:
        self.host.sees(self.mac, after=BOTH + 1)
        self.told(self.host.sightings)

    def is_told_of(self) -> None:
        self.host.hears(self.mac)
        self.told(self.host.listens)

    def told(self, heard: bool) -> None:
        if heard:
            self.known, self.standing = True, self.saved

    def is_saved(self) -> None:
        """It is news where the file has another word than when the guest was last seen, or was last saved."""
        self.host.saves(self.mac)
        self.known = self.known or self.mac != self.standing
        self.saved = self.standing = self.mac


@given(
    st.lists(st.sampled_from([NEW, OTHER, OWN, "sends", "event", "saved", "restart", "round", "lost"]), max_size=14),
    st.booleans(),
    st.booleans(),
)
def test_a_trusted_nic_is_where_it_was_told_last_whoever_told_it(
    steps: list[str], sightings: bool, listens: bool
) -> None:
    host = Host([guest()], sightings=sightings, listens=listens)
    nic = Nic(host)
    for step in steps:
        match step:
            case "sends":
                nic.sends()
            case "event":
                nic.is_told_of()
            case "saved":
                nic.is_saved()
            case "restart":
                host.restarts()
            case "round":
                host.round()
            case "lost":  # what cannot be read is no reason for anybody to lose an entry
                before = dict(host.kernel.fdb)
                host.loses()
                host.round()
                assert host.kernel.fdb == before
                nic.standing = nic.saved
            case mac:
                nic.changes(mac)
        for _ in range(2):
            host.round()
        assert not host.audit().plan.changes
        on_port = {entry.mac for entry in host.kernel.fdb.values() if entry.port == "vnet0" and entry.vid == 1}
        if nic.known:
            assert on_port - {"fe:00:00:00:00:00"} == {nic.mac}
            assert host.kernel.deliver("br0", "eth0", nic.mac) == {"vnet0"}
            if nic.mac == OWN or sightings or listens:
                assert not host.audit_by_libvirt(nic.mac).plan.changes
