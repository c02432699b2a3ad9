"""libvirt's events, for the daemon that is allowed to listen: domains and their NICs, networks, a guest's new address.

They say "look now" and nothing else, and what they say is in libvirt's files a moment later. But a change of a guest's
MAC is in its file only when libvirt saves that for another reason, so its word is handed on (NIC_MAC_CHANGE, libvirt
11.2). A thread of its own runs libvirt's event loop, connects read-only, and connects again when libvirt was restarted:
events are lost meanwhile, so each new connection is a reason to look, and to ask which addresses the NICs have.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any, NamedTuple

from macmgr.errors import MacmgrError
from macmgr.model.mac import ZERO, parse_mac
from macmgr.sources.hypervisor import Hypervisor, load_libvirt, read_guests

FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
# Seconds without an answer until the connection counts as broken: libvirt's own defaults (virsh, libvirtd.conf).
_KEEPALIVE, _MISSED = 5, 5
# A libvirt that takes a connection and says nothing is waited for without end (virNetClientNew): its thread is left.
_PATIENCE = 2.0

_DOMAIN_EVENTS = {
    "VIR_DOMAIN_EVENT_ID_LIFECYCLE": "changed its state",
    "VIR_DOMAIN_EVENT_ID_DEVICE_ADDED": "got a device",
    "VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED": "lost a device",
    "VIR_DOMAIN_EVENT_ID_METADATA_CHANGE": "has other metadata",
}
_NIC_MAC_CHANGE = "VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE"  # 11.2.0, for virtio NICs that are trusted


class NicAddress(NamedTuple):
    """libvirt's word for the address that a NIC has now. ``changed``: it has just changed; else libvirt was asked."""

    uuid: str
    alias: str
    mac: str
    changed: bool


class LibvirtEvents:
    """Listens to the libvirt at ``uri`` until it is closed; ``wake`` is called in its thread, with the reason.

    ``hear`` is called there too, with what libvirt says of a NIC's address. NotThere where libvirt-python is missing; a
    libvirt that is not running is waited for.
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
        """Stop listening, and wait a moment for the thread; what it holds goes with it."""
        os.write(self._writer, b"x")  # the event loop wakes up, and sees that it is to stop
        self._stop.set()
        self._thread.join(_PATIENCE)

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
            self._tell(f"connected to {self._uri}")
            with suppress(self._libvirt.libvirtError):  # then with another connection
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
        with suppress(libvirt.libvirtError):  # a driver without a wire
            connection.setKeepAlive(_KEEPALIVE, _MISSED)

    def _disconnect(self, connection: Any) -> None:
        """Each callback holds a reference: without this the connection would stay open."""
        steps = [partial(connection.domainEventDeregisterAny, callback) for callback in self._domain_callbacks]
        if self._network_callback is not None:
            steps.append(partial(connection.networkEventDeregisterAny, self._network_callback))
        for step in (*steps, connection.unregisterCloseCallback, connection.close):
            with suppress(self._libvirt.libvirtError):  # one that fails on a dead connection must not keep the others
                step()

    def _domain_event(self, _connection: Any, domain: Any, *details: Any) -> None:
        self._tell(f"libvirt: domain {domain.name()} {details[-1]}")

    def _mac_event(self, _connection: Any, domain: Any, alias: str, _old: str, new: str, _opaque: object) -> None:
        self._say(domain.UUIDString(), alias, new, changed=True)

    def _ask(self, connection: Any) -> None:
        """What was missed while nobody listened. Where libvirt cannot say it, guests' frames and its files still do."""
        if not hasattr(self._libvirt, _NIC_MAC_CHANGE):
            return
        with suppress(MacmgrError, self._libvirt.libvirtError):
            for status in read_guests(Hypervisor(self._uri, connection), containers=False):
                for nic in status.domain.nics:
                    self._say(status.domain.uuid, nic.alias, nic.current_mac or nic.mac, changed=False)

    def _say(self, uuid: str, alias: str, mac: str, *, changed: bool) -> None:
        with suppress(ValueError):
            if (address := parse_mac(mac)) != ZERO and not self._stop.is_set():
                self._hear(NicAddress(uuid, alias, address, changed))

    def _network_event(self, _connection: Any, network: Any, *_details: Any) -> None:
        self._tell(f"libvirt: network {network.name()} changed its state")

    def _tell(self, reason: str) -> None:
        if not self._stop.is_set():  # who is to be woken may be gone
            self._wake(reason)

    def _closed(self, _connection: Any, _reason: int, _opaque: object) -> None:
        self._broken = True


@cache
def _register_loop(libvirt: Any) -> None:
    """libvirt has one event loop for a process, to be registered once and before the first connection."""
    libvirt.virEventRegisterDefaultImpl()
