"""/etc/macmgr/macmgr.toml: policies for bridges, and how hooks behave.

Unknown names and wrong values are refused with the place, the values allowed and the nearest valid name, because a
misspelt security option that is silently dropped is an outage or a hole that nobody sees.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from macmgr import paths
from macmgr.errors import ConfigError
from macmgr.intent import BridgePolicy, Manager, Pin

MAX_TIMEOUT = 30.0


@dataclass(frozen=True, slots=True)
class HookSettings:
    """``refuse`` lets a failing hook stop a guest from starting, where libvirt can; ``timeout`` is in seconds."""

    refuse: bool = False
    timeout: float = 2.0


@dataclass(frozen=True, slots=True)
class Config:
    bridges: Mapping[str, BridgePolicy] = field(default_factory=dict)
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
    """The configuration in ``text``; ConfigError names ``where`` and the table."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where}: not TOML: {error}") from None
    _names(document, ("bridge", "hook"), where)
    bridges = _table(document, "bridge", where)
    return Config(
        {name: _bridge(_table(bridges, name, where), f'{where}: [bridge."{name}"]') for name in bridges},
        _hook(_table(document, "hook", where), f"{where}: [hook]"),
    )


def _bridge(table: Mapping[str, Any], where: str) -> BridgePolicy:
    _names(table, ("mac_table_manager", "pin"), where)
    manager = _word(table, "mac_table_manager", tuple(Manager), where)
    pin = _word(table, "pin", tuple(Pin), where)
    return BridgePolicy(Manager(manager) if manager else None, Pin(pin) if pin else Pin.STICKY)


def _hook(table: Mapping[str, Any], where: str) -> HookSettings:
    _names(table, ("on_error", "timeout"), where)
    refuse = _word(table, "on_error", ("ignore", "refuse"), where) == "refuse"
    timeout = table.get("timeout", 2.0)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0.1 <= timeout <= MAX_TIMEOUT:
        raise ConfigError(f"{where}: timeout is {timeout!r}; seconds from 0.1 to {MAX_TIMEOUT:g} are allowed")
    return HookSettings(refuse, float(timeout))


def _table(document: Mapping[str, Any], name: str, where: str) -> Mapping[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {name} is a value, a table is expected")
    return value


def _names(table: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for name in table:
        if name not in allowed:
            _refuse(f"{where}: unknown name {name!r}", name, allowed)


def _word(table: Mapping[str, Any], name: str, allowed: tuple[str, ...], where: str) -> str | None:
    value = table.get(name)
    if value is None or value in allowed:
        return value
    _refuse(f"{where}: {name} is {value!r}", str(value), allowed)


def _refuse(problem: str, name: str, allowed: tuple[str, ...]) -> NoReturn:
    import difflib  # only a mistake needs it, and a hook reads the configuration too

    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{problem}; allowed: {', '.join(allowed)}{hint}")
