"""Two libvirt hosts on one LAN, for live migration: each a network, mount and UTS namespace with a libvirtd of its own.

guest ─ tap ─ br0 ─ up0 ══╗                      ╔══ up0 ─ br0 ─ tap ─ guest
      host h1              ╠═ bridge ═ LAN host ═╣              host h2
"""

import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.lab.domain import Guest, Nic
from tests.lab.hypervisor import Libvirt
from tests.lab.segment import Lan
from tests.lab.wait import run, until

SHARED = Path("/tmp/hosts")  # outside every host's private /run
PREPARE = """
hostname {name}
mount --make-rprivate /
mount -t tmpfs run /run
mkdir -p /run/lab /run/libvirt
# Each host's own, without the networks, guests and hooks that other tests have here.
for directory in /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/lib/macmgr /etc/macmgr; do
    copy={shared}/{name}$directory
    mkdir -p "$copy" "$directory"
    cp -a "$directory/." "$copy/"
    mount --bind "$copy" "$directory"
done
rm -rf /etc/libvirt/qemu /etc/libvirt/lxc /etc/libvirt/hooks /var/lib/macmgr/* /etc/macmgr/*
mkdir -p /etc/libvirt/qemu/networks
cat >> /etc/libvirt/libvirtd.conf <<EOF
unix_sock_dir = "{shared}/{name}"
host_uuid = "{uuid}"
EOF
echo $$ > {shared}/{name}/pid
exec sleep 3600
"""


class Segment:
    """The wire between the hosts: a bridge in the namespace "wire", where the LAN host lives too."""

    def create(self) -> Lan:
        """Make the wire; the LAN host on it, with the address 10.0.0.1."""
        run("ip", "netns", "add", "wire")
        run("ip", "-n", "wire", "link", "add", "eth0", "type", "bridge", "forward_delay", "0")
        return Lan("wire").up()

    def delete(self) -> None:
        """Take it away."""
        run("ip", "netns", "del", "wire", check=False)


class Host(Libvirt):
    """A libvirt host: `run` and `virsh` act there, its libvirtd listens on a socket that both hosts see."""

    def __init__(self, name: str, number: int) -> None:
        self.name, self.number = name, number
        self.address = f"10.9.0.{number}"
        self.uri = f"qemu:///system?socket={SHARED}/{name}/libvirt-sock"
        self._keeper: subprocess.Popen[bytes] | None = None

    def create(self) -> Self:
        """Make the host: namespaces, bridge, uplink to the segment, and a network for migration traffic."""
        name = self.name
        (SHARED / name).mkdir(parents=True)
        run("ip", "netns", "add", name)
        run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", name, "link", "add", "br0", "type", "bridge", "vlan_filtering", "1", "forward_delay", "0")
        run("ip", "-n", name, "link", "add", "up0", "type", "veth", "peer", "name", name, "netns", "wire")
        run("ip", "-n", name, "link", "set", "up0", "master", "br0")
        run("ip", "-n", "wire", "link", "set", name, "master", "eth0")
        for namespace, device in ((name, "up0"), (name, "br0"), ("wire", name)):
            run("ip", "-n", namespace, "link", "set", device, "up")
        self._plug_migration_network()
        script = PREPARE.format(name=name, shared=SHARED, uuid=f"00000000-0000-4000-8000-00000000000{self.number}")
        words = ["ip", "netns", "exec", name, "unshare", "-m", "-u", "sh", "-ec", script]
        self._keeper = subprocess.Popen(words)
        until(lambda: (SHARED / name / "pid").exists(), f"host {name} is up")
        return self

    def start(self) -> None:
        """Start libvirtd there and wait until it serves."""
        self.run("libvirtd", "-d", "--pid-file", "/run/libvirtd.pid")
        until(lambda: self.virsh("list", check=False).returncode == 0, f"libvirtd of {self.name} serves", 120)

    def stop(self) -> None:
        """End its libvirtd."""
        self.run("sh", "-c", "kill $(cat /run/libvirtd.pid)", check=False)
        until(lambda: self.virsh("list", check=False).returncode != 0, f"libvirtd of {self.name} ends")

    def delete(self) -> None:
        """End all that runs there and take it away."""
        for guest in self.virsh("list", "--name", check=False).stdout.split():
            self.virsh("destroy", guest, check=False)
        self.run("sh", "-c", "kill $(cat /run/libvirtd.pid)", check=False)
        if self._keeper is not None:
            self._keeper.kill()
            self._keeper.wait()
        run("ip", "link", "del", f"m-{self.name}", check=False)
        run("ip", "netns", "del", self.name, check=False)
        run("rm", "-rf", str(SHARED / self.name))

    def run(self, *words: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run a command on this host."""
        keeper = (SHARED / self.name / "pid").read_text().strip()
        return run("nsenter", "-t", keeper, "-m", "-n", "-u", *words, check=check, timeout=timeout)

    def virsh(self, *arguments: str, check: bool = True, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Run one virsh command on this host's libvirtd."""
        return run("virsh", "-c", self.uri, *arguments, check=check, timeout=timeout)

    def define_network(self, xml: str) -> None:
        """net-define and net-start."""
        path = SHARED / self.name / "network.xml"
        path.write_text(xml)
        self.virsh("net-define", str(path))
        self.virsh("net-start", "lan")

    def fdb(self, mac: str) -> str:
        """bridge fdb show, the lines of one MAC."""
        script = f"bridge fdb show br br0 | grep {shlex.quote(mac)} | grep -v self"
        return self.run("sh", "-c", script, check=False).stdout

    def migrate(self, guest: str, to: "Host", *options: str) -> subprocess.CompletedProcess[str]:
        """virsh migrate --live, over the migration network."""
        port = f"tcp://{to.address}:49999"
        return self.virsh("migrate", "--live", *options, guest, to.uri, "--migrateuri", port, timeout=300)

    def _plug_migration_network(self) -> None:
        if run("ip", "link", "show", "mig", check=False).returncode:
            run("ip", "link", "add", "mig", "type", "bridge", "forward_delay", "0")
            run("ip", "link", "set", "mig", "up")
        cable = f"m-{self.name}"
        run("ip", "-n", self.name, "link", "add", "mig0", "type", "veth", "peer", "name", cable, "netns", "1")
        run("ip", "link", "set", cable, "master", "mig", "up")
        run("ip", "-n", self.name, "address", "add", f"{self.address}/24", "dev", "mig0")
        run("ip", "-n", self.name, "link", "set", "mig0", "up")


class Traveller(Guest):
    """A guest that migrates: its serial socket lies where both hosts see it."""

    def __init__(self, host: Host, name: str, nics: Iterable[Nic]) -> None:
        super().__init__(host, name, nics)
        self._serial = SHARED / f"{name}.serial"
