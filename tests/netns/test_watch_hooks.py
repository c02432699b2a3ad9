"""The real shims and the real daemon: a guest's port is right when its hook has ended, whoever did the work."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.install import install_hooks
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import House, house, mac_of

# What the shims start where they do the work themselves: the real thing, with this host's configuration, and a trace.
_PROGRAM = """\
#!{python}
from pathlib import Path

from macmgr import paths

here = Path(__file__).parent
paths.CONFIG = here / "macmgr.toml"
(here / "itself").touch()

from macmgr.__main__ import main

raise SystemExit(main())
"""

ONE_CALL = [{"driver": "qemu", "operation": "started", "count": 1}]


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        program = tmp_path / "macmgr"
        program.write_text(_PROGRAM.format(python=sys.executable))
        program.chmod(0o755)
        list(install_hooks(tmp_path / "hooks", program))
        made.ns.add_tap("vnet1")
        yield made


def started(host: House) -> None:
    """What libvirt does when a guest runs: the status file, then the hook, which says nothing."""
    xml = host.status_file("g1", "vnet1", mac_of(1))
    shim = str(host.root / "hooks" / "qemu.d" / "50-macmgr")
    words = host.command("env", "-i", "LC_ALL=C", "PATH=/usr/bin:/bin", shim, "g1", "started", "begin", "-")
    said = subprocess.run(words, input=xml.encode(), capture_output=True, check=True, cwd="/", timeout=30)
    assert (said.stdout, said.stderr) == (b"", b"")


def did_it_itself(host: House) -> bool:
    return (host.root / "itself").exists()


def test_with_a_daemon_that_does_it(host: House) -> None:
    with host.daemon():
        started(host)
        assert host.managed(1)
        assert host.status()["hooks"]["calls"] == ONE_CALL
    assert not did_it_itself(host)


def test_without_a_daemon(host: House) -> None:
    started(host)
    assert host.managed(1)
    assert did_it_itself(host)


def test_with_a_daemon_that_is_stopped(host: House) -> None:
    with host.daemon() as daemon:
        daemon.send_signal(signal.SIGSTOP)
        started(host)
        assert host.managed(1)
        assert did_it_itself(host)
        daemon.send_signal(signal.SIGCONT)
        eventually(lambda: host.status()["in_sync"], "the daemon goes on, and finds all in order")
        assert host.managed(1)


def test_with_a_daemon_that_was_killed_and_one_after_it(host: House) -> None:
    with host.daemon() as daemon:
        daemon.kill()
        daemon.wait()
    started(host)
    assert host.managed(1)
    assert did_it_itself(host)
    (host.root / "itself").unlink()
    with host.daemon():
        started(host)
        assert host.status()["hooks"]["calls"] == ONE_CALL
    assert not did_it_itself(host)


def test_a_second_daemon_says_that_one_runs(host: House) -> None:
    with host.daemon():
        said = host.macmgr("watch")
        assert said.returncode == 75
        assert b"another 'macmgr watch' runs" in said.stderr
