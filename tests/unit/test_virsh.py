"""virsh commands as people are shown them: quoted for a shell, whatever a domain or network is called."""

import ast
import re
import shlex
from collections.abc import Callable
from pathlib import Path

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


def test_no_other_module_writes_a_command_of_virsh() -> None:
    """Documentation may name one."""
    found = []
    for path in Path(virsh.__file__).parent.rglob("*.py"):
        tree = ast.parse(path.read_text())
        said = {id(each.value) for each in ast.walk(tree) if isinstance(each, ast.Expr)}
        texts = [each for each in ast.walk(tree) if isinstance(each, ast.Constant) and id(each) not in said]
        found += [path.name for each in texts if re.search(r"virsh\b ?[a-z]", str(each.value))]
    assert set(found) == {"virsh.py"}
