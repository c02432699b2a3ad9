"""A frame's tags, what it does to the FDB, and why somebody does not get it, in words for people. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from macmgr.forwarding.reasons import Learned, Move, Reason
from macmgr.model.relay import Tag, VlanProtocol

_FROM = "the port that it comes from"
_LEARNED = {
    Learned.NOTHING: "",
    Learned.KNOWN: "",
    Learned.NEW: "the bridge learns {mac} there",
    Learned.MOVED: "the entry of {mac} moves: it led to {before}, and now leads to {after}",
    Learned.STICKY: "the entry of {mac} is sticky, and still leads to {before}",
    Learned.LOCAL: "{mac} is an address of the host: the kernel warns of it, and moves nothing",
    Learned.FULL: "the bridge has learned as many addresses as it may, and does not learn {mac}",
    Learned.NOT_READ: "the frame may move an entry of {mac}: the FDB was not read to its end",
}


def moved(move: Move, mac: str) -> str:
    """Returns what the frame does to the entry of its source; empty if that does not change."""
    before, after = (entry.port if entry else "" for entry in (move.before, move.after))
    return _LEARNED[move.learned].format(mac=mac, before=before, after=after)


def tagged(tags: Sequence[Tag]) -> str:
    if not tags:
        return "untagged"
    return "tagged " + " in ".join(
        f"{tag.vid}{'' if tag.protocol is VlanProtocol.DOT1Q else f' ({tag.protocol})'}" for tag in tags
    )


def because(reason: Reason, vid: int, sender: str, place: str) -> str:
    """Returns the reason in a sentence about the port ``place``, and the ``sender`` if there is only one.

    Without a ``place`` the frame is stopped on its way in, so that the sentence is about the sender.
    """
    if reason is Reason.NOT_IN_VLAN:
        return f"the frame is in VLAN {vid}, and {place} is not"
    if reason is Reason.NOT_IN_VLAN_IN:
        return f"the frame is in VLAN {vid}, and {sender or _FROM} is not"
    words = reason.words
    if sender:
        words = words.replace(_FROM, sender)
    if port := sender if reason is Reason.NO_PVID or not place else place:
        words = words.replace("the port's", "its" if port == "it" else f"{port}'s")
        words = re.sub("^the port(?! that)|(?<=and )the port(?! that)", lambda _: port, words)
    if vid and reason in (Reason.NOT_FLOODED, Reason.UNKNOWN):
        words = words.replace("the destination", f"the destination in VLAN {vid}")
    return words
