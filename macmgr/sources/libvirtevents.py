"""libvirt's events, for the daemon: domains and their NICs, networks, a guest's new address.

An event only says "look now": libvirt's files hold the news a moment later. One event carries more. libvirt writes a
guest's changed MAC to its file only when it saves the file for another reason, so the new address is handed on
(NIC_MAC_CHANGE, libvirt 11.2). A thread runs libvirt's event loop and connects read-only. After a restart of libvirt it
connects again. Events are lost meanwhile, so each new connection wakes the daemon and asks for the NICs' addresses.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any

from macmgr.errors import MacmgrError
from macmgr.model.known import NicAddress
from macmgr.model.mac import ZERO, parse_mac
from macmgr.sources.hypervisor import Hypervisor, load_libvirt, read_guests

FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
# Seconds without an answer until the connection counts as broken: libvirt's own defaults (virsh, libvirtd.conf).
_KEEPALIVE, _MISSED = 5, 5
# A libvirt that accepts a connection and never answers blocks its client for ever (virNetClientNew). `close` leaves
# such a thread behind after these seconds.
_TIMEOUT = 2.0

_DOMAIN_EVENTS = {
    "VIR_DOMAIN_EVENT_ID_LIFECYCLE": "changed its state",
    "VIR_DOMAIN_EVENT_ID_DEVICE_ADDED": "got a device",
    "VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED": "lost a device",
    "VIR_DOMAIN_EVENT_ID_METADATA_CHANGE": "has other metadata",
}
_NIC_MAC_CHANGE = "VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE"  # 11.2.0, for trusted virtio NICs


class LibvirtEvents:
    """Listens to the libvirt at ``uri`` until it is closed. Its thread calls ``wake`` with the reason.

    Its thread also calls ``hear`` with each address that libvirt reports for a NIC. NotThere if libvirt-python is
    missing. It waits for a libvirt that is not running.
    """

    def __init__(
        self, uri: str, wake: Callable[[str], None], hear: Callable[[NicAddress], None] = lambda _: None
    ) -> None:
        self._libvirt = load_libvirt()
        self._uri, self._wake, self._hear = uri, wake, hear
        self._stop = threading.Event()
        self._broken = False
        self._domain_callbacks: list[Any] = []
        self._network_callback: Any = None
        self._reader, self._writer = os.pipe()
        _register_loop(self._libvirt)
        self._handle = self._libvirt.virEventAddHandle(
            self._reader, self._libvirt.VIR_EVENT_HANDLE_READABLE, lambda *_: None, None
        )
        self._thread = threading.Thread(target=self._listen, name="macmgr-libvirt-events", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening and waits a moment for the thread, which frees what it holds."""
        os.write(self._writer, b"x")  # wakes the event loop, which then sees the stop
        self._stop.set()
        self._thread.join(_TIMEOUT)

    def _listen(self) -> None:
        try:
            self._listen_until_stopped()
        finally:
            self._libvirt.virEventRemoveHandle(self._handle)
            os.close(self._reader)
            os.close(self._writer)

    def _listen_until_stopped(self) -> None:
        retry = FIRST_RETRY
        while not self._stop.is_set():
            try:
                connection = self._connect()
            except self._libvirt.libvirtError:
                self._stop.wait(retry)
                retry = min(LONGEST_RETRY, 2 * retry)
                continue
            retry, self._broken = FIRST_RETRY, False
            self._ask(connection)
            self._report(f"connected to {self._uri}")
            with suppress(self._libvirt.libvirtError):  # then it connects again
                while not (self._stop.is_set() or self._broken):
                    self._libvirt.virEventRunDefaultImpl()
            self._disconnect(connection)

    def _connect(self) -> Any:
        libvirt = self._libvirt
        connection = libvirt.openReadOnly(self._uri)
        try:
            self._register(connection)
        except BaseException:
            self._disconnect(connection)
            raise
        return connection

    def _register(self, connection: Any) -> None:
        libvirt = self._libvirt
        self._domain_callbacks, self._network_callback = [], None
        wanted = ((getattr(libvirt, name), what) for name, what in _DOMAIN_EVENTS.items() if hasattr(libvirt, name))
        register = connection.domainEventRegisterAny
        for number, what in wanted:
            self._domain_callbacks.append(register(None, number, self._domain_event, what))
        if hasattr(libvirt, _NIC_MAC_CHANGE):
            with suppress(libvirt.libvirtError):  # a daemon that is older than libvirt-python
                number = getattr(libvirt, _NIC_MAC_CHANGE)
                self._domain_callbacks.append(register(None, number, self._mac_event, None))
        connection.registerCloseCallback(self._closed, None)
        lifecycle = libvirt.VIR_NETWORK_EVENT_ID_LIFECYCLE
        with suppress(libvirt.libvirtError):  # a host without libvirt's network driver
            self._network_callback = connection.networkEventRegisterAny(None, lifecycle, self._network_event, None)
        with suppress(libvirt.libvirtError):  # a driver without a network connection
            connection.setKeepAlive(_KEEPALIVE, _MISSED)

    def _disconnect(self, connection: Any) -> None:
        """Removes the callbacks and closes the connection. Each callback holds a reference that would keep it open."""
        steps = [partial(connection.domainEventDeregisterAny, callback) for callback in self._domain_callbacks]
        if self._network_callback is not None:
            steps.append(partial(connection.networkEventDeregisterAny, self._network_callback))
        for step in (*steps, connection.unregisterCloseCallback, connection.close):
            with suppress(self._libvirt.libvirtError):  # a failure on a dead connection must not stop the others
                step()

    def _domain_event(self, _connection: Any, domain: Any, *details: Any) -> None:
        self._report(f"libvirt: domain {domain.name()} {details[-1]}")

    def _mac_event(self, _connection: Any, domain: Any, alias: str, _old: str, new: str, _opaque: object) -> None:
        self._say(domain.UUIDString(), alias, new, changed=True)

    def _ask(self, connection: Any) -> None:
        """Asks for the addresses that events missed. A libvirt without that: guests' frames and its files show them."""
        if not hasattr(self._libvirt, _NIC_MAC_CHANGE):
            return
        with suppress(MacmgrError, self._libvirt.libvirtError):
            for domain in read_guests(Hypervisor(self._uri, connection), containers=False):
                for nic in domain.nics:
                    self._say(domain.uuid, nic.alias, nic.current_mac or nic.mac, changed=False)

    def _say(self, uuid: str, alias: str, mac: str, *, changed: bool) -> None:
        with suppress(ValueError):
            if (address := parse_mac(mac)) != ZERO and not self._stop.is_set():
                self._hear(NicAddress(uuid, alias, address, changed))

    def _network_event(self, _connection: Any, network: Any, *_details: Any) -> None:
        self._report(f"libvirt: network {network.name()} changed its state")

    def _report(self, reason: str) -> None:
        if not self._stop.is_set():  # the daemon may be gone already
            self._wake(reason)

    def _closed(self, _connection: Any, _reason: int, _opaque: object) -> None:
        self._broken = True


@cache
def _register_loop(libvirt: Any) -> None:
    """Registers libvirt's event loop: one for a process, once, before the first connection."""
    libvirt.virEventRegisterDefaultImpl()
