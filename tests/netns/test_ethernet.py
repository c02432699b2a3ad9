"""NICs of type='ethernet': somebody else makes the tap and puts it on a bridge, and macmgr looks where it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.kernel import Kernel
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of

PATTERN = "[bridge.'br-*']\nmac_table_manager = 'libvirt'\n"
HOOK = "[hook]\ntimeout = 20\n"  # a busy machine is no reason to give up
MAC = mac_of(9)


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """br0, br-1 that only a pattern manages, and tap9, which a program other than libvirt has made, on no bridge."""
    with house(ns, tmp_path) as made:
        made.config.write_text(MANAGED + PATTERN + HOOK)
        ns.add_bridge("br-1")
        ns.ip("tuntap add tap9 mode tap", "link set tap9 address fe:54:00:00:00:09 up")
        yield made


def guest(host: House, tap: str = "tap9", metadata: str = "", name: str = "g9") -> str:
    nic = f"<interface type='ethernet'><mac address='{MAC}'/><target dev='{tap}' managed='no'/></interface>"
    domain = f"<domain type='kvm'><name>{name}</name><uuid>u-{name}</uuid>{metadata}<devices>{nic}</devices></domain>"
    host.write(f"qemu/{name}.xml", f"<domstatus state='running' pid='1'>{domain}</domstatus>")
    return domain


def hook(host: House, operation: str, xml: str) -> None:
    said = host.macmgr("hook", "qemu", "g9", operation, "begin", "-", stdin=xml.encode())
    assert (said.returncode, said.stdout) == (0, b""), said.stderr


def managed_on(host: House, bridge: str) -> bool:
    entries = [each for each in host.ns.fdb() if each["mac"] == MAC]
    good = [
        each for each in entries if (each["ifname"], each["master"]) == ("tap9", bridge) and "sticky" in each["flags"]
    ]
    return bool(good) and good == entries and host.flags("tap9") == (False, False)


def as_it_was(host: House) -> bool:
    return MAC not in {each["mac"] for each in host.ns.fdb()} and host.flags("tap9") == (True, True)


def test_hooks_manage_it_and_give_it_back(host: House) -> None:
    """The tap outlives its guest: nothing of the guest is left there, or its frames would not go where it runs next."""
    host.ns.ip("link set tap9 master br0")
    xml = guest(host)
    hook(host, "started", xml)
    assert managed_on(host, "br0")
    assert host.audit() == set()
    host.remove("qemu/g9.xml")
    hook(host, "stopped", xml)
    assert as_it_was(host)
    assert host.audit() == set()


def test_the_daemon_follows_the_tap(host: House) -> None:
    with host.daemon():
        guest(host)
        eventually(lambda: host.status()["in_sync"], "the guest is known, and its tap is on no bridge")
        for bridge in ("br0", "br-1", "br0"):
            host.ns.ip(f"link set tap9 master {bridge}")
            eventually(lambda bridge=bridge: managed_on(host, bridge), lambda: host.log)  # type: ignore[misc]
        host.ns.ip("link set tap9 nomaster")
        host.remove("qemu/g9.xml")
        host.ns.ip("link set tap9 master br0")
        eventually(lambda: as_it_was(host), lambda: host.log)


def test_the_daemon_follows_a_tap_that_metadata_manages_onto_any_bridge(host: House) -> None:
    host.ns.add_bridge("mine")
    with host.daemon():
        policy = "<macTable xmlns='urn:macmgr:mactable:1' manager='libvirt'/>"
        guest(host, metadata=f"<metadata>{policy}</metadata>")
        eventually(lambda: host.status()["in_sync"], "the guest is known, and its tap is on no bridge")
        host.ns.ip("link set tap9 master mine")
        eventually(lambda: managed_on(host, "mine"), lambda: host.log)


def test_the_daemon_gives_it_back_when_nobody_has_it_open(host: House) -> None:
    host.ns.ip("link set tap9 master br0")
    guest(host)
    with host.daemon():
        eventually(lambda: managed_on(host, "br0"), lambda: host.log)
        host.remove("qemu/g9.xml")
        eventually(lambda: as_it_was(host), lambda: host.log)


def test_each_verb_names_the_guest(host: House) -> None:
    host.ns.ip("link set tap9 master br0")
    guest(host)
    for verb, words in (
        ("audit", "tap9  g9"),
        ("show", "tap9  g9"),
        ("doctor", "tap9  g9"),
        ("explain", "the kernel says that its tap tap9 is on br0"),
    ):
        said = host.macmgr(verb, *(["tap9"] if verb == "explain" else [])).stdout.decode()
        assert words in said, said
        assert "foreign tap" not in said
    traced = host.macmgr("trace", "--from", "up0", "--to", MAC).stdout.decode()
    assert "tap9 of g9" in traced or f"{MAC} of g9" in traced


def test_an_uplink_that_it_names_stays_as_it_is(host: House) -> None:
    """A NIC, and a cable to another bridge."""
    host.ns.ip("link add to-br-1 type veth peer name to-br0", "link set to-br-1 master br0 up")
    host.ns.ip("link set to-br0 master br-1 up")
    with Kernel(host.ns.name) as kernel:
        before = kernel.read_snapshot()
        for tap in ("up0", "to-br-1"):
            guest(host, tap, "<metadata><macTable xmlns='urn:macmgr:mactable:1' lock='yes'/></metadata>", f"of-{tap}")
        host.macmgr("apply")
        after = kernel.read_snapshot()
    assert {name: port.flags for name, port in after.ports.items()} == {n: p.flags for n, p in before.ports.items()}
    found = json.loads(host.macmgr("audit", "--json").stdout)
    assert [each["why"] for each in found["portless"] if each["type"] == "ethernet"] == [
        f"the XML names {tap} as its tap, but that is no tap (veth)" for tap in ("to-br-1", "up0")
    ]
    assert {port["port"]: port["role"] for bridge in found["bridges"] for port in bridge["ports"]} == {
        "up0": "uplink", "to-br-1": "uplink", "to-br0": "uplink"
    }  # fmt: skip
