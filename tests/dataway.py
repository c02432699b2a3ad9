"""The data's way: the modules and records that one `apply` for two guests goes through.

It begins with the status files of libvirt and ends where requests are handed to the kernel, the fake one. Reading
the configuration, and printing, are not on the way. ``python -m tests.dataway docs/design.rst`` writes
the list into the document, and `tests/unit/test_dataway.py` holds the document against the code.

A module is on the way when one of its functions runs; the model of frames counts as one.
A move is a call from a function of one module to one of another.
A record form is a dataclass or named tuple of macmgr's that a module makes there and that one module hands to another:
as an argument or result, by itself or in a tuple, list, set or dict. A changed copy is no new form. What a module makes
for itself is none, and the two ends of the way count as modules.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, is_dataclass
from pathlib import Path
from types import FrameType

import pytest

import macmgr
from macmgr import paths
from macmgr.config import load_config
from macmgr.model.flags import PortFlags
from macmgr.model.intent import Intent
from macmgr.model.snapshot import EntryState
from macmgr.reconcile import apply
from macmgr.sources.statusfiles import StatusFiles
from macmgr.state import lock
from macmgr.state.memory import StateFile
from macmgr.view import Outcome
from macmgr.wanted import wanted
from tests.fake_kernel import FakeKernel
from tests.golden.case import lay_out, read_snapshot

BEGIN, END = ".. the data's way begins\n", ".. the data's way ends\n"
PACKAGE = Path(macmgr.__file__).parent
_CASE = Path(__file__).parent / "golden" / "two-guests-and-a-plain-bridge"
# The fake kernel carries requests out by the model's rules: those are behind the end of the way.
_END, _FAKE = "(end)", Path(__file__).with_name("fake_kernel.py")
_ENDS = (Path(__file__), _FAKE, PACKAGE / "forwarding" / "requested.py")
_MODEL = PACKAGE / "forwarding"  # it is asked as one: whom would these changes harm?
_MAKES = ("__init__", "__new__", "<lambda>", "_make")  # written by dataclasses and named tuples, in no file


@dataclass
class Way:
    """Modules in the order in which they are come through, with the records that each is the first to make."""

    made: dict[str, list[str]] = field(default_factory=dict)
    handed_on: set[str] = field(default_factory=set)
    functions: set[tuple[str, str, int]] = field(default_factory=set)
    moves: int = 0

    @property
    def modules(self) -> dict[str, list[str]]:
        """The modules, with the record forms among what they make."""
        return {module: [each for each in made if each in self.handed_on] for module, made in self.made.items()}

    @property
    def records(self) -> list[str]:
        return [record for forms in self.modules.values() for record in forms]

    def note(self, frame: FrameType, event: str, result: object) -> None:
        """For `sys.setprofile`."""
        code, caller = frame.f_code, frame.f_back
        if event not in ("call", "return") or caller is None or code.co_name == "<module>":
            return
        here, there = _module(code.co_filename), _module(caller.f_code.co_filename)
        if event == "call":
            self._note_call(frame, here, there)
        if here and there and here != there:
            arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
            handed = [frame.f_locals.get(name) for name in arguments] if event == "call" else [result]
            self.handed_on.update(_records_in(handed))

    def _note_call(self, frame: FrameType, here: str, there: str) -> None:
        code = frame.f_code
        if here not in ("", _END):
            self.made.setdefault(here, [])
            self.functions.add((here, code.co_qualname, code.co_firstlineno))
            self.moves += there not in ("", _END, here)
        elif there not in ("", _END) and code.co_filename.startswith("<") and code.co_name in _MAKES:
            first = next(iter(frame.f_locals.values()), None)
            kind = first if isinstance(first, type) else type(first)
            if kind.__module__.startswith("macmgr.") and all(kind.__name__ not in made for made in self.made.values()):
                self.made.setdefault(there, []).append(kind.__name__)


def _module(filename: str) -> str:
    path = Path(filename)
    if path in _ENDS:
        return _END
    if path.parent == _MODEL:
        return _MODEL.name
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts) if path.is_relative_to(PACKAGE) else ""


def _records_in(value: object) -> Iterator[str]:
    kind = type(value)
    if kind.__module__.startswith("macmgr.") and (is_dataclass(kind) or hasattr(kind, "_fields")):
        yield kind.__name__
    elif isinstance(value, (tuple, list, set, frozenset, dict)):
        for each in (*value, *value.values()) if isinstance(value, dict) else tuple(value):
            yield from _records_in(each)


def measure() -> Way:
    """The guests of a golden case, but their ports are open and have no entries."""
    way = Way()
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        workshop = Path(name)
        patch.setattr(paths, "STATE", workshop / "state.json")
        patch.setattr(paths, "REMEMBERED", workshop / "remembered")
        work = _work(workshop)
        before = sys.getprofile()
        sys.setprofile(way.note)
        try:
            outcome = work()
        finally:
            sys.setprofile(before)
    assert outcome.complete, "the apply is to succeed"
    assert outcome.done, "the apply is to change something"
    return way


def _work(workshop: Path) -> Callable[[], Outcome]:
    kernel = FakeKernel(read_snapshot(json.loads((_CASE / "snapshot.json").read_text())))
    for port in ("vnet0", "vnet1", "vnet2"):
        kernel.set_flags(port, PortFlags())
    for entry in kernel.read_snapshot().entries:
        if entry.state is EntryState.STATIC:
            kernel.lose_entry("br0", entry.mac, entry.vid)
    run_dir, config = lay_out(_CASE, workshop), load_config(_CASE / "config.toml")

    def read_intent() -> Intent:
        return wanted(StatusFiles(run_dir).read(), config)

    def work() -> Outcome:
        with lock.hold(workshop / "lock") as held:
            return apply(held, read_intent, kernel, notes=StateFile(held, None))

    return work


def in_words(way: Way) -> str:
    """The list for the document."""
    lines = [f"{len(way.modules)} modules, {len(way.records)} record forms:\n"]
    for number, (module, made) in enumerate(way.modules.items(), 1):
        records = f": {', '.join(f'``{each}``' for each in made)}" if made else ""
        lines.append(f"{number}. ``{module}``{records}")
    return "\n".join(lines) + "\n"


def with_list(document: str, listed: str) -> str:
    """The document, with the list between its two marks."""
    before, rest = document.split(BEGIN)
    return f"{before}{BEGIN}\n{listed}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    found = measure()
    print(f"{len(found.functions)} functions, {found.moves} moves between modules")
    print(in_words(found))
    for document in map(Path, sys.argv[1:]):
        document.write_text(with_list(document.read_text(), in_words(found)))
