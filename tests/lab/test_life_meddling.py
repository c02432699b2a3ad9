"""Life events by other hands: flags, entries and VLAN filtering changed under a running guest."""

from tests.lab.life import BRIDGE_NIC, NETWORK_NIC, Life, taps_of
from tests.lab.topology import run, until

BROADCAST = "ff:ff:ff:ff:ff:ff"


def test_flags_rewritten(life: Life) -> None:
    """Learning and flood set anew on each port, as NetworkManager and scripts do."""
    for tap in taps_of(life.guest).values():
        life.bridge.set_flags(tap, learning="on", flood="on")
    life.runs("rewritten")


def test_flood_off_without_an_entry(life: Life) -> None:
    """A script closes each port and empties it: learning and flood off, entries deleted."""
    for mac, tap in taps_of(life.guest).items():
        life.bridge.set_flags(tap, learning="off", flood="off")
        life.bridge.forget(mac)
    life.runs("closed and emptied")


def test_vlan_filtering_off(life: Life) -> None:
    """VLAN filtering turned off on the bridge, and on again."""
    _filtering(life, "0")
    note = "the uplink is promiscuous" if life.bridge.promiscuity() else ""
    life.runs("off", note=note)
    if life.watch:
        assert "vlan-filtering-off" in life.macmgr.codes("info")
    _filtering(life, "1")
    life.runs("on")


def _filtering(life: Life, value: str) -> None:
    run("ip", "link", "set", life.bridge.name, "type", "bridge", "vlan_filtering", value)


def test_entries_deleted(life: Life) -> None:
    """Each guest MAC's entries deleted with ``bridge fdb del``."""
    for nic in (NETWORK_NIC, BRIDGE_NIC):
        life.bridge.forget(nic.mac)
    life.runs("deleted")


def test_entries_moved(life: Life) -> None:
    """Each guest MAC's entry moved to the uplink with ``bridge fdb replace``."""
    for nic in (NETWORK_NIC, BRIDGE_NIC):
        run("bridge", "fdb", "replace", nic.mac, "dev", life.bridge.uplink, "master", "static")
    life.runs("moved")


def test_entries_made_dynamic(life: Life) -> None:
    """Each guest MAC's entry replaced by one that ages, with ``bridge fdb replace … dynamic``; it ages."""
    for mac, tap in taps_of(life.guest).items():
        run("bridge", "fdb", "replace", mac, "dev", tap, "master", "dynamic", "vlan", "1")
        run("bridge", "fdb", "replace", mac, "dev", tap, "master", "dynamic")
    _let_them_age(life)
    life.runs("aged")


def _let_them_age(life: Life) -> None:
    """Dynamic entries live for a hundredth of a second, until none of the guest's is left."""
    run("ip", "link", "set", life.bridge.name, "type", "bridge", "ageing_time", "1")
    macs = {NETWORK_NIC.mac, BRIDGE_NIC.mac}
    try:
        until(
            lambda: not [row for row in life.bridge.fdb() if row["mac"] in macs and row.get("state") != "static"],
            "the dynamic entries are gone",
        )
    finally:
        run("ip", "link", "set", life.bridge.name, "type", "bridge", "ageing_time", "30000")


def test_entries_stolen(life: Life) -> None:
    """One frame from the LAN with each guest MAC as its source."""
    for nic in (NETWORK_NIC, BRIDGE_NIC):
        life.lan.send(src=nic.mac, dst=BROADCAST)
    life.runs("sent")


def test_entries_made_local(life: Life) -> None:
    """Each guest MAC's entry made the host's own with ``bridge fdb replace … local``."""
    for mac, tap in taps_of(life.guest).items():
        run("bridge", "fdb", "replace", mac, "dev", tap, "master", "local", "vlan", "1")
    life.runs("made local")


def test_ports_flushed(life: Life) -> None:
    """Each port's entries flushed with ``bridge fdb flush``, the static ones too."""
    for tap in taps_of(life.guest).values():
        run("bridge", "fdb", "flush", "dev", tap, "master", "static")
    life.runs("flushed")
