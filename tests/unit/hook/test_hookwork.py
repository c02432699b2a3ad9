"""What a hook call adds to the status files: a guest that has none yet, the MACs of one that left, a network's news."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from macmgr.config import Config
from macmgr.errors import XmlError
from macmgr.execution import Failure
from macmgr.hook import work
from macmgr.hook.work import act, in_words, left_as_it_is, read_call, remembers, would_do
from macmgr.model.changes import Change, SetEntries, SetFlags
from macmgr.model.codes import Code
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope, Settings
from macmgr.model.known import NOTHING, Memory, PortBefore
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags, Snapshot
from macmgr.planning.draft import Plan
from macmgr.readers.hookdata import read_hook_input
from macmgr.sources.statusfiles import Disk, StatusFiles
from macmgr.state.lock import WriterLock
from macmgr.view import Outcome, View
from macmgr.wanted import WaitingCall, wanted
from tests.fake_kernel import FakeKernel
from tests.notebook import Notebook

MAC, OTHER = "52:54:00:aa:00:01", "52:54:00:aa:00:02"
MANAGED = Policy(Manager.LIBVIRT)
CONFIG = Config({"br0": Settings(manager=Manager.LIBVIRT)})


def domain(name: str = "g1", mac: str = MAC, *, tap: str = "vnet0", kind: str = "kvm") -> str:
    target = f"<target dev='{tap}'/>" if tap else ""
    return (
        f"<domain type='{kind}'><name>{name}</name><uuid>u-{name}</uuid><devices>"
        f"<interface type='bridge'><mac address='{mac}'/><source bridge='br0'/>{target}</interface></devices></domain>"
    )


def network(manager: str) -> str:
    return f"<network><name>lan</name><uuid>n</uuid><bridge name='br1' macTableManager='{manager}'/></network>"


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    for name in ("qemu", "lxc", "network"):
        (tmp_path / name).mkdir()
    return tmp_path


def status_file(run_dir: Path, text: str, *, driver: str = "qemu", name: str = "g1") -> None:
    status = f"<domstatus state='running' reason='booted' pid='1'>{text}</domstatus>"
    (run_dir / driver / f"{name}.xml").write_text(status)


def intent(run_dir: Path, driver: str, name: str, operation: str, text: str) -> Intent:
    given = read_hook_input(driver, text.encode())
    return wanted(StatusFiles(run_dir).read(), CONFIG, [WaitingCall(HookCall(driver, name, operation), given)])


def states(found: Intent) -> list[tuple[str, str, str]]:
    return [(port.domain, port.port, port.state) for port in found.ports]


@pytest.mark.parametrize("operation", ["stopped", "release"])
def test_a_guest_that_left_is_departed_though_its_status_file_is_still_there(run_dir: Path, operation: str) -> None:
    status_file(run_dir, domain())
    found = intent(run_dir, "qemu", "g1", operation, domain(tap=""))
    assert (states(found), found.gone_domains) == ([], ("g1",))


def test_only_a_status_file_says_that_a_guest_ran_here(run_dir: Path) -> None:
    """libvirt calls `stopped` for a start that failed, too: its hook's XML proves nothing."""
    assert intent(run_dir, "qemu", "g1", "stopped", domain()).gone_ports == ()
    status_file(run_dir, domain(mac=OTHER))
    (port,) = intent(run_dir, "qemu", "g1", "stopped", domain()).gone_ports
    assert (port.bridge, port.macs) == ("br0", (OTHER,))
    starting = f"<domstatus state='paused' reason='starting up' pid='1'>{domain()}</domstatus>"
    (run_dir / "qemu" / "g1.xml").write_text(starting)
    assert intent(run_dir, "qemu", "g1", "stopped", domain()).gone_ports == ()


def test_a_guest_that_starts_does_not_run_yet_whatever_an_old_status_file_says(run_dir: Path) -> None:
    status_file(run_dir, domain(tap="vnet7"))
    found = intent(run_dir, "qemu", "g1", "start", domain())
    assert (states(found), found.gone_domains) == ([("g1", "vnet0", "starting")], ())
    assert not found.ports[0].running


@pytest.mark.parametrize("operation", ["started", "reconnect"])
def test_of_a_guest_that_started_the_status_file_is_believed(run_dir: Path, operation: str) -> None:
    """The hook's own XML does not say whether the CPUs run."""
    status_file(run_dir, domain())
    assert states(intent(run_dir, "qemu", "g1", operation, domain())) == [("g1", "vnet0", "running")]


def test_without_a_status_file_no_cpu_runs_here(run_dir: Path) -> None:
    assert states(intent(run_dir, "qemu", "g1", "started", domain())) == [("g1", "vnet0", "starting")]


@pytest.mark.parametrize("operation", ["started", "reconnect"])
def test_of_a_guest_whose_status_file_cannot_be_read_nothing_is_believed(run_dir: Path, operation: str) -> None:
    """It may well run, and then the entry of a guest that is taken to wait would be dropped."""
    (run_dir / "qemu" / "g1.xml").mkdir()  # open() fails, as it does where no descriptors are left
    found = intent(run_dir, "qemu", "g1", operation, domain())
    assert (states(found), found.gone_domains) == ([], ())
    assert [finding.domain for finding in found.findings] == ["g1"]


@pytest.mark.parametrize("operation", ["start", "stopped"])
def test_a_container_of_the_same_name_is_another_guest(run_dir: Path, operation: str) -> None:
    status_file(run_dir, domain(mac=OTHER, tap="veth0", kind="lxc"), driver="lxc")
    status_file(run_dir, domain())
    found = intent(run_dir, "qemu", "g1", operation, domain())
    assert ("g1", "veth0", "running") in states(found)
    assert OTHER not in [mac for port in found.gone_ports for mac in port.macs]


def test_everybody_else_is_still_there(run_dir: Path) -> None:
    status_file(run_dir, domain("g2", OTHER, tap="vnet1"), name="g2")
    assert ("g2", "vnet1", "running") in states(intent(run_dir, "qemu", "g1", "stopped", domain()))


def test_a_networks_news_is_believed_before_its_status_file(run_dir: Path) -> None:
    (run_dir / "network" / "lan.xml").write_text(f"<networkstatus>{network('kernel')}</networkstatus>")
    found = intent(run_dir, "network", "lan", "updated", f"<hookData>{network('libvirt')}</hookData>")
    assert dict(found.managed_bridges).keys() == {"br0", "br1"}


def several(run_dir: Path, *operations: str) -> Intent:
    given = read_hook_input("qemu", domain().encode())
    heard = [WaitingCall(HookCall("qemu", "g1", operation), given) for operation in operations]
    return wanted(StatusFiles(run_dir).read(), CONFIG, heard)


def test_calls_that_wait_together_count_in_their_order(run_dir: Path) -> None:
    """A guest that was stopped and is started again is here, one that was started and is stopped has left."""
    again, gone = several(run_dir, "stopped", "release", "start"), several(run_dir, "start", "stopped")
    assert (states(again), again.gone_domains) == ([("g1", "vnet0", "starting")], ())
    assert (states(gone), gone.gone_domains) == ([], ("g1",))


def test_a_call_is_about_what_is_remembered_in_its_scope() -> None:
    before = PortBefore("vnet0", 7, "fe:54:00:00:00:01", "br0", 2, "g1", "u1", PortFlags())
    memory = Memory((before,))
    scopes = [Scope("g1"), Scope(bridges=frozenset({"br0"})), Scope("g2"), Scope(bridges=frozenset({"br1"}))]
    assert [remembers(memory, scope) for scope in scopes] == [True, True, False, False]


WRONG = "<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' {}/></metadata>"
FAR = float("inf")


def test_a_mistake_in_the_metadata_is_the_hooks_line_unless_the_guest_is_gone() -> None:
    """Of one that is gone only the addresses matter: nothing of it may stay behind because of a misspelt word."""
    text = domain().replace("<devices>", WRONG.format("lokc='yes'") + "<devices>").encode()
    with pytest.raises(XmlError, match=r"did you mean 'lock'\?; until that is fixed, the ports of g1 are left as they"):
        read_call(HookCall("qemu", "g1", "start"), text)
    for operation in ("stopped", "release"):
        given = read_call(HookCall("qemu", "g1", operation), text).domain
        assert given is not None
        assert [nic.mac for nic in given.nics] == [MAC]


def test_a_network_that_is_not_understood_is_told_by_the_hooks_of_its_guests(run_dir: Path) -> None:
    """As a failure, so that on_error = 'refuse' can refuse the start; other guests' hooks say nothing of it."""
    on_lan = domain().replace(
        "<source bridge='br0'/>", "<source network='lan' bridge='br1' macTableManager='libvirt'/>"
    )
    status_file(run_dir, on_lan)
    status_file(run_dir, domain("g2", OTHER, tap="vnet1"), name="g2")
    (run_dir / "network" / "lan.xml").write_text(f"<networkstatus>{network('libvird')}</networkstatus>")
    call = HookCall("qemu", "g1", "started")
    with pytest.raises(XmlError, match=r"^vnet0 is left as before, until this is fixed: .*lan.xml:1: .* 'libvirt'\?$"):
        act(call, on_lan.encode(), Config(), run_dir, None, FAR)
    found = wanted(StatusFiles(run_dir).read(), CONFIG)
    assert [(port.port, port.managed) for port in found.ports] == [("vnet0", False), ("vnet1", True)]
    assert left_as_it_is(found, Scope("g1", observes={"br1"}.__contains__)) == "", "nobody is refused by an observer"
    assert left_as_it_is(found, Scope("g2")) == ""
    assert left_as_it_is(found, Scope(bridges=frozenset({"br1"}))) == ""


def entries_of(mac: str, port: str, *, put: bool) -> SetEntries:
    there = (Entry(mac, 0, port, sticky=True), Entry(mac, 1, port, sticky=True))
    return SetEntries(mac, () if put else there, there if put else (), "br0", "g1", Code.MISSING_ENTRY)


def flags_of(port: str, *, closes: bool, bridge: str = "br0") -> SetFlags:
    shut = PortFlags(learning=False, unicast_flood=False)
    return SetFlags(port, PortFlags() if closes else shut, shut if closes else PortFlags(), bridge, "g1", Code.FLOOD_ON)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([], []),
        (
            [entries_of(MAC, "vnet0", put=True), flags_of("vnet0", closes=True)],
            ["on br0 (observed): would put 1 entry and close vnet0"],
        ),
        (
            [flags_of("vnet2", closes=False), entries_of(MAC, "a", put=True), entries_of(OTHER, "b", put=True)],
            ["on br0 (observed): would put 2 entries and open vnet2"],
        ),
        (
            [entries_of(MAC, "vnet0", put=False), *(flags_of(f"vnet{each}", closes=True) for each in range(4))],
            ["on br0 (observed): would drop 1 entry and close 4 ports"],
        ),
        (
            [flags_of("vnet1", closes=True), flags_of("vnet8", closes=True, bridge="br1")],
            ["on br0 (observed): would close vnet1", "on br1 (observed): would close vnet8"],
        ),
        ([flags_of("vnet1", closes=True, bridge="br2")], []),  # skipped for another reason, and told in another way
    ],
)
def test_what_would_be_done_on_an_observed_bridge_is_one_line(changes: list[Change], said: list[str]) -> None:
    scope = Scope(observes={"br0", "br1"}.__contains__)
    assert would_do(View(Intent(), Snapshot(), Plan(), tuple(changes), scope)) == said


class _Quiet(Notebook):
    problem = ""

    def told(self) -> nullcontext[None]:
        return nullcontext()


class World:
    """A kernel, a lock and a clock for `act`: each other guest's file that is read takes a second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, mine: str) -> None:
        self.now, self.read = 1000.0, 0
        port = BridgePort("vnet0", 10, "br0", "fe:00:00:00:00:01", PortFlags(), kind="tun")
        bridge = Bridge("br0", 1, "02:b0:00:00:00:01")
        self.kernel = FakeKernel(Snapshot({"br0": bridge}, {"vnet0": port}, {"vnet0": "br0"}))
        really = Disk.read

        def read(disk: Disk, path: str) -> Any:
            if Path(path).stem != mine:
                self.now, self.read = self.now + 1, self.read + 1
            return really(disk, path)

        monkeypatch.setattr(Disk, "read", read)
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=lambda _: None)
        monkeypatch.setattr("macmgr.hook.work.time", clock)
        monkeypatch.setattr(work, "Kernel", lambda _, most: nullcontext(self.kernel))
        monkeypatch.setattr(work, "StateFile", lambda *_: _Quiet())
        monkeypatch.setattr(work, "read_memory", lambda _: (NOTHING, ""))
        monkeypatch.setattr("macmgr.hook.work.lock.hold", self.hold)

    def hold(self, *, wait: float) -> nullcontext[WriterLock]:
        self.waits_until = self.now + wait
        return nullcontext(WriterLock.__new__(WriterLock))


def test_a_hook_does_its_own_guests_work_however_long_the_files_of_others_take(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        status_file(
            run_dir, domain(f"a{number}", f"52:54:00:bb:00:{number:02x}", tap=f"tap{number}"), name=f"a{number}"
        )
    status_file(run_dir, domain())
    world = World(monkeypatch, "g1")
    call = HookCall("qemu", "g1", "started", "begin")
    assert act(call, domain().encode(), CONFIG, run_dir, None, deadline=world.now + 10) == ""
    assert world.read == 6, "half of the time, and the one that was begun then"
    assert world.waits_until == 1010 - 0.5, "for the lock; the rest is for saying who holds it"
    port = world.kernel.ports["vnet0"]
    assert (port.flags.learning, port.flags.unicast_flood) == (False, False)
    assert world.kernel.fdb["br0", MAC, 0].port == "vnet0"


def test_a_hook_about_a_network_says_whose_files_it_had_no_time_for(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        status_file(
            run_dir, domain(f"a{number}", f"52:54:00:bb:00:{number:02x}", tap=f"tap{number}"), name=f"a{number}"
        )
    world = World(monkeypatch, "nobody")
    text = f"<hookData>{network('libvirt').replace('br1', 'br0')}</hookData>"
    call = HookCall("network", "lan", "started", "begin")
    said = act(call, text.encode(), CONFIG, run_dir, None, deadline=world.now + 8)
    assert said == "3 status files were not read in time, so those guests are left as they are; run 'macmgr apply'"


def test_a_hook_whose_guests_own_file_cannot_be_read_says_so(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status_file(run_dir, domain())
    world = World(monkeypatch, "nobody")

    def read(_: Disk, path: str) -> Any:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(Disk, "read", read)
    call = HookCall("qemu", "g1", "started", "begin")
    said = act(call, domain().encode(), CONFIG, run_dir, None, deadline=world.now + 8)
    assert said == f"{run_dir}/qemu/g1.xml: cannot be read: Too many open files; run 'macmgr apply'"


def test_a_networks_call_speaks_of_its_own_bridge_alone() -> None:
    """A guest that waits on another bridge is no news of this network; a failure there is not its failure."""
    guests = tuple(
        GuestPort(f"vnet{n}", f"br{n}", f"g{n}", f"u{n}", (MAC,), state="paused", running=False, policy=MANAGED)
        for n in range(2)
    )
    ports = {f"vnet{n}": BridgePort(f"vnet{n}", n + 10, f"br{n}", MAC) for n in range(2)}
    snapshot = Snapshot({"br0": Bridge("br0", 1, MAC), "br1": Bridge("br1", 2, MAC)}, ports, {}, ())
    change = SetFlags("vnet1", PortFlags(), PortFlags(learning=False), "br1", "g1", Code.LEARNING_ON)
    failed = Failure(change, "no buffer space")
    outcome = Outcome((change,), (failed,), View(Intent(guests), snapshot, Plan((change,)), (change,)))
    mine = outcome.within(Scope(bridges=frozenset({"br0"})))
    assert (mine.done, mine.failures, mine.view.plan.changes, mine.view.skipped) == ((), (), (), ())
    line = in_words(HookCall("network", "lan", "started"), mine)
    assert "vnet0 on br0 stays open" in line
    assert "br1" not in line
    assert "no buffer space" in in_words(HookCall("network", "dmz", "started"), outcome.within(Scope()))
