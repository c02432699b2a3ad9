"""Rules of docs/kernel-rules.rst that macmgr builds on, as this kernel keeps them: what is kept, moved, and dropped."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from macmgr.kernel import Kernel
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope
from macmgr.model.known import Memory
from macmgr.model.snapshot import Feature
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome
from tests.netns.conftest import BROADCAST, LONG, Namespace, eventually, require, transmit
from tests.notebook import Notebook

GUEST, NEIGHBOUR, STRANGER = "52:54:00:00:00:01", "52:54:00:00:00:02", "52:54:00:00:00:66"
MARK = "52:54:00:00:ff:01"
LOCK = WriterLock()


def intent(mac: str = GUEST) -> Intent:
    return Intent(
        (GuestPort("guest", "br0", "web1", "u1", (mac,), policy=Policy(Manager.LIBVIRT)),), {"br0": "a test says so"}
    )


def build(ns: Namespace, options: str = "") -> None:
    """A bridge with a guest's cable and the LAN's."""
    ns.add_bridge(options=options)
    ns.add_cable("guest")
    ns.add_cable("lan")


def guests_entries(ns: Namespace) -> set[tuple[str, str, bool]]:
    """Port, state and sticky: of the one for VID 0, and where the kernel filters VLANs of its copy in VID 1."""
    return {(each["ifname"], each["state"], "sticky" in each["flags"]) for each in ns.fdb() if each["mac"] == GUEST}


def seen_on_the_lan_side(ns: Namespace, mac: str) -> None:
    """A frame with this source MAC came from the LAN, and one behind it was learned: the bridge is done with it.

    Where the LAN's port does not learn, the one behind it is heard at the guest's cable instead.
    """
    with ns.packet_socket("guest-far") as listener:
        ns.send_frame("lan-far", mac)
        ns.send_frame("lan-far", MARK)
        listener.settimeout(LONG)
        while listener.recv(2048)[6:12].hex(":") != MARK:
            pass


def tagged(destination: str, source: str, vid: int) -> bytes:
    return (
        bytes.fromhex((destination + source).replace(":", "")) + b"\x81\x00" + vid.to_bytes(2) + b"\x88\xb5" + bytes(46)
    )


def plain(destination: str, source: str) -> bytes:
    return bytes.fromhex((destination + source).replace(":", "")) + b"\x88\xb5" + bytes(46)


def comes_out(ns: Namespace, at: str, into: str, *frames: bytes) -> list[bool]:
    """Whether each frame that is put into one port comes out of the other; by destination, and the last one does."""
    with ExitStack() as opened:
        listener = opened.enter_context(ns.packet_socket(f"{at}-far"))
        sender = opened.enter_context(ns.packet_socket(f"{into}-far"))
        for frame in frames:
            transmit(sender, frame)
        listener.settimeout(LONG)
        heard: list[bytes] = []
        while frames[-1][:6] not in heard:
            heard.append(listener.recv(2048)[:6])
    return [frame[:6] in heard for frame in frames]


# 19: what a static entry survives


def stp_listens(ns: Namespace) -> None:
    """With STP, a port that comes up forwards nothing for two forward delays, half a minute."""
    ns.ip("link set br0 type bridge stp_state 1")
    ns.ip("link set guest down")
    ns.ip("link set guest up")
    eventually(lambda: ns.port_state("guest") == "listening", "STP keeps the port from forwarding")


EVENTS: dict[str, Callable[[Namespace], None]] = {
    "port down": lambda ns: ns.ip("link set guest down"),
    "carrier lost": lambda ns: ns.ip("link set guest-far down"),
    "STP": stp_listens,
    "bridge down": lambda ns: ns.ip("link set br0 down"),
    "port flushed": lambda ns: ns.ip("link set guest type bridge_slave fdb_flush"),
    "bridge flushed": lambda ns: ns.ip("link set br0 type bridge fdb_flush"),
}


@pytest.mark.parametrize("event", EVENTS)
def test_a_static_entry_survives_what_takes_a_learned_one(ns: Namespace, event: str) -> None:
    build(ns)
    ns.bridge(f"fdb replace {GUEST} dev guest master static sticky")
    ns.send_frame("guest-far", NEIGHBOUR)
    eventually(lambda: ns.port_of(NEIGHBOUR) == "guest", "the neighbour is learned")
    EVENTS[event](ns)
    eventually(lambda: ns.port_of(NEIGHBOUR) is None, "the learned entry is gone")
    assert guests_entries(ns) == {("guest", "static", True)}


# 24: an address of the host's own


def test_a_guest_with_a_ports_own_address_is_refused_for_a_put_would_take_the_hosts(ns: Namespace) -> None:
    build(ns)
    own = ns.links()["lan"]["address"]

    def owners() -> set[tuple[str, str]]:
        return {(entry["ifname"], entry["state"]) for entry in ns.fdb() if entry["mac"] == own}

    assert owners() == {("lan", "permanent")}
    with Kernel(ns.name) as kernel:
        outcome = apply(LOCK, lambda: intent(own), kernel, notes=Notebook())
    assert Code.MAC_COLLISION in {finding.code for finding in outcome.view.plan.findings}
    assert owners() == {("lan", "permanent")}
    ns.bridge(f"fdb replace {own} dev guest master static")  # what is not done: the host's own entry is gone
    assert owners() == {("guest", "static")}


# 37, 38: locked


def locked(ns: Namespace, entry: str) -> None:
    build(ns)
    with Kernel(ns.name) as kernel:
        require("locked bridge ports (5.18)", kernel.read_snapshot().ports["guest"].flags.locked is not None)
    ns.bridge(f"fdb replace {GUEST} dev guest master {entry}")
    ns.bridge("link set dev guest learning off locked on")


@pytest.mark.full_kernel
@pytest.mark.parametrize(("entry", "stays"), [("static sticky", True), ("static", False)])
def test_one_frame_cuts_a_locked_guest_off_whose_entry_is_not_sticky(ns: Namespace, entry: str, stays: bool) -> None:
    locked(ns, entry)
    ns.bridge("fdb add 52:54:00:00:00:03 dev guest master static sticky")  # another address of the guest: the marker
    mine, behind = plain(NEIGHBOUR, GUEST), plain(BROADCAST, "52:54:00:00:00:03")
    assert comes_out(ns, "lan", "guest", mine, behind) == [True, True]
    seen_on_the_lan_side(ns, GUEST)
    assert comes_out(ns, "lan", "guest", mine, behind) == [stays, True]


@pytest.mark.full_kernel
def test_what_a_locked_port_drops_is_in_no_counter(ns: Namespace) -> None:
    locked(ns, "static sticky")

    def lost() -> dict[str, int]:
        """Each counter of port and bridge that tells of loss."""
        said = json.loads(ns.run("ip", "-s", "-s", "-j", "link"))
        return {
            f"{link['ifname']} {way} {name}": value
            for link in said
            if link["ifname"] in ("guest", "br0")
            for way, counters in link["stats64"].items()
            for name, value in counters.items()
            if name not in ("bytes", "packets", "multicast")
        }

    before = lost()
    assert "guest rx dropped" in before
    frames = [plain(NEIGHBOUR, STRANGER), plain(MARK, GUEST)]  # no broadcast: the host would drop its copy, and count
    assert comes_out(ns, "lan", "guest", *frames) == [False, True]
    assert lost() == before


@pytest.mark.full_kernel
def test_locked_holds_in_each_vid_by_itself(ns: Namespace) -> None:
    """An entry in VID 10 lets the guest speak there and nowhere else."""
    require("bridge VLAN filtering", ns.accepts("link add brx type bridge vlan_filtering 1"))
    build(ns, "vlan_filtering 1")
    for port in ("guest", "lan"):
        for vid in (10, 20):
            ns.bridge(f"vlan add dev {port} vid {vid}")
    in_20, in_10, behind = (tagged(to, GUEST, vid) for to, vid in ((NEIGHBOUR, 20), (STRANGER, 10), (BROADCAST, 10)))
    ns.bridge(f"fdb replace {GUEST} dev guest vlan 10 master static sticky")
    ns.bridge("link set dev guest learning off")
    assert comes_out(ns, "lan", "guest", in_20, in_10, behind) == [True, True, True]
    ns.bridge("link set dev guest locked on")
    assert comes_out(ns, "lan", "guest", in_20, in_10, behind) == [False, True, True]
    ns.bridge(f"fdb replace {GUEST} dev guest vlan 20 master static sticky")
    assert comes_out(ns, "lan", "guest", in_20, in_10, behind) == [True, True, True]


# 40: without sticky entries


@pytest.mark.parametrize("lacking", [True, False])
def test_an_uplink_that_does_not_learn_moves_no_entry_that_is_not_sticky(ns: Namespace, lacking: bool) -> None:
    """What macmgr does where the kernel is known to lack sticky; where it is not, the entry is sticky instead."""
    build(ns)
    notes = Notebook(Memory(lacks=frozenset({Feature.STICKY} if lacking else ())))
    with Kernel(ns.name) as kernel:
        outcome: Outcome = apply(LOCK, intent, kernel, notes=notes)
        assert outcome.complete
        ports = kernel.read_snapshot().ports
        assert (ports["lan"].flags.learning, ports["lan"].flags.unicast_flood) == (not lacking, True)
        assert guests_entries(ns) == {("guest", "static", not lacking)}

        seen_on_the_lan_side(ns, GUEST)
        assert guests_entries(ns) == {("guest", "static", not lacking)}
        unknown, behind = plain(STRANGER, GUEST), plain(BROADCAST, GUEST)
        assert comes_out(ns, "lan", "guest", unknown, behind) == [True, True]

        assert release(LOCK, intent, kernel, Scope(), notes).outcome.complete
        assert kernel.read_snapshot().ports["lan"].flags.learning
