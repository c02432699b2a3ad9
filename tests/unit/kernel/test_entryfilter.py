"""The program that keeps strangers' entries from the event socket, run line by line on datagrams."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from macmgr.kernel.bpf import JA, JEQ, JGE, LDB, LDH, LDLEN, LDW, LINE, RET, RSH
from macmgr.kernel.entryfilter import program
from macmgr.kernel.events import decode_events
from macmgr.model.kernelevents import EntryEvent, Strangers
from tests.property.test_wire import neighbour, with_attributes

BR0, BR9, UPLINK, TAP, OTHER = 3, 9, 4, 5, 6
OURS, THEIRS = "52:54:00:00:00:01", "02:00:00:00:00:99"
STRANGERS = Strangers(frozenset({BR9}), frozenset({UPLINK}), frozenset({OURS}))
NEW, GONE = 28, 29


def passes(code: bytes, datagram: bytes) -> bool:
    """What the kernel does with it (net/core/filter.c): a load beyond the end refuses the datagram."""
    lines, place, value = list(LINE.iter_unpack(code)), 0, 0
    sizes = {LDW: 4, LDH: 2, LDB: 1}
    while True:
        operation, if_true, if_false, operand = lines[place]
        place += 1
        if operation == RET:
            return bool(operand)
        if operation in sizes:
            if operand + sizes[operation] > len(datagram):
                return False
            value = int.from_bytes(datagram[operand : operand + sizes[operation]], "big")
        elif operation == LDLEN:
            value = len(datagram)
        elif operation == RSH:
            value >>= operand
        elif operation == JA:
            place += operand
        elif operation == JEQ:
            place += if_true if value == operand else if_false
        else:
            assert operation == JGE
            place += if_true if value >= operand else if_false


def event(mac: str = THEIRS, port: int = UPLINK, bridge: int = BR0, kind: int = NEW, family: int = 7) -> bytes:
    row = {"ifindex": port, "state": 2, "flags": 0, "NDA_LLADDR": mac, "NDA_MASTER": bridge, "NDA_VLAN": 7}
    message = with_attributes(neighbour(row, kind, 0), [])
    return message[:16] + bytes([family]) + message[17:]


@pytest.mark.parametrize("kind", [NEW, GONE])
def test_a_stranger_behind_an_uplink_is_left_out_and_so_is_all_of_another_bridge(kind: int) -> None:
    code = program(STRANGERS)
    assert not passes(code, event(kind=kind))
    assert not passes(code, event(OURS, bridge=BR9, kind=kind))
    assert not passes(code, event(family=2, kind=kind)), "an IP neighbour"


@pytest.mark.parametrize("kind", [NEW, GONE])
def test_what_concerns_a_guest_passes(kind: int) -> None:
    code = program(STRANGERS)
    assert passes(code, event(OURS, kind=kind)), "its address on an uplink"
    assert passes(code, event(port=TAP, kind=kind)), "what is behind its port"
    assert passes(code, event(port=OTHER, kind=kind)), "a port that nobody knew"
    assert passes(code, event(port=OTHER, bridge=77, kind=kind)), "a bridge that nobody knew"
    assert passes(code, event() + event()), "more than one event"


def test_other_kinds_of_messages_pass() -> None:
    code = program(STRANGERS)
    for kind in (16, 17, 112, 113, 3):
        assert passes(code, event(kind=kind))


def test_a_datagram_that_ends_early_is_no_event() -> None:
    whole = event(OURS)
    code = program(STRANGERS)
    for length in range(4, len(whole)):
        passes(code, whole[:length])  # comes to an end


macs = st.integers(0, 2**48 - 1).map(lambda number: number.to_bytes(6, "big").hex(":"))
interfaces = st.frozensets(st.integers(1, 300), max_size=300)


@given(st.builds(Strangers, interfaces, interfaces, st.frozensets(macs, max_size=40)), st.data())
def test_nothing_is_left_out_but_strangers(strangers: Strangers, data: st.DataObject) -> None:
    mac = data.draw(st.sampled_from(sorted(strangers.macs)) | macs if strangers.macs else macs)
    datagram = event(mac, data.draw(st.integers(1, 300)), data.draw(st.integers(1, 300)))
    (read,) = decode_events(datagram)
    assert isinstance(read, EntryEvent)
    strange = read.bridge in strangers.bridges or (read.ifindex in strangers.ports and mac not in strangers.macs)
    if not passes(program(strangers, data.draw(st.sampled_from([1, 7, 900]))), datagram):
        assert strange


def addresses(number: int) -> Iterable[str]:
    choose = Random(1)  # noqa: S311 - no secret
    return {f"52:54:00:{choose.randbytes(3).hex(':')}" for _ in range(number)}


@pytest.mark.parametrize("number", [3, 300, 900, 5000])
def test_many_guests(number: int) -> None:
    ours = sorted(addresses(number))
    code = program(Strangers(frozenset(), frozenset({UPLINK}), frozenset(ours)))
    assert len(code) <= 4096 * LINE.size, "BPF_MAXINSNS"
    assert all(passes(code, event(mac)) for mac in ours[:: max(1, number // 100)])
    assert not passes(code, event("02:00:aa:00:00:01")), "who has another vendor's address"
    if number <= 900:
        assert not passes(code, event("52:54:00:ff:ff:fe"))
