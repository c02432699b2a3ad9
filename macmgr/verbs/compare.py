"""The verb compare: audits of several hosts, held against each other. It asks no host, and changes nothing."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from macmgr import errors
from macmgr.capture.archive import INDEX
from macmgr.capture.replaying import origin_of_capture
from macmgr.comparing.differences import differences
from macmgr.comparing.hostaudits import HostAudit, read_audit
from macmgr.errors import CaptureError, MacmgrError, NotThere
from macmgr.kernel.edge import collector_paused
from macmgr.model.intent import Scope
from macmgr.model.known import Known
from macmgr.phrases import counted, system_words
from macmgr.planning.reading import Beside
from macmgr.reconcile import look
from macmgr.report.auditdocument import audit_document
from macmgr.report.comparison import Comparison, comparison_document
from macmgr.safefiles import read_regular
from macmgr.verbs.host import out, print_json
from macmgr.verbs.progress import Progress
from macmgr.view import judged
from macmgr.wanted import wanted

_LARGEST = 64 << 20  # an audit of a thousand guests has 2 MB
_TAKEN = (".json", ".tar")


@collector_paused()
def compare(arguments: argparse.Namespace) -> int:
    """Compare the hosts and print what is wrong between them. What cannot be read is said, and the rest compared."""
    said = _compared(list(_sources(arguments.sources)))
    if len(said.audits) < 2 and not said.unread:
        arguments.parser.error("it takes audits of two hosts at least")
    if arguments.format == "json":
        print_json(comparison_document(said))
    else:
        from macmgr.report.comparison import print_comparison

        print_comparison(out(arguments), said, verbose=arguments.verbose)
    if said.differences:
        return errors.DRIFT
    return CaptureError.exit_code if said.unread else errors.IN_SYNC


def _compared(sources: list[Path]) -> Comparison:
    found: dict[str, list[tuple[HostAudit, str]]] = {}
    unread: list[str] = []
    with Progress("reading the hosts") as progress:
        for number, source in enumerate(sources, 1):
            progress.say(f"reading {number} of {counted(len(sources), 'host')}: {source.name}")
            try:
                audit = _read(source)
                found.setdefault(audit.host, []).append((audit, str(source)))
            except MacmgrError as error:
                unread.append(str(error))
        progress.say("comparing")
        of_hosts = {host: sorted(each, key=lambda read: read[0].taken_at) for host, each in sorted(found.items())}
        audits = [each[-1][0] for each in of_hosts.values()]
        places = {host: [place for _, place in each] for host, each in of_hosts.items()}
        return Comparison(audits, places, unread, differences(audits))


def _sources(named: Iterable[Path]) -> Iterator[Path]:
    """Yields audits and captures; of a directory that is no capture those in it."""
    for path in named:
        try:
            if not path.is_dir() or (path / INDEX).is_file():
                yield path
                continue
            inside = sorted(each for each in path.iterdir() if each.suffix in _TAKEN or (each / INDEX).is_file())
        except OSError as error:
            raise NotThere(f"{path}: {system_words(error)}") from None
        if not inside:
            raise NotThere(f"{path}: has no audit (.json) and no capture in it")
        yield from inside


def _read(source: Path) -> HostAudit:
    """Reads one host. MacmgrError in one line if it cannot be read."""
    if source.suffix == ".tar" or source.is_dir():
        document = _audited(source)
    else:
        try:
            document = json.loads(read_regular(source, _LARGEST))
        except OSError as error:
            raise NotThere(f"{source}: {system_words(error)}") from None
        except (ValueError, RecursionError):
            raise CaptureError(f"{source}: is no JSON document") from None
    try:
        return read_audit(document)
    except (ValueError, OverflowError) as error:
        raise CaptureError(f"{source}: {error}") from None


def _audited(source: Path) -> dict[str, Any]:
    """Returns the audit of a captured host."""
    origin = origin_of_capture(source)
    config, seen = origin.config(), origin.seen()
    known = Known(origin.memory()[0], seen.records, seen.lost)
    intent = wanted(origin.read_libvirt()(), config)
    with origin.kernel() as kernel:
        view = look(lambda: intent, kernel, Scope(observes=config.observes), known, beside=Beside(bystanders=True))
    return audit_document(judged(view), origin.name, origin.now().strftime("%Y-%m-%dT%H:%M:%SZ"))
