"""Somebody opens one port of many: the daemon reads and closes that port, and nothing else of the host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from macmgr import paths
from macmgr.config import load_config
from macmgr.model.changes import Change
from macmgr.model.intent import skip_nothing
from macmgr.state import lock
from macmgr.watch.round import Round, Rounds
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of
from tests.netns.test_strangers import received  # noqa: F401 - a fixture
from tests.netns.test_watch_endurance import status_file

GUESTS = 3
PORTS = frozenset({"vnet1"})


@pytest.fixture
def rounds(ns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rounds]:
    """A daemon's rounds, after the first of them."""
    monkeypatch.setattr(lock, "hold", partial(lock.hold, tmp_path / "lock"))
    monkeypatch.setattr(paths, "STATE", tmp_path / "state" / "state.json")
    monkeypatch.setattr(paths, "REMEMBERED", tmp_path / "remembered")
    (tmp_path / "libvirt" / "qemu").mkdir(parents=True)
    (tmp_path / "macmgr.toml").write_text(MANAGED)
    ns.add_bridge()
    for number in range(1, GUESTS + 1):
        ns.add_tap(f"vnet{number}")
        status_file(tmp_path, number, "running")
    ns.settle()
    made = Rounds(tmp_path / "libvirt", ns.name)
    first = made.run([], load_config(tmp_path / "macmgr.toml"), skip_nothing)
    assert first.outcome is not None
    assert first.outcome.complete
    yield made
    made.close()


def again(rounds: Rounds, root: Path, skips: Callable[[Change], bool] = skip_nothing) -> Round | None:
    return rounds.close_again(PORTS, load_config(root / "macmgr.toml"), skips)


def is_closed(ns: Namespace, port: str = "vnet1") -> bool:
    link = next(each for each in ns.bridge_json("-d link") if each["ifname"] == port)
    return (link["learning"], link["flood"]) == (False, False)


def test_it_costs_that_port(ns: Namespace, tmp_path: Path, rounds: Rounds, received: Callable[[], int]) -> None:  # noqa: F811
    read = []
    for more in (0, 40):
        for number in range(GUESTS + 1, GUESTS + 1 + more):
            ns.add_tap(f"vnet{number}")
        ns.bridge("link set dev vnet1 learning on flood on")
        rounds.close()
        received()
        done = again(rounds, tmp_path)
        assert done is not None
        assert done.outcome is not None
        assert [change.because for change in done.outcome.done] == ["learning-on"]
        assert is_closed(ns)
        read.append(received())
    assert read[0] == read[1] < 10_000


def made_again(ns: Namespace) -> None:
    ns.ip("link del vnet1")
    ns.add_tap("vnet1")


WORLDS: dict[str, Callable[[Namespace], object]] = {
    "its entry is gone": lambda ns: ns.bridge(f"fdb del {mac_of(1)} dev vnet1 master"),
    "its entry was moved": lambda ns: ns.bridge(f"fdb replace {mac_of(1)} dev vnet2 master static"),
    "it was made again": made_again,
    "it left its bridge": lambda ns: ns.ip("link set vnet1 nomaster"),
}


@pytest.mark.parametrize("change", WORLDS.values(), ids=WORLDS)
def test_a_look_decides_when(
    change: Callable[[Namespace], object], ns: Namespace, tmp_path: Path, rounds: Rounds
) -> None:
    ns.bridge("link set dev vnet1 learning on")
    change(ns)
    assert again(rounds, tmp_path) is None
    assert "vnet1" not in {each["ifname"] for each in ns.bridge_json("-d link")} or not is_closed(ns)


def test_what_is_observed_or_held_back_is_left(ns: Namespace, tmp_path: Path, rounds: Rounds) -> None:
    ns.bridge("link set dev vnet1 learning on")
    assert again(rounds, tmp_path, lambda _: True) is None
    (tmp_path / "macmgr.toml").write_text(f"{MANAGED}mode = 'observe'\n")
    assert again(rounds, tmp_path) is None
    (tmp_path / "macmgr.toml").write_text(MANAGED)
    with lock.hold():
        assert again(rounds, tmp_path) is None
    assert not is_closed(ns)
    assert again(rounds, tmp_path) is not None


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    with house(ns, tmp_path) as made:
        yield made


def test_the_daemon_closes_it_and_a_look_follows_for_the_rest(host: House) -> None:
    for number in (1, 2):
        host.guest(number)
    with host.daemon():
        eventually(lambda: host.managed(1) and host.managed(2), lambda: host.log)
        for words in ("learning on", "flood on", "learning on flood on"):
            host.ns.bridge(f"link set dev vnet1 {words}")
            eventually(lambda: host.managed(1), lambda: host.log)
        host.ns.bridge("link set dev vnet1 learning on")
        host.ns.bridge(f"fdb del {mac_of(1)} dev vnet1 master")
        eventually(lambda: host.managed(1), lambda: host.log)
        host.ns.bridge("link set dev vnet1 learning on")
        host.ns.bridge("link set dev vnet2 flood on")
        eventually(lambda: host.managed(1) and host.managed(2), lambda: host.log)
        repairs = host.status()["repairs"]["by_code"]
    assert repairs["learning-on"] >= 4
    assert repairs["flood-on"] >= 2
    assert not host.audit()
