"""The mode of one bridge is set in any valid configuration: nothing else that it says changes, and no comment goes."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from macmgr.config import read_config
from macmgr.tomledit import with_word

NAMES = ("br0", "br0.100", "br-*", "größe", "mode")
OPTIONS = {
    "pin": ('"auto"', "'static'"),
    "mode": ('"manage"', "'observe'", '"""observe"""', '"""\nobserve"""', '"\\u006fbserve"'),
    "allow": ("[]", '[ # a comment\'s "quote", {\n  "00:00:5e:00:01:*", # ]\n]'),
    '"mac_table_manager"': ('"kernel"', '"libvirt"'),
}
COMMENTS = ("", " # it's a comment", ' # "observe" {', "\t# '''")
SPACES = st.sampled_from(("", " ", "  "))


@st.composite
def bridge(draw: st.DrawFn, name: str) -> tuple[str, str]:
    """The text of one bridge's options, and the place where it has to stand: at the top, in [bridge], or anywhere."""
    key = draw(
        st.sampled_from([json.dumps(name, ensure_ascii=False), *([name] if re.fullmatch("[a-z0-9]+", name) else [])])
    )
    options = draw(st.lists(st.sampled_from(list(OPTIONS)), unique=True, max_size=3))
    values = {option: draw(st.sampled_from(OPTIONS[option])) for option in options}
    form = draw(st.sampled_from(("table", "dotted", "inline")))
    space, comment = draw(SPACES), draw(st.sampled_from(COMMENTS))
    if form == "table":
        lines = [f"{space}[bridge.{key}]{comment}", *(f"{space}{one} ={space}{values[one]}{comment}" for one in values)]
        return "table", "".join(f"{line}\n" for line in lines)
    if form == "inline" or not values:
        inside = f",{space}".join(f"{option}={space}{value}" for option, value in values.items())
        return "inside", f"{key} = {{{space}{inside}{space}}}{comment}\n"
    return "inside", "".join(f"{key}.{option} = {value}{comment}\n" for option, value in values.items())


@st.composite
def configurations(draw: st.DrawFn) -> str:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    parts = [draw(bridge(name)) for name in names]
    inside = "".join(text for where, text in parts if where == "inside")
    tables = [text for where, text in parts if where == "table"]
    top = draw(st.sampled_from(("", "# the first line\n", 'audit.strict = "yes" # x\n')))
    if inside and draw(st.booleans()):
        text = f"[bridge]\n{inside}" + "".join(tables)
    elif inside and not re.search(r"\n  ", inside):
        text = re.sub(r"(?m)^(?=[^ \n#\]o])", "bridge.", inside) + "".join(tables)
    else:
        text = "".join(tables)
    text = (
        top + text + draw(st.sampled_from(("", "[hook]\ntimeout = 1.5\n", "[defaults]\nmode = 'observe'\n", "# end")))
    )
    text = text.removesuffix("\n") if draw(st.booleans()) else text
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


def comments(text: str) -> list[str]:
    return re.findall(r"#[^\r\n]*", text)


def is_valid(text: str) -> bool:
    return read_config(text.encode())[1] == []


@given(configurations(), st.sampled_from(NAMES[:2]), st.sampled_from(("manage", "observe")))
def test_only_the_mode_changes(text: str, name: str, mode: str) -> None:
    assume(is_valid(text))
    expected: dict[str, Any] = tomllib.loads(text)
    edited = with_word(text, ("bridge", name, "mode"), mode)
    assert edited is not None, "a place was found"
    expected.setdefault("bridge", {}).setdefault(name, {})["mode"] = mode
    assert tomllib.loads(edited) == expected
    assert is_valid(edited)
    assert comments(edited) == comments(text)
    # Two pieces of the old text surround what is new: one value was replaced, or one piece was put in.
    before = next(
        (i for i, (a, b) in enumerate(zip(text, edited, strict=False)) if a != b), min(len(text), len(edited))
    )
    rest = text[before:]
    while rest and not edited[before:].endswith(rest):
        rest = rest[1:]
    gone = text[before : len(text) - len(rest)]
    assert "#" not in gone
    assert len(gone) <= len('"""\r\nobserve"""')
    assert with_word(edited, ("bridge", name, "mode"), mode) == edited
