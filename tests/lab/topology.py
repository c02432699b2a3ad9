"""The lab's topology, as tests and the demo import it.

guest ─ tap ─┐
guest ─ tap ─┤ br0 (VLAN filtering) ─ up0 (macvlan) ══ veth ══ eth0 in namespace "lan"
guest ─ tap ─┘
"""

from tests.lab.domain import Guest, Nic
from tests.lab.hypervisor import Libvirt, Network
from tests.lab.segment import HostBridge, Lan, Listener, network_namespace
from tests.lab.wait import run, until

__all__ = ["Guest", "HostBridge", "Lan", "Libvirt", "Listener", "Network", "Nic", "network_namespace", "run", "until"]
