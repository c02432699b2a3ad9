"""A guest of the lab: a QEMU domain that obeys commands (guest/agent.c is its only program)."""

import contextlib
import json
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import libvirt as library
from lxml import etree

from tests.lab.hypervisor import Answer, Libvirt
from tests.lab.wait import until

# virDomainState, as virsh writes them.
_STATES = {1: "running", 2: "idle", 3: "paused", 4: "in shutdown", 5: "shut off", 6: "crashed", 7: "pmsuspended"}
BUILT = Path(__file__).resolve().parents[2] / ".lab" / "guest"
# An emulated CPU needs a second and a half for this kernel with these words, twice that without.
QUICK_BOOT = (
    "quiet loglevel=1 console=ttyS0 panic=-1 nokaslr mitigations=off noreplace-smp lsm= audit=0 ipv6.disable=1 "
    "i8042.nopnp i8042.noaux i8042.nokbd 8250.nr_uarts=1 cryptomgr.notests no_timer_check lpj=1000000 "
    "tsc=unstable rcupdate.rcu_expedited=1 random.trust_cpu=on nokprobes"
)


@dataclass(frozen=True)
class Nic:
    """One NIC: on a libvirt network, on a bridge (`<interface type='bridge'>`), or a tap that somebody else made."""

    mac: str
    address: str = ""  # "10.0.0.11/24", set by the agent
    network: str = ""
    bridge: str = ""
    portgroup: str = ""
    inside: str = ""  # further XML inside <interface>: <vlan>, <port isolated='yes'/>, …
    attributes: str = ""  # of <interface>: "trustGuestRxFilters='yes'"
    tap: str = ""  # of `<interface type='ethernet'>`

    def xml(self) -> str:
        """The `<interface>` element."""
        if self.tap:
            kind, source = "ethernet", f"<target dev='{self.tap}' managed='no'/>"
        elif self.bridge:
            kind, source = "bridge", f"<source bridge='{self.bridge}'/>"
        else:
            portgroup = f" portgroup='{self.portgroup}'" if self.portgroup else ""
            kind, source = "network", f"<source network='{self.network}'{portgroup}/>"
        # rom enabled='no': QEMU reads no boot ROM for the NIC, which saves time at each start.
        return (
            f"<interface type='{kind}' {self.attributes}>{source}<mac address='{self.mac}'/>"
            f"<model type='virtio'/><rom enabled='no'/>{self.inside}</interface>"
        )


class Guest:
    """A domain and the agent inside it."""

    def __init__(
        self,
        libvirt: Libvirt,
        name: str,
        nics: Iterable[Nic],
        metadata: str = "",
        memory: int = 96,
        disk: Path | None = None,
    ) -> None:
        self.libvirt, self.name, self.nics = libvirt, name, list(nics)
        self.metadata, self.memory, self.disk = metadata, memory, disk
        self._serial = Path(f"/run/lab/{name}.serial")
        self._agent: socket.socket | None = None
        self._received = b""
        self._number = 0

    def xml(self) -> str:
        """The domain XML: the smallest machine with PCI hotplug and a serial port."""
        addresses = " ".join(f"lab.{nic.mac}={nic.address}" for nic in self.nics if nic.address)
        metadata = f"<metadata>{self.metadata}</metadata>" if self.metadata else ""
        devices = [nic.xml() for nic in self.nics]
        if self.disk:  # for what libvirt keeps in one, snapshots: the guest has no driver for it
            driver = "<driver name='qemu' type='qcow2'/><target dev='vda' bus='virtio'/>"
            devices.append(f"<disk type='file' device='disk'><source file='{self.disk}'/>{driver}</disk>")
        device_lines = "\n    ".join(devices)
        return f"""<domain type='qemu'>
  <name>{self.name}</name>
  {metadata}
  <memory unit='MiB'>{self.memory}</memory>
  <memoryBacking><allocation mode='immediate'/></memoryBacking>
  <vcpu>1</vcpu>
  <os>
    <type arch='x86_64' machine='pc'>hvm</type>
    <kernel>{BUILT}/vmlinuz</kernel>
    <initrd>{BUILT}/initramfs.cpio</initrd>
    <cmdline>{QUICK_BOOT} {addresses}</cmdline>
  </os>
  <features><acpi/></features>
  <on_crash>destroy</on_crash>
  <devices>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='unix'><source mode='bind' path='{self._serial}'/><target port='0'/></serial>
    {device_lines}
  </devices>
</domain>
"""

    # What libvirt does with it

    @property
    def state(self) -> str:
        """running, paused, shut off; empty when libvirt does not know the domain."""
        with contextlib.suppress(RuntimeError):
            return _STATES.get(self._domain(lambda domain: domain.state()[0]), "")
        return ""

    def define(self) -> Self:
        """As virsh define."""
        self.libvirt.ask(lambda daemon: daemon.defineXML(self.xml()))
        return self

    def start(self, paused: bool = False) -> Self:
        """As virsh start; does not wait for the agent, so that several guests boot at the same time."""
        self.hang_up()
        flags = library.VIR_DOMAIN_START_PAUSED if paused else 0
        self._domain(lambda domain: domain.createWithFlags(flags))
        return self

    def wait_ready(self, timeout: float = 120) -> Self:
        """Wait until the agent answers and each NIC with an address has it."""
        until(lambda: self._answers("hello"), f"the agent of {self.name} answers", timeout)
        until(self._addressed, f"{self.name} has its addresses", timeout)
        return self

    def suspend(self) -> None:
        """Stop the guest's CPUs."""
        self._domain(lambda domain: domain.suspend())

    def resume(self) -> None:
        """Let the guest's CPUs run."""
        self._domain(lambda domain: domain.resume())

    def destroy(self) -> None:
        """Pull the plug, if it is running."""
        self.hang_up()
        with contextlib.suppress(RuntimeError):
            self._domain(lambda domain: domain.destroy())

    def undefine(self) -> None:
        """Destroy and forget."""
        self.destroy()
        with contextlib.suppress(RuntimeError):
            self._domain(lambda domain: domain.undefine())

    def attach(self, nic: Nic) -> None:
        """Plug a NIC into the running guest; its address, if any, is set when the guest sees it."""
        self._domain(lambda domain: domain.attachDeviceFlags(nic.xml(), library.VIR_DOMAIN_AFFECT_LIVE))
        self.nics.append(nic)
        if self.state == "running":
            self.configure(nic)

    def configure(self, nic: Nic) -> None:
        """Wait until the guest sees the NIC, and set its address, if any."""
        until(lambda: self.interface(nic.mac), f"{self.name} sees the NIC {nic.mac}")
        if nic.address:
            self.ask(f"address {self.interface(nic.mac)} {nic.address}")

    def detach(self, nic: Nic) -> None:
        """Unplug a NIC and wait until its tap is gone."""
        self._domain(lambda domain: domain.detachDeviceFlags(nic.xml(), library.VIR_DOMAIN_AFFECT_LIVE))
        self.nics.remove(nic)
        until(lambda: nic.mac not in self.taps(), f"{self.name} gives the NIC {nic.mac} up")

    def update(self, nic: Nic) -> None:
        """Change a NIC of the running guest in place: another network, bridge, VLAN, link state."""
        self._domain(lambda domain: domain.updateDeviceFlags(nic.xml(), library.VIR_DOMAIN_AFFECT_LIVE))

    def taps(self) -> dict[str, str]:
        """The host side of each NIC: MAC to tap, as libvirt sees it."""
        with contextlib.suppress(RuntimeError):
            nics = etree.fromstring(self._domain(lambda domain: domain.XMLDesc())).iter("interface")
            plugged = {nic.xpath("string(mac/@address)"): nic.xpath("string(target/@dev)") for nic in nics}
            return {str(mac): str(tap) for mac, tap in plugged.items() if tap}
        return {}

    def tap(self, mac: str = "") -> str:
        """The tap of one NIC; of the first one when no MAC is said."""
        return self.taps()[mac or self.nics[0].mac]

    # What the agent does

    def ask(self, command: str, timeout: float = 30) -> dict[str, Any]:
        """Say one command to the agent and answer with its reply; an error of the agent's is raised."""
        reply = self._answers(command, timeout)
        if reply is None:
            raise TimeoutError(f"{self.name}: no answer to {command!r} in {timeout:g} s")
        if not reply["ok"]:
            raise RuntimeError(f"{self.name}: {command!r}: {reply.get('error')}")
        return reply

    def ping(self, ip: str, count: int = 3) -> int:
        """Ping from inside the guest; how many of `count` were answered."""
        return int(self.ask(f"ping {ip} {count}")["received"])

    def interface(self, mac: str = "") -> str:
        """The guest's own name of a NIC (of the first one), empty while the guest does not see it."""
        wanted = mac or self.nics[0].mac
        return next((nic["name"] for nic in self.ask("macs")["nics"] if nic["mac"] == wanted), "")

    def send(self, src: str, dst: str, ethertype: int = 0x88B5, payload: bytes = b"\0", count: int = 1) -> None:
        """Send a frame with any source MAC from the first NIC."""
        self.ask(f"send {self.interface()} {src} {dst} {ethertype:04x} {payload.hex()} {count}")

    def listen(self, promiscuous: bool = False) -> None:
        """Count frames from now on; promiscuous shows those the NIC would have dropped (leaked floods)."""
        self.ask("listen promiscuous" if promiscuous else "listen")

    def frames(self, src: str | None = None, dst: str | None = None, ethertype: int | None = None) -> int:
        """How many frames that match arrived since `listen`."""
        return sum(
            row["count"]
            for row in self.ask("report")["frames"]
            if src in (None, row["src"])
            and dst in (None, row["dst"])
            and ethertype in (None, int(row["ethertype"], 16))
        )

    def stream(self, dst: str, interval: float = 0.02) -> None:
        """Send numbered frames from the first NIC until `streamed` is asked."""
        self.ask(f"stream {self.interface()} {dst} 88b5 65535 {interval * 1e6:.0f}")

    def streamed(self) -> int:
        """Send no more; how many frames were sent."""
        return int(self.ask("streamed")["sent"])

    def streams(self) -> dict[str, int]:
        """How many different numbered frames arrived since `listen`, by their source."""
        return {row["src"]: int(row["distinct"]) for row in self.ask("report")["streams"]}

    def console(self) -> str:
        """What QEMU itself had to say: for error messages."""
        path = Path(f"/var/log/libvirt/qemu/{self.name}.log")
        return path.read_text() if path.exists() else ""

    def reboot(self) -> None:
        """Reboot from inside; the agent that answers next is another one."""
        self._answers("reboot", 0)

    def power_off(self) -> None:
        """Shut down from inside, and wait until libvirt knows."""
        self._answers("poweroff", 0)
        until(lambda: self.state == "shut off", f"{self.name} is shut off", 60)
        self.hang_up()

    # The line to the agent

    def _answers(self, command: str, timeout: float = 1) -> dict[str, Any] | None:
        """One question and its answer, recognised by its number; None when none came in time."""
        try:
            agent = self._line()
            self._number += 1
            agent.sendall(f"{self._number} {command}\n".encode())
            deadline = time.monotonic() + timeout
            while (left := deadline - time.monotonic()) > 0:
                reply = self._reply(agent, left)
                if reply and reply.get("id") == self._number:
                    return reply
        except (ConnectionError, FileNotFoundError, TimeoutError):
            self.hang_up()
        return None

    def _socket(self) -> Path:
        """The serial port's socket, as it is seen from here."""
        return self._serial

    def _line(self) -> socket.socket:
        if self._agent is None:
            agent = socket.socket(socket.AF_UNIX)
            try:
                agent.connect(str(self._socket()))
            except OSError:
                agent.close()
                raise
            self._agent, self._received = agent, b""
        return self._agent

    def _reply(self, agent: socket.socket, left: float) -> dict[str, Any] | None:
        """The next line, if it is a reply (kernel messages come on the same line)."""
        while b"\n" not in self._received:
            agent.settimeout(left)
            with contextlib.suppress(TimeoutError):
                data = agent.recv(1 << 16)
                if not data:
                    raise ConnectionResetError("the guest is gone")
                self._received += data
                continue
            return None
        line, _, self._received = self._received.partition(b"\n")
        with contextlib.suppress(ValueError):
            reply = json.loads(line)
            return reply if isinstance(reply, dict) else None
        return None

    def hang_up(self) -> None:
        """Let go of the line to the agent."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None

    def _addressed(self) -> bool:
        wanted = {(nic.mac, nic.address.partition("/")[0]) for nic in self.nics if nic.address}
        return wanted <= {(nic["mac"], nic["address"]) for nic in self.ask("macs")["nics"]}

    def _domain(self, question: Callable[[Any], Answer]) -> Answer:
        return self.libvirt.ask(lambda daemon: question(daemon.lookupByName(self.name)))
