"""Installs and uninstalls macmgr on this host: prints what was done, and what is left for a person."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from macmgr import errors, paths
from macmgr.config import load_config
from macmgr.errors import ConfigError, MacmgrError, NotThere
from macmgr.hookcheck import LIBVIRT_DAEMONS, PID_FILES, UNIT, program_fails
from macmgr.installation import (
    check_unit,
    find_program,
    install_config,
    install_hooks,
    install_unit,
    named_program,
    uninstall_config,
    uninstall_hooks,
    uninstall_memory,
    uninstall_unit,
)
from macmgr.oneline import unbroken
from macmgr.phrases import counted
from macmgr.placing import Step
from macmgr.safefiles import read_regular
from macmgr.sources.statusfiles import LibvirtState
from macmgr.state.memory import managed_ports
from macmgr.verbs.status import daemon_runs

_NO_HOOKS = "No hooks: the daemon does the work when it sees a guest start, a moment after libvirt starts it."
_START = "Start the daemon yourself: 'systemctl enable --now macmgr'."
_RESTART = "A running daemon stays as it is until 'systemctl daemon-reload' and 'systemctl restart macmgr'."
_STOP = "The daemon goes on: 'systemctl stop macmgr' ends it."
_FORGET = "'systemctl daemon-reload' forgets the unit."


def install(arguments: argparse.Namespace) -> int:
    program = find_program() if arguments.program is None else named_program(arguments.program)
    config, units, hooks = _config(arguments), _units(arguments), arguments.hooks_dir
    under_systemd = units is not None and (arguments.units_dir is not None or paths.SYSTEMD.is_dir())
    if units is not None and under_systemd:
        check_unit(units, program)
    if not arguments.no_hooks and (why := program_fails(program)):
        raise NotThere(f"{program}: the hooks could do nothing with it, because {why}; name another with --program")
    # The configuration comes first: a hook without one would manage what nobody has looked at yet.
    steps = [install_config(config, manage=arguments.manage)] if config is not None else []
    try:
        steps += uninstall_hooks(hooks) if arguments.no_hooks else install_hooks(hooks, program)
    except MacmgrError:
        if config is not None and steps[0].what == "installed":
            list(uninstall_config(config))
        raise
    if units is not None and under_systemd:
        steps.append(install_unit(units, program))
    unit = [step.what for step in steps if step.path.name == UNIT]
    how = _NO_HOOKS if arguments.no_hooks else _look_for_them()
    first = _what_is_managed(config, arguments.run_dir) if config is not None else ()
    _print(first, steps, [how, *(_RESTART if what in ("replaced", "removed") else _START for what in unit)])
    return errors.IN_SYNC


def uninstall(arguments: argparse.Namespace) -> int:
    config, units = _config(arguments), _units(arguments)
    steps = list(uninstall_hooks(arguments.hooks_dir))
    if units is not None:
        steps += uninstall_unit(units)
    if config is not None:
        steps += [*uninstall_config(config), *uninstall_memory(purge=arguments.purge)]
    first = [] if steps else [f"nothing of macmgr is installed in {arguments.hooks_dir}"]
    if config is not None and (ports := managed_ports(paths.STATE)):
        first = [f"Still as macmgr made them: {', '.join(ports)}. 'macmgr release' gives them back to the kernel."]
    runs = [_STOP] if config is not None and daemon_runs() else []
    _print(first, steps, [*runs, *([_FORGET] if any(step.path.name == UNIT for step in steps) else [])])
    return errors.IN_SYNC


def _look_for_them() -> str:
    """libvirt reads its hooks on start or reload. Split daemons end when idle: only running ones are named."""
    running = [name for name in LIBVIRT_DAEMONS if _runs(name)]
    how = f": 'systemctl reload {' '.join(running)}'" if running else ""
    return f"libvirt looks for hooks when it starts or reloads{how}."


def _runs(daemon: str) -> bool:
    """A daemon that was killed leaves its file, and systemctl refuses to reload a unit that is not active."""
    with suppress(OSError, ValueError):
        pid = int(read_regular(PID_FILES / f"{daemon}.pid", 100))
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").rstrip("\n") == daemon
    return False


def _what_is_managed(path: Path, run_dir: Path) -> Iterator[str]:
    """Yields what hooks and daemon will do on this host under its present configuration."""
    from macmgr.policy.guests import build_intent  # `uninstall` needs neither XML nor policy
    from macmgr.policy.precedence import PolicySources
    from macmgr.sources.statusfiles import StatusFiles

    try:
        config = load_config(path)
        sources = StatusFiles(run_dir).read()
    except ConfigError as error:
        yield f"Nothing is done until the configuration is understood: {error}"
        return
    except MacmgrError:  # no libvirt yet
        sources = LibvirtState()
    policy = PolicySources(sources.networks, config.bridges, sources.ports, configured=config.written)
    intent = build_intent(sources.domains, policy)
    ports = Counter(guest.bridge for guest in intent.ports if guest.managed)
    made = "the next hook, or 'macmgr apply', makes what 'macmgr plan' shows"
    for observed, what in ((True, "Observed only"), (False, "Managed from now on")):
        names = [name for name in sorted(intent.managed_bridges) if config.observes(name) is observed]
        if names:
            # the verb finds the line that decides: a bridge's own section goes before [defaults]
            verb = f"'macmgr manage {names[0] if len(names) == 1 else 'BRIDGE'}'"
            then = f"nothing is changed until {verb}; 'macmgr plan' shows what would be" if observed else made
            each = [f"{name} ({intent.managed_bridges[name]}, {counted(ports[name], 'port')})" for name in names]
            yield f"{what}: {', '.join(each)}; {then}."
    if not intent.managed_bridges:
        verb, mode = ("observe", "observed") if config.modes.default else ("manage", "managed at once")
        named = f"'macmgr {verb} BRIDGE' names a bridge, and one that a network names would be {mode}"
        yield f"Nothing is managed here yet; {named}."


def _config(arguments: argparse.Namespace) -> Path | None:
    """Hooks in another directory are not this host's, and neither is its configuration, unless it is named."""
    named: Path | None = arguments.config
    return named or (paths.CONFIG if arguments.hooks_dir == paths.LIBVIRT_HOOKS else None)


def _units(arguments: argparse.Namespace) -> Path | None:
    named: Path | None = arguments.units_dir
    return named or (paths.UNITS if arguments.hooks_dir == paths.LIBVIRT_HOOKS else None)


def _print(first: Iterable[str], steps: Iterable[Step], last: Iterable[str]) -> None:
    """Prints what a person has to know, then what was done, then what is left to do."""
    from rich.text import Text

    from macmgr.report.terminal import console, print_wrapped

    out = console(color=False)
    for line in first:
        print_wrapped(out, Text(), line, 2)
    for step in steps:
        out.print(Text(unbroken(f"{step.what:<13} {step.path}")), soft_wrap=True)
    for line in last:
        print_wrapped(out, Text(), line, 2)
