"""doctor and apply --vlan-filtering as they are typed; what they find is tested where it is decided."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from macmgr.state import lock
from tests.cli.conftest import Clock, Host


def test_doctor_answers_with_0_whatever_it_finds(host: Host) -> None:
    said = host.macmgr("doctor")
    assert (said.code, said.stderr) == (0, "")
    assert "WHOSE" in said.stdout
    assert "KERNEL ABILITY" in said.stdout


def test_doctor_of_one_bridge_as_a_document(host: Host) -> None:
    document = json.loads(host.macmgr("doctor", "br0", "--json").stdout)
    assert [bridge["name"] for bridge in document["bridges"]] == ["br0"]


def test_doctor_of_a_bridge_that_is_not_there(host: Host) -> None:
    assert host.macmgr("doctor", "br9").code == 69


@pytest.mark.case("conflict-vlan-without-filtering")
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_vlan_filtering_is_refused_with_the_list(host: Host, form: list[str]) -> None:
    said = host.macmgr("apply", "--vlan-filtering", "br0", *form)
    assert said.code == 1
    assert "does not carry" in said.stdout
    assert not host.kernel.bridges["br0"].vlan_filtering
    assert host.kernel.sent == []


@pytest.mark.case("kernel-managed-beside")
def test_vlan_filtering_is_turned_on_and_said_to_be(host: Host) -> None:
    host.kernel.bridges["br0"] = replace(host.kernel.bridges["br0"], vlan_filtering=False)
    assert host.macmgr("apply", "--vlan-filtering", "br0").stdout.startswith("VLAN filtering is on for br0 now.")
    assert host.kernel.bridges["br0"].vlan_filtering
    assert host.macmgr("apply", "--vlan-filtering", "br0").stdout.startswith("VLAN filtering was on for br0 already.")
    assert json.loads(host.macmgr("apply", "--vlan-filtering", "br0", "--json").stdout)["complete"]


@pytest.mark.case("kernel-managed-beside")
def test_vlan_filtering_needs_the_writer_lock(host: Host, lock_clock: Clock) -> None:
    host.kernel.bridges["br0"] = replace(host.kernel.bridges["br0"], vlan_filtering=False)
    with lock.hold():
        assert host.macmgr("apply", "--vlan-filtering", "br0").code == 75
    assert 0.3 <= lock_clock.now < 0.4  # as `host` shortens the wait
    assert not host.kernel.bridges["br0"].vlan_filtering


@pytest.mark.case("conflict-vlan-without-filtering")
def test_a_plain_apply_never_touches_it(host: Host) -> None:
    host.macmgr("apply")
    assert not host.kernel.bridges["br0"].vlan_filtering
