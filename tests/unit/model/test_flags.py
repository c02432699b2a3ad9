"""The table of port flags, what each helper makes of a flag that the kernel lacks, and what reads the table."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from macmgr.model.changes import SetFlags
from macmgr.model.flags import FLAGS, LOCKED, NEW_PORT, Flag, PortFlags, flags_of, with_flag
from macmgr.model.known import Memory, PortBefore
from macmgr.state.statedocument import document_of, parse_document

ROOT = Path(__file__).parents[3]
EACH = pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.field)
# the doctor's JSON has the two flags that make a port an auto port, and no others
NAMES_FLAGS = {
    "macmgr/model/flags.py",
    "macmgr/report/diagnosisdocument.py",
    "macmgr/forwarding/reasons.py",  # a state of STP, and the reason why a frame is dropped
    # libvirt's words: <port isolated='yes'/>, and a network without <forward>
    "macmgr/readers/domain.py",
    "macmgr/capture/redaction.py",
    "macmgr/readers/network.py",
    "macmgr/policy/guests.py",
    "macmgr/watch/words.py",  # what was done, in the past tense
}

CLOSED = PortFlags(learning=False, unicast_flood=False)


def test_the_table_and_the_record_have_the_same_flags_in_one_order() -> None:
    rows = [flag.field for flag in FLAGS]
    assert [field.name for field in fields(PortFlags)] == rows
    assert len({flag.number for flag in FLAGS}) == len({flag.bridge_word for flag in FLAGS}) == len(FLAGS)


def test_a_new_port_is_open() -> None:
    assert NEW_PORT.open
    assert NEW_PORT.opened() == NEW_PORT


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.shut is not None], ids=lambda flag: flag.field)
def test_each_flag_that_shuts_a_port_is_opened(flag: Flag) -> None:
    shut = flags_of({**NEW_PORT.document(), flag.field: flag.shut})
    assert not shut.open
    assert shut.opened() == NEW_PORT
    assert shut.before_closing(NEW_PORT) == NEW_PORT
    assert NEW_PORT.before_closing(shut) == NEW_PORT
    assert NEW_PORT.differing(shut) == [flag]


def test_a_flag_that_the_kernel_lacks_is_never_asked_for() -> None:
    lacks = PortFlags(locked=None)
    assert lacks.open
    assert lacks.opened() == lacks
    assert PortFlags(locked=True).for_kernel_of(lacks) == lacks
    assert PortFlags(False, False, None).for_kernel_of(PortFlags(locked=True)) == PortFlags(False, False, False)
    assert lacks.before_closing(PortFlags(False, False, None)) == lacks


def test_words_and_requests() -> None:
    assert LOCKED.says(True) == "locked on"
    assert LOCKED.says(None) == "locked off"
    asked = SetFlags("vnet0", PortFlags(locked=False), PortFlags(unicast_flood=False, locked=True))
    assert asked.named() == [(FLAGS[1], False), (LOCKED, True)]
    assert SetFlags("vnet0", NEW_PORT, PortFlags(locked=None)).named() == [], "the kernel has no such flag"
    assert list(CLOSED.document()) == [flag.field for flag in FLAGS]
    assert CLOSED.document()["learning"] is False


def _remembered(flags: PortFlags) -> dict[str, Memory]:
    return {"": Memory((PortBefore("vnet0", 7, "fe:54:00:00:00:01", "br0", 2, "g1", "u1", flags),))}


@EACH
def test_the_state_file_keeps_each_flag(flag: Flag) -> None:
    for value in (True, False, *([None] if flag.since else [])):
        memories = _remembered(with_flag(NEW_PORT, flag, value))
        assert parse_document(document_of(memories, "boot"), "boot") == (memories, False)


@EACH
def test_a_flag_that_an_older_macmgr_did_not_remember_is_not_known(flag: Flag) -> None:
    document = document_of(_remembered(NEW_PORT), "boot")
    del document["namespaces"][""]["ports"][0][flag.field]
    if flag.since:
        assert parse_document(document, "boot") == (_remembered(with_flag(NEW_PORT, flag, None)), False)
    else:  # each macmgr wrote it down
        with pytest.raises(KeyError):
            parse_document(document, "boot")


@EACH
def test_the_schema_of_the_audit_has_each_flag(flag: Flag) -> None:
    schema = json.loads((ROOT / "docs" / "audit-v1.schema.json").read_text())
    port = schema["$defs"]["port"]
    assert port["properties"][flag.field]["type"] == "boolean"
    assert flag.field in port["required"]


def test_no_other_module_spells_a_flag_out() -> None:
    """What treats all flags alike reads the table; else a new flag would be forgotten there."""
    fields = {flag.field for flag in FLAGS}
    found = set()
    for path in (ROOT / "macmgr").rglob("*.py"):
        words = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        if not fields.isdisjoint(word for word in words if isinstance(word, str)):
            found.add(str(path.relative_to(ROOT)))
    assert found == NAMES_FLAGS


def test_the_documentation_names_files_that_are_there() -> None:
    text = (ROOT / "docs" / "contributing.rst").read_text()
    names = set(re.findall(r"``((?:macmgr|docs|tests)/[\w/.-]+)``", text))
    assert "macmgr/model/flags.py" in names
    assert [name for name in names if not (ROOT / name).exists()] == []
