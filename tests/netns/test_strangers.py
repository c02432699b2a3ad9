"""What is on bridges that nobody manages costs nothing: counted by what our sockets receive, and not by the clock.

And a managed bridge whose table is flooded: what leads to its guests is read all the same, and the rest is not.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Collection
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from macmgr.kernel import Kernel, netlink
from macmgr.kernel.events import EventSocket
from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Intent, Manager, NicFacts, Policy, Scope
from macmgr.model.kernelevents import EntryEvent, Strangers
from macmgr.model.known import KeptMac, Known, Memory, SeenMacs
from macmgr.model.snapshot import MOST_LISTED, EntryState
from macmgr.planning.reading import NOTHING_BESIDE, Beside
from macmgr.reconcile import look
from macmgr.view import View
from tests.fake_kernel import put_entry
from tests.netns.conftest import Namespace, eventually
from tests.netns.hearing import heard
from tests.netns.house import House, house, mac_of

STRANGERS = 20_000
FLOOD = MOST_LISTED + 35_000
PLAIN = "52:54:00:bb:00:01"  # a guest's on the bridge that nobody manages
WHOLE = Beside(whole=True)


class Counting:
    """A netlink socket, and how much was read from it and from all others since it was asked last."""

    total = 0

    def __init__(self, opened: socket.socket) -> None:
        self._opened = opened

    def recv(self, *arguments: int) -> bytes:
        data = self._opened.recv(*arguments)
        Counting.total += len(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._opened, name)


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many bytes our sockets have received since the last call."""
    really = netlink.open_socket
    monkeypatch.setattr(netlink, "open_socket", lambda *words: Counting(really(*words)))

    def since() -> int:
        total, Counting.total = Counting.total, 0
        return total

    since()
    return since


def fill(kernel: Kernel, port: str, count: int, state: EntryState = EntryState.DYNAMIC) -> None:
    """As learned ones, but they do not age."""
    snapshot = kernel.read_snapshot(())
    puts = [
        put_entry(port, f"02:{number.to_bytes(5, 'big').hex(':')}", None, state, extern_learn=True)
        for number in range(count)
    ]
    assert not any(kernel.send(puts, snapshot))


def guest(port: str, mac: str, bridge: str = "br0", manager: Manager = Manager.LIBVIRT) -> GuestPort:
    facts = NicFacts(configured_mac=mac)
    return GuestPort(port, bridge, f"of-{port}", f"u-{port}", (mac,), policy=Policy(manager), facts=facts)


def two_bridges(ns: Namespace) -> Intent:
    """A guest on br0, which is managed, and one on br9, which is not."""
    ns.add_bridge()
    ns.add_bridge("br9")
    ns.add_tap("vnet1")
    ns.add_tap("vnet9", "br9")
    ns.add_tap("up9", "br9")
    ns.settle()
    guests = guest("vnet1", mac_of(1)), guest("vnet9", PLAIN, "br9", Manager.KERNEL)
    return Intent(guests, {"br0": "the test"})


@pytest.mark.parametrize("beside", [NOTHING_BESIDE, Beside(bystanders=True)], ids=["a hook", "an audit"])
def test_entries_of_a_bridge_that_is_not_managed_are_not_read(
    beside: Beside, ns: Namespace, received: Callable[[], int]
) -> None:
    intent = two_bridges(ns)
    with Kernel(ns.name) as kernel:
        received()
        before, few = look(lambda: intent, kernel, beside=beside), received()
        fill(kernel, "up9", STRANGERS)
        received()
        after, many = look(lambda: intent, kernel, beside=beside), received()
    assert few == many
    assert (before.plan, before.snapshot.entries) == (after.plan, after.snapshot.entries)


def test_what_is_shown_of_guests_there_is_read_by_name(ns: Namespace) -> None:
    intent = two_bridges(ns)
    ns.bridge(f"fdb replace {PLAIN} dev vnet9 master static")
    with Kernel(ns.name) as kernel:
        shown = look(lambda: intent, kernel, beside=Beside(bystanders=True)).snapshot
        asked = look(lambda: intent, kernel, beside=Beside(macs=frozenset({PLAIN}))).snapshot
        hidden = look(lambda: intent, kernel).snapshot
    assert {entry.port for entry in shown.entries if entry.mac == PLAIN} == {"vnet9"}
    assert {entry.port for entry in asked.entries if entry.mac == PLAIN} == {"vnet9"}
    assert PLAIN not in {entry.mac for entry in hidden.entries}


def test_events_of_a_bridge_that_is_not_heeded_are_left_out(ns: Namespace) -> None:
    two_bridges(ns)
    with Kernel(ns.name) as kernel, closing(EventSocket(ns.name)) as events:
        events.heed({kernel.read_snapshot(()).bridges["br0"].ifindex})
        heard(ns, events)
        fill(kernel, "up9", 1000)
        ns.bridge(f"fdb replace {mac_of(1)} dev vnet1 master static")
        ns.bridge(f"fdb del {mac_of(1)} dev vnet1 master")
        entries = [event for event in heard(ns, events) if isinstance(event, EntryEvent)]
        assert {event.mac for event in entries} == {mac_of(1)}
        assert {event.gone for event in entries} == {False, True}


def entries_heard(ns: Namespace, events: EventSocket) -> list[str]:
    """The MACs of entries, but for local ones: a bridge has its own address in its FDB."""
    read = [event for event in heard(ns, events) if isinstance(event, EntryEvent)]
    return [event.mac for event in read if event.state is not EntryState.LOCAL]


def strangers_of(kernel: Kernel, ours: Collection[str]) -> Strangers:
    snapshot = kernel.read_snapshot(())
    bridges, ports = snapshot.bridges, snapshot.ports
    return Strangers(frozenset({bridges["br9"].ifindex}), frozenset({ports["up0"].ifindex}), frozenset(ours))


def test_the_kernel_leaves_strangers_out_and_reports_ours_on_each_port(ns: Namespace) -> None:
    two_bridges(ns)
    ns.add_cable("up0")
    with Kernel(ns.name) as kernel, closing(EventSocket(ns.name)) as events:
        ours = [mac_of(number) for number in range(1, 400)]
        events.leave_out(strangers_of(kernel, ours))
        heard(ns, events)
        fill(kernel, "up0", 1000)
        fill(kernel, "up9", 1000)
        ns.bridge(f"fdb replace {mac_of(1)} dev vnet1 master static")
        ns.bridge(f"fdb replace {mac_of(1)} dev up0 master static")
        ns.bridge(f"fdb replace {mac_of(399)} dev up0 master static")
        ns.bridge(f"fdb replace {PLAIN} dev vnet1 master static")
        assert entries_heard(ns, events) == [mac_of(1), mac_of(1), mac_of(399), PLAIN]


def test_what_was_queued_before_is_read_and_what_was_left_out_can_be_heard_again(ns: Namespace) -> None:
    two_bridges(ns)
    ns.add_cable("up0")
    with Kernel(ns.name) as kernel, closing(EventSocket(ns.name)) as events:
        heard(ns, events)
        fill(kernel, "up0", 10)
        events.leave_out(strangers_of(kernel, ()))
        assert len(entries_heard(ns, events)) == 10
        events.leave_out(Strangers())
        fill(kernel, "up9", 10)
        assert len(entries_heard(ns, events)) == 10


def test_where_no_new_filter_can_be_had_the_old_one_goes_too(ns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would leave out who is a guest by now."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    two_bridges(ns)
    ns.add_cable("up0")
    with Kernel(ns.name) as kernel, closing(EventSocket(ns.name)) as events:
        events.leave_out(strangers_of(kernel, ()))
        heard(ns, events)
        monkeypatch.setattr("macmgr.kernel.entryfilter.attach", refuse)
        for _ in range(2):
            events.leave_out(strangers_of(kernel, {mac_of(1)}))
        ns.bridge(f"fdb replace {mac_of(1)} dev up0 master static")
        assert entries_heard(ns, events) == [mac_of(1)]


def test_a_filter_that_is_too_long_for_the_socket_lets_more_pass(ns: Namespace) -> None:
    two_bridges(ns)
    ns.add_cable("up0")
    with Kernel(ns.name) as kernel, closing(EventSocket(ns.name)) as events:
        ours = {f"52:54:{number.to_bytes(4, 'big').hex(':')}" for number in range(0, 20_000_000, 4001)}
        events.leave_out(strangers_of(kernel, ours))
        heard(ns, events)
        ns.bridge("fdb replace 02:00:ff:00:00:01 dev up0 master static")
        ns.bridge(f"fdb replace {max(ours)} dev up0 master static")
        assert entries_heard(ns, events) == [max(ours)]


def test_a_flood_on_the_uplink_of_a_managed_bridge_wakes_no_daemon(ns: Namespace, tmp_path: Path) -> None:
    """And a guest's address among them is repaired all the same; so is that of a guest who came later."""
    with house(ns, tmp_path) as host:
        host.guest(1)
        with host.daemon(), Kernel(ns.name) as kernel:
            eventually(lambda: host.managed(1), "the guest is managed")
            ns.settle()
            before = events_of(host)
            fill(kernel, "up0", STRANGERS)
            host.guest(2)
            eventually(lambda: host.managed(2), "the second guest is managed")
            for number in (1, 2):
                ns.bridge(f"fdb replace {mac_of(number)} dev up0 master static")
                eventually(lambda each=number: host.managed(each), "the theft is repaired")  # type: ignore[misc]
            assert events_of(host) - before < 1000


def test_the_daemon_decodes_no_stranger_and_repairs_meanwhile(ns: Namespace, tmp_path: Path) -> None:
    with house(ns, tmp_path) as host:
        host.guest(1)
        ns.add_bridge("br9")
        ns.add_tap("up9", "br9")
        with host.daemon(), Kernel(ns.name) as kernel:
            eventually(lambda: host.managed(1), "the guest is managed")
            ns.settle()
            before = events_of(host)
            fill(kernel, "up9", STRANGERS)
            ns.bridge("link set dev vnet1 learning on")
            eventually(lambda: host.flags("vnet1") == (False, False), "the drift is mended")
            assert events_of(host) - before < 1000


def events_of(host: House) -> int:
    return int(host.status()["events"]["read"])


def flooded(ns: Namespace, kernel: Kernel) -> tuple[Intent, Known]:
    """A managed bridge whose uplink has seen more addresses than anybody has, and drift of each kind below them."""
    ns.add_bridge()
    for name in ("up0", *(f"vnet{number}" for number in range(1, 7))):
        ns.add_tap(name)
    ns.settle()
    for number in (1, 2, 3, 5):
        ns.bridge(f"link set dev vnet{number} learning off flood off")
        ns.bridge(f"fdb replace {mac_of(number)} dev vnet{number} master static sticky")
    ns.bridge(f"fdb replace {mac_of(2)} dev up0 master static")  # stolen
    ns.bridge("fdb replace 02:ee:00:00:00:01 dev vnet3 master static")  # nothing asks for it
    ns.bridge(f"fdb replace {mac_of(4)} dev up0 master static")  # of a guest that waits here
    ns.bridge(f"fdb replace {mac_of(77)} dev up0 master static")  # of a guest that is gone
    ns.bridge(f"fdb replace {mac_of(55)} dev up0 master static")  # seen behind vnet5, and moved on
    fill(kernel, "up0", FLOOD)
    guests = [guest(f"vnet{number}", mac_of(number)) for number in range(1, 6)]
    guests[3] = replace(guests[3], running=False, state="paused")
    there = kernel.read_snapshot(()).ports
    seen = SeenMacs("vnet5", there["vnet5"].ifindex, "u-vnet5", mac_of(5), moved=(mac_of(55),))
    intent = Intent(tuple(guests), {"br0": "the test"})
    gone = KeptMac(mac_of(77), "br0", "gone", "vnet77", 9999)
    return intent, Known(Memory(macs=(gone,)), (seen,))


def test_of_a_flooded_bridge_what_concerns_guests_is_read(ns: Namespace, received: Callable[[], int]) -> None:
    with Kernel(ns.name) as kernel:
        intent, known = flooded(ns, kernel)
        received()
        view, some = look(lambda: intent, kernel, known=known), received()
        whole, all_of_it = look(lambda: intent, kernel, known=known, beside=WHOLE), received()
    assert not view.snapshot.lists("br0")
    assert [each.bridge for each in view.plan.findings if each.code is Code.TABLE_TOO_LONG] == ["br0"]
    assert whole.snapshot.lists("br0")
    assert len(whole.snapshot.entries) > FLOOD
    assert len(view.snapshot.entries) < 100
    assert some < all_of_it * 0.8
    assert drift(view) == drift(whole)
    assert {code for code, *_ in drift(view)} >= {Code.STOLEN_ENTRY, Code.EXTRA_ENTRY, Code.STALE_ENTRY}
    assert {mac for _, _, mac, _ in drift(view)} >= {mac_of(2), mac_of(4), mac_of(77), mac_of(55)}
    assert set(view.plan.changes) == set(whole.plan.changes)


def test_in_a_hurry_closed_ports_are_not_gone_through(ns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel goes through the whole table for each port; entries of guests are asked for by name all the same."""
    with Kernel(ns.name) as kernel:
        intent, known = flooded(ns, kernel)
        ns.bridge("link set dev vnet5 learning on")
        dumps: list[str] = []
        really = kernel._connection.dump

        def dump(request: Any, operation: str, most: int | None = None) -> Any:
            dumps.append(operation)
            return really(request, operation, most)

        monkeypatch.setattr(kernel._connection, "dump", dump)
        hurried = look(lambda: intent, kernel, known=known, beside=Beside(closed_ports=frozenset()))
        first, dumps[:] = dumps.count("reading the FDB"), []
        again = look(lambda: intent, kernel, known=known, beside=Beside(closed_ports=frozenset({"vnet3"})))
        calm = look(lambda: intent, kernel, known=known)
    assert first == 3, "the bridge's, which is too long, and those of the ports that are open: vnet4, vnet5"
    assert dumps.count("reading the FDB") == 3 + 7, "not the bridge's once more, but vnet3's; then all"
    assert drift(calm) == drift(again)
    assert drift(calm) - drift(hurried) == {(Code.EXTRA_ENTRY, "vnet3", "02:ee:00:00:00:01", 0)}
    assert not hurried.snapshot.lists_port("vnet3")
    assert again.snapshot.lists_port("vnet3")


def test_a_hook_goes_through_a_long_table_for_its_own_guest_alone(
    ns: Namespace, monkeypatch: pytest.MonkeyPatch, received: Callable[[], int]
) -> None:
    """Of other guests it asks for the entries by name, and ten times the strangers are not one byte more."""
    with Kernel(ns.name) as filling, Kernel(ns.name, 1000) as kernel:
        intent, known = flooded(ns, filling)
        ns.bridge("link set dev vnet5 learning on")
        dumps: list[bytes] = []
        really = kernel._connection.dump

        def dump(request: Any, operation: str, most: int | None = None) -> Any:
            if operation == "reading the FDB":
                dumps.append(request)
            return really(request, operation, most)

        monkeypatch.setattr(kernel._connection, "dump", dump)
        hurried, scope = Beside(closed_ports=frozenset()), Scope("of-vnet5")
        view = look(lambda: intent, kernel, scope, known, beside=hurried)
        assert len(dumps) == 2, "the bridge's, which is too long, and that of vnet5"
        calm = look(lambda: intent, filling, scope, known)
        assert drift(view) == drift(calm)
        received()
        some = look(lambda: intent, kernel, scope, known, beside=hurried) and received()
        fill(filling, "up0", 2 * FLOOD)
        received()
        more = look(lambda: intent, kernel, scope, known, beside=hurried) and received()
    assert some == more


def test_a_strange_entry_on_a_closed_port_of_a_flooded_bridge_is_dropped(ns: Namespace, tmp_path: Path) -> None:
    with house(ns, tmp_path) as host:
        for number in (1, 2):
            host.guest(number)
        with host.daemon(), Kernel(ns.name) as kernel:
            eventually(lambda: host.managed(1) and host.managed(2), "the guests are managed")
            ns.settle()
            fill(kernel, "up0", FLOOD)
            ns.bridge("link set dev vnet1 learning on")
            eventually(lambda: host.managed(1), "a look at the flooded bridge")
            ns.bridge("fdb add 02:ee:00:00:00:01 dev vnet2 master static")
            eventually(lambda: ns.port_of("02:ee:00:00:00:01") is None, lambda: host.log)


def drift(view: View) -> set[tuple[Code, str, str, int | None]]:
    found = {(each.code, each.port, each.mac, each.vid) for each in view.plan.findings}
    return found - {(Code.TABLE_TOO_LONG, "", "", None)}


def test_a_long_table_is_read_no_further_than_its_limit(ns: Namespace, received: Callable[[], int]) -> None:
    """Ten times the strangers, and not one byte more."""
    ns.add_bridge()
    ns.add_tap("up0")
    ns.add_tap("vnet1")
    ns.settle()
    intent = Intent((guest("vnet1", mac_of(1)),), {"br0": "the test"})
    with Kernel(ns.name) as kernel:
        read = []
        for count in (FLOOD, 3 * FLOOD):
            fill(kernel, "up0", count)
            received()
            look(lambda: intent, kernel)
            read.append(received())
    assert abs(read[0] - read[1]) <= 32 * 1024  # one part of a dump more or less


def test_explain_says_what_was_not_counted(ns: Namespace, tmp_path: Path) -> None:
    with house(ns, tmp_path) as host, Kernel(ns.name) as kernel:
        host.guest(1)
        fill(kernel, "up0", FLOOD)
        said = host.macmgr("explain", "up0").stdout.decode()
        assert "not counted, because br0 has too many" in said
        stranger = "02:00:00:00:00:07"
        said = host.macmgr("explain", stranger).stdout.decode()
        assert f"{stranger} -> up0" in said


def test_a_bridge_that_has_gone_meanwhile_has_no_entries(ns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    two_bridges(ns)
    with Kernel(ns.name) as kernel:
        really = kernel._connection.dump

        def dump(request: Any, operation: str, most: int | None = None) -> Any:
            if operation == "reading the FDB" and "br9" in ns.links():
                ns.ip("link del br9")
            return really(request, operation, most)

        monkeypatch.setattr(kernel._connection, "dump", dump)
        assert {entry.port for entry in kernel.read_snapshot().entries} <= {"br0", "vnet1"}


def test_a_dump_given_up_leaves_nothing_for_the_next_answer(ns: Namespace) -> None:
    ns.add_bridge()
    ns.add_tap("up0")
    ns.add_tap("vnet1")
    ns.bridge(f"fdb replace {mac_of(1)} dev vnet1 master static")
    with Kernel(ns.name) as kernel:
        fill(kernel, "up0", FLOOD)
        for _ in range(3):
            snapshot = kernel.read_snapshot({"br0"}, {"vnet1"})
            assert not snapshot.lists("br0")
            key = ("br0", mac_of(1), 0)
            found = kernel.look_up([key], snapshot)[key]
            assert found is not None
            assert found.port == "vnet1"
