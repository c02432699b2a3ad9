"""`macmgr watch`: the daemon, in the foreground, as systemd starts it (Type=notify) or a person in a terminal."""

from __future__ import annotations

import argparse
import asyncio
import resource

from macmgr import errors
from macmgr.watch.daemon import Daemon, Places
from macmgr.watch.journal import Journal
from macmgr.watch.messages import Priority
from macmgr.watch.speaker import Speaker
from macmgr.watch.systemd import Systemd


def watch(arguments: argparse.Namespace) -> int:
    """Keep the MAC tables right until SIGTERM."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a socket for each guest's port
    places = Places(arguments.run_dir, arguments.config, arguments.netns, arguments.observe)
    speaker = Speaker(Journal(least=Priority.DEBUG if arguments.verbose else Priority.INFO))
    asyncio.run(Daemon(places, speaker, Systemd()).run())
    return errors.IN_SYNC
