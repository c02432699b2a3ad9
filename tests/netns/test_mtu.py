"""A guest's longer packets vanish at an uplink with a smaller MTU, and somebody says so: with frames."""

from __future__ import annotations

from macmgr.kernel import Kernel
from macmgr.model.codes import Code
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.reconcile import look
from tests.netns.conftest import BROADCAST, LONG, Namespace, transmit

GUEST = "52:54:00:aa:00:01"
HEADER = bytes.fromhex(BROADCAST.replace(":", "") + GUEST.replace(":", "")) + b"\x88\xb5"


def lengths_that_pass(ns: Namespace, *lengths: int) -> list[int]:
    """Which of the guest's packets arrive behind the uplink: they keep their order, and the last is a short one."""
    passed = []
    with ns.packet_socket("guest-far") as guest, ns.packet_socket("up0-far") as lan:
        for length in (*lengths, 100):
            transmit(guest, HEADER + bytes(length))
        lan.settimeout(LONG)
        while 100 not in passed:
            frame = lan.recv(2000)
            if frame.startswith(HEADER):
                passed.append(len(frame) - len(HEADER))
    return passed[:-1]


def said(ns: Namespace) -> list[str]:
    guest = GuestPort("guest", "br0", "web1", "u-web1", (GUEST,), policy=Policy(Manager.LIBVIRT))
    with Kernel(ns.name) as kernel:
        plan = look(lambda: Intent((guest,), {"br0": "the test"}), kernel).plan
    return [finding.message for finding in plan.findings if finding.code is Code.MTU]


def test_what_is_lost_is_said_until_it_is_put_right(ns: Namespace) -> None:
    ns.add_bridge()
    ns.add_cable("up0")
    ns.add_cable("guest")
    assert lengths_that_pass(ns, 1401, 1450, 1500) == [1401, 1450, 1500]
    assert said(ns) == []
    ns.ip("link set up0 mtu 1400")
    assert lengths_that_pass(ns, 1400, 1404, 1405, 1500) == [1400, 1404]
    assert said(ns) == [
        "packets of more than 1400 bytes are lost at the uplink up0, whose MTU that is: guest of web1 has 1500"
    ]
    ns.ip("link set guest mtu 1400")
    assert said(ns) == []
    ns.ip("link set guest mtu 1500", "link set up0 mtu 1500")
    assert lengths_that_pass(ns, 1405, 1500) == [1405, 1500]
    assert said(ns) == []
