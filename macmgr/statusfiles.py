"""libvirt's status files below /run/libvirt: what runs here, read without asking libvirt.

``qemu/NAME.xml`` and ``lxc/NAME.xml`` hold a ``<domstatus>``, ``network/NET.xml`` a ``<networkstatus>``. Each is
written as ``NAME.xml.new`` and renamed, so a file is whole or absent. The format is libvirt's private one and the
files hold passwords: read defensively, repeat nothing of them. Source: virDomainObjSave, virNetworkObjSaveStatus.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from lxml import etree

from macmgr.errors import NoPermission, NotThere, XmlError
from macmgr.findings import Code, Finding
from macmgr.readers.document import MAX_BYTES, parse_document
from macmgr.readers.domain import read_domain_status
from macmgr.readers.network import Network, read_network, read_network_port
from macmgr.sources import Sources

T = TypeVar("T")

# From the directory that run/libvirt is in: where libvirt keeps the definitions of its networks.
_DEFINITIONS = Path("etc/libvirt/qemu/networks")


def read_status_files(run_dir: Path) -> Sources:
    """All domains and active networks known below ``run_dir``.

    NotThere where the directory does not exist (no libvirt on this host), NoPermission where it may not be read.
    """
    try:
        there = run_dir.is_dir()
    except PermissionError:
        raise NoPermission(f"{run_dir}: may not be read; libvirt's status files need root") from None
    if not there:
        raise NotThere(
            f"{run_dir}: no such directory; libvirt has not run on this host, or its status files are elsewhere "
            "(--run-dir)"
        )
    findings: list[Finding] = []
    domains = [
        *_read(run_dir / "qemu", read_domain_status, findings),
        *_read(run_dir / "lxc", read_domain_status, findings),
    ]
    networks = list(_read(run_dir / "network", read_network, findings))
    # A port's file says what libvirt resolved for its NIC. Only trust cannot be told from the network alone, and a
    # host with a thousand ports does not read them for nothing.
    trusting = [network for network in networks if network.trusts_somewhere]
    ports = [
        port
        for network in trusting
        for port in _read(run_dir / "network" / network.name / "ports", read_network_port, findings)
    ]
    return Sources(tuple(domains), tuple(networks), tuple(findings), {port.uuid: port for port in ports})


def read_definitions(run_dir: Path, networks: Iterable[Network]) -> tuple[Network, ...]:
    """The persistent definitions of ``networks``: what holds from their next start on.

    They are in /etc/libvirt where the status files are in /run/libvirt, and beside a copy of the one in a copy of the
    other. Silently none where there are none (a transient network, a session's daemon), or one is not understood:
    libvirt would not start with it, and nothing that runs depends on it.
    """
    directory = run_dir.resolve().parent.parent / _DEFINITIONS
    definitions = []
    for network in networks:
        path = directory / f"{network.name}.xml"
        if path.parent != directory:  # libvirt allows no such name; a status file is not libvirt's word for it
            continue
        with suppress(OSError, ValueError, XmlError), path.open("rb") as file:
            definitions.append(read_network(parse_document(file.read(MAX_BYTES + 1), str(path)), str(path)))
    return tuple(definitions)


def _read(directory: Path, reader: Callable[[etree._Element, str], T], findings: list[Finding]) -> Iterator[T]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return
    except PermissionError:
        raise NoPermission(f"{directory}: may not be read; libvirt's status files need root") from None
    except OSError as error:
        findings.append(Finding(Code.UNREADABLE_XML, f"{directory}: cannot be read: {error.strerror}"))
        return
    for name in names:
        if not name.endswith(".xml"):
            continue
        path = directory / name
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
            yield reader(parse_document(data, str(path)), str(path))
        except FileNotFoundError:
            continue  # the domain ended, or the network was destroyed, since the directory was listed
        except PermissionError:
            raise NoPermission(f"{path}: may not be read; libvirt's status files need root") from None
        except XmlError as error:
            findings.append(
                Finding(
                    Code.UNREADABLE_XML,
                    str(error),
                    domain=name.removesuffix(".xml") if reader is read_domain_status else None,
                    fix=f"look at {path}; a mistake in its metadata is mended with virsh edit or virsh metadata",
                )
            )
        except OSError as error:
            findings.append(Finding(Code.UNREADABLE_XML, f"{path}: cannot be read: {error.strerror}"))
