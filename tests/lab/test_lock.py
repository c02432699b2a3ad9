"""lock='yes': the kernel drops every frame of a guest whose source MAC is not one of its own, broadcast included."""

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import HostBridge, Lan, Libvirt, Network, until

STRANGER, ALLOWED = "02:00:00:00:00:99", "02:00:00:00:01:0a"
BROADCAST = "ff:ff:ff:ff:ff:ff"
METADATA = f"""<macmgr:macTable xmlns:macmgr='urn:macmgr:mactable:1' lock='yes'>
  <macmgr:interface mac='52:54:00:aa:00:01'><macmgr:allow mac='{ALLOWED}'/></macmgr:interface>
</macmgr:macTable>"""


def test_only_the_guests_own_addresses_leave_a_locked_port(
    hooks: None,
    network: Network,
    libvirt: Libvirt,
    bridge: HostBridge,
    lan: Lan,
    make_guest: MakeGuest,
    macmgr: Macmgr,
) -> None:
    """Metadata asks for the lock, the hook sets it with the entry, and it outlives a suspend and a new daemon."""
    guest = make_guest(1, metadata=METADATA).start().wait_ready()

    def only_its_own_pass() -> None:
        assert bridge.flags(guest.tap())["locked"]
        assert lan.ping("10.0.0.11") == 3
        with lan.listen() as heard:
            for destination in (lan.mac, BROADCAST):
                guest.send(src=STRANGER, dst=destination)
            guest.send(src=ALLOWED, dst=BROADCAST, ethertype=0x88B6)
            guest.send(src=guest.nics[0].mac, dst=lan.mac, ethertype=0x88B7)  # the last: what was to come has come
            until(lambda: heard.frames(ethertype=0x88B7) == 1, "the guest's own frame arrives")
            assert heard.frames(src=ALLOWED, ethertype=0x88B6) == 1
            assert heard.frames(src=STRANGER) == 0

    only_its_own_pass()
    macmgr("audit", "--strict")

    guest.suspend()
    guest.resume()
    only_its_own_pass()

    guest.suspend()
    macmgr("apply")  # nobody would put the allowed entry at resume; libvirt puts the guest's own
    guest.resume()
    macmgr("apply")
    only_its_own_pass()

    libvirt.stop()
    bridge.set_flags(_tap_of(bridge, guest.nics[0].mac), locked="off")
    libvirt.start()
    until(lambda: not macmgr.codes(), "the reconnect hook has locked the port again")
    only_its_own_pass()


def test_without_the_lock_a_strangers_frame_leaves(
    hooks: None, network: Network, lan: Lan, make_guest: MakeGuest
) -> None:
    """The same frames, without the metadata: they arrive, so it is the lock that stops them."""
    guest = make_guest(1).start().wait_ready()
    with lan.listen() as heard:
        guest.send(src=STRANGER, dst=BROADCAST)
        until(lambda: heard.frames(src=STRANGER) == 1, "the stranger's frame arrives")


def _tap_of(bridge: HostBridge, mac: str) -> str:
    """The port of a MAC by the bridge's word: libvirt is not there to ask."""
    return str(next(row["ifname"] for row in bridge.fdb(mac)))
