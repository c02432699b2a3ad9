"""The document in the state file: the memory of each network namespace, as JSON. Pure.

It names interfaces of the running kernel, so a document of another boot says nothing. Fields may be added in a version:
a reader passes over those that it does not know, and a writer keeps them (docs/adr/0017).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from macmgr.model.flags import FLAGS, Flag, flags_of
from macmgr.model.known import NOTHING, Held, KeptMac, Memory, PortBefore, Taken
from macmgr.model.snapshot import Feature
from macmgr.model.vids import PortVids, runs

VERSION = 1


def is_newer(said: object, known: int) -> bool:
    """The version ``said`` in a document is one that only a newer macmgr knows. ValueError if it is no version."""
    if not isinstance(said, int) or isinstance(said, bool) or said < 1:
        raise ValueError("no version")
    return said > known


def with_unknown(new: dict[str, Any], old: object) -> dict[str, Any]:
    """Adds to ``new`` the fields of the ``old`` document that only a newer macmgr knows."""
    return {**(old if isinstance(old, dict) else {}), **new}


def is_of_boot(document: dict[str, Any], boot: str) -> bool:
    """False: another boot's, of whatever version. A document that names no boot is taken for this one's."""
    return as_text(document.get("boot", boot)) == boot


def document_of(
    namespaces: Mapping[str, Memory], boot: str, *, lost: bool = False, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Returns the document to write, for `parse_document` to read in the same boot.

    ``before`` is the document as it was read, whose unknown fields are kept.
    """
    before = before or {}
    old, empty = before.get("namespaces", {}), _memory_document(NOTHING, {})
    documents = {name: _memory_document(memory, old.get(name, {})) for name, memory in namespaces.items()}
    filled = {name: document for name, document in documents.items() if document != empty}
    return with_unknown({"version": VERSION, "boot": boot, "lost": lost, "namespaces": filled}, before)


def _memory_document(memory: Memory, before: Mapping[str, Any]) -> dict[str, Any]:
    old = {_key(said): said for said in before.get("ports", ())}
    new = {
        "ports": [with_unknown(port, old.get(_key(port))) for port in map(_port_document, memory.ports)],
        "macs": [[each.mac, each.bridge, each.domain, each.port, each.ifindex] for each in memory.macs],
        "given_back": memory.released,
        "lacks": sorted(memory.lacks),
        "watched": memory.watched,
        "closed": memory.closed,
        "taken": [[*each.key, each.port, each.ifindex, each.uplink, each.at] for each in memory.taken],
    }
    return with_unknown(new, before)


def _key(port: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(port[name] for name in ("port", "ifindex", "bridge", "bridge_ifindex", "uuid"))


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
    if not is_of_boot(document, boot):
        return {}, False
    if is_newer(document["version"], VERSION):
        raise ValueError("a newer version's")
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
        if not 0 <= as_number(first) <= as_number(last) <= 4094 or len(vids) > 4094:
            raise ValueError("no VIDs, or more than there are")
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
