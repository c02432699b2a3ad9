"""Hooks that libvirt may not execute end guests: macmgr leaves none, and takes away what is there.

libvirt looks at mode bits alone, and takes a hook that the kernel refuses to execute for one that failed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import MakeGuest
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import Lan, Libvirt, Network, run, until

HOOKS = Path("/etc/libvirt/hooks")
BY_HAND = "#!/bin/sh\n# installed by macmgr\nexit 0\n"


@pytest.fixture
def noexec(libvirt: Libvirt) -> Iterator[None]:
    """libvirt's hooks directory is a filesystem that nothing can be executed on."""
    there = HOOKS.is_dir()
    HOOKS.mkdir(exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "noexec,mode=0755", "none", str(HOOKS))
    yield
    run("umount", str(HOOKS))
    if not there:
        HOOKS.rmdir()
    libvirt.restart()


def _left() -> list[Path]:
    return [path for path in HOOKS.rglob("*") if not path.is_dir()]


def test_guests_live_where_hooks_cannot_run(
    noexec: None, libvirt: Libvirt, network: Network, lan: Lan, make_guest: MakeGuest, macmgr: Macmgr
) -> None:
    """Install refuses, and libvirtd may restart; with a hook put there by hand it ends the guest."""
    guest = make_guest(1).start().wait_ready()
    for _ in range(2):
        said = macmgr("install", expect=69)
        assert said.stdout == b""
        assert said.stderr.startswith(f"macmgr: {HOOKS}/qemu.d: {HOOKS} is mounted noexec, so libvirt can".encode())
        assert said.stderr.count(b"\n") == 1
        assert _left() == []
    libvirt.restart()
    assert guest.state == "running"
    assert lan.ping("10.0.0.11") == 3

    macmgr("install", "--no-hooks")
    libvirt.restart()
    assert guest.state == "running"
    make_guest(2).start().destroy()
    macmgr("uninstall")
    assert _left() == []

    # what the refusal is for: the same directory, and a hook that does nothing at all
    hook = HOOKS / "qemu.d" / "99-macmgr"
    hook.parent.mkdir()
    hook.write_text(BY_HAND)
    hook.chmod(0o755)
    assert f"{hook}: libvirt cannot execute it ({HOOKS} is mounted noexec)".encode() in macmgr("doctor").stdout
    libvirt.restart()
    until(lambda: guest.state == "shut off", "libvirtd ends the guest")
    with pytest.raises(RuntimeError, match="99-macmgr"):
        guest.start()

    assert b"those that were there are removed" in macmgr("install", expect=69).stderr
    assert _left() == []
    libvirt.restart()
    guest.start().wait_ready()
    assert lan.ping("10.0.0.11") == 3
