"""A value in a TOML file is replaced or added, and every other byte stays, however the file is written."""

from __future__ import annotations

import tomllib

import pytest

from macmgr.tomledit import with_word

MODE = ("bridge", "br0", "mode")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("", '[bridge."br0"]\nmode = "manage"\n', id="nothing"),
        pytest.param("# a", '# a\n\n[bridge."br0"]\nmode = "manage"\n', id="no end of the last line"),
        pytest.param("[hook]\r\n", '[hook]\r\n\r\n[bridge."br0"]\r\nmode = "manage"\r\n', id="CR LF"),
        pytest.param("[bridge.br0] # c", '[bridge.br0] # c\nmode = "manage"', id="a bare name, no end"),
        pytest.param("[bridge.br0]\r\n# c\r\n", '[bridge.br0]\r\nmode = "manage"\r\n# c\r\n', id="a header with CR LF"),
        pytest.param("[bridge.br0]\r\na = 1\r\n\n", '[bridge.br0]\r\nmode = "manage"\r\na = 1\r\n\n', id="mixed ends"),
        pytest.param("  [bridge.br0]\n", '  [bridge.br0]\n  mode = "manage"\n', id="indented"),
        pytest.param(
            "[bridge.br0]\nmode='observe'# 'observe'\n", "[bridge.br0]\nmode=\"manage\"# 'observe'\n", id="quotes"
        ),
        pytest.param(
            '[bridge."br\\u0030"]\n"m\\u006fde" = """\nobserve""" # x\n',
            '[bridge."br\\u0030"]\n"m\\u006fde" = "manage" # x\n',
            id="escapes, and a value of two lines",
        ),
        pytest.param(
            '[bridge]\nbr1.mode = "observe"\nbr0.pin = "auto" # c\n',
            '[bridge]\nbr1.mode = "observe"\nbr0.pin = "auto" # c\n"br0".mode = "manage"\n',
            id="a dotted name in [bridge]",
        ),
        pytest.param(
            'bridge.br0.pin = "auto"\n[hook]\n',
            'bridge.br0.pin = "auto"\nbridge."br0".mode = "manage"\n[hook]\n',
            id="a dotted name before any table",
        ),
        pytest.param(
            "bridge.br0.mode = 'observe'\nbridge.br1.mode = 'observe'",
            "bridge.br0.mode = \"manage\"\nbridge.br1.mode = 'observe'",
            id="a dotted name with the value",
        ),
        pytest.param(
            '[bridge]\nbr0 = { pin = "auto" } # {\n',
            '[bridge]\nbr0 = { mode = "manage", pin = "auto" } # {\n',
            id="an inline table",
        ),
        pytest.param("[bridge]\nbr0 = {}\n", '[bridge]\nbr0 = { mode = "manage" }\n', id="an empty inline table"),
        pytest.param(
            "bridge = { br1 = { mode = 'observe' } }\n",
            'bridge = { "br0".mode = "manage", br1 = { mode = \'observe\' } }\n',
            id="one inline table for all bridges",
        ),
        pytest.param(
            "bridge = { br1 = { mode = 'observe' }, br0 = { allow = [ # don't {\n'52:*'], mode = 'observe' } } # '",
            "bridge = { br1 = { mode = 'observe' }, br0 = { allow = [ # don't {\n'52:*'], mode = \"manage\" } } # '",
            id="inline tables with a comment",
        ),
        pytest.param(
            '[bridge."br-*"]\nmode = "observe"\n',
            '[bridge."br-*"]\nmode = "observe"\n\n[bridge."br0"]\nmode = "manage"\n',
            id="a pattern",
        ),
    ],
)
def test_the_rest_stays(before: str, after: str) -> None:
    assert with_word(before, MODE, "manage") == after


def test_a_value_that_is_there_is_kept_as_it_is_spelt() -> None:
    text = "[bridge.br0]\nmode = '''manage'''\n"
    assert with_word(text, MODE, "manage") == text


@pytest.mark.parametrize("name", ["br0.100", 'b"r', "b\\r", "größe", "b'r", "\x01\x7f", "#", "[x]"])
def test_any_name(name: str) -> None:
    edited = with_word("# x\n", ("bridge", name, "mode"), "manage")
    assert edited is not None
    assert tomllib.loads(edited) == {"bridge": {name: {"mode": "manage"}}}
    assert edited.startswith("# x\n")
