"""What macmgr uses of libvirt-python 11.2 or newer, of a libvirt that is a directory: no such libvirt is needed here.

``NAME.xml`` in the directory is a domain as ``dumpxml`` has it, and each line of ``events`` is a change of an address.
``listened`` is made when somebody listens.
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

DIRECTORY = "MACMGR_FAKE_LIBVIRT"
VIR_EVENT_HANDLE_READABLE = 1
VIR_DOMAIN_EVENT_ID_LIFECYCLE, VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE = 0, 27
VIR_NETWORK_EVENT_ID_LIFECYCLE = 0
VIR_CONNECT_LIST_DOMAINS_ACTIVE = VIR_CONNECT_LIST_NETWORKS_ACTIVE = 1
VIR_ERR_NO_DOMAIN, VIR_ERR_NO_NETWORK, VIR_ERR_NO_NETWORK_PORT, VIR_ERR_OPERATION_INVALID = 42, 43, 102, 55
_RUNNING = [1, 1]

_handles: dict[int, Callable[..., None]] = {}
_connections: list[Connection] = []


class libvirtError(Exception):  # noqa: N801 - as libvirt-python calls it
    def get_error_message(self) -> str:
        return str(self)

    def get_error_code(self) -> int:
        return 38


class Domain:
    def __init__(self, path: Path) -> None:
        self._text = path.read_text()
        self._name = path.stem

    def name(self) -> str:
        return self._name

    def UUIDString(self) -> str:  # noqa: N802
        return str(ElementTree.fromstring(self._text).findtext("uuid"))  # noqa: S314

    def XMLDesc(self, _flags: int) -> str:  # noqa: N802
        return self._text

    def state(self) -> list[int]:
        return _RUNNING


class Connection:
    def __init__(self) -> None:
        self._callbacks: dict[int, tuple[int, Callable[..., None], object]] = {}
        self._told = _events().stat().st_size  # what was told before is lost

    def domainEventRegisterAny(  # noqa: N802
        self, _domain: None, number: int, callback: Callable[..., None], opaque: object
    ) -> int:
        self._callbacks[len(self._callbacks)] = number, callback, opaque
        (_directory() / "listened").touch()
        return len(self._callbacks) - 1

    def domainEventDeregisterAny(self, number: int) -> None:  # noqa: N802
        del self._callbacks[number]

    def networkEventRegisterAny(self, *_: object) -> int:  # noqa: N802
        raise libvirtError("no network driver")

    def registerCloseCallback(self, *_: object) -> None: ...  # noqa: N802

    def unregisterCloseCallback(self) -> None: ...  # noqa: N802

    def setKeepAlive(self, *_: object) -> None: ...  # noqa: N802

    def close(self) -> None:
        if self in _connections:
            _connections.remove(self)

    def listAllDomains(self, _flags: int) -> list[Domain]:  # noqa: N802
        return [Domain(path) for path in sorted(_directory().glob("*.xml"))]

    def listAllNetworks(self, _flags: int = 0) -> list[Any]:  # noqa: N802
        return []

    def tell(self) -> None:
        with _events().open() as file:
            file.seek(self._told)
            lines = file.read()
        for line in lines.splitlines():
            name, alias, old, new = line.split()
            domain = Domain(_directory() / f"{name}.xml")
            for number, callback, opaque in list(self._callbacks.values()):
                if number == VIR_DOMAIN_EVENT_ID_NIC_MAC_CHANGE:
                    callback(self, domain, alias, old, new, opaque)
        self._told += len(lines)


def openReadOnly(uri: str) -> Connection:  # noqa: N802
    if not uri.startswith("qemu:"):
        raise libvirtError(f"no connection driver available for {uri}")
    _connections.append(Connection())
    return _connections[-1]


def registerErrorHandler(*_: object) -> None: ...  # noqa: N802


def virEventRegisterDefaultImpl() -> None: ...  # noqa: N802


def virEventAddHandle(fd: int, _events: int, callback: Callable[..., None], _opaque: object) -> int:  # noqa: N802
    _handles[fd] = callback
    return fd


def virEventRemoveHandle(handle: int) -> None:  # noqa: N802
    del _handles[handle]


def virEventRunDefaultImpl() -> None:  # noqa: N802
    for fd in select.select(list(_handles), [], [], 0.02)[0]:
        _handles[fd]()
    for connection in _connections:
        connection.tell()


def _directory() -> Path:
    return Path(os.environ[DIRECTORY])


def _events() -> Path:
    return _directory() / "events"
