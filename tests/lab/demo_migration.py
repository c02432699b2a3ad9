"""The demo of live migration: two libvirt hosts on one LAN, a guest that moves and comes back, with and without macmgr.

Runs inside the lab (`sudo ./run demo migration`). The words of tests/lab/demo.py are used: real commands, each printed
before its output, and an exit code that says whether every check held.
"""

import contextlib
from pathlib import Path

from tests.lab.daemon import Watch
from tests.lab.hosts import NETWORK, Host, Segment, Traveller
from tests.lab.macmgr_command import HOOK_TIMEOUT, PROGRAM
from tests.lab.stage import Stage
from tests.lab.topology import Lan, Nic

MAC, ADDRESS = "52:54:00:aa:00:51", "10.0.0.51"
PINGS = 8
LEGS = ("on h1", "h1 → h2", "h2 → h1")
# h1 and h2 as commands: what `ssh h1` would be, if the two hosts were two machines.
TO_HOST = """#!/bin/sh
export LIBVIRT_DEFAULT_URI='{uri}' PATH={programs}:$PATH
exec {prefix} "$@"
"""


def main() -> int:
    """The whole demo; 1 when a check failed."""
    stage = Stage()
    answered = {
        "libvirt alone": _journey(stage, "1. libvirt alone", with_macmgr=False),
        "macmgr": _journey(stage, "2. The same with macmgr on both hosts", with_macmgr=True),
    }
    stage.chapter("Ping from the LAN, answered")
    print(f"\n  {'':<15}" + "".join(f"{leg:<12}" for leg in LEGS))
    for who, row in answered.items():
        print(f"  {who:<15}" + "".join(f"{f'{count} of {PINGS}':<12}" for count in row))
    stage.check(f"libvirt alone loses the guest: {PINGS}, 0, 0", answered["libvirt alone"] == [PINGS, 0, 0])
    stage.check(f"with macmgr it stays reachable: {PINGS}, {PINGS}, {PINGS}", answered["macmgr"] == [PINGS] * 3)
    return stage.summary()


def _journey(stage: Stage, title: str, with_macmgr: bool) -> list[int]:
    """One guest, h1 → h2 → h1; how many pings from the LAN were answered on h1, on h2, and on h1 again."""
    stage.chapter(title)
    with contextlib.ExitStack() as stack:
        segment = Segment()
        lan = segment.create()
        stack.callback(segment.delete)
        hosts = []
        for number in (1, 2):
            host = Host(f"h{number}", number).create()
            stack.callback(host.delete)
            hosts.append(_prepare(stack, stage, host, with_macmgr))
        first, second = hosts
        guest = Traveller(first, "web1", [Nic(MAC, f"{ADDRESS}/24", network="lan")]).define()
        stage.command("h1 virsh start web1")
        guest.wait_ready()
        answered = [_look(stage, lan, first, second)]
        guest.ping("10.0.0.99", 1)  # a broadcast, as every guest sends them: h2's uplink learns the MAC
        guest.hang_up()  # nothing more is asked of it
        for source, target in ((first, second), (second, first)):
            _migrate(stage, source, target)
            answered.append(_look(stage, lan, target, source))
        if with_macmgr:
            for host in hosts:
                output = stage.command(f"{host.name} macmgr audit")
                stage.check(f"with macmgr, at the end: audit on {host.name} says in sync", "In sync:" in output)
        return answered


def _prepare(stack: contextlib.ExitStack, stage: Stage, host: Host, with_macmgr: bool) -> Host:
    program = Path("/usr/local/bin") / host.name
    program.write_text(TO_HOST.format(uri=host.uri, programs=PROGRAM.parent, prefix=" ".join(host.prefix)))
    program.chmod(0o755)
    if with_macmgr:
        stage.command(f"{host.name} macmgr install --manage")
        host.write("/etc/macmgr/macmgr.toml", HOOK_TIMEOUT)
        stage.say(f"({host.name}: macmgr watch runs)")
        stack.enter_context(Watch(host.prefix))
    host.start()
    host.define_network(NETWORK)
    return host


def _migrate(stage: Stage, source: Host, target: Host) -> None:
    source.virsh("migrate-setmaxdowntime", "web1", "1000")
    stage.command(f"{source.name} virsh migrate --live web1 '{target.uri}' --migrateuri tcp://{target.address}:49999")


def _look(stage: Stage, lan: Lan, home: Host, other: Host) -> int:
    """Ping the guest, and show the entries of its MAC on both hosts, where it is first."""
    answered = lan.ping(ADDRESS, PINGS)
    stage.say(f"  ping lan -> web1, which is on {home.name}:  {answered} of {PINGS} answered")
    for host in (home, other):
        stage.command(f"{host.name} bridge fdb show br br0 | grep {MAC}", expect=None)
    return answered
