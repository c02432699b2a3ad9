"""What a real kernel refuses, loses, or has no room for, made to happen; and what macmgr then does.

Capabilities: test_kernel.py and test_cli.py. A dump under churn: test_churn.py.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from pathlib import Path

import pytest

from macmgr.errors import KernelError
from macmgr.kernel import Kernel, Refusal, netlink, wire
from macmgr.kernel.netlink import Answers, Connection
from macmgr.model.changes import Request
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.snapshot import Entry, PortFlags, Snapshot
from macmgr.reconcile import apply, look
from macmgr.state.lock import hold
from tests import crowd
from tests.crowd import CrowdGuest
from tests.fake_kernel import put_entry
from tests.netns.conftest import Namespace, eventually
from tests.notebook import Notebook

MANAGED = Policy(manager=Manager.LIBVIRT)
MACS = [f"52:54:01:00:{number >> 8:02x}:{number & 255:02x}" for number in range(5000)]


def intent(guests: Sequence[CrowdGuest]) -> Intent:
    ports = (GuestPort(each.tap, "br0", each.name, each.name, (each.mac,), policy=MANAGED) for each in guests)
    return Intent(tuple(ports), {"br0": "a test says so"})


@pytest.fixture
def guests(ns: Namespace) -> list[CrowdGuest]:
    """Three taps on a bridge."""
    made = [CrowdGuest(number) for number in (1, 2, 3)]
    crowd.add_bridge(ns.name)
    crowd.add_taps(ns.name, [guest.tap for guest in made])
    return made


@pytest.fixture
def losses(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows each time a connection finds that answers were lost."""
    seen: list[str] = []
    forget = Connection._forget_waiting

    def count(connection: Connection) -> None:
        seen.append("lost")
        forget(connection)

    monkeypatch.setattr(Connection, "_forget_waiting", count)
    return seen


def shrink(kernel: Kernel) -> None:
    """The smallest receive buffer that the kernel allows, on a connection that counts on another."""
    kernel._connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)


def test_answers_that_found_no_room_are_asked_for_again(
    ns: Namespace, guests: list[CrowdGuest], losses: list[str]
) -> None:
    """ENOBUFS, of a thousand look-ups that all answer, and of as many requests that are all refused."""
    with Kernel(ns.name) as kernel:
        snapshot = kernel.read_snapshot()
        assert not any(kernel.send([put_entry("vnet1", mac, None) for mac in MACS[:1000]], snapshot))
        shrink(kernel)
        found = kernel.look_up([("br0", mac, 0) for mac in MACS[:1000]], snapshot)
        assert losses
        assert {entry and entry.mac for entry in found.values()} == set(MACS[:1000])
        losses.clear()
        refusals = kernel.send([put_entry("vnet1", mac, 7) for mac in MACS[:1000]], snapshot)
        assert losses
        assert {refusal and refusal.errno for refusal in refusals} == {errno.EINVAL}


def test_where_there_is_no_room_for_one_answer_it_ends_with_words(
    ns: Namespace, guests: list[CrowdGuest], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Kernel(ns.name) as kernel:
        snapshot = kernel.read_snapshot()
        monkeypatch.setattr(Connection, "_receive", lambda *_: None)
        with pytest.raises(KernelError, match="answers of the kernel were lost"):
            kernel.look_up([("br0", mac, 0) for mac in MACS[:100]], snapshot)


def test_a_dump_that_was_given_up_is_read_to_its_end(
    ns: Namespace, guests: list[CrowdGuest], monkeypatch: pytest.MonkeyPatch
) -> None:
    """EBUSY: a socket has one dump at a time, and what one of this size has left waits to be read."""
    busy: list[str] = []
    end = Connection._end_other_dump

    def count(connection: Connection, operation: str) -> None:
        busy.append(operation)
        end(connection, operation)

    monkeypatch.setattr(Connection, "_end_other_dump", count)
    with Kernel(ns.name) as kernel:
        assert not any(kernel.send([put_entry("vnet1", mac, None) for mac in MACS], kernel.read_snapshot()))
        connection = kernel._connection
        connection._socket.send(wire.frame(wire.fdb_dump(), connection._next()))
        assert {entry.mac for entry in kernel.read_snapshot().entries} >= set(MACS)
        assert busy == ["reading the interfaces"]


class Vanishing(Kernel):
    """A kernel whose tap vnet2 is deleted between the look and the first request."""

    def __init__(self, ns: Namespace) -> None:
        super().__init__(ns.name)
        self._ns = ns

    def send(self, requests: Sequence[Request], snapshot: Snapshot) -> list[Refusal | None]:
        if "vnet2" in self._ns.links():
            self._ns.ip("link delete vnet2")
        return super().send(requests, snapshot)


def test_a_guest_that_vanishes_meanwhile_fails_alone(ns: Namespace, guests: list[CrowdGuest], tmp_path: Path) -> None:
    """ENODEV, for each of its requests; the others are made as they should be, and nothing of it is left to do."""
    with Vanishing(ns) as kernel, hold(tmp_path / "lock") as lock:
        outcome = apply(lock, lambda: intent(guests), kernel, notes=Notebook())
        assert outcome.complete
        assert not outcome.failures
        ports = kernel.read_snapshot().ports
    assert {finding.port for finding in outcome.view.plan.findings if finding.code is Code.MISSING_PORT} == {"vnet2"}
    closed = PortFlags(learning=False, unicast_flood=False, locked=ports["vnet1"].flags.locked)
    assert {name: port.flags for name, port in ports.items()} == {"vnet1": closed, "vnet3": closed}
    assert {ns.port_of(guest.mac) for guest in guests} == {"vnet1", None, "vnet3"}


def test_the_1024th_port_is_on_no_bridge_and_the_audit_says_why(ns: Namespace) -> None:
    """EXFULL: no request of ours gets it, and the tap of the guest that did is left without a bridge."""
    guests = [CrowdGuest(number) for number in range(1, 1025)]
    last = guests[-1]
    crowd.add_bridge(ns.name)
    crowd.add_taps(ns.name, [guest.tap for guest in guests[:-1]])
    ns.ip(f"tuntap add {last.tap} mode tap")
    assert not ns.accepts(f"link set {last.tap} master br0")
    with Kernel(ns.name) as kernel:
        findings = look(lambda: intent(guests), kernel).plan.findings
    (told,) = [finding for finding in findings if finding.code is Code.WRONG_BRIDGE]
    assert told.port == last.tap
    assert "br0, which has as many ports as a bridge can have (1023)" in told.message


def test_an_older_kernel_reads_and_changes_the_same(
    ns: Namespace, guests: list[CrowdGuest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One that knows none of the socket's options (4.2 to 4.20) and looks up no entry (5.0): simulated, at the edge."""
    monkeypatch.setattr(netlink, "_OPTIONS", (99,))  # ENOPROTOOPT
    with Kernel(ns.name) as older, hold(tmp_path / "lock") as lock:
        transact = Connection.transact

        def without_look_ups(connection: Connection, requests: Sequence[wire.Message], operation: str) -> Answers:
            if any(kind == wire.RTM_GETNEIGH for kind, _, _ in requests):
                return Answers(dict.fromkeys(range(len(requests)), (errno.EOPNOTSUPP, "")))
            return transact(connection, requests, operation)

        monkeypatch.setattr(Connection, "transact", without_look_ups)
        outcome = apply(lock, lambda: intent(guests), older, notes=Notebook())
        snapshot = older.read_snapshot()
        keys = [("br0", guests[0].mac, 0), ("br0", MACS[0], 0), ("br7", MACS[0], 0)]
        found = older.look_up(keys, snapshot)
        assert older.ages(keys, snapshot) == dict.fromkeys(keys)
        assert outcome.complete
        assert not outcome.failures
        assert list(found.values()) == [Entry(guests[0].mac, 0, "vnet1", sticky=True), None, None]
        monkeypatch.undo()  # the older one's socket stays without its options
        with Kernel(ns.name) as kernel:  # a tap's carrier comes when the kernel gets to it
            eventually(lambda: kernel.read_snapshot() == older.read_snapshot(), "both read the same")
