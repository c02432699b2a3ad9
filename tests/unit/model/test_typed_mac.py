"""A MAC address in each spelling that people paste."""

from __future__ import annotations

import pytest

from macmgr.model.mac import parse_mac, parse_mac_pattern, parse_typed_mac


@pytest.mark.parametrize(
    "text",
    [
        "52:54:00:aa:00:01",
        "52-54-00-AA-00-01",
        "5254.00aa.0001",
        "5254-00aa-0001",
        "525400-aa0001",
        "525400AA0001",
        " 52:54:00:AA:00:01 ",
        "52:54:0:aa:0:1",
    ],
)
def test_each_spelling_means_the_same(text: str) -> None:
    assert parse_typed_mac(text) == parse_mac_pattern(text) == "52:54:00:aa:00:01"


@pytest.mark.parametrize("text", ["52:54:0:AA:*", "52-54-00-AA-*", "5254.00aa.*", "5254-00aa-*", "525400AA*"])
def test_so_does_each_spelling_of_a_prefix(text: str) -> None:
    assert parse_mac_pattern(text) == "52:54:00:aa:*"


@pytest.mark.parametrize("text", ["*", "5*", "525*", "52-54.00aa.*", "52-5-*", "525400aa0001*", "01-00-*", "5254.00*"])
def test_no_other_is_a_prefix(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a MAC|group"):
        parse_mac_pattern(text)


@pytest.mark.parametrize("text", ["52-54-00-AA-00-01", "5254.00aa.0001", "525400aa0001"])
def test_libvirts_own_attribute_is_read_as_libvirt_reads_it(text: str) -> None:
    with pytest.raises(ValueError, match="not a MAC address"):
        parse_mac(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "web1",
        "525400aa00",
        "52-54:00-aa:00-01",
        "52.54.00.aa.00.01",
        "52-54-0-aa-0-1",
        "525400*",
        "deadbeefcafe0",
        "01-00-5e-00-00-01",
    ],
)
def test_what_may_mean_something_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a MAC address|group"):
        parse_typed_mac(text)
