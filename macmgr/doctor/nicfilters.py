"""Tables of device kinds and drivers: unicast filter or none, the addresses that fit, and the source.

A device that filters has IFF_UNICAST_FLT in its priv_flags. No interface of the kernel shows that flag (net/core/dev.c,
__dev_set_rx_mode; net/bridge/br_if.c, br_manage_promisc), so it is looked up here unless the device's state proves it.
The tables follow Linux 6.1; a device in no table is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass

from macmgr.model.devices import Device


@dataclass(frozen=True, slots=True)
class Filter:
    """``filters`` is True if the device filters unicast addresses, None if unknown. ``source`` is the evidence."""

    filters: bool | None
    source: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """Addresses that fit apart from the device's own: ``certain`` on every model of a driver, ``most`` on the best."""

    certain: int
    most: int
    source: str


_KINDS = {
    **dict.fromkeys(("macvlan", "macvtap"), (True, "drivers/net/macvlan.c")),
    **dict.fromkeys(("ipvlan", "ipvtap"), (True, "drivers/net/ipvlan/ipvlan_main.c")),
    "vlan": (True, "net/8021q/vlan_dev.c"),
    "bond": (True, "drivers/net/bonding/bond_main.c"),
    "team": (True, "drivers/net/team/team.c"),
    "veth": (False, "drivers/net/veth.c"),
    "tun": (False, "drivers/net/tun.c"),
    "dummy": (False, "drivers/net/dummy.c"),
    "vxlan": (False, "drivers/net/vxlan/vxlan_core.c"),
    "geneve": (False, "drivers/net/geneve.c"),
    "ifb": (False, "drivers/net/ifb.c"),
    "bridge": (False, "net/bridge/br_device.c"),
}
_DRIVERS = {
    **dict.fromkeys(
        (
            *(
                "e1000",
                "e1000e",
                "igb",
                "ixgbe",
                "ixgbevf",
                "i40e",
                "iavf",
                "ice",
                "fm10k",
                "virtio_net",
                "tg3",
                "bnx2",
            ),
            *(
                "bnx2x",
                "bnxt_en",
                "mlx4_en",
                "mlx5_core",
                "cxgb4",
                "cxgb4vf",
                "be2net",
                "enic",
                "qede",
                "qlcnic",
                "sfc",
            ),
            *("ena", "ionic", "net_failover", "mvpp2", "niu"),
        ),
        True,
    ),
    **dict.fromkeys(("r8169", "8139too", "8139cp", "igc", "vmxnet3", "hv_netvsc"), False),
}
_CAPACITIES = {
    "e1000": Capacity(14, 14, "E1000_RAR_ENTRIES is 15; a model of one was measured open at 45 addresses"),
    "e1000e": Capacity(4, 14, "rar_entry_count is 5 to 15, by chip"),
    "igb": Capacity(15, 31, "rar_entry_count is 16 to 32, by chip; virtual functions take some"),
    "ixgbe": Capacity(15, 127, "num_rar_entries is 16 to 128, by chip; virtual functions take some"),
    "virtio_net": Capacity(
        64, 64, "QEMU's MAC_TABLE_ENTRIES is 64, for unicast and multicast together; measured open at 85"
    ),
}


def filter_of(device: Device) -> Filter:
    if device.kind in _KINDS:
        known, source = _KINDS[device.kind]
        return Filter(known, f"{device.kind} devices {'do' if known else 'do not'} ({source})")
    if device.kind:
        return Filter(None, f"macmgr knows nothing of {device.kind} devices")
    if device.driver in _DRIVERS:
        known = _DRIVERS[device.driver]
        return Filter(known, f"the driver {device.driver} {'does' if known else 'does not'}, as of Linux 6.1")
    return Filter(
        None, f"macmgr knows nothing of the driver {device.driver}" if device.driver else "it names no driver"
    )


def capacity_of(device: Device) -> Capacity | None:
    """Returns the capacity of a device's filter; None if it is unknown, or has no limit of its own."""
    return _CAPACITIES.get(device.driver) if not device.kind else None
