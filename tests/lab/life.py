"""What a life event does to a guest's NICs, seen the same way with libvirt alone and with macmgr.

A scenario is written once and runs twice. With libvirt alone it only records what happened; with macmgr it also asserts
what must hold. Both go to `$LAB_RESULTS/life`, and tests/lab/lifetable.py makes docs/life-events.rst of them.
"""

import contextlib
import io
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from macmgr.cli import run as command_line
from tests.lab.daemon import Watch
from tests.lab.macmgr_command import Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Nic, run, until

ALONE, WITH_MACMGR = "libvirt alone", "macmgr"
# Far more than the daemon needs: an emulated machine, one CPU for all, and the audit that looks takes a second itself.
BOUND = 60.0
NETWORK_NIC = Nic("52:54:00:aa:00:61", "10.0.0.61/24", network="lan")
BRIDGE_NIC = Nic("52:54:00:aa:00:62", "10.0.1.62/24", bridge="br0")
LAN_ADDRESSES = ("10.0.0.1/24", "10.0.1.1/24", "10.0.2.1/24", "10.0.3.1/24")


@dataclass(frozen=True)
class NicSight:
    """One NIC as LAN and kernel see it."""

    kind: str  # "network" or "bridge": how the NIC is defined
    reachable: bool | None  # None: nobody is there to answer
    port: str  # "closed", "learns and floods", "on no bridge", …; empty when there is no tap
    entry: str  # "sticky entry", "static entry", "no entry", "entry on up0", …

    @property
    def exact(self) -> bool:
        """What macmgr promises of a managed NIC whose CPUs run."""
        return self.reachable is True and self.port == "closed" and self.entry == "sticky entry"


@dataclass(frozen=True)
class Sight:
    """All NICs at one moment of an event."""

    when: str
    nics: tuple[NicSight, ...]
    note: str = ""


@dataclass
class Life:
    """One event in the life of a guest: who looks after the MAC table, the guest, and what was seen of it."""

    event: str  # the first line of the test's docstring, and of its row in the table
    test: str
    watch: Watch | None  # None: libvirt alone
    guest: Guest
    libvirt: Libvirt
    bridge: HostBridge
    lan: Lan
    macmgr: Macmgr = field(default_factory=Macmgr)
    sights: list[Sight] = field(default_factory=list)

    @property
    def hand(self) -> str:
        """Who looks after the MAC table."""
        return WITH_MACMGR if self.watch else ALONE

    def runs(self, when: str, nics: Iterable[Nic] = (), lan: Lan | None = None, note: str = "") -> None:
        """The guest's CPUs run: with macmgr, every NIC is reachable, its port closed, its entry exact."""
        wanted = tuple(nics) or tuple(self.guest.nics)
        self._settles(lambda: all(s.port == "closed" and s.entry == "sticky entry" for s in self._look(wanted, None)))
        (lan or self.lan).forget_neighbours()
        tries = 5 if self.watch else 2  # with macmgr, a NIC that is not reached is a failure
        sight = Sight(when, self._look(wanted, lan or self.lan, tries), note)
        self.sights.append(sight)
        if self.watch:
            assert all(nic.exact for nic in sight.nics), self._told(sight)

    def waits(self, when: str, nics: Iterable[Nic] = (), note: str = "") -> None:
        """The CPUs do not run, but the taps are there: with macmgr, no entry is."""
        wanted = tuple(nics) or tuple(self.guest.nics)
        self._settles(lambda: all(s.entry == "no entry" for s in self._look(wanted, None)))
        sight = Sight(when, self._look(wanted, None), note)
        self.sights.append(sight)
        if self.watch:
            assert all(nic.entry == "no entry" for nic in sight.nics), self._told(sight)

    def is_gone(self, when: str, nics: Iterable[Nic] = ()) -> None:
        """The taps are gone: with macmgr, so is every static entry of their MACs, wherever it was."""
        self.waits(when, nics)

    def is_seen(self, when: str, nics: Iterable[Nic] = (), lan: Lan | None = None, note: str = "") -> None:
        """A moment at which nothing more is promised than that it is recorded."""
        wanted = tuple(nics) or tuple(self.guest.nics)
        self.sights.append(Sight(when, self._look(wanted, lan), note))

    def said(self) -> str:
        """What the daemon has said so far; nothing with libvirt alone."""
        return self.watch.said(1 << 20) if self.watch else ""

    def in_sync(self) -> bool:
        """The audit's verdict; in this process, as starting Python anew for each look takes a second here."""
        with contextlib.redirect_stdout(io.StringIO()):
            return command_line(["audit"]) == 0

    def keep(self) -> None:
        """Write what was seen where the table's program finds it."""
        directory = Path(os.environ["LAB_RESULTS"]) / "life"
        directory.mkdir(exist_ok=True)
        document = {"event": self.event, "hand": self.hand, "sights": [asdict(sight) for sight in self.sights]}
        name = f"{self.test}.{self.hand.replace(' ', '-')}.json"
        (directory / name).write_text(json.dumps(document, indent=1) + "\n")

    def _settles(self, condition: Callable[[], bool]) -> None:
        """With macmgr: the table is as it must be, and the audit says so, within the bound. Without: no waiting."""
        if not self.watch:
            return
        assert self.watch.running, f"macmgr watch is gone\n{self.watch.said()}"
        try:
            until(condition, "the MAC table is exact", BOUND)
            until(self.in_sync, "the audit says in sync", BOUND)
        except TimeoutError as error:
            audit = self.macmgr("audit", expect=None).stdout.decode()
            raise AssertionError(f"{self.event}: {error}\n{audit}\n{self.watch.said()}") from None

    def _look(self, nics: Iterable[Nic], lan: Lan | None, tries: int = 2) -> tuple[NicSight, ...]:
        taps = taps_of(self.guest)
        return tuple(look(nic, taps.get(nic.mac, ""), lan, tries) for nic in nics)

    def _told(self, sight: Sight) -> str:
        said = self.watch.said() if self.watch else ""
        return f"{self.event}: {sight}\n{self.macmgr('audit', expect=None).stdout.decode()}\n{said}"


def taps_of(guest: Guest) -> dict[str, str]:
    """MAC to tap by QEMU's status file: also while libvirtd is not there to be asked."""
    path = Path(f"/run/libvirt/qemu/{guest.name}.xml")
    if not path.exists():
        return {}
    taps = {}
    for interface in path.read_text().split("<interface ")[1:]:
        mac = interface.partition("<mac address='")[2][:17]
        if tap := interface.partition("<target dev='")[2].partition("'")[0]:
            taps[mac] = tap
    return taps


def look(nic: Nic, tap: str, lan: Lan | None, tries: int) -> NicSight:
    """One NIC now; pinged when it is said from where."""
    link = _link(tap) if tap else None
    flags = (link or {}).get("linkinfo", {}).get("info_slave_data")
    # Again, where it has to be: whoever is cut off stays cut off, but on a busy machine an answer may come too late.
    reachable = None if lan is None else any(lan.ping(nic.address.partition("/")[0], 3, 1) == 3 for _ in range(tries))
    return NicSight("bridge" if nic.bridge else "network", reachable, _port(link, flags), _entry(nic.mac, tap))


def _link(tap: str) -> dict[str, Any] | None:
    done = run("ip", "-d", "-j", "link", "show", "dev", tap, check=False)
    return dict(json.loads(done.stdout)[0]) if done.returncode == 0 else None


def _port(link: dict[str, Any] | None, flags: dict[str, Any] | None) -> str:
    if link is None:
        return ""
    if flags is None or "master" not in link:
        return "on no bridge"
    doing = [verb for verb, flag in (("learns", "learning"), ("floods", "flood")) if flags[flag]]
    return " and ".join(doing) or "closed"


def _entry(mac: str, tap: str) -> str:
    """The static entries of a MAC on all bridges, in words."""
    rows = json.loads(run("bridge", "-j", "fdb", "show").stdout)
    set_by_hand = ("static", "permanent")
    ours = [row for row in rows if row["mac"] == mac and "master" in row and row.get("state") in set_by_hand]
    if not ours:
        return "no entry"
    elsewhere = sorted({row["ifname"] for row in ours if row["ifname"] != tap})
    missing = sorted(_vids(tap) - {row.get("vlan", 0) for row in ours if row["ifname"] == tap}) if tap else []
    if any(row["state"] == "permanent" for row in ours):
        return "local entry"  # the host keeps the guest's frames for itself
    if elsewhere:
        return f"entry on {', '.join(elsewhere)}"
    if missing:
        return f"no entry in VLAN {', '.join(map(str, missing))}"
    return "sticky entry" if all("sticky" in row.get("flags", []) for row in ours) else "static entry"


def _vids(tap: str) -> set[int]:
    done = run("bridge", "-j", "vlan", "show", "dev", tap, check=False)
    ports = json.loads(done.stdout or "[]") if done.returncode == 0 else []
    return {vlan["vlan"] for port in ports for vlan in port["vlans"]}
