"""Two libvirt hosts on one LAN, for live migration: each a network, mount and UTS namespace with a libvirtd of its own.

guest ─ tap ─ br0 ─ up0 ══╗                      ╔══ up0 ─ br0 ─ tap ─ guest
      host h1              ╠═ bridge ═ LAN host ═╣              host h2
"""

import re
import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.lab.domain import Guest, Nic
from tests.lab.hypervisor import Libvirt
from tests.lab.segment import Lan
from tests.lab.wait import run, until

NETWORK = "<network><name>lan</name><forward mode='bridge'/><bridge name='br0' macTableManager='libvirt'/></network>"
SHARED = Path("/tmp/hosts")  # outside every host's private /run
# So that every migration ends, however busy the machine: QEMU waits for a moment in which the rest could be copied in
# 300 ms, and here stops the guest for up to 3 s in the end. So that is allowed to be longer, the guest is slowed down,
# and one that has not arrived after a minute is suspended for the rest of the way.
MAX_DOWNTIME = 1000
CONVERGE = ("--auto-converge", "--timeout", "60", "--timeout-suspend")
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
        return run(*self.prefix, *words, check=check, timeout=timeout)

    @property
    def prefix(self) -> tuple[str, ...]:
        """What brings a command to this host."""
        keeper = (SHARED / self.name / "pid").read_text().strip()
        return "nsenter", "-t", keeper, "-m", "-n", "-u"

    @property
    def root(self) -> Path:
        """This host's file system, as it is seen from here."""
        return Path(f"/proc/{(SHARED / self.name / 'pid').read_text().strip()}/root")

    def define_network(self, xml: str) -> None:
        """net-define and net-start."""
        path = SHARED / self.name / "network.xml"
        path.write_text(xml)
        self.virsh("net-define", str(path))
        self.virsh("net-start", "lan")

    def write(self, path: str, text: str) -> None:
        """Write a file of this host's own."""
        run(*self.prefix, "tee", path, stdin=text)

    def tap(self, mac: str) -> str:
        """The tap of a NIC of a guest that is here, running or waiting."""
        names = self.virsh("list", "--name").stdout.split()
        rows = "".join(self.virsh("domiflist", name).stdout for name in names)
        return next(row.split()[0] for row in rows.splitlines() if mac in row)

    def fdb(self, mac: str) -> str:
        """bridge fdb show, the lines of one MAC."""
        script = f"bridge fdb show br br0 | grep {shlex.quote(mac)} | grep -v self"
        return self.run("sh", "-c", script, check=False).stdout

    def migrate(self, guest: str, to: "Host", *options: str) -> None:
        """virsh migrate --live, over the migration network; comes to an end on a busy machine too."""
        self.virsh("migrate-setmaxdowntime", guest, str(MAX_DOWNTIME))
        migration = self.begin_migration(guest, to, *CONVERGE, *options)
        said = migration.communicate(timeout=300)[0]
        if migration.returncode:
            raise RuntimeError(f"{self.name}: migration of {guest} to {to.name} failed: {said}")

    def begin_migration(self, guest: str, to: "Host", *options: str, address: str = "") -> subprocess.Popen[str]:
        """virsh migrate --live as a process, to see or to disturb while it goes on."""
        port = f"tcp://{address or to.address}:49999"
        words = ["virsh", "-c", self.uri, "migrate", "--live", *options, guest, to.uri, "--migrateuri", port]
        return subprocess.Popen(words, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def downtime(self, guest: str) -> float:
        """For how many seconds nobody's CPUs ran when the guest came here."""
        said = self.virsh("domjobinfo", guest, "--completed", "--keep-completed").stdout
        return next(int(ms) / 1000 for ms in re.findall(r"^Total downtime: +(\d+) +ms", said, re.M))

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
    """A guest that migrates; the line to its agent follows it."""

    def __init__(self, home: Host, name: str, nics: Iterable[Nic]) -> None:
        super().__init__(home, name, nics)
        self.home = home

    def migrate(self, to: Host, *options: str) -> None:
        """Migrate, and be reached there from now on."""
        self.hang_up()
        self.home.migrate(self.name, to, *options)
        self.has_moved(to)

    def has_moved(self, to: Host) -> None:
        """Somebody else has migrated it."""
        self.hang_up()
        self.home = self.libvirt = to

    def _socket(self) -> Path:
        # Each host has a /run of its own. A path that both shared would be unlinked by the QEMU that is left.
        return self.home.root / self._serial.relative_to("/")
