"""One repair after the other, each in another VID: few lines, and no VID forgotten."""

from __future__ import annotations

from macmgr.watch.bursts import AT_ONCE, EACH, OVER, Bursts
from macmgr.watch.messages import Line, Priority

PUT = Line(Priority.NOTICE, "put the entry of web1 on vnet0", port="vnet0")
OTHER = Line(Priority.NOTICE, "put the entry of web2 on vnet1", port="vnet1")


def vid(number: int) -> frozenset[int]:
    return frozenset({number})


def test_a_loop_of_thousands_is_a_few_lines_with_every_vid() -> None:
    bursts, told = Bursts(), []
    for step in range(4000):
        told += bursts.due([(PUT, vid(step + 2))], step * 0.15)
    told += bursts.kept(600)
    assert len(told) <= AT_ONCE + 600 / EACH + 1
    assert set().union(*(vids for _, vids in told)) == set(range(2, 4002))
    assert bursts.kept(600) == []


def test_the_first_ones_are_told_at_once_and_what_is_kept_has_a_time() -> None:
    bursts = Bursts()
    for step in range(AT_ONCE):
        assert bursts.due([(PUT, vid(step))], step) == [(PUT, vid(step))]
        assert bursts.next_end(step) is None
    assert bursts.due([(PUT, vid(100))], 10) == []
    assert bursts.due([(OTHER, vid(100))], 11) == [(OTHER, vid(100))]
    assert bursts.next_end(12) == EACH - 2
    assert bursts.due([(PUT, vid(101))], 15) == []
    assert bursts.due([], 10 + EACH) == [(PUT, frozenset({100, 101}))]
    assert bursts.next_end(20) is None


def test_what_is_in_no_vid_is_told_at_once_always() -> None:
    bursts = Bursts()
    for second in range(100):
        assert bursts.due([(PUT, frozenset())], second) == [(PUT, frozenset())]


def test_a_range_is_told_once_and_another_burst_begins_anew() -> None:
    bursts = Bursts()
    assert bursts.due([(PUT, frozenset(range(2000, 4095)))], 0) == [(PUT, frozenset(range(2000, 4095)))]
    for _ in range(AT_ONCE):
        bursts.due([(PUT, vid(1))], 1)
    assert bursts.due([], 1 + OVER) == [(PUT, vid(1))]
    assert bursts.due([(PUT, vid(2))], 1 + OVER) == [(PUT, vid(2))]
