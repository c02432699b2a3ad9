"""Life events around a guest's CPUs: an entry is there exactly when they run."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.life import Life
from tests.lab.topology import Guest, Libvirt, run

SAVED = "/run/lab/life.saved"


def test_suspend(life: Life) -> None:
    """``virsh suspend``, ``virsh resume``."""
    life.guest.suspend()
    life.waits("suspended")
    before = life.said()
    life.guest.resume()
    life.runs("resumed")
    # libvirt puts its entry before it writes that the CPUs run: whoever takes that for early cuts a running guest off
    assert f"dropped the entry of {life.guest.name}" not in life.said().removeprefix(before)


def test_start_paused(life: Life) -> None:
    """``virsh start --paused``, ``virsh resume``."""
    life.guest.destroy()
    life.guest.start(paused=True)
    life.waits("paused")
    life.guest.resume()
    life.guest.wait_ready()
    life.runs("resumed")


def test_save_and_restore(life: Life) -> None:
    """``virsh save``, ``virsh restore``."""
    life.guest.hang_up()
    life.libvirt.virsh("save", life.guest.name, SAVED)
    life.is_gone("saved")
    life.libvirt.virsh("restore", SAVED)
    life.guest.wait_ready()
    life.runs("restored")


def test_restore_paused(life: Life) -> None:
    """``virsh save``, ``virsh restore --paused``, ``virsh resume``."""
    life.guest.hang_up()
    life.libvirt.virsh("save", life.guest.name, SAVED)
    life.libvirt.virsh("restore", SAVED, "--paused")
    life.waits("restored, paused")
    life.guest.resume()
    life.guest.wait_ready()
    life.runs("resumed")


def test_managed_save(life: Life) -> None:
    """``virsh managedsave``, ``virsh start``."""
    life.guest.hang_up()
    life.libvirt.virsh("managedsave", life.guest.name)
    life.is_gone("saved")
    life.guest.start().wait_ready()
    life.runs("started from the saved state")


@pytest.fixture
def with_a_disk(life: Life, libvirt: Libvirt) -> Iterator[Life]:
    """The same guest, with the qcow2 disk in which an internal snapshot keeps the memory."""
    disk = Path("/run/lab/life.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", str(disk), "64M")
    without = life.guest
    without.undefine()
    life.guest = Guest(libvirt, without.name, without.nics, disk=disk).define().start().wait_ready()
    yield life
    life.libvirt.virsh("snapshot-delete", life.guest.name, "once", check=False)
    life.guest.undefine()
    disk.unlink()
    without.define()


def test_snapshot_revert(with_a_disk: Life) -> None:
    """``virsh snapshot-revert`` of a running guest, then ``snapshot-revert --paused`` and ``virsh resume``."""
    life = with_a_disk
    life.libvirt.virsh("snapshot-create-as", life.guest.name, "once")
    life.runs("snapshot taken")
    life.guest.hang_up()
    life.libvirt.virsh("snapshot-revert", life.guest.name, "once")
    life.guest.wait_ready()
    life.runs("reverted")
    life.guest.hang_up()
    life.libvirt.virsh("snapshot-revert", life.guest.name, "once", "--paused")
    life.waits("reverted, paused")
    life.guest.resume()
    life.guest.wait_ready()
    life.runs("resumed")


def test_guest_reboots(life: Life) -> None:
    """The guest reboots."""
    life.guest.reboot()
    life.guest.wait_ready()
    life.runs("rebooted")


def test_guest_shuts_down(life: Life) -> None:
    """The guest shuts down, ``virsh start``."""
    life.guest.power_off()
    life.is_gone("shut down")
    life.guest.start().wait_ready()
    life.runs("started")
