"""The table of docs/evpn.rst, each row played by Debian's FRR on three hosts: no running guest is cut off for good."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.evpn.fabric import Host, fabric
from tests.evpn.scenarios import SCENARIOS, Scenario, play


@pytest.fixture(scope="module", params=["flood on", "flood off"])
def hosts(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Host]]:
    """One fabric for all rows: each brings a guest of its own."""
    with fabric(tmp_path_factory.mktemp("fabric"), flood=request.param == "flood on") as made:
        yield made


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_guest_is_cut_off_for_good(
    scenario: Scenario, hosts: dict[int, Host], request: pytest.FixtureRequest
) -> None:
    lost, sent = play(scenario, hosts)
    print(f"\n{request.node.callspec.id:<60} lost {lost} of {sent}")
    assert lost < sent
