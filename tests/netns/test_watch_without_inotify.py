"""Without inotify_simple, which Debian has not, the daemon says so in one line, and sees guests come and go."""

from __future__ import annotations

import os
from pathlib import Path

from macmgr.watch.eventsources import NO_INOTIFY
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import house


def test_a_guest_is_seen_without_a_hook(ns: Namespace, tmp_path: Path) -> None:
    """A module of that name that says it is not there comes first in the search for modules."""
    (tmp_path / "inotify_simple.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'inotify_simple'\", name='inotify_simple')\n"
    )
    with house(ns, tmp_path) as host:
        mac = host.guest(1)
        with host.daemon(environment={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"}, forked=False):
            eventually(lambda: host.managed(1), lambda: f"the first guest is managed\n{host.log}")
            assert host.log.count(NO_INOTIFY) == 1
            host.guest(2)
            eventually(lambda: host.managed(2), lambda: f"the second guest is managed\n{host.log}")
            host.remove("qemu/g1.xml")
            ns.run("ip", "link", "del", "vnet1")
            host.remove("qemu/g2.xml")
            eventually(lambda: not any(each["mac"] == mac for each in ns.fdb()), "the entries are gone")
            assert host.log.count(NO_INOTIFY) == 1
