"""What libvirt alone knows of a NIC's address is not lost between its event and the look that can act on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.model.findings import Code
from macmgr.model.intent import GuestPort, Manager
from macmgr.model.known import NicAddress
from macmgr.view import Outcome
from macmgr.watch.addresses import ALERT
from macmgr.watch.addresswatch import AddressWatch
from macmgr.watch.round import Round
from tests.onlooker import ALERTS, FOLLOW, NEW, OTHER, OWN, Host, guest


class Daemon:
    """The daemon's watch for addresses, with rounds on a host in small; it sees no frames."""

    def __init__(self, path: Path) -> None:
        self.path, self.host = path, Host([guest()], sightings=False)
        self.start()

    def start(self) -> None:
        self.watch = AddressWatch(None, lambda _: None, lambda *_: None, self.path)

    def round(self, *guests: GuestPort) -> None:
        """Until nothing is left to do."""
        self.host.guests = guests or self.host.guests
        for _ in range(3):
            self.host.records = self.watch.records
            done = Round((), Outcome((), (), self.host.round()))
            self.watch.after(done, self.host.now, sightings=False)

    def hears(self, mac: str, *, changed: bool = True) -> None:
        self.watch.note(NicAddress("uuid of web1", "net0", mac, changed))
        self.watch.hear(self.host.now)
        self.round()


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    made = Daemon(tmp_path / "macmgr" / "observed.json")
    made.round()
    yield made
    made.watch.close()


def kernel(guest: GuestPort) -> GuestPort:
    return replace(guest, policy=replace(guest.policy, manager=Manager.KERNEL))


def test_it_outlives_looks_files_and_a_restart(daemon: Daemon) -> None:
    daemon.hears(NEW)
    assert (daemon.host.port_of(NEW), daemon.host.entry(OWN)) == ("vnet0", None)
    daemon.round(guest())  # the file was read again, without the address
    daemon.watch.close()
    daemon.start()
    daemon.round()
    assert (daemon.host.port_of(NEW), daemon.host.entry(OWN)) == ("vnet0", None)
    daemon.hears(OWN)
    assert (daemon.host.port_of(OWN), daemon.host.entry(NEW)) == ("vnet0", None)


def test_it_outlives_a_policy_that_leaves_the_nic_to_the_kernel_for_a_while(daemon: Daemon) -> None:
    daemon.hears(NEW)
    daemon.round(kernel(guest()))
    assert daemon.watch.records == ()
    daemon.round(guest())
    assert (daemon.host.port_of(NEW), daemon.host.entry(OWN)) == ("vnet0", None)


def test_it_is_kept_for_a_nic_that_is_managed_only_later(daemon: Daemon) -> None:
    daemon.round(kernel(guest()))
    daemon.hears(NEW)
    daemon.round(guest())
    assert daemon.host.port_of(NEW) == "vnet0"


def test_it_is_not_the_word_about_another_nic_with_the_alias(daemon: Daemon) -> None:
    daemon.hears(NEW)
    daemon.round(guest(FOLLOW, mac=OTHER))
    assert (daemon.host.port_of(OTHER), daemon.host.entry(NEW)) == ("vnet0", None)
    daemon.round(guest())
    assert (daemon.host.port_of(OWN), daemon.host.entry(NEW)) == ("vnet0", None)


def test_a_guest_that_is_not_followed_is_reported_until_libvirt_says_otherwise(daemon: Daemon) -> None:
    daemon.round(guest(ALERTS))
    daemon.hears(NEW)
    for _ in range(3):
        assert Code.GUEST_MAC_CHANGED in daemon.host.codes
        daemon.host.now += ALERT + 1
        daemon.round()
    daemon.hears(OWN)
    assert Code.GUEST_MAC_CHANGED not in daemon.host.codes


def test_a_word_about_nobody_here_is_dropped(daemon: Daemon) -> None:
    daemon.watch.note(NicAddress("uuid of another", "net0", NEW, changed=True))
    daemon.watch.hear(daemon.host.now)
    daemon.round()
    daemon.round(replace(guest(), uuid="uuid of another"))
    assert daemon.host.entry(NEW) is None
