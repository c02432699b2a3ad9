"""`macmgr manage` and `macmgr observe` set a bridge's mode in the configuration, and say what follows.

They change no port. A bridge that nobody hands to macmgr is handed to it, too: the mode alone would do nothing there.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from macmgr import errors, paths
from macmgr.config import Config, parse_config, read_config
from macmgr.errors import Busy, ConfigError, MacmgrError, NoPermission, NotThere, no_bridge
from macmgr.installation import default_config, install_config
from macmgr.model.changes import Change
from macmgr.model.findings import Code
from macmgr.model.intent import Intent, Manager, is_pattern, sections_of
from macmgr.oneline import one_line
from macmgr.phrases import are, counted, system_words
from macmgr.placing import LARGEST
from macmgr.safefiles import edit_own, read_regular
from macmgr.tomledit import with_word
from macmgr.tomllines import TomlLines
from macmgr.verbs.host import commands_of, host_of, print_json, view_of, warn
from macmgr.verbs.status import daemon_runs
from macmgr.view import View

MODE, MANAGER = "mode", "mac_table_manager"


def set_mode(arguments: argparse.Namespace) -> int:
    """Write the mode of one bridge. Raises an error before anything is written, if it cannot be."""
    bridge, mode = arguments.bridge, arguments.verb
    if is_pattern(bridge) or not bridge.isprintable():
        arguments.parser.error(f"{bridge!r} is no name of one bridge")
    path = arguments.config or paths.CONFIG
    old, is_new = _read(path)
    config = parse_config(old, str(path))
    try:
        hands_over = _is_to_hand_over(arguments, config, path, old)
    except (ConfigError, NoPermission, _Unknown):
        raise
    except MacmgrError as error:
        if mode == "manage":
            raise
        warn(f"{error}; {path} is changed nevertheless")  # it must be possible to stop macmgr whatever fails
        hands_over = False
    options = {MODE: mode, **({MANAGER: str(Manager.LIBVIRT)} if hands_over else {})}
    new = _edited(arguments, old.decode(), path, options)
    if new != old:
        if is_new:
            install_config(path)
        _write(path, old, new)
    lines = TomlLines(new.decode())
    places = {option: lines.of(("bridge", bridge, option)) for option in options}
    view, daemon = _look(arguments), daemon_runs()
    if arguments.format == "json":
        print_json(
            {
                "version": 1,
                "bridge": bridge,
                "config": str(path),
                "written": new != old,
                "options": [{"name": name, "value": options[name], "line": line} for name, line in places.items()],
                "commands": None if view is None else commands_of(_changes(view)),
                "guest_ports": None if view is None else len(view.guests),
                "managed_ports": None if view is None else sum(guest.managed for guest in view.guests),
                "daemon_runs": daemon,
            }
        )
        return errors.IN_SYNC
    said = "written" if new != old else "already there"
    for option, line in places.items():
        print(one_line(f'{said}: {path}:{line}: {option} = "{options[option]}"'))
    for text in _what_follows(arguments, view, daemon=daemon, hands_over=hands_over):
        print(one_line(text))
    return errors.IN_SYNC


class _Unknown(NotThere):
    """Nobody knows the bridge."""


def _read(path: Path) -> tuple[bytes, bool]:
    """Returns the configuration, or that of `macmgr install` and True if there is none."""
    if path.is_symlink():
        raise ConfigError(
            f"{path}: is a symbolic link, which is not followed; name its file: --config {path.resolve()}"
        )
    try:
        data = read_regular(path, LARGEST, follow=False)
    except FileNotFoundError:
        return default_config(manage=False), True
    except OSError as error:
        raise _as_macmgrs(path, error) from None
    if not data.strip():
        raise ConfigError(f"{path}: is empty, so somebody may be just writing it; if nobody is, remove it first")
    return data, False


def _is_to_hand_over(arguments: argparse.Namespace, config: Config, path: Path, old: bytes) -> bool:
    """Returns True if nobody hands the bridge to macmgr. Raises an error if nobody knows it, or it is the kernel's."""
    bridge = arguments.bridge
    host = host_of(arguments)
    with host.kernel() as kernel:
        there = kernel.read_snapshot(()).bridges
    intent = host.read_intent()
    if bridge not in there:
        known = {*config.bridges, *intent.managed_bridges, *(guest.bridge for guest in intent.ports)}
        if bridge not in known:
            raise _Unknown(str(no_bridge(bridge, {*there, *known})))
        warn(f"bridge {bridge!r} does not exist here yet")
    if _is_managed(intent, bridge):
        return False
    sections = sections_of(bridge, config.bridges)
    name, manager = next(((name, says.manager) for name, says in sections if says.manager), ("", None))
    if manager is Manager.KERNEL:
        line = TomlLines(old.decode()).of(("bridge", name, MANAGER))
        raise ConfigError(f'{path}:{line}: {MANAGER} = "kernel" leaves {bridge} to the kernel; change that first')
    if manager is not None:
        return False
    unread = [each for each in intent.findings if each.code is Code.UNREADABLE_XML and not each.domain]
    if unread:  # a domain's file hands over no more than that domain's NICs
        raise NotThere(f"{unread[0].message}; so it is not known if a network hands {bridge} to macmgr: try again")
    return True


def _is_managed(intent: Intent, bridge: str) -> bool:
    return bridge in intent.managed_bridges or any(port.managed for port in intent.ports if port.bridge == bridge)


def _edited(arguments: argparse.Namespace, text: str, path: Path, options: dict[str, str]) -> bytes:
    for option, word in options.items():
        edited = with_word(text, ("bridge", arguments.bridge, option), word)
        if edited is None:
            raise ConfigError(
                f'{path}: no place was found for {option} = "{word}" of {arguments.bridge}; write it there'
            )
        text = edited
    _, problems = read_config(text.encode())
    if problems:  # there were none before
        arguments.parser.error(problems[0].text)
    return text.encode()


def _write(path: Path, old: bytes, new: bytes) -> None:
    try:
        if not edit_own(path, old, new):
            raise Busy(f"{path}: somebody else has just changed it; look at it and try again")
    except OSError as error:
        raise _as_macmgrs(path, error) from None


def _as_macmgrs(path: Path, error: OSError) -> MacmgrError:
    if isinstance(error, PermissionError):
        return NoPermission(f"{path}: may not be changed ({system_words(error)}); that needs root")
    return ConfigError(f"{path}: cannot be changed: {system_words(error)}")


def _look(arguments: argparse.Namespace) -> View | None:
    """Looks at the bridge. Returns None if it is not here yet, or the reason was printed before."""
    try:
        return view_of(arguments)
    except MacmgrError:
        return None


def _changes(view: View) -> list[Change]:
    return [*view.plan.changes, *view.observed]


def _what_follows(arguments: argparse.Namespace, view: View | None, *, daemon: bool, hands_over: bool) -> Iterator[str]:
    """Yields what a person has to know, as far as a look can say it."""
    bridge, quoted, manages = arguments.bridge, shlex.quote(arguments.bridge), arguments.verb == "manage"
    if manages:
        yield f"{bridge} is managed now."
    else:
        stays = "" if hands_over else f" What macmgr made there stays until 'macmgr release --bridge {quoted}'."
        yield f"{bridge} is only observed now: nothing is changed.{stays}"
    if view is not None:
        changes = _changes(view)
        number, it = counted(len(changes), "change"), "it" if len(changes) == 1 else "them"
        if changes and manages:
            made = "" if daemon else f" The next hook, or 'macmgr apply', makes {it}."
            yield f"{number} {are(changes)} to be made: 'macmgr plan --bridge {quoted}' shows {it}.{made}"
        elif changes:
            yield f"{number} would be made: 'macmgr plan' shows {it}."
        elif not view.guests:
            yield "No guest is on it now."
        elif not any(guest.managed for guest in view.guests):
            ports = counted(len(view.guests), "guest port")
            yield f"Its {ports} {are(view.guests)} left to something else: 'macmgr explain {quoted}' says who decides."
        else:
            yield "No change is to be made now."
    if daemon:  # it reads its configuration only when it is told to
        does = "makes changes there" if manages else "stops making changes there"
        yield f"The daemon {does} once it has read the file: 'systemctl reload macmgr'."
