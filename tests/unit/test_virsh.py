"""virsh commands as people are shown them: quoted for a shell, whatever a domain or network is called."""

import shlex
from collections.abc import Callable

import pytest

from macmgr import virsh
from macmgr.model.findings import Command

NAME = "web $(reboot); 'x'"


@pytest.mark.parametrize(
    "command",
    [
        virsh.list_nics,
        virsh.edit_domain,
        virsh.edit_metadata,
        virsh.edit_network_metadata,
        virsh.edit_network,
        virsh.start_network,
        virsh.stop_network,
    ],
)
def test_a_name_is_one_word_of_the_command(command: Callable[[str], Command]) -> None:
    words = shlex.split(virsh.shown(command(NAME)))
    assert words[0] == "virsh"
    assert words[2] == NAME


def test_a_network_is_started_only_if_it_was_stopped() -> None:
    assert virsh.shown(*virsh.restart_network("lan")) == "virsh net-destroy lan && virsh net-start lan"
