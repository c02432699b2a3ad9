"""The virsh commands that findings, reports and errors name, as argument vectors or words. macmgr runs none of them."""

from __future__ import annotations

import shlex

from macmgr.model.findings import Command
from macmgr.readers.metadata import NAMESPACE

DOMAINS = "see 'virsh list'"
NETWORKS = "see 'virsh net-list'"
ALL_NETWORKS = "see 'virsh net-list --all'"
DOCUMENTS = "look at it with virsh dumpxml, net-dumpxml or net-port-dumpxml"
_OURS = (NAMESPACE, "--key", "macmgr", "--edit", "--live")


def list_nics(domain: str) -> Command:
    return "virsh", "domiflist", domain


def state_of(domain: str) -> Command:
    return "virsh", "domstate", domain, "--reason"


def edit_domain(domain: str) -> Command:
    return "virsh", "edit", domain


def edit_metadata(domain: str) -> Command:
    """Edits macmgr's element in a running domain. `--config` instead of `--live` edits it for the next start."""
    return "virsh", "metadata", domain, *_OURS


def edit_network_metadata(network: str) -> Command:
    """As `edit_metadata`. libvirt has the command since 9.7; before, use `edit_network` and restart the network."""
    return "virsh", "net-metadata", network, *_OURS


def edit_network(network: str) -> Command:
    return "virsh", "net-edit", network


def start_network(network: str) -> Command:
    return "virsh", "net-start", network


def stop_network(network: str) -> Command:
    return "virsh", "net-destroy", network


def restart_network(network: str) -> tuple[Command, Command]:
    """libvirt deletes its own bridge together with the network. The guests' taps are then on no bridge."""
    return stop_network(network), start_network(network)


def keep_network(network: str) -> str:
    return f"virsh net-dumpxml {shlex.quote(network)} > net.xml && virsh net-define net.xml"


def shown(*commands: Command) -> str:
    """The commands quoted for a shell; each runs only if the one before it succeeded."""
    return " && ".join(shlex.join(command) for command in commands)
