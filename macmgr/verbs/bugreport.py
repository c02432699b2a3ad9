"""The verb capture: all that audit, plan, show, explain, doctor and trace read, in files for a bug report."""

from __future__ import annotations

import argparse
import platform
import subprocess
from contextlib import suppress
from dataclasses import replace
from importlib import metadata

from macmgr import __version__, errors
from macmgr.capture.archive import check_target, write_capture
from macmgr.capture.recordedkernel import RecordedKernel
from macmgr.capture.taking import Taken, take
from macmgr.model.known import Known
from macmgr.model.snapshot import Snapshot
from macmgr.oneline import one_line
from macmgr.phrases import counted
from macmgr.planning.reading import suspects
from macmgr.reconcile import look
from macmgr.verbs.host import origin_of
from macmgr.verbs.progress import Progress
from macmgr.wanted import wanted

_LIBVIRT_DAEMONS = ("libvirtd", "virtqemud")
_LIBRARIES = ("pyroute2", "lxml", "rich")


def write_down(arguments: argparse.Namespace) -> int:
    """Write a capture and change nothing else. What could not be read is in it, as the error that verbs report."""
    target = arguments.target
    check_target(target)
    origin = origin_of(arguments)

    def settled(snapshot: Snapshot) -> Snapshot:
        """Looks up what a dump may have missed, as the verbs do."""
        try:
            intent, seen = wanted(origin.read_libvirt()(), origin.config()), origin.seen()
            known = Known(origin.memory()[0], seen.records, seen.lost)
            view = look(lambda: intent, RecordedKernel(snapshot), known=known)
            keys = suspects(view.plan.changes, view.intent, view.snapshot)
            with origin.kernel() as kernel:
                return replace(snapshot, entries=snapshot.fdb.with_found(kernel.look_up(keys, snapshot)))
        except Exception:  # noqa: BLE001 - an error is in the capture already, and a bug is what the capture is for
            return snapshot

    with Progress("reading all that macmgr reads of this host"):
        taken = take(origin, _versions(), settled, anonymous=arguments.anonymous)
        write_capture(target, taken.files)
    for line in _said(arguments, taken):
        print(one_line(line))
    return errors.IN_SYNC


def _said(arguments: argparse.Namespace, taken: Taken) -> list[str]:
    size = sum(map(len, taken.files.values()))
    parts = [counted(taken.domains, "domain"), counted(len(taken.snapshot.bridges), "bridge")]
    parts += [counted(len(taken.snapshot.ports), "port"), f"{len(taken.snapshot.entries)} FDB entries"]
    names = (
        "names of guests and networks, and addresses, are replaced; names of interfaces are not"
        if arguments.anonymous
        else "names and addresses are this host's: with --anonymous they are replaced"
    )
    return [
        f"{arguments.target}: {', '.join(parts)}; {size / 1024:.0f} KiB.",
        *(f"Without {each}" for each in taken.lacks),
        f"It has no passwords, and of libvirt's XML only what macmgr reads; {names}.",
        f"Look at it with 'macmgr audit --replay {arguments.target}' before you send it.",
    ]


def _versions() -> dict[str, str]:
    found = {"macmgr": __version__, "kernel": platform.release(), "python": platform.python_version()}
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found | {"libvirt": _libvirt()}


def _libvirt() -> str:
    """Asks the program, not the daemon: a capture is taken while that may not answer."""
    for daemon in _LIBVIRT_DAEMONS:
        with suppress(OSError, subprocess.SubprocessError):
            done = subprocess.run(
                [daemon, "--version"], capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL
            )
            return one_line(done.stdout)[:80]
    return ""
