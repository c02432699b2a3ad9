"""Counts what the random bridges and their frames had in them, and writes the table of docs/forwarding.rst.

``python -m tests.netns.forwardingcounts COUNTS docs/forwarding.rst`` takes a file that ``--bridges`` left in the lab.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from macmgr.forwarding import Answer, Learned, Reason
from macmgr.model.flags import FLAGS
from macmgr.model.multicast import Member, mac_of
from macmgr.model.relay import RouterMode
from macmgr.model.snapshot import Bridge, BridgePort, Entry, Snapshot

BEGIN, END = ".. what was tried begins\n", ".. what was tried ends\n"
_FLAGS = ("hairpin", "proxy_arp", "mab", "to_unicast")
_FLOODS = ("broadcast_flood", "multicast_flood")


def counted(answers: list[Answer]) -> Counter[str]:
    """What one bridge and its frames had in them."""
    snapshot = answers[0].snapshot
    (bridge,) = snapshot.bridges.values()
    tried = Counter(f"bridges: {word}" for word in ("all", *_of_bridge(bridge)))
    for port in snapshot.ports.values():
        tried.update(f"ports: {word}" for word in ("all", *_of_port(port)))
    tried.update(f"entries: {word}" for entry in snapshot.entries for word in ("all", *_of_entry(entry, snapshot)))
    for mdb in snapshot.mdb.values():
        tried.update(f"groups: {word}" for member in mdb.members for word in ("all", *_of_member(member, bridge)))
        tried["groups: ports with a multicast router"] += len(mdb.routers_ipv4 | mdb.routers_ipv6)
    for answer in answers:
        tried.update(f"frames: {word}" for word in ("all", *_of_frame(answer)))
        tried[f"source: {answer.move.learned}"] += 1
        for fate in answer.fates.values():
            tried[f"{_REACHED[fate.reached]}: {fate.reason}"] += 1
    return tried


_REACHED = {True: "arrived", False: "did not arrive", None: "unknown to the model"}


def _of_bridge(bridge: Bridge) -> Iterator[str]:
    relay = bridge.relay
    yield from _which(
        ("down", not bridge.up),
        ("promiscuous", bridge.promiscuity > 0),
        ("STP on", relay.stp),
        ("no ageing", not relay.ages),
        ("no_linklocal_learn", not relay.link_local_learning),
        ("group_fwd_mask", relay.group_forward > 0),
        ("multicast snooping", relay.snooping),
        ("a querier", bool(relay.querier)),
        ("a querier, IPv6", bool(relay.querier_ipv6)),
        ("IGMPv3 and MLDv2", relay.sources_ipv4),
        ("mcast_vlan_snooping", relay.snooping_by_vlan),
        ("allmulticast", relay.all_multicast),
        ("mcast_router 0", relay.router is RouterMode.NEVER),
        ("mcast_router 2", relay.router is RouterMode.ALWAYS),
        ("fdb_max_learned", relay.room is not None),
        ("VLAN filtering", bridge.vlan_filtering),
    )
    if bridge.vlan_filtering:
        yield f"VLAN filtering, {relay.protocol}"
        yield from _which(("VLAN filtering, MST", relay.mst), ("own VLANs blocked", bool(relay.vlan_states)))


def _of_port(port: BridgePort) -> Iterator[str]:
    relay = port.relay
    yield {"veth": "veth", "tun": "tap"}[port.kind]
    yield relay.state.name.lower()
    yield from (f"{flag.bridge_word} {_SWITCH[not flag.shut]}" for flag in FLAGS if port.flags.value(flag) == flag.shut)
    yield from (f"{name} on" for name in _FLAGS if getattr(relay, name))
    yield from (f"{name} off" for name in _FLOODS if not getattr(relay, name))
    yield from _which(
        ("down", not port.up),
        ("no carrier", port.up and not relay.carrier),
        ("dormant", relay.carrier and not relay.operational),
        ("backup_port", bool(relay.backup)),
        ("isolated", port.isolated),
        *((f"mcast_router {mode:d}", relay.router is mode) for mode in RouterMode if mode is not RouterMode.HEARD),
        ("group_fwd_mask", relay.group_forward > 0),
        ("small MTU", relay.mtu < 1500),
        ("a VLAN device on it", bool(relay.taken)),
        ("in VLANs", bool(port.vids)),
        ("without a PVID", bool(port.vids) and not port.pvid),
        ("in a tagged VLAN", bool({*port.vids} - {*port.untagged})),
        ("in an untagged VLAN", bool(port.untagged)),
        ("a VLAN blocked or learning", bool(relay.vlan_states)),
    )


_SWITCH = {True: "off", False: "on"}


def _of_entry(entry: Entry, snapshot: Snapshot) -> Iterator[str]:
    yield str(entry.state)
    yield from _which(
        ("sticky", entry.sticky),
        ("extern_learn", entry.extern_learn),
        ("with a VID", entry.vid > 0),
        ("on the bridge itself", entry.port in snapshot.bridges),
    )


def _of_member(member: Member, bridge: Bridge) -> Iterator[str]:
    yield from _which(
        ("of the host", member.port == bridge.name),
        ("from one source", bool(member.source)),
        ("from single sources only", member.include and not member.source),
        ("not from one source", member.blocked),
        ("with a VID", member.vid > 0),
        ("not IP", mac_of(member.group) == member.group),
    )


def _of_frame(answer: Answer) -> Iterator[str]:
    frame = answer.entered.frame
    yield "from the host" if answer.entered.port is None else "from a port"
    yield ("untagged", "tagged", "tagged twice")[len(frame.tags)]
    yield from _which(
        ("priority-tagged", any(not tag.vid for tag in frame.tags[:1])),
        ("group", frame.for_group),
        ("group of IP", frame.for_ip_group),
        ("group of IP, known by its MAC only", frame.for_ip_group and not frame.group),
        ("longer than a small MTU", frame.length > 576),
        ("arrived somewhere", bool(answer.reached)),
    )


def _which(*cases: tuple[str, bool]) -> Iterable[str]:
    return (word for word, so in cases if so)


def table(counts: dict[str, int]) -> str:
    """The counts as a table, by what they are of."""
    reasons = {str(reason): reason.words for reason in Reason}
    lines = [".. csv-table::", '   :header: "of", "what", "how often"', ""]
    for group in _GROUPS:
        rows = [
            (name.removeprefix(f"{group}: "), number)
            for name, number in counts.items()
            if name.startswith(f"{group}: ")
        ]
        for word, number in sorted(rows, key=lambda row: (row[0] != "all", -row[1], row[0])):
            said = {"source": _LEARNED}.get(group, reasons if group in _REACHED.values() else {})
            lines.append(f'   "{group}", "{said.get(word, word)}", {number}')
    return "\n".join(lines) + "\n"


_GROUPS = ("bridges", "ports", "entries", "groups", "frames", *_REACHED.values(), "source")
_LEARNED: dict[str, str] = {
    Learned.NOTHING: "not learned",
    Learned.KNOWN: "its entry is there",
    Learned.NEW: "a new entry",
    Learned.MOVED: "its entry moves",
    Learned.STICKY: "its entry is sticky, and stays",
    Learned.LOCAL: "its entry is local, and stays",
    Learned.FULL: "no room for an entry",
    Learned.NOT_READ: "not read",
}


if __name__ == "__main__":
    read = dict(line.rsplit("\t", 1) for line in Path(sys.argv[1]).read_text().splitlines())
    document = Path(sys.argv[2])
    before, rest = document.read_text().split(BEGIN)
    made = table({name: int(number) for name, number in read.items()})
    document.write_text(f"{before}{BEGIN}\n{made}\n{END}{rest.split(END)[1]}")
