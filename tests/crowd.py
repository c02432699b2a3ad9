"""Guests by the thousand: their taps, their FDB entries and their status files, made in bulk.

iproute2 makes them and reads them, so that nothing of macmgr is both the judge and the judged.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree

# A status file that a real libvirtd wrote: what macmgr does not read in it costs time, too.
_TEMPLATE = Path(__file__).parent / "captured/libvirt-9.0.0/status-running/qemu/g one.xml"


@dataclass(frozen=True)
class CrowdGuest:
    """One of many guests: everything about it follows from its number."""

    number: int

    @property
    def name(self) -> str:
        return f"guest{self.number}"

    @property
    def tap(self) -> str:
        return f"vnet{self.number}"

    @property
    def mac(self) -> str:
        return f"52:54:00:{_octets(self.number)}"


def stray_mac(number: int) -> str:
    """The address of something that is no guest of this host."""
    return f"02:aa:bb:{_octets(number)}"


def add_bridge(namespace: str, name: str = "br0", options: str = "") -> None:
    """A bridge with an address of its own: one that follows its ports is recomputed for each of a thousand."""
    ip(namespace, [f"link add {name} address 02:b0:00:00:00:01 type bridge {options}", f"link set {name} up"])


def add_taps(namespace: str, names: Iterable[str], bridge: str = "br0") -> None:
    """Taps on a bridge, up, with addresses that no guest has; the kernel takes at most 1023 ports (BR_MAX_PORTS)."""
    lines: list[str] = []
    for number, name in enumerate(names):
        lines.append(f"tuntap add {name} mode tap")
        lines.append(f"link set {name} address fe:54:00:{_octets(number)} master {bridge} up")
    ip(namespace, lines)


def ip(namespace: str, lines: Iterable[str]) -> None:
    _batch(("ip", "-n", namespace), lines)


def bridge(namespace: str, lines: Iterable[str]) -> None:
    _batch(("bridge", "-n", namespace), lines)


def bridge_json(namespace: str, words: str) -> list[dict[str, Any]]:
    """What bridge(8) says, with details."""
    command = ["bridge", "-n", namespace, "-j", "-d", *words.split()]
    said = subprocess.run(command, check=True, capture_output=True).stdout
    rows: list[dict[str, Any]] = json.loads(said or "[]")
    return rows


def write_status_files(run_dir: Path, guests: Iterable[CrowdGuest], bridge: str = "br0") -> None:
    """A running domain for each guest, with one NIC that libvirt manages, and the network of all these NICs."""
    directory = run_dir / "qemu"
    directory.mkdir(parents=True)
    (run_dir / "network").mkdir(exist_ok=True)
    template = etree.parse(_TEMPLATE).getroot()
    domain = _child(template, "domain")
    network = _child(domain, "devices/interface/source").get("network")
    assert network is not None
    (run_dir / "network" / f"{network}.xml").write_text(
        f"<networkstatus><network><name>{network}</name><uuid>00000000-0000-4000-8000-0000000000ff</uuid>"
        f"<forward mode='bridge'/><bridge name='{bridge}' macTableManager='libvirt'/></network></networkstatus>"
    )
    domain.remove(_child(domain, "metadata"))
    for nic in domain.findall("devices/interface")[1:]:
        _child(domain, "devices").remove(nic)
    for guest in guests:
        status = deepcopy(template)
        _child(status, "domain/name").text = guest.name
        _child(status, "domain/uuid").text = f"00000000-0000-4000-8000-{guest.number:012x}"
        nic = _child(status, "domain/devices/interface")
        _child(nic, "mac").set("address", guest.mac)
        _child(nic, "actual/source").set("bridge", bridge)
        _child(nic, "target").set("dev", guest.tap)
        (directory / f"{guest.name}.xml").write_bytes(etree.tostring(status))


def domain_xml(run_dir: Path, guest: CrowdGuest) -> str:
    """What a hook gets of one of the guests whose status files are there."""
    status = etree.parse(run_dir / "qemu" / f"{guest.name}.xml").getroot()
    return str(etree.tostring(_child(status, "domain"), encoding="unicode"))


def _child(element: etree._Element, path: str) -> etree._Element:
    found = element.find(path)
    assert found is not None, f"{_TEMPLATE} has no {path}"
    return found


def _batch(command: tuple[str, ...], lines: Iterable[str]) -> None:
    done = subprocess.run(
        [*command, "-batch", "-"], check=False, input="\n".join(lines), text=True, capture_output=True
    )
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


def _octets(number: int) -> str:
    return number.to_bytes(3, "big").hex(":")
