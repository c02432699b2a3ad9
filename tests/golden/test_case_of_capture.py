"""A capture becomes a case, which says what the host said."""

from __future__ import annotations

from pathlib import Path

import pytest

from macmgr.capture.replaying import origin_of_capture
from macmgr.config import parse_config
from macmgr.model.known import SeenMacs
from macmgr.state.observedfile import write_observed
from tests.cli.conftest import Host
from tests.golden.case import CASES, audit_text, explain_text, plan_text, read_case
from tests.golden.case_of_capture import make_case, toml_of

on = pytest.mark.case
# The others have hook calls, a memory of the case's own, or files that are no XML: a capture here has none of them.
LIKE = [
    *("default-portgroup", "drift", "isolated", "many-vids", "metadata-of-an-interface", "names", "nat-network"),
    *("one-guest-cut-off", "ended-without-libvirtd", "precedence", "roles", "stolen-entry", "trust", "vlan-precedence"),
]


@pytest.mark.parametrize("name", [pytest.param(name, marks=on(name)) for name in LIKE])
def test_the_case_says_what_the_host_said(name: str, host: Host, tmp_path: Path) -> None:
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    assert list(make_case(origin_of_capture(tmp_path / "h1.tar"), tmp_path / "made")) == []
    texts = []
    for folder in (host.case, tmp_path / "made"):
        workshop = tmp_path / f"workshop-{folder.name}"
        workshop.mkdir()
        case = read_case(folder, workshop)
        said = (audit_text(case), plan_text(case), explain_text(case))
        texts.append([text.replace(str(workshop), "") for text in said])
    assert texts[0] == texts[1]


def test_what_is_remembered_is_in_the_case(host: Host, tmp_path: Path) -> None:
    host.kernel.lose_entry("br0", "52:54:00:aa:00:01", 0)
    assert host.macmgr("apply").code == 0
    seen = SeenMacs(
        "vnet0", 101, "00000000-0000-4000-8000-000000000001", "52:54:00:aa:00:01", macs=("52:54:00:cc:00:09",)
    )
    assert write_observed([seen]) == ""
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    origin = origin_of_capture(tmp_path / "h1.tar")
    assert list(make_case(origin, tmp_path / "made")) == []
    (tmp_path / "workshop").mkdir()
    view = read_case(tmp_path / "made", tmp_path / "workshop").view
    assert view.known.memory == origin.memory()[0]
    assert view.known.memory.ports
    assert view.known.seen == (seen,)


@on("unreadable-files")
def test_what_cannot_be_in_a_case_is_said(host: Host, tmp_path: Path) -> None:
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    lines = list(make_case(origin_of_capture(tmp_path / "h1.tar"), tmp_path / "made"))
    assert any("truncated.xml is not in the case" in line for line in lines)
    (tmp_path / "workshop").mkdir()
    assert read_case(tmp_path / "made", tmp_path / "workshop").domains


@pytest.mark.parametrize(
    "folder", [each for each in CASES if (each / "config.toml").exists()], ids=lambda each: each.name
)
def test_a_configuration_is_written_as_it_is_read(folder: Path) -> None:
    config = parse_config((folder / "config.toml").read_bytes(), "config.toml")
    assert parse_config(toml_of(config).encode(), "config.toml") == config
