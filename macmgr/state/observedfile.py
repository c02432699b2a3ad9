"""``/run/macmgr/observed.json``: the addresses that the daemon has seen behind guest ports, for verbs and hooks.

Without it `macmgr apply`, or a hook, would call a followed address an extra entry and drop it. Only the daemon writes
it. It is gone after a reboot, as are its interfaces.

Versions: docs/adr/0017. A daemon that must leave a newer macmgr's file marks it: guests may change their addresses
meanwhile, so that the newer one finds too little in its file when it comes back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from macmgr import paths
from macmgr.model.known import SeenMacs
from macmgr.model.mac import ZERO, parse_mac
from macmgr.phrases import system_words
from macmgr.safefiles import Broken, OtherVersion, read_own, write_own
from macmgr.state.memory import is_lost, leave_mark, read_memory
from macmgr.state.statedocument import as_number, as_text, is_newer, with_unknown

_VERSION = 1
_LARGEST = 8 << 20
_MOST = 64  # addresses in one list of a record
_LEFT = "entries that may be for addresses which guests have changed to are left"
_NOT_KNOWN = "other macmgr commands do not know what guests have changed to"


class Read(NamedTuple):
    """The sightings in one network namespace.

    ``lost``: there were more, and they cannot be read. ``problem`` is one line with the reason, empty if all is well or
    the reason was already reported. ``missing``: there is no file, or nothing in it about this namespace.
    """

    records: tuple[SeenMacs, ...] = ()
    problem: str = ""
    lost: bool = False
    missing: bool = False


class _Contents(NamedTuple):
    """The whole file. ``lost``: the file before it could not be read."""

    namespaces: dict[str, list[Any]]
    lost: bool = False
    document: dict[str, Any] = {}  # noqa: RUF012 - nobody changes it


def read_observed(netns: str | None = None, path: Path | None = None) -> Read:
    """Reads the sightings in one network namespace. An unreadable file means unknown, not nothing."""
    path = path or paths.OBSERVED
    try:
        contents = _read(path)
    except (Broken, OtherVersion) as error:
        return Read((), f"{error}; {_LEFT}", lost=True)
    except OSError as error:
        return Read((), f"{path}: cannot be read: {system_words(error)}; {_LEFT}", lost=True)
    if is_lost(mark_of(path), there=True):
        return Read((), f"{path}: is out of date, an older macmgr watched meanwhile; {_LEFT}", lost=True)
    said = contents.namespaces.get(netns or "")
    if said is None:
        # The memory is in another directory, on another file system.
        memory, why = read_memory(netns)
        lost = memory.watched or memory.lost
        problem = f"{path}: is missing, and macmgr watch has written it since the host was started; {_LEFT}"
        unknown = f"{why}, nor if macmgr watch has run; {_LEFT}" if why else ""
        return Read((), problem if memory.watched else unknown, lost or contents.lost, missing=True)
    records = [record for each in said if (record := _record(each)) is not None]
    bad = len(said) - len(records)
    problem = f"{path}: {bad} of its records are not understood; {_LEFT}" if bad else ""
    return Read(tuple(records), problem, contents.lost or bool(bad))


def write_observed(
    records: Iterable[SeenMacs], netns: str | None = None, path: Path | None = None, *, lost: bool = False
) -> str:
    """Replaces the sightings in one network namespace. Returns one line if they cannot be written.

    ``lost``: the earlier ones could not be read. A file that may be good is left as it is: another version's, and one
    that cannot be read now.
    """
    path = path or paths.OBSERVED
    try:
        contents = _read(path)
    except Broken:
        contents = _Contents({}, lost=True)
    except OtherVersion as error:
        leave_mark(mark_of(path), lost=True)
        return f"{error} and is left as it is; {_NOT_KNOWN}"
    except OSError as error:
        return f"{path}: cannot be read, and so not written: {system_words(error)}; {_NOT_KNOWN}"
    if is_lost(mark_of(path), there=True):
        contents = _Contents({}, lost=True)
    before = {_key(said): said for said in contents.namespaces.get(netns or "", ())}
    said = [with_unknown(document, before.get(_key(document))) for document in map(_document, records)]
    new = {
        "version": _VERSION,
        "lost": lost or contents.lost,
        "namespaces": {**contents.namespaces, netns or "": said},
    }
    try:
        write_own(path, json.dumps(with_unknown(new, contents.document)), mode=0o755)
        mark_of(path).unlink(missing_ok=True)
    except OSError as error:
        return f"{path}: cannot be written: {system_words(error)}; {_NOT_KNOWN}"
    return ""


def mark_of(path: Path) -> Path:
    """Returns the file that says that the one at ``path`` was left as it was in this boot, and is out of date."""
    return path.with_name(f"{path.name}.outdated")


def _read(path: Path) -> _Contents:
    """Reads the file. OtherVersion for a whole document of another macmgr, Broken for any other foreign content."""
    data = read_own(path, _LARGEST)
    if data is None:
        return _Contents({})
    try:
        document = json.loads(data)
        if is_newer(document["version"], _VERSION):
            raise OtherVersion(f"{path}: is another macmgr's (version {document['version']})")
        namespaces = {str(name): list(each) for name, each in document["namespaces"].items()}
        return _Contents(namespaces, document.get("lost") is True, document)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise Broken(f"{path}: is not what macmgr watch wrote") from None


def _key(record: object) -> tuple[str, ...]:
    """Returns what tells a record from others, also of a record that is not understood."""
    said = record if isinstance(record, dict) else {}
    return tuple(str(said.get(name)) for name in ("port", "ifindex", "uuid", "nic_mac"))


def _document(record: SeenMacs) -> dict[str, Any]:
    return {
        "port": record.port,
        "ifindex": record.ifindex,
        "uuid": record.uuid,
        "nic_mac": record.nic_mac,
        "current": record.current,
        "macs": record.macs,
        "fresh": record.fresh,
        "gone": record.moved,
        "full": record.full,
        "file_said": record.file_said,
        "event_said": record.event_said,
        "unlisted": record.unlisted,
    }


def _record(said: Any) -> SeenMacs | None:
    """Reads a record; None if a part is invalid, because each part decides what a bridge does."""
    try:
        return SeenMacs(
            as_text(said["port"]),
            as_number(said["ifindex"]),
            as_text(said["uuid"]),
            _mac(said["nic_mac"]),
            _mac_or_none(said["current"]),
            _macs(said["macs"]),
            _macs(said["fresh"]),
            _macs(said["gone"]),
            said["full"] is True,
            # An older macmgr did not write these three.
            None if (file_said := said.get("file_said", "")) is None else _mac_or_none(file_said),
            _mac_or_none(said.get("event_said", "")),
            _macs(said.get("unlisted", [])),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _macs(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) > _MOST + 1:
        raise TypeError
    return tuple(dict.fromkeys(map(_mac, value)))


def _mac_or_none(value: object) -> str:
    return _mac(value) if value != "" else ""


def _mac(value: object) -> str:
    """Reads a unicast address. A foreign file must not make any other address a guest's."""
    mac = parse_mac(as_text(value))
    if mac == ZERO:
        raise ValueError(mac)
    return mac
