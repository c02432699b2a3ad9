"""The daemon's event sources: libvirt's status files, netlink events, and the addresses that guests use.

Each event only gives a reason to look (``mark``). All but `hear_from_anywhere` runs in the loop's thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from macmgr.kernel.events import EventSocket
from macmgr.model.intent import Intent
from macmgr.model.kernelevents import LOST, Strangers
from macmgr.model.known import NicAddress
from macmgr.watch.addresswatch import AddressWatch
from macmgr.watch.daemonlog import DaemonLog
from macmgr.watch.eventfilter import LastView
from macmgr.watch.polledfiles import INTERVAL, PolledDirectories

if TYPE_CHECKING:
    from macmgr.watch.files import StatusDirectories

# A guest may change its address at any rate, and libvirt reports each change. The daemon acts on the first report at
# once, and on the last one after this time.
_REPORTS = 0.25


NO_INOTIFY = "the Python library inotify_simple is not installed"
POLLED = "libvirt's files are looked at once a second; what hooks report is seen at once as ever"


class EventSources:
    """The sources of one daemon; ``opened`` closes them. ``last`` is the view with which events are compared."""

    def __init__(
        self, run_dir: Path, netns: str | None, log: DaemonLog, mark: Callable[[str], None], opened: ExitStack
    ) -> None:
        self._loop, self._log, self._mark = asyncio.get_running_loop(), log, mark
        self._events = EventSocket(netns)
        opened.callback(self._events.close)
        self.addresses = AddressWatch(netns, log.alarms, log.trouble)
        opened.callback(self.addresses.close)
        self._files = _status_directories(run_dir)
        opened.callback(self._files.close)
        self.last: LastView | None = None
        self._left_out: Strangers | None = None
        self._ports: set[str] | None = None
        self._opened: dict[str, str] = {}
        self._heard, self._hears = float("-inf"), False

    def start(self) -> None:
        """Reads the files; only this reports a directory that could not be watched. Then follows files and frames."""
        self.read_files()
        if isinstance(self._files, PolledDirectories):
            self._log.trouble(NO_INOTIFY, POLLED)
            self._poll()
        else:
            self._loop.add_reader(self._files.fileno(), self.read_files)
        self._loop.add_reader(self.addresses.fileno(), self._read_sightings)

    def pause(self) -> None:
        """Leaves netlink events in their socket during a round: they are compared with its view afterwards."""
        self._loop.remove_reader(self._events.fileno())

    def resume(self) -> None:
        """Reads netlink events again."""
        self._loop.add_reader(self._events.fileno(), self._read_events)

    def expecting(self) -> Callable[[Intent], None]:
        """Returns what lets the kernel report all that concerns the guests of an intent, before they are looked at.

        What happens between the look and the filter that follows from it must not be missed. It is for the round's
        thread.
        """
        last, records = self.last, self.addresses.records
        seen = {mac for record in records for mac in (record.current, *record.macs, *record.moved) if mac}

        def expect(intent: Intent) -> None:
            if last is not None:
                self._leave_out(last.strangers_now(intent, seen))

        return expect

    def take_ports(self) -> frozenset[str] | None:
        """Returns the ports of which the next look needs all entries, though they may be closed; None: of each."""
        taken, self._ports = self._ports, set()
        return None if taken is None else frozenset(taken)

    def take_opened(self, reasons: Collection[str]) -> frozenset[str]:
        """Returns the ports of which other flags are all that these ``reasons`` are about; none if there is more."""
        opened, self._opened = self._opened, {}
        alone = bool(reasons) and opened.keys() == {*reasons}
        return frozenset(opened.values()) if alone else frozenset()

    def need_all_ports(self) -> None:
        self._ports = None

    def compare_with(self, last: LastView) -> None:
        """Takes the view of the last round. Another look is due if the kernel did not report all that concerns it."""
        heard = self._left_out.both(last.strangers) == self._left_out if self._left_out else True
        self.last = last
        self._events.heed(last.heeded)
        self._leave_out(last.strangers)
        if not heard:
            self._mark("guests, ports or bridges that were not expected")

    def _leave_out(self, strangers: Strangers) -> None:
        if strangers != self._left_out:
            self._left_out = strangers
            self._events.leave_out(strangers)

    def retry(self) -> None:
        """Tries again to watch the directories that could not be watched."""
        self._files.try_again()

    def read_files(self) -> None:
        for reason in self._files.read():
            self._mark(reason)
            if reason in self._files.troubles:
                self._log.trouble("a directory of libvirt's status files", reason)

    def _poll(self) -> None:
        self._loop.call_later(INTERVAL, self._poll)
        self.read_files()

    def hear_from_anywhere(self, report: NicAddress) -> None:
        """Takes libvirt's report of a NIC's address, from any thread."""
        self._loop.call_soon_threadsafe(self._hear, report)

    def _read_events(self) -> None:
        events = self._events.read()
        self._log.events(events)
        self.addresses.events(events)
        if LOST in events:
            self.need_all_ports()
        elif self._ports is not None and self.last is not None:
            self._ports.update(self.last.ports_with_strangers(events))
        if self.last is not None:
            self._opened |= self.last.opened_among(events)
        for reason in self.last.news_among(events) if self.last else ["events before the first look"]:
            self._mark(reason)

    def _read_sightings(self) -> None:
        if self.addresses.read(time.monotonic()):
            self._mark("a guest was seen to use another address")

    def _hear(self, report: NicAddress) -> None:
        self.addresses.note(report)
        if not self._hears:
            self._hears = True
            self._loop.call_later(max(0.0, self._heard + _REPORTS - time.monotonic()), self._act_on_reports)

    def _act_on_reports(self) -> None:
        self._hears, self._heard = False, time.monotonic()
        if self.addresses.hear(self._heard):
            self._mark("libvirt said that a guest uses another address")


def _status_directories(run_dir: Path) -> StatusDirectories | PolledDirectories:
    try:
        from macmgr.watch.files import StatusDirectories
    except ModuleNotFoundError as error:
        if error.name != "inotify_simple":
            raise
        return PolledDirectories(run_dir)
    return StatusDirectories(run_dir)
