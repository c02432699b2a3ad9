"""What a guest leaves behind is cleared up where a policy makes the bridge ours, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from macmgr.model.intent import GuestPort, Intent, Manager, Pin, Policy, PortlessNic
from macmgr.model.known import KeptMac, Memory
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags
from macmgr.reconcile import apply
from macmgr.state.lock import WriterLock
from tests.fake_kernel import FakeKernel, make_snapshot
from tests.notebook import Notebook

MAC = "52:54:00:00:00:01"


def a_kernel() -> FakeKernel:
    """Two bridges, and on the uplink of each what is left of a guest that had a NIC on both."""
    bridges = [Bridge(f"br{number}", 1 + number, f"02:b0:00:00:00:0{number}") for number in (0, 1)]
    ports = [BridgePort(f"eth{number}", 5 + number, f"br{number}", f"02:e0:00:00:00:0{number}") for number in (0, 1)]
    return FakeKernel(make_snapshot(bridges, ports, [Entry(MAC, 0, "eth0"), Entry(MAC, 0, "eth1")]))


def remembered(mac: str = MAC, domain: str = "web1", bridges: tuple[str, ...] = ("br0", "br1")) -> Notebook:
    return Notebook(Memory(macs=tuple(KeptMac(mac, bridge, domain, "vnet9", 99) for bridge in bridges)))


def left(kernel: FakeKernel) -> set[str]:
    return {bridge for bridge, mac, _ in kernel.fdb if mac == MAC}


def stop(kernel: FakeKernel, notes: Notebook, managed: tuple[str, ...] = ("br0", "br1"), **fields: Any) -> None:
    """A hook call says that web1 is gone, and that it had the address."""
    intent = Intent(managed_bridges=dict.fromkeys(managed, "a test"), gone_domains=("web1",), **fields)
    apply(WriterLock(), lambda: intent, kernel, notes=notes)


@pytest.mark.parametrize("managed", [(), ("br0",), ("br1",), ("br0", "br1")], ids="+".join)
def test_a_stale_entry_goes_from_managed_bridges_only(managed: tuple[str, ...]) -> None:
    kernel = a_kernel()
    stop(kernel, remembered(), managed)
    assert left(kernel) == {"br0", "br1"} - set(managed)


NEVER_ITS = {
    "nothing is remembered of it": remembered("52:54:00:00:00:07"),
    "another domain had the address": remembered(domain="web2"),
    "it had it on another bridge": remembered(bridges=("br2",)),
}


@pytest.mark.parametrize("why", NEVER_ITS)
def test_an_administrators_entry_stays_when_a_domain_is_gone_that_names_its_address(why: str) -> None:
    """libvirt calls `stopped` for a start that failed as well, and the XML may name any address."""
    kernel = a_kernel()
    notes = Notebook(NEVER_ITS[why].memory)
    # what is remembered of web2 goes once no web2 is here
    stop(kernel, notes, portless=(PortlessNic("web2", "02:00:00:00:00:11", "user", "…"),))
    assert left(kernel) == {"br0", "br1"}


def test_only_on_the_bridge_where_it_had_it() -> None:
    kernel = a_kernel()
    stop(kernel, remembered(bridges=("br1",)))
    assert left(kernel) == {"br0"}


def test_a_sticky_one_on_the_uplink_was_put_there_by_somebody() -> None:
    """No frame moves an entry that is sticky, so it is not what the guest left behind."""
    kernel = a_kernel()
    kernel.set_entry(Entry(MAC, 0, "eth0", sticky=True))
    stop(kernel, remembered())
    assert left(kernel) == {"br0"}


def test_what_its_status_file_had_while_it_ran_is_left_behind_too() -> None:
    """macmgr came after the guest, and its first look is the one at its end."""
    ran = GuestPort("vnet9", "br0", "web1", "u", (MAC,), policy=Policy(manager=Manager.LIBVIRT))
    kernel = a_kernel()
    stop(kernel, Notebook(), gone_ports=(ran,))
    assert left(kernel) == {"br1"}


def test_an_entry_that_is_there_already_is_remembered() -> None:
    """libvirt's own may be all that is wanted: no change is made, and it may be stolen before the guest is gone."""
    guest = GuestPort("vnet9", "br0", "web1", "u", (MAC,), policy=Policy(manager=Manager.LIBVIRT, pin=Pin.STATIC))
    kernel, notes = a_kernel(), Notebook()
    kernel.ports["vnet9"] = BridgePort("vnet9", 99, "br0", "fe:00:00:00:00:09", PortFlags(False, False), kind="tun")
    kernel.masters["vnet9"] = "br0"
    kernel.set_entry(Entry(MAC, 0, "vnet9"))
    here = Intent((guest,), {"br0": "a test"})
    assert apply(WriterLock(), lambda: here, kernel, notes=notes).done == ()
    kernel.frame("eth0", MAC, "ff:ff:ff:ff:ff:ff")
    kernel.remove_port("vnet9")
    stop(kernel, notes)
    assert left(kernel) == {"br1"}
