"""What a guest loses with libvirt's own macTableManager='libvirt' and nothing else: the case macmgr must beat."""

from tests.lab.conftest import MakeGuest
from tests.lab.topology import HostBridge, Lan, Network


def test_one_spoofed_frame_cuts_the_guest_off(
    network: Network, bridge: HostBridge, lan: Lan, make_guest: MakeGuest
) -> None:
    """libvirt's entry is static but not sticky: one frame moves it to the uplink, and it stays there."""
    guest = make_guest(1).start().wait_ready()
    neighbour = make_guest(2).start().wait_ready()
    mac, tap = guest.nics[0].mac, guest.tap()
    assert lan.ping("10.0.0.11") == 3
    assert {(entry["ifname"], entry["state"]) for entry in bridge.fdb(mac)} == {(tap, "static")}

    lan.send(src=mac, dst="ff:ff:ff:ff:ff:ff")

    # The entry of VID 1 moved; nothing learns on the tap, so the guest's own frames do not bring it back.
    owners = {entry["vlan"]: (entry["ifname"], entry["state"]) for entry in bridge.fdb(mac) if "vlan" in entry}
    assert owners == {1: (bridge.uplink, "static")}
    assert lan.ping("10.0.0.11") == 0
    assert guest.ping(lan.ip) == 0
    assert neighbour.ping("10.0.0.11") == 0
    assert {entry["ifname"] for entry in bridge.fdb(mac) if "vlan" in entry} == {bridge.uplink}
    # The other guest, untouched, is still there: it is not the lab that broke.
    assert lan.ping("10.0.0.12") == 3
