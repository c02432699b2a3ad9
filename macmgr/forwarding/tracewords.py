"""An answer of the model in words, for people: where a frame comes in, what it moves, and each port's fate. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from macmgr.forwarding.forward import Answer
from macmgr.forwarding.reasons import Fate, Learned
from macmgr.model.relay import Tag, VlanProtocol
from macmgr.phrases import first_few

_MOST = 4  # ports with one fate, by name
_LEARNED = {
    Learned.NOTHING: "",
    Learned.KNOWN: "{mac} is known there already",
    Learned.NEW: "the bridge learns {mac} there",
    Learned.MOVED: "the frame moves the entry of {mac}: it led to {before}, and now leads to {after}",
    Learned.STICKY: "the entry of {mac} is sticky, and still leads to {before}",
    Learned.LOCAL: "{mac} is an address of the host: the kernel warns of it, and moves nothing",
    Learned.FULL: "the bridge has learned as many addresses as it may, and does not learn {mac}",
    Learned.NOT_READ: "the frame may move an entry of {mac}: the FDB was not read to its end",
}


def words(answer: Answer) -> Iterator[str]:
    """Yields a line for each step of the frame, and one for all ports with the same fate."""
    entered, frame = answer.entered, answer.entered.frame
    came = "the host" if entered.port is None else entered.port.name
    yield f"a frame from {frame.source} to {frame.destination}, {_tagged(frame.tags)}, comes from {came}"
    if answer.vid:
        yield f"{answer.bridge} puts it into VLAN {answer.vid}"
    if answer.stopped is not None:
        yield f"{answer.bridge} forwards it to nobody: {answer.stopped.words}"
    if line := _moved(answer):
        yield line
    if answer.stopped is not None:
        return
    if answer.entry is not None:
        vid = f" in VLAN {answer.vid}" if answer.vid else ""
        yield f"the entry of {frame.destination}{vid} leads to {answer.entry.port} ({answer.entry.in_words})"
    alike: dict[Fate, list[str]] = {}
    for name, fate in answer.fates.items():
        alike.setdefault(fate, []).append("the host" if name == answer.bridge else name)
    for fate, names in sorted(alike.items(), key=lambda item: _ORDER[item[0].reached]):
        yield _line(fate, names)


_ORDER = {True: 0, None: 1, False: 2}


def _line(fate: Fate, names: Sequence[str]) -> str:
    several = len(names) > 1
    who = first_few(names, _MOST)
    if fate.reached:
        return f"{who} {'get' if several else 'gets'} it, {_tagged(fate.tags)}: {fate.reason.words}"
    if fate.reached is None:
        return f"{who} may get it: {fate.reason.words}"
    return f"{who} {'do' if several else 'does'} not get it: {fate.reason.words}"


def _moved(answer: Answer) -> str:
    move = answer.move
    return _LEARNED[move.learned].format(
        mac=answer.entered.frame.source,
        before=move.before.port if move.before else "",
        after=move.after.port if move.after else "",
    )


def _tagged(tags: Sequence[Tag]) -> str:
    if not tags:
        return "untagged"
    return "tagged " + " in ".join(
        f"{tag.vid}{'' if tag.protocol is VlanProtocol.DOT1Q else f' ({tag.protocol})'}" for tag in tags
    )
