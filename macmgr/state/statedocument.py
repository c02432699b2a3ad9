"""The document in the state file: the memory of each network namespace, as JSON. Pure.

It names interfaces of the running kernel, so a document of another boot says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from macmgr.model.flags import FLAGS, Flag, flags_of
from macmgr.model.known import NOTHING, Held, KeptMac, Memory, PortBefore, Taken
from macmgr.model.snapshot import Feature
from macmgr.model.vids import PortVids, runs

VERSION = 1


def is_other_version(document: object) -> bool:
    """The document is a whole one of another version of macmgr."""
    version = document.get("version") if isinstance(document, dict) else None
    return isinstance(version, int) and not isinstance(version, bool) and version != VERSION


def document_of(namespaces: Mapping[str, Memory], boot: str, *, lost: bool = False) -> dict[str, Any]:
    """Returns the document to write, for `parse_document` to read in the same boot."""
    return {
        "version": VERSION,
        "boot": boot,
        "lost": lost,
        "namespaces": {
            name: {
                "ports": [_port_document(port) for port in memory.ports],
                "macs": [[each.mac, each.bridge, each.domain, each.port, each.ifindex] for each in memory.macs],
                "given_back": memory.released,
                "lacks": sorted(memory.lacks),
                "watched": memory.watched,
                "closed": memory.closed,
                "taken": [[*each.key, each.port, each.ifindex, each.uplink, each.at] for each in memory.taken],
            }
            for name, memory in namespaces.items()
            if memory != NOTHING
        },
    }


def _port_document(port: PortBefore) -> dict[str, Any]:
    return {
        "port": port.port,
        "ifindex": port.ifindex,
        "mac": port.mac,
        "bridge": port.bridge,
        "bridge_ifindex": port.bridge_ifindex,
        "domain": port.domain,
        "uuid": port.uuid,
        **port.flags.document(),
        "static": [{"mac": held.mac, "sticky": held.sticky, "vids": runs(held.vids)} for held in port.held],
        "carried": _vids_document(port.vids),
        "set": _vids_document(port.vids_set),
    }


def _vids_document(vids: PortVids | None) -> dict[str, Any] | None:
    if vids is None:
        return None
    return {"vids": runs(vids.vids), "pvid": vids.pvid, "untagged": runs(vids.untagged)}


def parse_document(document: dict[str, Any], boot: str) -> tuple[dict[str, Memory], bool]:
    """Reads the memories by network namespace; True if this boot had more, in a file that no longer exists.

    ValueError, KeyError, TypeError or AttributeError for any other."""
    if document["version"] != VERSION:
        raise ValueError("another version's")
    if as_text(document["boot"]) != boot:
        return {}, False
    namespaces = {name: _memory(said) for name, said in document["namespaces"].items()}
    return namespaces, document.get("lost") is True


def _memory(said: dict[str, Any]) -> Memory:
    return Memory(
        tuple(_port(each) for each in said["ports"]),
        tuple(
            KeptMac(as_text(mac), as_text(bridge), as_text(domain), as_text(port), as_number(ifindex))
            for mac, bridge, domain, port, ifindex in said["macs"]
        ),
        tuple((as_text(port), as_number(ifindex)) for port, ifindex in said["given_back"]),
        # An older macmgr did not write these. A newer one may name features that this one does not know.
        frozenset(Feature(each) for each in said.get("lacks", ()) if each in set(Feature)),
        said.get("watched") is True,
        closed=tuple((as_text(port), as_number(ifindex)) for port, ifindex in said.get("closed", ())),
        taken=tuple(_taken(each) for each in said.get("taken", ())),
    )


def _taken(said: list[Any]) -> Taken:
    bridge, mac, vid, port, ifindex, uplink, at = said
    if not isinstance(at, float):
        raise TypeError("a time was expected")
    return Taken(as_text(bridge), as_text(mac), as_number(vid), as_text(port), as_number(ifindex), as_text(uplink), at)


def _port(said: dict[str, Any]) -> PortBefore:
    return PortBefore(
        as_text(said["port"]),
        as_number(said["ifindex"]),
        as_text(said["mac"]),
        as_text(said["bridge"]),
        as_number(said["bridge_ifindex"]),
        as_text(said["domain"]),
        as_text(said["uuid"]),
        flags_of({flag.field: _flag(flag, said) for flag in FLAGS}),
        tuple(Held(as_text(each["mac"]), _switch(each["sticky"]), _vids(each["vids"])) for each in said["static"]),
        _port_vids(said.get("carried")),
        _port_vids(said.get("set")),
    )


def _port_vids(said: Any) -> PortVids | None:
    """Reads the VIDs of a port. An older macmgr did not remember them."""
    if said is None:
        return None
    pvid = None if said["pvid"] is None else as_number(said["pvid"])
    return PortVids(_vids(said["vids"]), pvid, _vids(said["untagged"]))


def _flag(flag: Flag, said: dict[str, Any]) -> bool | None:
    """Reads a flag. An older macmgr did not record every flag, and did not set those it did not know."""
    if flag.since and said.get(flag.field) is None:
        return None
    return _switch(said[flag.field])


def _vids(runs: list[list[int]]) -> tuple[int, ...]:
    vids: list[int] = []
    for first, last in runs:
        if not 0 <= as_number(first) <= as_number(last) <= 4094:
            raise ValueError("no VIDs")
        vids.extend(range(first, last + 1))
    return tuple(vids)


def as_text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("text was expected")
    return value


def as_number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError("a number was expected")
    return value


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("true or false was expected")
    return value
