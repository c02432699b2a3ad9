"""`macmgr watch` runs the daemon in the foreground, for systemd (Type=notify) or a person in a terminal."""

from __future__ import annotations

import argparse
import asyncio
import resource

from macmgr import errors, paths
from macmgr.watch.daemon import Daemon, Places
from macmgr.watch.daemonlog import DaemonLog
from macmgr.watch.journal import Journal
from macmgr.watch.messages import Priority
from macmgr.watch.systemd import Systemd


def watch(arguments: argparse.Namespace) -> int:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a socket for each guest's port
    places = Places(
        arguments.run_dir, arguments.config, arguments.netns, arguments.observe, hooks=_repairs_this_host(arguments)
    )
    log = DaemonLog(Journal(least=Priority.DEBUG if arguments.verbose else Priority.INFO))
    asyncio.run(Daemon(places, log, Systemd()).run())
    return errors.IN_SYNC


def _repairs_this_host(arguments: argparse.Namespace) -> bool:
    """True if the daemon does what hooks ask. One that only observes, or looks elsewhere, must not answer "ok"."""
    here = arguments.run_dir.resolve() == paths.LIBVIRT_RUN.resolve() and arguments.netns is None
    return here and not arguments.observe
