"""libvirt's events wake the daemon: with libvirt's own test driver, which has events and no daemon."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from macmgr.model.known import NicAddress
from macmgr.sources.hypervisor import load_libvirt
from macmgr.sources.libvirtevents import LibvirtEvents
from tests.lab.wait import until

pytest.importorskip("libvirt")

URI = "test:///default"


def end(events: LibvirtEvents) -> None:
    """Closes it, and waits for its thread longer than the daemon does.

    On a busy machine the thread outlives `close`. It then holds the driver's state, with a domain that an earlier test
    has suspended, and it takes wake-ups of libvirt's event loop, of which a process has one.
    """
    events.close()
    events._thread.join(60)
    assert not events._thread.is_alive()


@pytest.fixture
def libvirt() -> Iterator[Any]:
    """A second connection to the driver. Its state lives as long as any connection to it: all are closed."""
    connection = load_libvirt().open(URI)
    yield connection
    assert connection.close() == 0


@pytest.fixture
def woken() -> Iterator[queue.Queue[str]]:
    reasons: queue.Queue[str] = queue.Queue()
    events = LibvirtEvents(URI, reasons.put)
    assert reasons.get(timeout=60) == f"connected to {URI}"
    yield reasons
    end(events)
    assert load_libvirt().open(URI).close() == 0  # the last one: nothing holds the driver's state


def test_a_domain_that_changes_its_state(woken: queue.Queue[str], libvirt: Any) -> None:
    domain = libvirt.lookupByName("test")
    domain.suspend()
    assert woken.get(timeout=60) == "libvirt: domain test changed its state"
    domain.resume()
    assert woken.get(timeout=60) == "libvirt: domain test changed its state"


def test_metadata_that_changes(woken: queue.Queue[str], libvirt: Any) -> None:
    constants = load_libvirt()
    element, live = constants.VIR_DOMAIN_METADATA_ELEMENT, constants.VIR_DOMAIN_AFFECT_LIVE
    libvirt.lookupByName("test").setMetadata(element, "<m/>", "m", "urn:test:m", live)
    assert woken.get(timeout=60) == "libvirt: domain test has other metadata"


def test_a_network_that_changes_its_state(woken: queue.Queue[str], libvirt: Any) -> None:
    network = libvirt.networkLookupByName("default")
    network.destroy()
    assert woken.get(timeout=60) == "libvirt: network default changed its state"
    network.create()
    assert woken.get(timeout=60) == "libvirt: network default changed its state"


def test_a_host_without_a_network_driver(monkeypatch: pytest.MonkeyPatch, libvirt: Any) -> None:
    """virtqemud alone, for guests on plain bridges: what the network driver has no word of, the domains tell."""

    def refuse(*_: object) -> None:
        raise load_libvirt().libvirtError("this function is not supported by the connection driver")

    monkeypatch.setattr(load_libvirt().virConnect, "networkEventRegisterAny", refuse)
    reasons: queue.Queue[str] = queue.Queue()
    events = LibvirtEvents(URI, reasons.put)
    assert reasons.get(timeout=60) == f"connected to {URI}"
    libvirt.lookupByName("test").suspend()
    assert reasons.get(timeout=60) == "libvirt: domain test changed its state"
    end(events)


def test_a_connection_that_cannot_be_listened_to_is_closed_before_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    connect = load_libvirt().openReadOnly

    def fail(*_: object) -> None:
        raise load_libvirt().libvirtError("the connection is broken")

    def remember(uri: str) -> Any:
        made.append(connect(uri))
        return made[-1]

    monkeypatch.setattr("macmgr.sources.libvirtevents.FIRST_RETRY", 0.01)
    monkeypatch.setattr(load_libvirt(), "openReadOnly", remember)
    monkeypatch.setattr(load_libvirt().virConnect, "registerCloseCallback", fail)
    events = LibvirtEvents(URI, lambda _: None)
    until(lambda: len(made) >= 3, "a third connection")
    end(events)
    monkeypatch.undo()
    assert [each._o for each in made] == [None] * len(made)


def test_it_ends_while_libvirt_is_not_there() -> None:
    """The thread waits for the next attempt, which does not come."""
    end(LibvirtEvents("test:///no/such/file.xml", lambda _: None))


def test_it_ends_though_libvirt_hangs(tmp_path: Path) -> None:
    """A libvirtd that is stopped takes the connection and says nothing. The daemon's loop waits for this end."""
    with socket.socket(socket.AF_UNIX) as libvirtd:
        libvirtd.bind(str(tmp_path / "sock"))
        libvirtd.listen()
        events = LibvirtEvents(f"qemu+unix:///system?socket={tmp_path}/sock", lambda _: None)
        hung, _ = libvirtd.accept()
        closing = threading.Thread(target=events.close, daemon=True)
        closing.start()
        closing.join(60)
        ended, left_behind = not closing.is_alive(), events._thread.is_alive()
        hung.close()  # and what was left behind ends by itself
    events._thread.join(60)
    assert not events._thread.is_alive()
    assert (ended, left_behind) == (True, True)


def test_a_changed_address_is_handed_on_as_libvirt_says_it() -> None:
    """libvirt-python 11.2 calls back with alias, the address before and the one now; what is no address is nobody's."""

    class Domain:
        def UUIDString(self) -> str:  # noqa: N802 - as libvirt-python calls it
            return "u1"

    heard: list[NicAddress] = []
    events = LibvirtEvents("test:///no/such/file.xml", lambda _: None, heard.append)
    for new in ("52:54:00:BB:00:01", "", "01:00:5e:00:00:01", "00:00:00:00:00:00", "x;id"):
        events._mac_event(None, Domain(), "net0", "52:54:00:00:00:01", new, None)
    end(events)
    events._mac_event(None, Domain(), "net0", "", "52:54:00:bb:00:02", None)
    assert heard == [NicAddress("u1", "net0", "52:54:00:bb:00:01", True)]
