"""The daemon's optional parts, which SIGHUP may change: libvirt's events, and metrics for Prometheus.

A right MAC table needs none of them, so a failure of one must not stop the daemon: it is reported and left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from macmgr import paths
from macmgr.config import DaemonSettings
from macmgr.errors import MacmgrError, unexpected
from macmgr.model.known import NicAddress
from macmgr.sources.libvirtevents import LibvirtEvents
from macmgr.watch.daemonlog import DaemonLog
from macmgr.watch.metrics import write_textfile
from macmgr.watch.metricsport import MetricsPort

# Prometheus asks no more often by default.
_TEXTFILE_EACH = 15.0


class Options:
    """The optional parts of one daemon, as its settings want them.

    ``wake`` and ``hear`` may be called from any thread. ``hear`` gets libvirt's reports of NICs' addresses.
    """

    def __init__(self, log: DaemonLog, wake: Callable[[str], None], hear: Callable[[NicAddress], None]) -> None:
        self._log, self._wake, self._hear = log, wake, hear
        self._settings = DaemonSettings()
        self._port: MetricsPort | None = None
        self._libvirt: LibvirtEvents | None = None
        self._writing: asyncio.Task[None] | None = None

    async def configure(self, settings: DaemonSettings) -> None:
        """Opens the parts that are wanted now and were not, and closes those that are wanted no more."""
        before, self._settings = self._settings, settings
        if before.metrics_port != settings.metrics_port:
            await self._close_port()
            await self._open_port()
        if before.metrics_file != settings.metrics_file:
            await self._stop_writing()
            if settings.metrics_file:
                self._writing = asyncio.create_task(self._write())
        if before.libvirt_events != settings.libvirt_events:
            await self._stop_listening()
            self._listen()

    async def close(self) -> None:
        await self._close_port()
        await self._stop_writing()
        await self._stop_listening()

    async def _open_port(self) -> None:
        if not self._settings.metrics_port:
            return
        self._port = MetricsPort(self._metrics)
        try:
            await self._port.listen(self._settings.metrics_port)
        except OSError as error:
            self._port = None
            self._log.trouble(f"metrics_port {self._settings.metrics_port}", error.strerror or str(error))

    async def _close_port(self) -> None:
        if self._port is not None:
            await self._port.close()
            self._port = None

    async def _write(self) -> None:
        """Writes the textfile again and again; reports a missing directory once."""
        reported = ""
        while True:
            try:
                # a disk may hang, and the loop has guests to serve
                await asyncio.to_thread(write_textfile, Path(self._settings.metrics_file), self._metrics())
                reported = ""
            except Exception as error:  # noqa: BLE001 - an optional part must not end for good, and in silence
                why = error.strerror if isinstance(error, OSError) else str(unexpected(error))
                if reported != (reported := why or str(error)):
                    self._log.trouble(f"metrics_file {self._settings.metrics_file}", reported)
            await asyncio.sleep(_TEXTFILE_EACH)

    async def _stop_writing(self) -> None:
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
            self._writing = None

    def _listen(self) -> None:
        if self._settings.libvirt_events:
            try:
                self._libvirt = LibvirtEvents(paths.LIBVIRT_URI, self._wake, self._hear)
            except MacmgrError as error:
                self._log.trouble("libvirt_events", str(error))
            except Exception as error:  # noqa: BLE001 - libvirt's own class of errors cannot be named without libvirt
                self._log.trouble("libvirt_events", str(unexpected(error)))

    async def _stop_listening(self) -> None:
        if self._libvirt is not None:
            await asyncio.to_thread(self._libvirt.close)  # it may be in the middle of connecting
            self._libvirt = None

    def _metrics(self) -> str:
        return self._log.metrics(per_mac=self._settings.metrics_per_mac)
