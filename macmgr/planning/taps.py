"""Guests' ports that are none: a NIC, a bond or a vxlan that some domain's XML names as its tap. Pure.

QEMU can only open a tap, and a container's cable is a veth. What else stands there is an interface of the host's, often
its uplink, and nothing that a domain's policy says is carried out on it.
"""

from __future__ import annotations

from dataclasses import replace

from macmgr import virsh
from macmgr.model.findings import Code, Finding
from macmgr.model.intent import GuestPort, Intent, PortlessNic
from macmgr.model.snapshot import Snapshot

_A_GUESTS = ("tun", "veth")  # by the kernel's word for the device (IFLA_INFO_KIND)


def with_taps_only(intent: Intent, snapshot: Snapshot) -> Intent:
    """The intent without the ports that are no tap; each is reported, and its NIC is one without a port here."""
    false = [guest for guest in intent.ports if not _may_be_a_guests(guest, snapshot)]
    if not false:
        return intent
    portless, findings = [], []
    for guest in false:
        what = snapshot.ports[guest.port].kind or "a physical interface"
        problem = f"{guest.port}, which the XML names as its tap, is none ({what})"
        who = f"{guest.domain} {guest.alias}".strip()
        portless.append(PortlessNic(guest.domain, guest.macs[0], "bridge", problem, guest.alias))
        if guest.managed:
            findings.append(
                Finding(
                    Code.MISSING_PORT,
                    f"{guest.port}, which the XML of {who} names as its tap, is none ({what}): it is left as it is",
                    guest.bridge,
                    guest.port,
                    guest.domain,
                    guest.macs[0],
                    mends=(virsh.list_nics(guest.domain),),
                    note="shows the NIC; give it another target",
                )
            )
    return replace(
        intent,
        ports=tuple(guest for guest in intent.ports if guest not in false),
        portless=(*intent.portless, *portless),
        findings=(*intent.findings, *findings),
    )


def _may_be_a_guests(guest: GuestPort, snapshot: Snapshot) -> bool:
    port = snapshot.ports.get(guest.port)
    return port is None or port.kind in _A_GUESTS
