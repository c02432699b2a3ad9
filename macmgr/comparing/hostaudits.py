"""What a comparison needs of one host, read from its audit document. Pure.

The document may come from anybody, and from an older macmgr, which wrote fewer fields: what it does not say is not
judged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from macmgr.model.codes import Code, Consequence
from macmgr.model.roles import Role

_LEFT = (Code.STALE_ENTRY, Code.EARLY_ENTRY, Code.EXTRA_ENTRY, Code.LEFT_ON_UPLINK)


@dataclass(frozen=True, slots=True)
class HostGuest:
    """A guest's port on its host. ``unreached`` is why nobody beyond the host reaches it; empty if somebody does.

    ``vids`` are None where the bridge does not filter: nobody knows which VLAN that is. ``alone``: no port of the
    bridge leads out of the host.
    """

    host: str
    bridge: str
    port: str
    domain: str
    uuid: str
    macs: tuple[str, ...]
    running: bool
    vids: frozenset[int] | None
    alone: bool
    manager: str = ""
    pin: str = ""
    network: str = ""
    portgroup: str = ""
    unreached: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True)
class LeftEntry:
    """An entry on a host that its own audit calls stale, extra or left behind."""

    host: str
    bridge: str
    port: str
    on_uplink: bool
    mac: str
    fix: str


@dataclass(frozen=True, slots=True)
class HostAudit:
    """``uplinks`` has the VIDs that a bridge's uplinks carry; None for a bridge that does not filter, or has none."""

    host: str
    taken_at: datetime
    guests: tuple[HostGuest, ...]
    left: tuple[LeftEntry, ...]
    uplinks: Mapping[str, frozenset[int] | None]


def read_audit(document: object) -> HostAudit:
    """Reads what 'macmgr audit --json' prints. ValueError in a few words if it is none."""
    said = _as(dict, document)
    version = said.get("version")
    if "findings" not in said or "taken_at" not in said or not isinstance(version, int):
        raise ValueError("is not what 'macmgr audit --json' or 'macmgr capture' writes")
    if version != 1:
        raise ValueError(f"is an audit of version {version}, and this macmgr reads version 1")
    host, taken_at = _text(said, "host"), _text(said, "taken_at")
    if not host:
        raise ValueError("names no host")
    findings = _records(said, "findings")
    bridges = _records(said, "bridges")
    roles = {_text(port, "port"): _text(port, "role") for bridge in bridges for port in _records(bridge, "ports")}
    cut = {(_text(each, "domain"), _text(each, "port")): each for each in reversed(findings) if _cuts(each)}
    time = datetime.fromisoformat(taken_at)
    if time.tzinfo is None:
        raise ValueError("taken_at has no time zone")
    return HostAudit(
        host,
        time,
        tuple(guest for bridge in bridges for guest in _guests(host, bridge, cut)),
        tuple(_left(host, findings, roles)),
        {_text(bridge, "name"): _uplink_vids(bridge) for bridge in bridges},
    )


def _cuts(finding: Mapping[str, Any]) -> bool:
    return finding.get("consequence") == Consequence.CUT_OFF and finding.get("severity") != "info"


def _is_unreached(port: Mapping[str, Any], finding: Mapping[str, Any]) -> bool:
    """Nobody beyond the host reaches the NIC's own address, or not in one of its VLANs: the audit judged by frames."""
    own = _as(list, port.get("macs", []))[:1]
    words = [reach.get("uplink") for reach in _records(port, "reached") if [reach.get("mac")] == own]
    return ("no" in words and "yes" not in words) or finding.get("reached") == "no"


def _guests(
    host: str, bridge: Mapping[str, Any], cut: Mapping[tuple[str, str], Mapping[str, Any]]
) -> Iterator[HostGuest]:
    filtering = bridge.get("vlan_filtering") is True
    alone = not _ways_out(bridge)
    for port in _records(bridge, "ports"):
        domain = _text(port, "domain")
        if not domain:
            continue
        finding = cut.get((domain, _text(port, "port")), {})
        blind = _is_unreached(port, finding)
        yield HostGuest(
            host,
            _text(bridge, "name"),
            _text(port, "port"),
            domain,
            _text(port, "uuid"),
            tuple(_as(str, mac).lower() for mac in _as(list, port.get("macs", []))),
            port.get("state") == "running",
            _vids(port) if filtering else None,
            alone,
            _text(port, "manager"),
            _text(port, "pin"),
            _text(port, "network"),
            _text(port, "portgroup"),
            (_text(finding, "message") or "no frame from an uplink arrives") if blind else "",
            _text(finding, "fix") if blind else "",
        )


def _left(host: str, findings: list[dict[str, Any]], roles: Mapping[str, str]) -> Iterator[LeftEntry]:
    seen = set()
    for finding in findings:
        bridge, port, mac = (_text(finding, name) for name in ("bridge", "port", "mac"))
        if finding.get("code") in _LEFT and mac and (bridge, port, mac) not in seen:
            seen.add((bridge, port, mac))  # it has one for each VID
            on_uplink = roles.get(port) == Role.UPLINK
            yield LeftEntry(host, bridge, port, on_uplink, mac.lower(), _text(finding, "fix"))


def _uplink_vids(bridge: Mapping[str, Any]) -> frozenset[int] | None:
    uplinks = _ways_out(bridge)
    if bridge.get("vlan_filtering") is not True or not uplinks:
        return None
    return frozenset().union(*map(_vids, uplinks))


def _ways_out(bridge: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [port for port in _records(bridge, "ports") if port.get("role") in (Role.UPLINK, Role.TUNNEL)]


def _vids(port: Mapping[str, Any]) -> frozenset[int]:
    return frozenset(_as(int, vid) for vid in _as(list, port.get("vids", [])))


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    text: str = "" if value is None else _as(str, value)
    return text


def _records(said: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    return [_as(dict, each) for each in _as(list, said.get(name, []))]


def _as(kind: type[Any], value: object) -> Any:
    if type(value) is not kind:
        raise ValueError(f"has a {type(value).__name__} where macmgr writes a {kind.__name__}")
    return value
