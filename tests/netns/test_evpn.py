"""Guests on hosts with EVPN, by Debian's FRR: The whole table: tests/evpn (tox -e evpn)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.evpn.fabric import Host, fabric
from tests.evpn.scenarios import SCENARIOS, Scenario, play

HARDEST = ("live move, 5 ms downtime", "source without a daemon", "source host crashes, guest restarted on h2")


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Host]]:
    """What is not advertised reaches nobody: the tunnels' ports do not flood."""
    with fabric(tmp_path_factory.mktemp("fabric"), flood=False) as made:
        yield made


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.name in HARDEST], ids=lambda each: each.name)
def test_no_guest_is_cut_off_for_good(scenario: Scenario, hosts: dict[int, Host]) -> None:
    lost, sent = play(scenario, hosts)
    assert lost < sent
