"""The data's way is short, and docs/design.rst shows it as it is."""

from __future__ import annotations

import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

from tests.dataway import PACKAGE, Way, in_words, measure, with_list

DESIGN = Path(__file__).parents[2] / "docs" / "design.rst"
# Each step of the way is one more place to look. What was reached is not given up; three are the
# interlock's, which asks the model of frames.
MOST_MODULES, MOST_RECORDS = 37, 17


def test_the_document_has_the_list() -> None:
    said = DESIGN.read_text()
    assert said == with_list(said, in_words(measure())), "run python -m tests.dataway docs/design.rst"


def test_it_is_short() -> None:
    way = measure()
    assert len(way.modules) <= MOST_MODULES
    assert len(way.records) <= MOST_RECORDS


def test_a_module_that_is_added_to_the_way_counts() -> None:
    assert list(_way_of(_ONE, _TWO).modules) == ["one", "two"]
    assert list(_way_of(_ONE.replace("two.ends", "three.passes"), _TWO, _THREE).modules) == ["one", "three", "two"]


def test_a_record_counts_that_one_module_hands_to_another() -> None:
    """A list hides none, a generator hides none, and what a module makes for itself is none."""
    assert _way_of(_ONE, _TWO).modules == {"one": ["Handed", "InAList", "Yielded"], "two": ["Answer"]}


_ONE = """
    from dataclasses import dataclass
    @dataclass
    class Handed: ...
    @dataclass
    class InAList: ...
    @dataclass
    class Yielded: ...
    @dataclass
    class Scratch: ...
    def begins():
        scratch, handed = Scratch(), Handed()
        return two.ends(handed, {"a": [InAList()]}, (Yielded() for _ in "x"))
"""
_TWO = """
    from typing import NamedTuple
    class Answer(NamedTuple):
        number: int
    def ends(handed, listed, yielded):
        return Answer(len(list(yielded)))
"""
_THREE = """
    def passes(*args):
        return two.ends(*args)
"""


def _way_of(*sources: str) -> Way:
    """The way through modules that lie where macmgr's do."""
    names = dict(zip(("one", "two", "three"), sources, strict=False))
    modules = {name: ModuleType(f"macmgr.{name}") for name in names}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in modules.items():
            patch.setitem(sys.modules, module.__name__, module)
            vars(module).update(modules)
            exec(compile(dedent(names[name]), PACKAGE / f"{name}.py", "exec"), vars(module))  # noqa: S102
    way = Way()
    before = sys.getprofile()
    sys.setprofile(way.note)
    try:
        modules["one"].begins()
    finally:
        sys.setprofile(before)
    return way
