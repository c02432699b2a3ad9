"""``/run/macmgr/observed.json``: what the daemon has seen behind guest ports, for every verb and hook to read.

Without it `macmgr apply`, or a hook, would call a followed address an extra entry and drop it. Only the daemon writes
it. It is gone after a reboot, as are the interfaces it is about.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from macmgr import paths
from macmgr.model.intent import Observed
from macmgr.model.mac import ZERO, parse_mac
from macmgr.state.ownfiles import Broken, read_own, write_own

_VERSION = 1
_LARGEST = 8 << 20
_MOST = 64  # addresses in one list of a record


def read_observed(netns: str | None = None, path: Path | None = None) -> tuple[tuple[Observed, ...], str]:
    """What was seen in one network namespace, and one line about what of the file is not understood."""
    path = path or paths.OBSERVED
    try:
        namespaces = _read(path)
    except Broken as error:
        return (), f"{error}; addresses that guests have changed to are not known until macmgr watch sees them again"
    except OSError as error:
        return (), f"{path}: cannot be read: {error.strerror or type(error).__name__}"
    said = namespaces.get(netns or "", [])
    records = [record for each in said if (record := _record(each)) is not None]
    bad = len(said) - len(records)
    return tuple(records), f"{path}: {bad} of its records are not understood and left out" if bad else ""


def write_observed(records: Iterable[Observed], netns: str | None = None, path: Path | None = None) -> str:
    """Replace what was seen in one network namespace; one line where that cannot be written."""
    path = path or paths.OBSERVED
    namespaces: dict[str, list[Any]] = {}
    with suppress(Broken, OSError):
        namespaces = _read(path)
    namespaces[netns or ""] = [_document(record) for record in records]
    document = {"version": _VERSION, "namespaces": {name: each for name, each in namespaces.items() if each}}
    try:
        write_own(path, json.dumps(document), mode=0o755)
    except OSError as error:
        why = error.strerror or type(error).__name__
        return f"{path}: cannot be written: {why}; other macmgr commands do not know what guests have changed to"
    return ""


def _read(path: Path) -> dict[str, list[Any]]:
    data = read_own(path, _LARGEST)
    if data is None:
        return {}
    try:
        document = json.loads(data)
        if document["version"] == _VERSION:
            return {str(name): list(each) for name, each in document["namespaces"].items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    raise Broken(f"{path}: is not what macmgr watch wrote")


def _document(record: Observed) -> dict[str, Any]:
    return {
        "port": record.port,
        "ifindex": record.ifindex,
        "uuid": record.uuid,
        "nic_mac": record.nic_mac,
        "current": record.current,
        "macs": record.macs,
        "fresh": record.fresh,
        "gone": record.gone,
        "full": record.full,
        "file_said": record.file_said,
        "event_said": record.event_said,
    }


def _record(said: Any) -> Observed | None:
    """A record, None for what is none: each of its parts decides what a bridge does."""
    try:
        return Observed(
            _text(said["port"]),
            _number(said["ifindex"]),
            _text(said["uuid"]),
            _mac(said["nic_mac"]),
            _mac_or_none(said["current"]),
            _macs(said["macs"]),
            _macs(said["fresh"]),
            _macs(said["gone"]),
            said["full"] is True,
            # an older macmgr did not write these two
            None if (file_said := said.get("file_said", "")) is None else _mac_or_none(file_said),
            _mac_or_none(said.get("event_said", "")),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _macs(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST + 1:
        raise TypeError
    return tuple(dict.fromkeys(map(_mac, value)))


def _mac_or_none(value: object) -> str:
    return _mac(value) if value != "" else ""


def _mac(value: object) -> str:
    """A unicast address; a file that somebody else wrote must not make any other one a guest's."""
    mac = parse_mac(_text(value))
    if mac == ZERO:
        raise ValueError(mac)
    return mac
