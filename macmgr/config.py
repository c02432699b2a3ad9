"""/etc/macmgr/macmgr.toml: policies for bridges, and how hooks behave.

Unknown names and wrong values are refused with file and line, the values allowed and the nearest valid name: a misspelt
security option that is silently dropped is an outage, or a hole that nobody sees.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macmgr import paths
from macmgr.errors import ConfigError
from macmgr.intent import Settings
from macmgr.options import allowed, settings

MAX_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class HookSettings:
    """``refuse`` lets a failing hook stop a guest from starting, where libvirt can; ``timeout`` is in seconds."""

    refuse: bool = False
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration: what ``[bridge."NAME"]`` says of the guest ports on each bridge, and ``[hook]``."""

    bridges: Mapping[str, Settings] = field(default_factory=dict)
    hook: HookSettings = HookSettings()


def load_config(path: Path | None) -> Config:
    """The configuration in ``path``; without one, that of the default place, or the defaults where nothing is there."""
    if path is None:
        path = paths.CONFIG
        if not path.exists():
            return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    return parse_config(text, str(path))


def parse_config(text: str, where: str) -> Config:
    """The configuration in ``text``; ConfigError names ``where``, the line and the table."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from None
    place = _Places(text, where)
    _check_names(document, ("bridge", "hook"), place, ())
    bridges = _table(document, "bridge", place, ())
    return Config(
        {name: _bridge(_table(bridges, name, place, ("bridge",)), place, name) for name in bridges},
        _hook(_table(document, "hook", place, ()), place),
    )


def _bridge(table: Mapping[str, Any], place: _Places, name: str) -> Settings:
    path = ("bridge", name)
    patterns = table.get("allow", [])
    if not isinstance(patterns, list) or not all(isinstance(pattern, str) for pattern in patterns):
        raise ConfigError(f"{place.of(path, 'allow')}: allow is a list of MAC addresses and prefixes, in quotes")
    for option in table:  # one at a time, so that the mistake has its own line
        try:
            one = {} if option == "allow" else {option: table[option]}
            settings(one, patterns if option == "allow" else (), xml=False, others=("allow",))
        except ValueError as error:
            raise ConfigError(f"{place.of(path, option)}: {error}") from None
    return settings(table, patterns, xml=False, others=("allow",))


def _hook(table: Mapping[str, Any], place: _Places) -> HookSettings:
    path = ("hook",)
    _check_names(table, ("on_error", "timeout"), place, path)
    on_error = table.get("on_error", "ignore")
    if on_error not in ("ignore", "refuse"):
        hint = allowed(str(on_error), ("ignore", "refuse"))
        raise ConfigError(f"{place.of(path, 'on_error')}: on_error is {on_error!r}; {hint}")
    timeout = table.get("timeout", 2.0)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0.1 <= timeout <= MAX_TIMEOUT:
        raise ConfigError(
            f"{place.of(path, 'timeout')}: timeout is {timeout!r}; allowed: seconds from 0.1 to {MAX_TIMEOUT:g}"
        )
    return HookSettings(on_error == "refuse", float(timeout))


def _table(document: Mapping[str, Any], name: str, place: _Places, path: tuple[str, ...]) -> Mapping[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise ConfigError(
            f"{place.of(path, name)}: {name} is a value, a table is expected: [{'.'.join((*path, name))}]"
        )
    return value


def _check_names(table: Mapping[str, Any], names: Iterable[str], place: _Places, path: tuple[str, ...]) -> None:
    for name in table:
        if name not in names:
            raise ConfigError(f"{place.of(path, name)}: unknown name {name!r}; {allowed(name, names)}")


class _Places:
    """Where in the file a name stands: tomllib keeps no positions, and a person needs the line."""

    def __init__(self, text: str, where: str) -> None:
        self._lines = text.splitlines()
        self._where = where

    def of(self, path: tuple[str, ...], name: str) -> str:
        """``FILE:LINE`` of a name in the table at ``path``; of the table, or the file, where the name is not found."""
        table: tuple[str, ...] = ()
        found = 0
        for number, line in enumerate(self._lines, 1):
            keys = _keys(line)
            if line.lstrip().startswith("["):
                table = keys
            if (*(() if line.lstrip().startswith("[") else table), *keys)[: len(path) + 1] == (*path, name):
                return f"{self._where}:{number}"
            if table == path and line.lstrip().startswith("["):
                found = number
        return f"{self._where}:{found}" if found else self._where


def _keys(line: str) -> tuple[str, ...]:
    """The dotted name that a line of TOML begins with, as a table header or as a key."""
    head = line.strip()
    text = head if head.startswith("[") else f"{head.partition('=')[0]} = 0"
    try:
        value: Any = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return ()
    keys = []
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        keys.append(key)
    return tuple(keys)
