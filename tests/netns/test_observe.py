"""Nothing happens before it is said: a host that only observes is changed by nobody, until somebody says manage."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from macmgr.installation import install_config
from tests.netns import hooked
from tests.netns.conftest import Namespace, eventually
from tests.netns.house import House, house, mac_of

LAN = (
    "<networkstatus><network><name>lan</name><uuid>n</uuid><forward mode='bridge'/>"
    "<bridge name='br0' macTableManager='libvirt'/></network></networkstatus>"
)
NETWORK_HOOK = f"<hookData>{LAN.removeprefix('<networkstatus>').removesuffix('</networkstatus>')}</hookData>"


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """br0 belongs to a network with the attribute, and the configuration is the one that `install` writes."""
    with house(ns, tmp_path) as made:
        made.config.unlink()
        install_config(made.config)
        with made.config.open("a") as config:
            config.write("[hook]\ntimeout = 30\n")  # a busy machine is no reason to give up
        made.write("network/lan.xml", LAN)
        yield made


def guest(host: House, number: int) -> str:
    """A guest on the network; its XML."""
    host.ns.add_tap(f"vnet{number}")
    source = f"<source network='lan' bridge='br0' macTableManager='libvirt'/><target dev='vnet{number}'/>"
    nic = f"<interface type='network'><mac address='{mac_of(number)}'/>{source}</interface>"
    xml = f"<domain type='kvm'><name>g{number}</name><uuid>u-{number}</uuid><devices>{nic}</devices></domain>"
    host.write(f"qemu/g{number}.xml", f"<domstatus state='running' pid='1'>{xml}</domstatus>")
    return xml


def hook(host: House, *words: str, xml: str = "") -> str:
    said = host.macmgr("hook", *words, stdin=xml.encode())
    assert (said.returncode, said.stdout) == (0, b"")
    return said.stderr.decode()


def state(host: House) -> tuple[Any, ...]:
    """All that macmgr could have changed."""
    links = host.ns.bridge_json("-d link")
    filtering = host.ns.links()["br0"]["linkinfo"]["info_data"].get("vlan_filtering")
    entries = sorted(json.dumps(each, sort_keys=True) for each in host.ns.fdb())
    return links, filtering, entries


def remembered(host: House) -> list[Any]:
    path = Path(f"/proc/{host.keeper.pid}/root/var/lib/macmgr/state.json")
    document = json.loads(path.read_text()) if path.exists() else {"namespaces": {}}
    return [port for kept in document["namespaces"].values() for port in kept["ports"]]


def test_nothing_is_changed_before_somebody_says_manage(host: House) -> None:
    """Hooks with and without the daemon, libvirtd's reload, apply: 0 changes. Then one word, and all of it is made."""
    xml = guest(host, 1)
    before = state(host)
    assert "on br0 (observed): would put 1 entry and close vnet1" in hook(host, "daemon", "-", "reload", "begin", "-")
    hook(host, "network", "lan", "started", "begin", "-", xml=NETWORK_HOOK)
    said = hook(host, "qemu", "g1", "started", "begin", "-", xml=xml)
    assert said == "macmgr: qemu g1 started: on br0 (observed): would put 1 entry and close vnet1\n"
    for words in (("apply",), ("apply", "--domain", "g1"), ("apply", "--network", "lan")):
        assert host.macmgr(*words).returncode == 1
    refused = host.macmgr("apply", "--vlan-filtering", "br0")
    assert (refused.returncode, b"br0 is only observed" in refused.stderr) == (1, True)
    assert state(host) == before
    with host.daemon() as daemon:
        assert "observing only: it changes nothing" in host.log
        assert state(host) == before
        guest(host, 2)
        after = state(host)
        eventually(lambda: "g2" in host.log, "the second guest is seen")
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: "(SIGHUP)" in host.log, "it has looked again")
        assert state(host) == after
        assert [each["mode"] for each in host.status()["managed"]["bridges"]] == ["observe"]
        assert remembered(host) == []
        said = host.macmgr("manage", "br0").stdout.decode()
        assert "The daemon makes changes there once it has read the file: 'systemctl reload macmgr'." in said
        assert state(host) == after
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: host.managed(1) and host.managed(2), "it manages once that is said")
    assert {each["port"] for each in remembered(host)} == {"vnet1", "vnet2"}


def test_twenty_guests_and_each_step_of_the_way(host: House) -> None:
    """Install, libvirtd's reload, the daemon's start, a guest's start: 0 entries and flags, until one word is said."""
    program = hooked.install(host).parent.parent / "macmgr"
    shutil.rmtree(host.root / "hooks")
    host.config.unlink()
    for number in range(1, 21):
        guest(host, number)
    before = state(host)
    places = ("--hooks-dir", str(host.root / "hooks"), "--units-dir", str(host.root), "--program", str(program))
    installed = host.macmgr("install", *places)
    assert installed.returncode == 0, installed.stderr
    assert b"Observed only: br0 (network lan: macTableManager, 20 ports)" in b" ".join(installed.stdout.split())
    with host.config.open("a") as config:
        config.write(hooked.HOOK)
    assert state(host) == before

    def called(driver: str, *words: str, xml: str = "") -> str:
        shim = host.command(str(host.root / "hooks" / f"{driver}.d" / "99-macmgr"), *words)
        done = subprocess.run(
            shim, input=xml, text=True, capture_output=True, check=True, env={"PATH": "/usr/bin:/bin"}
        )
        assert done.stdout == ""
        return done.stderr

    assert "br0" in called("daemon", "-", "reload", "begin", "SIGHUP")
    assert state(host) == before
    with host.daemon() as daemon:
        assert state(host) == before
        called("daemon", "-", "reload", "begin", "SIGHUP")
        assert state(host) == before
        xml = guest(host, 21)
        started = state(host)
        called("qemu", "g21", "started", "begin", "-", xml=xml)
        eventually(lambda: "g21" in host.log, "the daemon has seen the guest")
        assert host.macmgr("apply").returncode == 1
        assert state(host) == started
        assert (host.status()["repairs"]["count"], remembered(host)) == (0, [])
        assert host.macmgr("manage", "br0").returncode == 0
        assert state(host) == started
        daemon.send_signal(signal.SIGHUP)
        eventually(lambda: all(host.managed(number) for number in range(1, 22)), "it manages once that is said")


def test_naming_the_bridge_is_saying_so(host: House) -> None:
    guest(host, 1)
    said = host.macmgr("plan")
    assert said.returncode == 1
    assert all(line.startswith("#") for line in said.stdout.decode().splitlines())
    assert b"\nbridge fdb " in host.macmgr("plan", "--bridge", "br0").stdout
    assert host.macmgr("apply", "--bridge", "br0").returncode == 0
    assert host.managed(1)


def test_release_gives_back_on_an_observed_bridge(host: House) -> None:
    """What was managed and is only observed now stays as it is; and the way back is open."""
    guest(host, 1)
    before = state(host)
    assert host.macmgr("apply", "--bridge", "br0").returncode == 0
    managed = state(host)
    assert managed != before
    assert host.macmgr("apply").returncode == 0
    with host.daemon():
        assert state(host) == managed
    said = host.macmgr("release")
    assert said.returncode == 0
    assert b"takes them again" not in said.stdout
    assert state(host) == before
    with host.daemon():
        assert state(host) == before


def test_a_plan_that_is_given_to_a_shell_changes_nothing(host: House) -> None:
    guest(host, 1)
    before = state(host)
    subprocess.run(host.command("sh"), input=host.macmgr("plan").stdout, check=True)
    assert state(host) == before


def test_one_bridge_is_managed_and_the_others_are_observed(host: House) -> None:
    """Also by a pattern, which the bridge's own section goes before."""
    with host.config.open("a") as config:
        config.write(
            '[bridge."br-*"]\nmac_table_manager = "libvirt"\nmode = "manage"\n[bridge."br-b"]\nmode = "observe"\n'
        )
    guest(host, 1)
    for number, bridge in ((2, "br-a"), (3, "br-b")):
        host.ns.add_bridge(bridge)
        host.ns.add_tap(f"vnet{number}", bridge)
        host.status_file(f"g{number}", f"vnet{number}", mac_of(number), bridge=bridge)
    assert host.macmgr("apply").returncode == 1
    assert [host.managed(number) for number in (1, 2, 3)] == [False, True, False]
