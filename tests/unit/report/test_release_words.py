"""A release that leaves ports as macmgr made them says which, for whose sake, and what gives them back."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from macmgr.model.intent import Scope
from macmgr.reconcile import release
from macmgr.report.released import print_release, release_document
from macmgr.view import Released
from tests.unit.planning.test_release import LOCK, PLAIN, VRRP, in_use_since, intent

WHO = f"{VRRP} of web1 (vnet0) would no longer be reached from vnet1, the uplink eth0"


def left() -> Released:
    kernel, notes = in_use_since()
    return release(LOCK, lambda: intent(PLAIN), kernel, Scope(), notes)


def test_the_answer_names_the_port_and_the_command() -> None:
    text = StringIO()
    print_release(Console(file=text, width=200), left())
    assert text.getvalue().splitlines() == [
        "Left as macmgr made them, because a guest would be harmed: vnet0 of web1. "
        "'macmgr release --cut --bridge br0' gives them back anyway.",
        f"left out    {WHO}: changes on br0 are left out",
    ]


def test_the_document_has_it_as_something_left() -> None:
    document = release_document(left())
    assert (document["complete"], document["ports"]) == (False, [])
    assert [each["port"] for each in document["left"]] == ["vnet0", "vnet0"]
    assert document["left"][0]["message"].startswith(WHO)
    assert "macmgr release --cut --bridge br0" in document["left"][1]["fix"]
