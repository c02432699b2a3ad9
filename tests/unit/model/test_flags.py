"""The table of port flags, and what each helper makes of a flag that the kernel does not have."""

from __future__ import annotations

from dataclasses import fields

import pytest

from macmgr.model.flags import FLAGS, LOCKED, NEW_PORT, PortFlags, SetPort, flags_of

CLOSED = PortFlags(learning=False, unicast_flood=False)


def test_the_table_and_both_records_have_the_same_flags_in_one_order() -> None:
    rows = [flag.field for flag in FLAGS]
    assert [field.name for field in fields(PortFlags)] == rows
    assert [field.name for field in fields(SetPort)] == ["port", *rows]
    assert len({flag.number for flag in FLAGS}) == len({flag.bridge_word for flag in FLAGS}) == len(FLAGS)


def test_a_new_port_is_open() -> None:
    assert NEW_PORT.open
    assert NEW_PORT.opened() == NEW_PORT


@pytest.mark.parametrize("flag", [flag for flag in FLAGS if flag.shut is not None], ids=lambda flag: flag.field)
def test_each_flag_that_shuts_a_port_is_opened(flag):  # type: ignore[no-untyped-def]
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
    assert SetPort("vnet0", unicast_flood=False, locked=True).named() == [(FLAGS[1], False), (LOCKED, True)]
    assert CLOSED.document() == {"learning": False, "unicast_flood": False, "locked": False}
