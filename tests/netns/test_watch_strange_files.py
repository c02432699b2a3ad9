"""The daemon goes on whatever stands where a file should be: it tells that file, and manages the other guests."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually
from tests.netns.house import House, house
from tests.strangefiles import STRANGE, strange


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        yield made


@pytest.mark.parametrize("kind", STRANGE)
def test_a_status_file(host: House, kind: str) -> None:
    with host.daemon(), strange(kind, Path(f"/proc/{host.keeper.pid}/root/run/libvirt/qemu/strange.xml")):
        host.guest(1)
        eventually(lambda: host.managed(1), "the other guest is managed")
        eventually(lambda: "strange.xml" in host.log, "it is told")
        assert host.macmgr("status").returncode == 1  # an error, and an answer


@pytest.mark.parametrize("kind", STRANGE)
def test_the_configuration_at_a_reload(host: House, kind: str) -> None:
    before = host.config.read_text()
    with host.daemon() as daemon:
        host.config.unlink()
        with strange(kind, host.config):
            daemon.send_signal(signal.SIGHUP)
            eventually(lambda: "the old configuration stays" in host.log, "it is told")
            host.guest(1)
            eventually(lambda: host.managed(1), "a new guest is managed")
        if host.config.is_dir():
            host.config.rmdir()
        host.config.unlink(missing_ok=True)
        host.config.write_text(before)
