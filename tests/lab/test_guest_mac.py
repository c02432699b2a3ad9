"""A guest that changes its MAC, by its own driver, with the real libvirt: the daemon sees it, and policy decides.

libvirt before 11.2.0 tells nobody, so the packet sockets are all there is; a newer one says it too, of trusted NICs.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import PROGRAM, Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Network, Nic, until

OWN, NEW, VIRTUAL = "52:54:00:aa:00:01", "52:54:00:bb:00:01", "00:00:5e:00:01:0a"
ADDRESS, TRUSTED = "10.0.0.11/24", "trustGuestRxFilters='yes'"
LOCKED = "<macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1' lock='yes'/>"
VRRP = f"""<macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1'>
  <macmgr:interface mac='{OWN}'><macmgr:allow mac='00:00:5e:00:01:*'/></macmgr:interface>
</macmgr:macTable>"""


@contextmanager
def daemon() -> Iterator[Path]:
    """`macmgr watch`, once it has made its first round; what it says is in the file."""
    said = Path("/run/lab/watch.log")
    with said.open("wb") as log:
        process = subprocess.Popen([PROGRAM, "watch"], stdout=log, stderr=log)
    try:
        until(lambda: " watches" in said.read_text() or process.poll() is not None, "macmgr watch is ready", 60)
        assert process.poll() is None, said.read_text()
        yield said
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture
def watch(macmgr: Macmgr, network: Network) -> Iterator[Path]:
    with daemon() as said:
        yield said


def ports_of(bridge: HostBridge, mac: str) -> set[str]:
    return {str(row["ifname"]) for row in bridge.fdb(mac)}


def change(guest: Guest, mac: str) -> None:
    """`ip link set eth0 address`, inside the guest, which tells its neighbours."""
    guest.ask(f"setmac {guest.ask('macs')['nics'][0]['name']} {mac}")


def test_a_trusted_guest_is_followed_there_and_back(
    watch: Path, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    guest = make_guest(1, [Nic(OWN, ADDRESS, network="lan", attributes=TRUSTED)], LOCKED).start().wait_ready()
    tap = guest.tap()
    until(lambda: ports_of(bridge, OWN) == {tap} and bridge.flags(tap)["locked"], "the guest is managed")
    for mac, old in ((NEW, OWN), (OWN, NEW)):
        change(guest, mac)
        until(lambda: ports_of(bridge, mac) == {tap}, f"the entry follows to {mac}")  # noqa: B023 - within the round
        until(lambda: tap not in ports_of(bridge, old), f"that of {old} is gone")  # noqa: B023
        lan.forget_neighbours()
        assert lan.ping("10.0.0.11") == 3  # through the lock, which takes no other address
        assert not macmgr.codes()
    assert f"g1 uses {NEW} on {tap} instead of {OWN}" in watch.read_text()


def test_an_untrusted_guest_is_told_and_not_let_in(
    watch: Path, bridge: HostBridge, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    guest = make_guest(1).start().wait_ready()
    tap = guest.tap()
    until(lambda: ports_of(bridge, OWN) == {tap}, "the guest is managed")
    change(guest, NEW)
    until(lambda: "guest-mac-changed" in macmgr.codes("warning"), "the audit has it")
    assert tap not in ports_of(bridge, NEW)
    assert ports_of(bridge, OWN) == {tap}
    until(
        lambda: f"g1 uses {NEW} on {tap} in addition to {OWN} or instead of it" in watch.read_text(),
        "the daemon reports it",
    )


def test_a_virtual_router_fails_over_to_the_lan_and_back(
    watch: Path, bridge: HostBridge, lan: Lan, make_guest: MakeGuest
) -> None:
    """The guest sends from the virtual address as the master does, then a router on the LAN, then it again."""
    guest, other = make_guest(1, metadata=VRRP).start(), make_guest(2).start()
    guest.wait_ready()
    other.wait_ready()
    tap = guest.tap()
    until(lambda: ports_of(bridge, OWN) == {tap}, "the guest is managed")

    def seen_from(send: Guest | Lan, port: str) -> None:
        """Whoever sends is the master: what the other guest sends to the virtual address goes there, and only there."""

        def there() -> bool:
            send.send(src=VIRTUAL, dst="ff:ff:ff:ff:ff:ff")
            return ports_of(bridge, VIRTUAL) == {port}

        until(there, f"the virtual address is on {port}")

    seen_from(lan, bridge.uplink)
    seen_from(guest, tap)
    guest.listen(promiscuous=True)
    other.send(src=other.nics[0].mac, dst=VIRTUAL, ethertype=0x88B6)
    until(lambda: guest.frames(dst=VIRTUAL, ethertype=0x88B6) == 1, "the master here gets it")
    seen_from(lan, bridge.uplink)
    with lan.listen() as heard:
        other.send(src=other.nics[0].mac, dst=VIRTUAL, ethertype=0x88B7)
        until(lambda: heard.frames(dst=VIRTUAL, ethertype=0x88B7) == 1, "the master on the LAN gets it")
    assert guest.frames(dst=VIRTUAL, ethertype=0x88B7) == 0
    seen_from(guest, tap)
