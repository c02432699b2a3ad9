"""Lines end with LF, with CR LF, or with both in one file: TOML allows each, and a mistake keeps its line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macmgr.config import read_config

GOOD = """\
# a comment, and one with a bracket ]
[bridge."br0"]
mac_table_manager = "libvirt"
allow = [
    "00:00:5e:00:01:0a",  # ]
    "00:00:5e:00:01:*",
]

[[x]]
[hook]
timeout = 20
[daemon]
metrics_file = '''/var/lib/\\
x'''
[audit]
strict = "no"
""".replace("[[x]]\n", "")
BAD = GOOD.replace("timeout = 20", "timeout = 200").replace("strict", "strikt").replace("*", "**")


def ended(text: str, crlf: list[bool]) -> bytes:
    lines = text.split("\n")[:-1]
    return "".join(line + ("\r\n" if crlf[place] else "\n") for place, line in enumerate(lines)).encode()


ENDS = st.lists(st.booleans(), min_size=GOOD.count("\n"), max_size=GOOD.count("\n"))


@given(ENDS)
def test_however_lines_end_it_says_the_same(crlf: list[bool]) -> None:
    config, problems = read_config(ended(GOOD, crlf))
    assert (config, problems) == read_config(GOOD.encode())
    assert problems == []


@given(ENDS)
def test_and_a_mistake_keeps_its_line(crlf: list[bool]) -> None:
    _, problems = read_config(ended(BAD, crlf))
    assert problems == read_config(BAD.encode())[1]
    assert [each.line for each in problems] == [6, 10, 15]


@pytest.mark.parametrize("at", range(GOOD.count("\n")))
def test_one_line_alone(at: int) -> None:
    assert read_config(ended(GOOD, [place == at for place in range(GOOD.count("\n"))]))[1] == []


@pytest.mark.parametrize(
    "data", [b"[hook]\rtimeout = 2\n", b"[hook]\n\rtimeout = 2\n", b"\r", b"# x\r# y\n", b"[hook]\r\r\n"]
)
def test_a_cr_alone_is_a_mistake_and_no_traceback(data: bytes) -> None:
    (problem,) = read_config(data)[1]
    assert problem.line


def test_a_value_that_is_long_costs_no_more_than_its_lines() -> None:
    """Each line of it could be its last, and the statement was read anew at each: for hours, here."""
    text = "[bridge.b1]\nallow = [\n" + '"00:00:5e:00:01:0a",  # ]\n' * 30_000 + "]\n"
    assert read_config(text.encode())[1] == []
    (problem,) = read_config(f"{text}strikt = 'no'\n".encode())[1]
    assert problem.text.startswith("unknown name 'strikt'")
