"""The lab itself: guests, LAN and uplink do what the other tests take for granted."""

from tests.lab.conftest import MakeGuest
from tests.lab.topology import HostBridge, Lan, Libvirt, Network, Nic, until

STRANGER = "02:00:00:00:00:99"


def test_guests_and_lan_reach_each_other(network: Network, lan: Lan, make_guest: MakeGuest) -> None:
    """ping, in all directions."""
    first, second = make_guest(1).start(), make_guest(2).start()
    first.wait_ready()
    second.wait_ready()
    assert first.ping(lan.ip) == 3
    assert first.ping("10.0.0.12") == 3
    assert lan.ping("10.0.0.11") == 3
    assert lan.ping("10.0.0.12") == 3
    assert lan.ping("10.0.0.99", count=1) == 0


def test_frames_with_any_source_arrive(network: Network, lan: Lan, make_guest: MakeGuest) -> None:
    """A frame with a made-up source MAC gets from the LAN to a guest and from a guest to the LAN."""
    guest = make_guest(1).start().wait_ready()
    mac = guest.nics[0].mac
    guest.listen()
    lan.send(src=STRANGER, dst=mac, ethertype=0x88B5, count=5)
    until(lambda: guest.frames(src=STRANGER, dst=mac, ethertype=0x88B5) == 5, "the guest has the five frames")
    with lan.listen() as heard:
        guest.send(src="02:00:00:00:00:98", dst=lan.mac, ethertype=0x88B6, count=4)
        until(lambda: heard.frames(src="02:00:00:00:00:98", ethertype=0x88B6) == 4, "the LAN has the four frames")


def test_a_guest_changes_its_mac(network: Network, lan: Lan, make_guest: MakeGuest) -> None:
    """The agent's setmac takes effect on the wire: the LAN hears the guest speak with the new address."""
    guest = make_guest(1).start().wait_ready()
    with lan.listen() as heard:
        guest.ask(f"setmac {guest.interface()} 52:54:00:aa:00:31")
        until(lambda: heard.frames(src="52:54:00:aa:00:31", ethertype=0x0806) > 0, "the LAN hears the new MAC")


def test_a_stream_arrives_whole(network: Network, make_guest: MakeGuest) -> None:
    """Numbered frames from guest to guest: each one, and each one once."""
    first, second = make_guest(1).start(), make_guest(2).start()
    first.wait_ready()
    second.wait_ready()
    second.listen()
    first.ask(f"stream {first.interface()} {second.nics[0].mac} 88b5 200 2000")

    def distinct() -> bool:
        return [(row["src"], row["distinct"], row["duplicates"]) for row in second.ask("report")["streams"]] == [
            (first.nics[0].mac, 200, 0)
        ]

    until(distinct, "200 distinct frames, none twice")


def test_the_uplink_leaves_promiscuous_mode_with_the_last_auto_port(
    network: Network, bridge: HostBridge, make_guest: MakeGuest
) -> None:
    """A managed tap lets the uplink be; a second, unmanaged tap makes it promiscuous; closed, it is not again."""
    guest = make_guest(1).start().wait_ready()
    assert bridge.promiscuity() == 0
    unmanaged = Nic("52:54:00:aa:00:21", "10.0.1.21/24", bridge=bridge.name)
    guest.attach(unmanaged)
    assert bridge.promiscuity() == 1
    bridge.set_flags(guest.tap(unmanaged.mac), learning="off", flood="off")
    assert bridge.promiscuity() == 0
    guest.detach(unmanaged)
    assert bridge.promiscuity() == 0


def test_guests_survive_the_daemon(
    network: Network, libvirt: Libvirt, bridge: HostBridge, lan: Lan, make_guest: MakeGuest
) -> None:
    """libvirtd is killed and started again: the guest runs on, and libvirt knows it."""
    guest = make_guest(1).start().wait_ready()
    libvirt.kill9()
    assert lan.ping("10.0.0.11") == 3
    libvirt.start()
    assert guest.state == "running"
    assert guest.tap().startswith("vnet")


def test_a_paused_guest_is_silent(network: Network, lan: Lan, make_guest: MakeGuest) -> None:
    """start --paused, resume, suspend: the CPUs run, or do not."""
    guest = make_guest(1).start(paused=True)
    assert guest.state == "paused"
    guest.resume()
    guest.wait_ready()
    assert lan.ping("10.0.0.11") == 3
    guest.suspend()
    assert lan.ping("10.0.0.11", count=1) == 0
