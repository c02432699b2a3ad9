"""The daemon reads status files that hold passwords, good ones and damaged ones: its log and its answers hold none."""

from __future__ import annotations

from pathlib import Path

from tests.netns.conftest import Namespace, eventually
from tests.netns.house import house
from tests.unit.verbs.test_secrets import assert_no_secret, variants


def test_no_secret_is_in_what_the_daemon_says(ns: Namespace, tmp_path: Path) -> None:
    """One daemon meets every variant of the files, and everything that it says is kept."""
    with house(ns, tmp_path) as home:
        ns.add_tap("vnet0")
        with home.daemon("-v"):
            for name, files in variants():
                before = home.status()["rounds"]["count"]
                for place, data in files.items():
                    home.write_bytes(place, data)
                eventually(lambda: home.status()["rounds"]["count"] > before, f"a round has seen {name}")  # noqa: B023
            said = [home.macmgr("status", *words) for words in ([], ["-v"], ["--json"])]
        assert "has no meaning here" in home.log  # the mistakes have been told, and not quoted
        assert "vnet0" in home.log
        assert_no_secret(home.log + "".join((each.stdout + each.stderr).decode() for each in said))
