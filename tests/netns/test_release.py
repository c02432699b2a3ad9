"""Applying and releasing on a real kernel: what it takes back, and what it refuses."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from macmgr.kernel import Kernel
from macmgr.model.intent import GuestPort, Intent, Manager, Policy, Scope
from macmgr.reconcile import apply, release
from macmgr.state.lock import WriterLock
from macmgr.state.memory import StateFile, read_memory
from macmgr.view import Released
from tests.netns.conftest import BROADCAST, LONG, Namespace, eventually, require

GUEST = "52:54:00:00:00:01"
LAN = "52:54:00:00:00:99"
LOCK = WriterLock()
State = tuple[dict[str, object], list[tuple[object, ...]]]


@pytest.fixture
def kernel(ns: Namespace) -> Iterator[Kernel]:
    """A bridge with a guest's cable, a third guest's, and the LAN's."""
    ns.add_bridge()
    for name in ("guest", "third", "lan"):
        ns.add_cable(name)
    with Kernel(ns.name) as opened:
        yield opened


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "macmgr" / "state.json"


def intent(manager: Manager = Manager.LIBVIRT, *, lock: bool = False) -> Intent:
    policy = Policy(manager, lock=lock)
    return Intent((GuestPort("guest", "br0", "web1", "u1", (GUEST,), policy=policy),), {"br0": "a test says so"})


def applied(kernel: Kernel, state: Path, wanted: Intent | None = None) -> None:
    wanted = wanted or intent()
    assert apply(LOCK, lambda: wanted, kernel, notes=StateFile(LOCK, None, state)).complete


def released(kernel: Kernel, state: Path, wanted: Intent | None = None) -> Released:
    wanted = wanted or intent()
    return release(LOCK, lambda: wanted, kernel, Scope(), StateFile(LOCK, None, state))


def port_state(ns: Namespace, port: str = "guest") -> State:
    """The flags that macmgr may set, and the static entries, as bridge(8) tells them."""
    said = next(link for link in ns.bridge_json("-d link") if link["ifname"] == port)
    static = [
        (entry["mac"], entry.get("vlan", 0), "sticky" in entry["flags"])
        for entry in ns.fdb()
        if entry["ifname"] == port and entry["state"] == "static"
    ]
    return {name: said.get(name) for name in ("learning", "flood", "locked")}, sorted(static)


STARTS = {
    "a kernel's port": [],
    "libvirt's port": ["link set dev guest learning off flood off", f"fdb replace {GUEST} dev guest master static"],
    "learning off only": ["link set dev guest learning off"],
    "flood off only": ["link set dev guest flood off"],
    "a sticky entry": [f"fdb replace {GUEST} dev guest master static sticky"],
    "another's entry": [f"fdb replace {LAN} dev guest master static"],
}


@pytest.mark.parametrize("commands", STARTS.values(), ids=STARTS)
@pytest.mark.parametrize("lock", [False, True], ids=["", "locked"])
def test_flags_and_static_entries_are_what_they_were(
    ns: Namespace, kernel: Kernel, state: Path, commands: list[str], lock: bool
) -> None:
    for command in commands:
        ns.bridge(command)
    before = port_state(ns)
    applied(kernel, state, intent(lock=lock))
    assert port_state(ns) != before
    assert released(kernel, state).outcome.complete
    assert port_state(ns) == before
    assert released(kernel, state).outcome.done == ()


@pytest.mark.full_kernel
def test_with_vlans_too(ns: Namespace, kernel: Kernel, state: Path) -> None:
    require("VLAN filtering", ns.accepts("link set br0 type bridge vlan_filtering 1"))
    ns.bridge("vlan add vid 10 dev guest")
    ns.bridge(f"fdb replace {GUEST} dev guest master static vlan 10")
    before = port_state(ns)
    applied(kernel, state)
    assert released(kernel, state).outcome.complete
    assert port_state(ns) == before


def test_the_entry_is_the_kernels_again(ns: Namespace, kernel: Kernel, state: Path) -> None:
    """It is dynamic, on the guest's port, and moves with the guest."""
    applied(kernel, state)
    released(kernel, state)
    entry = next(each for each in ns.fdb() if each["mac"] == GUEST)
    assert (entry["ifname"], entry["state"], entry["flags"]) == ("guest", "", [])
    ns.send_frame("third-far", GUEST)
    eventually(lambda: ns.port_of(GUEST) == "third", "the kernel has learned where the guest is")


def test_a_port_without_carrier_loses_its_entry(ns: Namespace, kernel: Kernel, state: Path) -> None:
    ns.ip("link set guest-far down")
    eventually(lambda: ns.port_state("guest") == "disabled", "the port is disabled")
    applied(kernel, state)
    assert released(kernel, state).outcome.complete
    assert ns.port_of(GUEST) is None
    assert port_state(ns)[0]["learning"] is True


def test_a_port_made_again_is_not_given_the_old_ones_flags(ns: Namespace, kernel: Kernel, state: Path) -> None:
    ns.bridge("link set dev guest learning off flood off")
    applied(kernel, state)
    ns.ip("link del guest")
    ns.add_cable("guest")
    before = port_state(ns)
    assert released(kernel, state).ports == ()
    assert port_state(ns) == before


def test_a_port_that_left_the_bridge_and_came_back_is_not_either(ns: Namespace, kernel: Kernel, state: Path) -> None:
    """The kernel has reset it; only a bridge made again under the same name has another ifindex, though."""
    ns.bridge("link set dev guest learning off")
    applied(kernel, state)
    ns.ip("link del br0")
    ns.add_bridge()
    ns.ip("link set guest master br0")
    assert released(kernel, state).ports == ()
    assert port_state(ns)[0]["learning"] is True


def test_without_the_policy_memory_is_enough(ns: Namespace, kernel: Kernel, state: Path) -> None:
    for gone in (intent(Manager.KERNEL), Intent()):
        before = port_state(ns)
        applied(kernel, state)
        assert released(kernel, state, gone).outcome.complete
        assert port_state(ns) == before
    assert read_memory(None, state)[0].ports == ()


def test_no_frame_is_lost_and_none_leaks(ns: Namespace, kernel: Kernel, state: Path) -> None:
    """Before, during and after: each frame for the guest arrives once; while managed, at nobody else's port."""
    ns.send_frame("guest-far", GUEST)
    eventually(lambda: ns.port_of(GUEST) == "guest", "the guest was heard")
    with ns.packet_socket("guest-far") as guest, ns.packet_socket("third-far") as third:
        sent = _a_frame_after_each_request(ns, kernel)
        applied(kernel, state)
        released(kernel, state)
        assert len(sent) >= 4
        assert len(_frames(guest, len(sent))) == len(sent)
        ns.send_frame("lan-far", LAN)  # a broadcast behind them: what comes before it is all there is
        assert [frame for frame in _until_broadcast(third) if frame[:6].hex(":") == GUEST] == []


def _a_frame_after_each_request(ns: Namespace, kernel: Kernel) -> list[object]:
    """From now on the LAN sends the guest a frame after every single request; the requests, one for each frame."""
    kernel_send, sent = kernel.send, []

    def send_between(requests, snapshot):  # type: ignore[no-untyped-def]
        answers = []
        for request in requests:
            answers += kernel_send([request], snapshot)
            ns.send_frame("lan-far", LAN, GUEST)
            sent.append(request)
        return answers

    kernel.send = send_between  # type: ignore[method-assign]
    return sent


def _until_broadcast(opened: socket.socket) -> Iterator[bytes]:
    opened.settimeout(LONG)
    while (frame := opened.recv(2048))[:12].hex(":") != f"{BROADCAST}:{LAN}":
        yield frame


def _frames(opened: socket.socket, number: int) -> list[bytes]:
    opened.settimeout(LONG)
    frames: list[bytes] = []
    while len(frames) < number:
        frame = opened.recv(2048)
        if frame[:6].hex(":") == GUEST:
            frames.append(frame)
    return frames


def test_no_frame_is_lost_when_policy_leaves_the_port_to_the_kernel(ns: Namespace, kernel: Kernel, state: Path) -> None:
    ns.send_frame("guest-far", GUEST)
    eventually(lambda: ns.port_of(GUEST) == "guest", "the guest was heard")
    applied(kernel, state)
    with ns.packet_socket("guest-far") as guest, ns.packet_socket("third-far") as third:
        sent = _a_frame_after_each_request(ns, kernel)
        applied(kernel, state, intent(Manager.KERNEL))
        assert len(sent) >= 2
        assert len(_frames(guest, len(sent))) == len(sent)
        ns.send_frame("lan-far", LAN)
        assert [frame for frame in _until_broadcast(third) if frame[:6].hex(":") == GUEST] == []


@pytest.mark.parametrize("commands", STARTS.values(), ids=STARTS)
def test_a_port_that_policy_leaves_to_the_kernel_is_what_it_was(
    ns: Namespace, kernel: Kernel, state: Path, commands: list[str]
) -> None:
    for command in commands:
        ns.bridge(command)
    before = port_state(ns)
    applied(kernel, state)
    assert port_state(ns) != before
    applied(kernel, state, intent(Manager.KERNEL))
    assert port_state(ns) == before
    assert read_memory(None, state)[0].ports == ()


@pytest.mark.full_kernel
def test_a_lock_goes_with_the_policy_that_asked_for_it(ns: Namespace, kernel: Kernel, state: Path) -> None:
    require("locked bridge ports (5.18)", kernel.read_snapshot().ports["guest"].flags.locked is not None)
    applied(kernel, state, intent(lock=True))
    assert port_state(ns)[0]["locked"] is True
    applied(kernel, state, intent(lock=False))
    assert port_state(ns)[0] == {"learning": False, "flood": False, "locked": False}


@pytest.mark.full_kernel
def test_a_lock_that_an_administrator_had_put_stays(ns: Namespace, kernel: Kernel, state: Path) -> None:
    require("locked bridge ports (5.18)", kernel.read_snapshot().ports["guest"].flags.locked is not None)
    ns.bridge("link set dev guest locked on learning off")
    applied(kernel, state)
    assert port_state(ns)[0]["locked"] is True


# The command

DOMAIN = f"""<domain type='kvm'><name>web1</name>
<uuid>5f6b7f0e-9a53-4b0c-8f61-1d2b7ac1a001</uuid><devices><interface type='bridge'><mac address='{GUEST}'/>
<source bridge='br0'/><target dev='guest'/><alias name='net0'/></interface></devices></domain>"""
STATUS = f"<domstatus state='running' reason='booted' pid='1'>{DOMAIN}</domstatus>"


def macmgr(ns: Namespace, tmp_path: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """The command, with configuration, status files, lock and state file of this test."""
    program = (
        "import sys; from pathlib import Path; from macmgr import paths\n"
        f"here = Path({str(tmp_path)!r})\n"
        "paths.CONFIG, paths.STATE = here / 'macmgr.toml', here / 'macmgr' / 'state.json'\n"
        "paths.LOCK, paths.OBSERVED, paths.REMEMBERED = here / 'lock', here / 'observed.json', here / 'remembered'\n"
        "from macmgr.__main__ import main\nraise SystemExit(main())"
    )
    options = ["--netns", ns.name, "--run-dir", str(tmp_path / "libvirt")]
    command = [sys.executable, "-c", program, *words, *(options if words[0] != "uninstall" else [])]
    return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def host(ns: Namespace, kernel: Kernel, tmp_path: Path) -> Path:
    (tmp_path / "libvirt" / "qemu").mkdir(parents=True)
    (tmp_path / "libvirt" / "qemu" / "web1.xml").write_text(STATUS)
    (tmp_path / "macmgr.toml").write_text('[bridge."br0"]\nmac_table_manager = "libvirt"\n')
    return tmp_path


def test_the_command_says_what_it_gave_back(ns: Namespace, host: Path) -> None:
    macmgr(ns, host, "apply")
    done = macmgr(ns, host, "release", "--bridge", "br0", "--no-color")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 port given back to the kernel: guest of web1.\n")
    assert "\ngiven back  guest on br0 (web1), as it was before macmgr: learning on, unicast flood on" in done.stdout
    assert f"{GUEST} dynamic (VID 0" in done.stdout
    assert "The policy still manages guest: the next hook or 'macmgr apply' takes them again." in done.stdout
    assert macmgr(ns, host, "release").stdout == "There is nothing to give back: macmgr manages no port here.\n"


@pytest.mark.full_kernel
def test_the_command_leaves_nothing_in_a_vid_that_the_port_has_lost(ns: Namespace, host: Path) -> None:
    """Or says so: where an administrator's entry would be flushed with it, and no other port carries the VID."""
    require("VLAN filtering", ns.accepts("link set br0 type bridge vlan_filtering 1"))

    def left() -> set[int]:
        return {
            int(each.get("vlan", 0))
            for each in ns.fdb()
            if (each["mac"], each["ifname"], each["state"]) == (GUEST, "guest", "static")
        }

    for port in ("guest", "lan"):
        ns.bridge(f"vlan add dev {port} vid 30-31")
    macmgr(ns, host, "apply")
    ns.bridge(f"fdb replace {LAN} dev guest vlan 31 master static")
    ns.bridge("vlan del dev guest vid 30-31")
    ns.bridge("vlan del dev lan vid 31")
    assert left() == {0, 1, 30, 31}
    done = macmgr(ns, host, "release", "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert (said["complete"], said["ports"]) == (False, [])
    assert [(each["port"], each["mac"], each["vid"]) for each in said["left"]] == [("guest", GUEST, 31)]
    assert left() == {31}
    done = macmgr(ns, host, "release", "--no-color")
    assert done.returncode == 1, done.stderr
    assert "left        guest still has the static entry of" in done.stdout.replace("\n", " ")
    (fix,) = (each["fix"] for each in said["left"])
    assert ns.run("sh", "-c", f"{fix.replace('fdb replace', 'fdb nonsense')}\necho $?").splitlines()[-1] != "0"
    assert (left(), "macmgr-tmp" in ns.links()) == ({31}, False)
    ns.run("sh", "-c", fix)
    assert left() == set()
    assert macmgr(ns, host, "release").returncode == 0
    assert {(each["mac"], each.get("vlan")) for each in ns.fdb() if each["mac"] == LAN} == {(LAN, 31)}
    assert "macmgr-tmp" not in ns.links()


def test_an_audit_tells_what_is_not_given_back_and_apply_gives_it_back(ns: Namespace, host: Path) -> None:
    before = port_state(ns)
    macmgr(ns, host, "apply")
    (host / "macmgr.toml").write_text('[bridge."br0"]\nmac_table_manager = "kernel"\n')
    audit = macmgr(ns, host, "audit", "--json")
    assert audit.returncode == 1
    (told,) = (each for each in json.loads(audit.stdout)["findings"] if each["severity"] == "error")
    assert (told["code"], told["port"]) == ("not-given-back", "guest")
    assert told["fix"] == (
        f"bridge link set dev guest learning on flood on && bridge fdb replace {GUEST} dev guest master dynamic"
    )
    assert macmgr(ns, host, "apply").returncode == 0
    assert port_state(ns) == before
    assert {entry["state"] for entry in ns.fdb() if entry["mac"] == GUEST} == {""}
    assert macmgr(ns, host, "audit").returncode == 0
    memory, _ = read_memory(ns.name, host / "macmgr" / "state.json")
    assert (memory.ports, memory.macs) == ((), ())
    ns.bridge("link set dev guest learning off flood off")
    again = macmgr(ns, host, "apply", "--json")
    assert json.loads(again.stdout)["done"] == []
    assert port_state(ns)[0]["learning"] is False


def test_metadata_that_is_not_understood_gives_nothing_back(ns: Namespace, host: Path) -> None:
    macmgr(ns, host, "apply")
    managed = port_state(ns)
    wrong = "<metadata><m:macTable xmlns:m='urn:macmgr:mactable:1' lokc='yes'/></metadata>"
    (host / "libvirt" / "qemu" / "web1.xml").write_text(STATUS.replace("<devices>", f"{wrong}<devices>"))
    macmgr(ns, host, "apply")
    assert port_state(ns) == managed


def test_a_hook_gives_back_what_policy_leaves_to_the_kernel(ns: Namespace, host: Path) -> None:
    before = port_state(ns)
    macmgr(ns, host, "apply")
    (host / "macmgr.toml").write_text("")  # an editor is about to write it: that is no policy
    macmgr(ns, host, "hook", "qemu", "web1", "reconnect", "begin", "-", stdin=DOMAIN)
    assert port_state(ns) != before
    (host / "macmgr.toml").write_text("[hook]\ntimeout = 20\n")  # of bridges nothing
    macmgr(ns, host, "hook", "qemu", "web2", "reconnect", "begin", "-", stdin=DOMAIN.replace("web1", "web2"))
    assert port_state(ns) != before
    macmgr(ns, host, "hook", "qemu", "web1", "reconnect", "begin", "-", stdin=DOMAIN)
    assert port_state(ns) == before


def test_the_command_after_the_configuration_is_gone(ns: Namespace, host: Path) -> None:
    before = port_state(ns)
    macmgr(ns, host, "apply")
    (host / "macmgr.toml").write_text("")
    (host / "libvirt" / "qemu" / "web1.xml").unlink()
    done = macmgr(ns, host, "release", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [(port["port"], port["domain"], port["learning"]) for port in said["ports"]] == [("guest", "web1", True)]
    assert (said["complete"], said["remaining"], said["failed"]) == (True, 0, [])
    assert port_state(ns) == before


def test_a_later_audit_tells_what_a_guest_left_behind(ns: Namespace, host: Path) -> None:
    """No hook ran when the guest ended: its MAC is known from memory."""
    macmgr(ns, host, "apply")
    (host / "libvirt" / "qemu" / "web1.xml").unlink()
    ns.ip("link del guest")
    ns.bridge(f"fdb replace {GUEST} dev lan master static")
    audit = json.loads(macmgr(ns, host, "audit", "--json").stdout)
    assert {(each["code"], each["port"]) for each in audit["findings"] if each["mac"]} == {("stale-entry", "lan")}
    assert macmgr(ns, host, "apply").returncode == 0
    assert ns.port_of(GUEST) is None
    assert read_memory(ns.name, host / "macmgr" / "state.json")[0].macs == ()


def test_a_broken_memory_stops_nothing(ns: Namespace, host: Path) -> None:
    (host / "macmgr").mkdir()
    (host / "macmgr" / "state.json").write_text("rubbish")
    done = macmgr(ns, host, "apply")
    assert done.returncode == 0
    observed, memory = done.stderr.splitlines()
    assert "are left" in observed, "an address that a guest changed to may be among what it put"
    assert "state.json.broken" in memory
    assert os.listdir(host / "macmgr") != ["state.json"]
    assert port_state(ns)[0]["learning"] is False
