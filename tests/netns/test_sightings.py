"""What packet sockets see behind a guest's port, on the real kernel: all of the guest's new addresses, nothing else."""

from __future__ import annotations

import os
import resource
import select
import time
from collections.abc import Iterator

import pytest
from pyroute2 import netns as namespaces

from macmgr.kernel import Kernel
from macmgr.kernel.sightings import MOST, Sightings, filter_program
from macmgr.model.known import Sighting
from tests.netns.conftest import BROADCAST, LONG, Namespace, transmit

OWN, OTHER, STRANGE = "52:54:00:00:00:01", "52:54:00:00:00:02", "02:aa:00:00:00:09"


@pytest.fixture
def sightings(ns: Namespace) -> Iterator[Sightings]:
    made = Sightings(ns.name)
    yield made
    made.close()


def ifindex(ns: Namespace, name: str) -> int:
    return int(ns.links()[name]["ifindex"])


def wait(sightings: Sightings) -> list[Sighting]:
    """What is seen first."""
    seen: list[Sighting] = []
    while not seen:
        seen = woken(sightings)
    return seen


def woken(sightings: Sightings) -> list[Sighting]:
    """What is seen at the next wake-up, which may be nothing."""
    assert select.select([sightings.fileno()], [], [], LONG)[0], "nobody is woken"
    return sightings.read()


def guest(ns: Namespace, name: str = "vnet0") -> int:
    """A port with a guest behind it, at NAME-far."""
    ns.add_cable(name)
    return ifindex(ns, name)


def test_only_what_is_new_and_comes_from_the_guest_is_seen(ns: Namespace, sightings: Sightings) -> None:
    ns.add_bridge()
    port = guest(ns)
    ns.add_cable("eth0")
    sightings.watch({"vnet0": (port, frozenset({OWN, OTHER}))})
    assert sightings.problem == ""
    for source in (OWN, OTHER, "00:00:00:00:00:00", "01:00:5e:00:00:01"):
        ns.send_frame("vnet0-far", source)
    ns.send_frame("eth0-far", "02:bb:00:00:00:01")  # flooded to the guest: it leaves by the port
    for _ in range(3):
        ns.send_frame("vnet0-far", STRANGE)
    assert wait(sightings) == [Sighting("vnet0", port, STRANGE, None)]


def test_the_port_does_not_become_promiscuous(ns: Namespace, sightings: Sightings) -> None:
    ns.add_bridge()
    port = guest(ns)
    before = ns.links()["vnet0"]["promiscuity"]
    sightings.watch({"vnet0": (port, frozenset())})
    assert ns.links()["vnet0"]["promiscuity"] == before
    with Kernel(ns.name) as kernel:
        ours = [each for each in kernel.read_devices().sockets if each.device == "vnet0"]
    assert [each.pid for each in ours] == [os.getpid()]
    assert not ours[0].promiscuous


def test_the_tag_of_a_frame_is_told(ns: Namespace, sightings: Sightings) -> None:
    ns.add_bridge()
    port = guest(ns)
    sightings.watch({"vnet0": (port, frozenset({OWN}))})
    frame = (
        bytes.fromhex(BROADCAST.replace(":", "") + STRANGE.replace(":", "")) + b"\x81\x00\x20\x0a\x88\xb5" + bytes(46)
    )
    with ns.packet_socket("vnet0-far") as far:
        transmit(far, frame)
    assert wait(sightings) == [Sighting("vnet0", port, STRANGE, 10)]


def test_what_becomes_known_is_seen_no_more_and_what_is_forgotten_is(ns: Namespace, sightings: Sightings) -> None:
    ns.add_bridge()
    port = guest(ns)
    sightings.watch({"vnet0": (port, frozenset({OWN}))})
    ns.send_frame("vnet0-far", STRANGE)
    assert wait(sightings)
    ns.send_frame("vnet0-far", STRANGE)  # is queued while the filter still lets it pass
    sightings.watch({"vnet0": (port, frozenset({STRANGE}))})
    ns.send_frame("vnet0-far", STRANGE)
    ns.send_frame("vnet0-far", OWN)
    assert [each.mac for each in wait(sightings)] == [OWN]


def test_a_port_that_is_made_again_is_another_one(ns: Namespace, sightings: Sightings) -> None:
    ns.add_bridge()
    old = guest(ns)
    sightings.watch({"vnet0": (old, frozenset())})
    ns.ip("link del vnet0")
    assert woken(sightings) == []  # the socket's last word is that its interface has gone
    new = guest(ns)
    sightings.watch({"vnet0": (new, frozenset())})
    ns.send_frame("vnet0-far", STRANGE)
    assert wait(sightings) == [Sighting("vnet0", new, STRANGE, None)]
    sightings.watch({"vnet0": (old, frozenset()), "vnet7": (4711, frozenset())})
    assert sightings.problem == ""  # gone ports are no trouble
    ns.send_frame("vnet0-far", STRANGE)
    assert sightings.read() == []


def test_a_port_that_was_down_is_still_looked_at(ns: Namespace, sightings: Sightings) -> None:
    ns.add_bridge()
    port = guest(ns)
    sightings.watch({"vnet0": (port, frozenset())})
    ns.ip("link set vnet0 down")
    ns.ip("link set vnet0 up")
    ns.send_frame("vnet0-far", STRANGE)
    assert wait(sightings) == [Sighting("vnet0", port, STRANGE, None)]


def test_a_spray_of_addresses_is_not_listened_to_for_long(ns: Namespace, sightings: Sightings) -> None:
    """However many frames the guest sends, the daemon reads some, and then not for a second; others are still heard."""
    ns.add_bridge()
    ports = {name: (guest(ns, name), frozenset({OWN})) for name in ("vnet0", "vnet1")}
    sightings.watch(ports)
    head, tail = bytes.fromhex(BROADCAST.replace(":", "")), b"\x88\xb5" + bytes(46)
    started, began, used = time.monotonic(), time.process_time(), 0.0
    seen: list[Sighting] = []
    with ns.packet_socket("vnet0-far") as far:
        for number in range(20_000):
            transmit(far, head + b"\x02" + number.to_bytes(5, "big") + tail)
            if number % 100 == 0:
                before = time.process_time()
                seen += sightings.read()
                used += time.process_time() - before
    readings = 2 + (time.monotonic() - started)  # the first, and one a second at most
    assert 0 < len(seen) <= MOST * readings
    ns.send_frame("vnet1-far", STRANGE)
    assert Sighting("vnet1", ports["vnet1"][0], STRANGE, None) in wait(sightings)
    ns.send_frame("vnet0-far", STRANGE)
    assert {each.port for each in wait(sightings)} == {"vnet0"}  # its timer wakes whoever waits for the descriptor
    assert used < 0.5 * (time.process_time() - began)


def test_the_filter_knows_hundreds_of_addresses(ns: Namespace, sightings: Sightings) -> None:
    ns.add_bridge()
    port = guest(ns)
    known = frozenset(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1000))
    assert len(filter_program(known)) <= 384 * 8
    ns.run("sysctl", "-q", "-w", "net.core.optmem_max=20480", check=False)  # what older kernels have
    for wanted in (known, known - {min(known)}, known):  # the old filter and the new one need their memory at once
        sightings.watch({"vnet0": (port, wanted)})
    assert sightings.problem == ""
    for mac in [min(known), max(known)]:  # the filter stops the one, the reader the other
        ns.send_frame("vnet0-far", mac)
    ns.send_frame("vnet0-far", STRANGE)
    assert wait(sightings) == [Sighting("vnet0", port, STRANGE, None)]


def test_a_guest_with_more_addresses_than_the_filter_holds_wakes_nobody_all_the_time(
    ns: Namespace, sightings: Sightings
) -> None:
    ns.add_bridge()
    known = frozenset(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1000))
    sightings.watch({"vnet0": (guest(ns), known)})
    times = 0
    started = time.monotonic()
    enough = started + 1
    while not times or time.monotonic() < enough:
        ns.send_frame("vnet0-far", max(known))
        times += bool(select.select([sightings.fileno()], [], [], 0)[0])
        assert sightings.read() == []
    # pauses of 0.05 s, 0.1 s and so on, each with a wake-up at its end
    assert times <= 10 * (time.monotonic() - started)


def test_a_thousand_ports_are_looked_at(ns: Namespace) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    ns.run("sh", "-c", "for i in $(seq 1000); do echo link add v$i type veth peer name w$i; done | ip -b -")
    indexes = {name: link["ifindex"] for name, link in ns.links().items() if name.startswith("v")}
    for name in ("v1000", "w1000"):
        ns.ip(f"link set {name} up")
    ports = {name: (index, frozenset({OWN})) for name, index in indexes.items()}
    sightings = Sightings(ns.name)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))  # most services begin with 1024
        sightings.watch(ports)
        assert "ports cannot be looked at" in sightings.problem
        assert "Too many open files (EMFILE)" in sightings.problem
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))  # as `macmgr watch` has it
        sightings.watch(ports)
        assert sightings.problem == ""
        ns.send_frame("w1000", STRANGE)
        assert wait(sightings) == [Sighting("v1000", indexes["v1000"], STRANGE, None)]
    finally:
        sightings.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_without_the_capability_one_line_says_so(ns: Namespace) -> None:
    """The child gives the capability up; what it says comes back through a pipe."""
    ns.add_bridge()
    port = guest(ns)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        namespaces.setns(ns.name, flags=0)
        os.setresgid(65534, 65534, 65534)
        os.setresuid(65534, 65534, 65534)  # which empties the effective capabilities
        sightings = Sightings()
        sightings.watch({"vnet0": (port, frozenset()), "vnet1": (port, frozenset())})
        os.write(writer, f"{sightings.problem}|{sightings.read()}".encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        problem, _, seen = said.read().partition("|")
    assert os.waitpid(child, 0)[1] == 0
    assert problem.startswith("packet sockets need CAP_NET_RAW")
    assert seen == "[]"
