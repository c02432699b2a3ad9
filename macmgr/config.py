"""Reads /etc/macmgr/macmgr.toml: policies for bridges, settings of hooks and daemon, what counts as drift.

Unknown names and wrong values are refused with file, line, allowed values and the nearest valid name. A misspelt
security option that is silently dropped is an outage, or a hole that nobody sees. docs/configuration.rst shows all.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from macmgr import paths
from macmgr.errors import ConfigError, Problem
from macmgr.model.intent import MANAGE_ALL, OBSERVE_ALL, OWN, Modes, Settings
from macmgr.model.mac import parse_mac_pattern
from macmgr.options import OPTIONS, YES_NO, in_words, read_options, unknown_name, wrong_word, yes_or_no
from macmgr.safefiles import read_regular
from macmgr.tomllines import TomlLines

TIMEOUT, MIN_TIMEOUT, MAX_TIMEOUT = 2.0, 0.1, 30.0
RESYNC, MIN_RESYNC, MAX_RESYNC = 300.0, 10.0, 86400.0
REPAIRS, MIN_REPAIRS, MAX_REPAIRS = 10.0, 1.0, 10000.0
TABLES = ("defaults", "bridge", "hook", "daemon", "audit")
DEFAULTS_NAMES = ("mode",)
HOOK_NAMES = ("on_error", "timeout")
DAEMON_NAMES = (
    "resync",
    "repairs_per_minute",
    "sightings",
    "libvirt_events",
    "metrics_file",
    "metrics_port",
    "metrics_per_mac",
)
AUDIT_NAMES = ("strict",)
ON_ERROR = ("ignore", "refuse")
MODES = ("manage", "observe")
# All of it, for man page and reference: the names in each table, and the words of those that have words.
NAMES_BY_TABLE = {
    "defaults": DEFAULTS_NAMES,
    'bridge."NAME"': (*(option.toml for option in OPTIONS), "allow", "mode"),
    "hook": HOOK_NAMES,
    "daemon": DAEMON_NAMES,
    "audit": AUDIT_NAMES,
}
WORDS_BY_NAME = {option.toml: option.values for option in OPTIONS} | {"mode": MODES, "on_error": ON_ERROR}

Keys = tuple[str, ...]

_LARGEST = 1 << 20  # bytes: a thousand bridges with all their options are a fifth of it


@dataclass(frozen=True, slots=True)
class HookSettings:
    """``refuse``: a failing hook stops a guest from starting, where libvirt can. ``timeout`` is in seconds."""

    refuse: bool = False
    timeout: float = TIMEOUT


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Settings of `macmgr watch`. It takes a full look each ``resync`` seconds, whatever else wakes it.

    A change made ``repairs_per_minute`` times is a fight with another program. ``sightings``: packet sockets show which
    addresses guests send from. ``libvirt_events``: the daemon listens to libvirt's API. ``metrics_file`` is a
    Prometheus textfile, ``metrics_port`` a port on loopback; empty and 0 turn them off.
    """

    resync: float = RESYNC
    repairs_per_minute: int = int(REPAIRS)
    sightings: bool = True
    libvirt_events: bool = False
    metrics_file: str = ""
    metrics_port: int = 0
    metrics_per_mac: bool = False


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration: ``[bridge."NAME"]`` says what holds for the guest ports of a bridge.

    ``strict`` counts warnings as drift, as `audit --strict` does. ``modes`` says on which bridges nothing is changed.
    ``written`` is False if the file is missing or empty.
    """

    bridges: Mapping[str, Settings] = field(default_factory=dict)
    hook: HookSettings = HookSettings()
    strict: bool = False
    daemon: DaemonSettings = DaemonSettings()
    modes: Modes = MANAGE_ALL
    written: bool = True

    def observes(self, bridge: str) -> bool:
        return self.modes.observes(bridge)


def load_config(path: Path | None) -> Config:
    """Loads ``path``. Without one it loads the default place, or the defaults if no file is there.

    If `macmgr install` wrote the configuration, somebody is just rewriting a file that is missing or empty: nothing is
    changed until the file allows it.
    """
    named = path is not None
    path = path or paths.CONFIG
    try:
        data = read_regular(path, _LARGEST)
    except OSError as error:
        if not named and isinstance(error, FileNotFoundError):
            return Config(modes=_meanwhile(path), written=False)
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    if not data.strip():
        return Config(modes=_meanwhile(path), written=False)
    return parse_config(data, str(path))


def _meanwhile(path: Path) -> Modes:
    return OBSERVE_ALL if path.with_name(paths.CHECKSUM).exists() else MANAGE_ALL


def parse_config(data: bytes, where: str) -> Config:
    """Returns the configuration. Raises ConfigError with the first mistake, and the number of further ones."""
    config, problems = read_config(data)
    if problems:
        more = f" (and {len(problems) - 1} more: 'macmgr validate {where}')" if len(problems) > 1 else ""
        raise ConfigError(f"{problems[0].at(where)}{more}")
    return config


def read_config(data: bytes) -> tuple[Config, list[Problem]]:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return Config(), [Problem(line, "not UTF-8 text, as TOML has to be")]
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return Config(), [_not_toml(str(error), text)]
    except (RecursionError, ValueError):
        return Config(), [Problem(None, "not TOML that can be read: nested too deeply, or a number without an end")]
    reader = _Reader(TomlLines(text))
    reader.check_names(document, TABLES, ())
    bridges = reader.table(document, "bridge", ())
    config = Config(
        {name: reader.bridge(bridges, name) for name in bridges},
        reader.hook(reader.table(document, "hook", ())),
        reader.audit(reader.table(document, "audit", ())),
        reader.daemon(reader.table(document, "daemon", ())),
        reader.modes(reader.table(document, "defaults", ()), bridges),
    )
    return config, sorted(reader.problems, key=lambda problem: problem.line or 0)


def _not_toml(error: str, text: str) -> Problem:
    """Puts the line before tomllib's message, and TOML's words in place of tomllib's own terms."""
    message, _, place = error.rpartition(" (at ")
    found = re.match(r"line (\d+), column (\d+)", place)
    line = int(found[1]) if found else max(1, len(text.splitlines()))
    column = f" at column {found[2]}" if found else " at the end"
    twice = re.match(r"Cannot declare (\(.*\)) twice", message)
    if twice:
        name = ".".join(re.findall(r"'([^']*)'", twice[1]))[:60]
        return Problem(line, f"the table [{name}] is there twice; put its options together")
    if message == "Cannot overwrite a value":
        return Problem(line, f"a name is given a value twice{column}; remove one of them")
    return Problem(line, f"not TOML{column}: {message[:1].lower()}{message[1:80]}")


class _Reader:
    """Reads the tables of one file and keeps each mistake with its line."""

    def __init__(self, lines: TomlLines) -> None:
        self._lines = lines
        self.problems: list[Problem] = []

    def table(self, parent: Mapping[str, Any], name: str, path: Keys) -> Mapping[str, Any]:
        value = parent.get(name, {})
        if isinstance(value, dict):
            return value
        header = ".".join((*path, f'"{name}"' if path else name))
        self._add((*path, name), f"{name} is {in_words(value)}, a table is expected: [{header}]")
        return {}

    def check_names(self, table: Mapping[str, Any], names: Iterable[str], path: Keys) -> None:
        for name in table:
            if name not in names:
                self._add((*path, name), unknown_name(name, names, xml=False))

    def bridge(self, bridges: Mapping[str, Any], name: str) -> Settings:
        path = ("bridge", name)
        if not isinstance(bridges[name], dict) and _is_option(name):
            self._add(path, f'the option {name} is in [bridge]; it stands in the table of one bridge: [bridge."NAME"]')
            return Settings()
        if not _is_interface_name(name):
            self._add(path, f"{name[:40]!r} cannot be a bridge: an interface name has 1 to 15 letters, no space, no /")
        table = self.table(bridges, name, ("bridge",))
        values = {key: value for key, value in table.items() if key not in ("allow", "mode")}
        for key in [key for key, value in values.items() if isinstance(value, dict) and not _is_option(key)]:
            # [bridge.br0.100] is table 100 in br0; the bridge br0.100 is meant.
            del values[key]
            self._add(
                (*path, key), f'a table in [bridge."{name}"]; a name with a dot is quoted: [bridge."{name}.{key}"]'
            )
        found, mistakes = read_options(values, xml=False, others=("allow", "mode"))
        for key, text in mistakes:
            self._add((*path, key), text)
        return Settings(**found, allow=tuple(self._allow(table.get("allow", []), (*path, "allow"))))

    def modes(self, defaults: Mapping[str, Any], bridges: Mapping[str, Any]) -> Modes:
        self.check_names(defaults, DEFAULTS_NAMES, ("defaults",))
        tables = {name: table for name, table in bridges.items() if isinstance(table, dict) and "mode" in table}
        named = tuple((name, self._observes(table, ("bridge", name))) for name, table in tables.items())
        return Modes(self._observes(defaults, ("defaults",)), named)

    def _observes(self, table: Mapping[str, Any], path: Keys) -> bool:
        return self._word(table, path, "mode", "manage", MODES) == "observe"

    def _allow(self, patterns: object, path: Keys) -> Iterable[str]:
        if not isinstance(patterns, list):
            self._add(path, f'allow is {in_words(patterns)}, a list is expected: allow = ["00:00:5e:00:01:*"]')
            return
        for pattern in patterns:
            if not isinstance(pattern, str):
                self._add(path, f"{in_words(pattern)} in allow, MAC addresses and prefixes in quotes are expected")
                continue
            if pattern == OWN:
                yield OWN
                continue
            try:
                yield parse_mac_pattern(pattern)
            except ValueError as error:
                self._add(path, f"allow: {error}", pattern)

    def hook(self, table: Mapping[str, Any]) -> HookSettings:
        self.check_names(table, HOOK_NAMES, ("hook",))
        on_error = self._word(table, ("hook",), "on_error", "ignore", ON_ERROR)
        timeout = self._number(table, ("hook",), "timeout", TIMEOUT, (MIN_TIMEOUT, MAX_TIMEOUT), "seconds ")
        return HookSettings(on_error == "refuse", timeout)

    def daemon(self, table: Mapping[str, Any]) -> DaemonSettings:
        path = ("daemon",)
        self.check_names(table, DAEMON_NAMES, path)
        repairs = self._number(table, path, "repairs_per_minute", REPAIRS, (MIN_REPAIRS, MAX_REPAIRS), whole=True)
        return DaemonSettings(
            resync=self._number(table, path, "resync", RESYNC, (MIN_RESYNC, MAX_RESYNC), "seconds "),
            repairs_per_minute=int(repairs),
            sightings=YES_NO[self._word(table, path, "sightings", "yes", YES_NO)],
            libvirt_events=YES_NO[self._word(table, path, "libvirt_events", "no", YES_NO)],
            metrics_file=self._absolute_path(table, path, "metrics_file"),
            metrics_port=int(self._number(table, path, "metrics_port", 0, (0, 65535), whole=True)),
            metrics_per_mac=YES_NO[self._word(table, path, "metrics_per_mac", "no", YES_NO)],
        )

    def audit(self, table: Mapping[str, Any]) -> bool:
        self.check_names(table, AUDIT_NAMES, ("audit",))
        return YES_NO[self._word(table, ("audit",), "strict", "no", YES_NO)]

    def _word(self, table: Mapping[str, Any], path: Keys, option: str, default: str, words: Iterable[str]) -> str:
        value = yes_or_no(table.get(option, default), words)
        text = wrong_word(option, value, words, xml=False)
        if text:
            self._add((*path, option), text)
        return default if text else str(value)

    def _number(
        self,
        table: Mapping[str, Any],
        path: Keys,
        option: str,
        default: float,
        limits: tuple[float, float],
        unit: str = "",
        *,
        whole: bool = False,
    ) -> float:
        value = table.get(option, default)
        number = not isinstance(value, bool) and isinstance(value, int | float)
        if not number or not limits[0] <= value <= limits[1] or (whole and value != int(value)):
            what = f"{'a whole number ' if whole else ''}{unit}from {limits[0]:g} to {limits[1]:g}, without quotes"
            self._add((*path, option), f"{option} is {in_words(value)}; allowed: {what}")
            return default
        return float(value)

    def _absolute_path(self, table: Mapping[str, Any], path: Keys, option: str) -> str:
        value = table.get(option, "")
        if not isinstance(value, str) or (value and not value.startswith("/")) or "\0" in value:
            self._add((*path, option), f"{option} is {in_words(value)}; allowed: a path that begins with /, in quotes")
            return ""
        return value

    def _add(self, path: Keys, text: str, containing: str = "") -> None:
        self.problems.append(Problem(self._lines.of(path, containing), text))


def _is_option(name: str) -> bool:
    return name in ("allow", "mode") or any(name == option.toml for option in OPTIONS)


def _is_interface_name(name: str) -> bool:
    """The kernel accepts the name for an interface (dev_valid_name in net/core/dev.c)."""
    size = len(name.encode())
    return 0 < size < 16 and name not in (".", "..") and not any(c in "/:" or c.isspace() for c in name)
