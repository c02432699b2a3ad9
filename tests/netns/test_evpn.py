"""Guests on hosts with EVPN, by Debian's FRR: The whole table: tests/evpn (tox -e evpn)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.evpn.fabric import Host, fabric
from tests.evpn.scenarios import SCENARIOS, Scenario, play

pytestmark = pytest.mark.full_kernel

HARDEST = ("live move, 5 ms downtime", "source without a daemon", "source host crashes, guest restarted on h2")


# Each kernel plays what only it can: two minutes of three hosts are enough for one run.
TABLES = ["VLAN filtering"] if os.environ.get("MACMGR_FULL_KERNEL") == "1" else ["one table"]


@pytest.fixture(scope="module", params=TABLES)
def hosts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Host]]:
    """What is not advertised reaches nobody: the tunnels' ports do not flood."""
    filtering = request.param == "VLAN filtering"
    with fabric(tmp_path_factory.mktemp("fabric"), flood=False, filtering=filtering) as made:
        yield made


@pytest.mark.parametrize("scenario", [each for each in SCENARIOS if each.name in HARDEST], ids=lambda each: each.name)
def test_no_guest_is_cut_off_for_good(scenario: Scenario, hosts: dict[int, Host]) -> None:
    lost, sent = play(scenario, hosts)
    assert lost < sent
