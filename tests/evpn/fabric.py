"""Three hosts with EVPN between them: network namespaces with Debian's FRR, a bridge and a vxlan each, and macmgr.

FRR is not installed, for its package starts services: `run` unpacks it below .lab/frr. Here zebra and bgpd run from
there, in namespaces whose /run, /var/lib and /etc/group are their own.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import Namespace, namespace, require
from tests.netns.house import House, house

FRR = Path(__file__).parents[2] / ".lab" / "frr" / "root"
TUNNEL, VNI = "vx10", 10
AS_NUMBER = 65000
HOLD = 9  # seconds, as FRR's data centre profile has it
_TIMEOUT = 60.0


def require_frr() -> None:
    """Skip, with the reason, where FRR was not unpacked; `./run test` does that first."""
    if not (FRR.parent / "complete").exists():
        pytest.skip("FRR is not below .lab/frr: 'sh tests/evpn/fetch.sh' unpacks it there")


def wait_until(true: Callable[[], bool], what: str, seconds: float = _TIMEOUT) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"never happened: {what}"
        time.sleep(0.05)


@dataclass
class Host:
    """One host of the fabric: its house, and its FRR."""

    number: int
    house: House
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def ns(self) -> Namespace:
        return self.house.ns

    @property
    def address(self) -> str:
        return f"10.9.0.{self.number}"

    def start_frr(self) -> None:
        """zebra and bgpd, in the foreground."""
        libraries = ":".join(str(FRR / "usr/lib/x86_64-linux-gnu" / each) for each in ("", "frr"))
        for name, text in (("zebra", _ZEBRA), ("bgpd", self._bgpd())):
            config = self.house.root / f"{name}.conf"
            config.write_text(text)
            words = [str(FRR / "usr/lib/frr" / name), "-u", "root", "-g", "root", "-f", str(config)]
            words += ["-l", self.address] if name == "bgpd" else []
            log = (self.house.root / f"{name}.log").open("wb")
            command = self.house.command("env", f"LD_LIBRARY_PATH={libraries}", *words)
            self.daemons.append(subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True))
            log.close()
            pid_file = Path(f"/proc/{self.house.keeper.pid}/root/run/frr/{name}.pid")
            wait_until(partial(self._is_up, pid_file), f"{name} runs on h{self.number}")
            assert not self._has_ended(), (self.house.root / f"{name}.log").read_text()

    def _is_up(self, pid_file: Path) -> bool:
        return pid_file.exists() or self._has_ended()

    def _has_ended(self) -> bool:
        return any(daemon.poll() is not None for daemon in self.daemons)

    def kill_frr(self) -> None:
        """As a host that crashes: no word to its neighbours."""
        for daemon in self.daemons:
            if daemon.poll() is None:
                daemon.kill()
            daemon.wait(10)
        self.daemons.clear()

    def _bgpd(self) -> str:
        others = [number for number in HOSTS if number != self.number]
        lines = [f"router bgp {AS_NUMBER}", f" bgp router-id {self.address}", " no bgp default ipv4-unicast"]
        lines += [f" timers bgp {HOLD // 3} {HOLD}"]
        for number in others:
            lines += [f" neighbor 10.9.0.{number} remote-as {AS_NUMBER}", f" neighbor 10.9.0.{number} timers connect 1"]
        lines += [" address-family l2vpn evpn"]
        lines += [f"  neighbor 10.9.0.{number} activate" for number in others]
        lines += ["  advertise-all-vni", " exit-address-family", "!"]
        return "\n".join(lines) + "\n"

    def tunnel_entries(self) -> list[dict[str, Any]]:
        """The vxlan's own list: which address is behind which host."""
        return [each for each in self.ns.bridge_json(f"fdb show dev {TUNNEL}") if "dst" in each]

    def knows(self, others: Collection[str]) -> bool:
        """Whether it has a tunnel to each of these addresses."""
        return {each["dst"] for each in self.tunnel_entries()}.issuperset(others)

    def leads_to(self, mac: str) -> str | None:
        """The host behind which this one believes an address to be: the address of its tunnel's end."""
        return next((each["dst"] for each in self.tunnel_entries() if each["mac"] == mac), None)

    def where(self, mac: str) -> set[tuple[str, tuple[str, ...]]]:
        """The ports to which the bridge leads an address, with the entries' flags."""
        return {
            (each["ifname"], (each["state"], *sorted(each["flags"]))) for each in self.ns.fdb() if each["mac"] == mac
        }


HOSTS = (1, 2, 3)
_ZEBRA = "log stdout\n"


@contextmanager
def fabric(root: Path, *, flood: bool = True, filtering: bool = False) -> Iterator[dict[int, Host]]:
    """h1, h2, h3 with FRR, once each knows the tunnels of the two others; ``flood`` is that of the tunnels' ports.

    ``filtering``: the bridges filter VLANs, and the tunnel is that of VID 1.
    """
    require_frr()
    with ExitStack() as opened:
        cable = opened.enter_context(namespace())
        cable.add_bridge("wire")
        hosts = {number: opened.enter_context(_host(number, root / f"h{number}", cable)) for number in HOSTS}
        for host in hosts.values() if filtering else ():
            require("bridge VLAN filtering", host.ns.accepts("link set br0 type bridge vlan_filtering 1"))
        for host in hosts.values():
            if not flood:
                host.ns.bridge(f"link set dev {TUNNEL} flood off")
            host.start_frr()
        wait_for_tunnels(hosts)
        yield hosts


def wait_for_tunnels(hosts: Mapping[int, Host]) -> None:
    """Until each host has a tunnel to all others."""
    for host in hosts.values():
        others = {other.address for other in hosts.values() if other is not host}
        wait_until(partial(host.knows, others), f"h{host.number} knows the others' tunnels")


@contextmanager
def _host(number: int, root: Path, cable: Namespace) -> Iterator[Host]:
    root.mkdir()
    with namespace() as ns, house(ns, root) as made:
        host = Host(number, made)
        ns.ip(f"link add under type veth peer name h{number} netns {cable.name}")
        ns.ip(f"addr add {host.address}/24 dev under")
        ns.ip("link set under up")
        cable.ip(f"link set h{number} master wire up")
        ns.ip(f"link add {TUNNEL} type vxlan id {VNI} local {host.address} dstport 4789 nolearning")
        ns.ip(f"link set {TUNNEL} master br0")
        ns.bridge(f"link set dev {TUNNEL} learning off neigh_suppress on")
        ns.ip(f"link set {TUNNEL} up")
        group = root / "group"
        group.write_text(Path("/etc/group").read_text() + "frrvty:x:64999:root\n")
        prepare = f"mkdir -p /run/frr && mount --bind {group} /etc/group"
        subprocess.run(made.command("sh", "-c", prepare), check=True)
        try:
            yield host
        finally:
            host.kill_frr()


def document(host: Host) -> dict[str, Any]:
    """What the daemon of the host says of itself."""
    return dict(json.loads(host.house.macmgr("status", "--json").stdout or b"{}"))
