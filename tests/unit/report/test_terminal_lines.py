"""Lines of text on a terminal: words stay whole, and a colour ends where its words do."""

from __future__ import annotations

from rich.text import Text

from macmgr.report.terminal import wrapped


def lines(head: str, text: str, width: int, indent: int) -> list[str]:
    return [line.plain for line in wrapped(Text(head), text, width, indent)]


def test_further_lines_are_indented_below_a_shorter_head() -> None:
    assert lines("  ", "the guest is reached from the uplink", 26, 4) == [
        "  the guest is reached",
        "    from the uplink",
    ]


def test_beside_a_longer_head_there_is_less_room_or_none() -> None:
    assert lines("error flood-on: ", "vnet0 gets every frame", 30, 4) == [
        "error flood-on: vnet0 gets",
        "    every frame",
    ]
    assert lines("error vlan-without-uplink: ", "vnet0 gets", 30, 4) == [
        "error vlan-without-uplink: ",
        "    vnet0 gets",
    ]


def test_a_word_longer_than_a_line_is_broken() -> None:
    assert lines("", "/etc/macmgr/macmgr.toml is not there", 20, 0) == [
        "/etc/macmgr/",
        "macmgr.toml is not",
        "there",
    ]
    assert lines("", "x" + "abcd" * 6, 20, 0) == ["xabcdabcdabcdabcdabc", "dabcd"]
    assert lines("", 11 * "界", 21, 0) == [10 * "界", "界"]  # two cells wide


def test_the_text_does_not_take_the_colour_of_its_head() -> None:
    (line,) = wrapped(Text("error ", "red"), "vnet0 floods", 40, 6)
    assert [(span.start, span.end, span.style) for span in line.spans if span.style] == [(0, 6, "red")]
    assert line.style == ""
