"""A macmgr of another version takes over from one that runs, and hands back: the guests' frames go on arriving.

The newer macmgr is this one with higher numbers in what it writes and asks. What each of the two leaves for its next
process, the other one cannot use: it leaves it where it is, and the guests their entries.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from macmgr import handover
from tests.netns.conftest import LONG, Namespace, eventually, transmit
from tests.netns.hooked import HOOK, install
from tests.netns.house import MANAGED, House, house, mac_of

OWN, NEW, LATER, ROUTER = mac_of(1), "52:54:00:bb:00:01", "52:54:00:bb:00:02", "02:aa:00:00:00:01"
STATE, OBSERVED = "var/lib/macmgr/state.json", "run/macmgr/observed.json"
NIC = f"<mac address='{OWN}'/><source bridge='br0'/><target dev='vnet1'/><alias name='net0'/>"
TRUSTED = (
    "<domain type='kvm'><name>g1</name><uuid>u-g1</uuid><devices>"
    f"<interface type='bridge' trustGuestRxFilters='yes'>{NIC}</interface></devices></domain>"
)
NEWER = """
from macmgr.state import memory, observedfile, statedocument
from macmgr.watch import hooksocket

memory.VERSION = statedocument.VERSION = observedfile._VERSION = 2
hooksocket._HOOK = b"hook2"
"""
_PROBE = b"\x88\xb5"
_PAUSE = 0.002
_RCVBUFFORCE = 33


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """Guest g1 may change its address. An administrator had turned off the unicast flood of g2's port."""
    with house(ns, tmp_path) as made:
        for port in ("vnet1", "vnet2"):
            ns.add_cable(port)
        ns.bridge("link set dev vnet2 flood off")
        made.config.write_text(f"{MANAGED}{HOOK}")
        made.write("qemu/g1.xml", f"<domstatus state='running' pid='1'>{TRUSTED}</domstatus>")
        made.status_file("g2", "vnet2", mac_of(2))
        yield made


@pytest.fixture
def newer(host: House) -> Mapping[str, str]:
    """The environment in which macmgr is the newer one."""
    (host.root / "newer").mkdir()
    (host.root / "newer" / "sitecustomize.py").write_text(NEWER)
    return {"PYTHONPATH": str(host.root / "newer")}


def at(host: House, place: str) -> Path:
    return Path(f"/proc/{host.keeper.pid}/root/{place}")


def version_of(host: House, place: str) -> bytes:
    return at(host, place).read_bytes().partition(b",")[0]


class Stream:
    """Frames from the LAN to one guest, one after the other, until it is ended."""

    def __init__(self, ns: Namespace, port: str, mac: str, opened: ExitStack) -> None:
        self._lan = opened.enter_context(ns.packet_socket("up0-far"))
        self._guest = opened.enter_context(ns.packet_socket(f"{port}-far"))
        self._guest.settimeout(0.5)
        self._guest.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 1 << 24)  # the reader may starve on a busy machine
        self._head = bytes.fromhex((mac + ROUTER).replace(":", "")) + _PROBE
        self._ended, self.sent, self.received = threading.Event(), 0, set[int]()
        self._threads = [threading.Thread(target=act) for act in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        while not self._ended.wait(_PAUSE):
            transmit(self._lan, self._head + self.sent.to_bytes(46, "big"))
            self.sent += 1

    def _receive(self) -> None:
        """Reads on until nothing came for half a second after the end."""
        while True:
            try:
                frame = self._guest.recv(2048)
            except TimeoutError:
                if self._ended.is_set():
                    return
                continue
            if frame.startswith(self._head):
                self.received.add(int.from_bytes(frame[len(self._head) :], "big"))

    def end(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(LONG)


@contextmanager
def no_frame_is_lost(host: House, guests: Mapping[str, str]) -> Iterator[None]:
    with ExitStack() as opened:
        streams = {port: Stream(host.ns, port, mac, opened) for port, mac in guests.items()}
        try:
            eventually(lambda: all(each.received for each in streams.values()), "the frames arrive")
            yield
        finally:
            for stream in streams.values():
                stream.end()
        for port, stream in streams.items():
            lost = sorted(set(range(stream.sent)) - stream.received)
            assert not lost, f"{port}: of {stream.sent} are lost {lost}\n{host.log}"


def changes_its_address(host: House, mac: str) -> None:
    host.ns.send_frame("vnet1-far", mac)
    eventually(lambda: host.ns.port_of(mac) == "vnet1", lambda: f"{mac} is followed\n{host.log}")


def repairs(host: House) -> None:
    """A drift is repaired, so that a round has written what it remembers."""
    host.ns.bridge("link set dev vnet2 learning on flood on")
    eventually(lambda: host.managed(2), lambda: f"it is repaired\n{host.log}")


def test_a_daemon_is_upgraded_while_frames_come(host: House, newer: Mapping[str, str]) -> None:
    """The newer one reads what the older one wrote."""
    with host.daemon():
        changes_its_address(host, NEW)
        eventually(lambda: host.managed(2), "g2 is managed")
    before = len(host.log)
    with no_frame_is_lost(host, {"vnet1": NEW, "vnet2": mac_of(2)}), host.daemon(environment=newer):
        repairs(host)
        host.guest(3)
        eventually(lambda: host.managed(3), "another guest is remembered")
    assert version_of(host, STATE) == b'{"version": 2'
    assert "another macmgr's" not in host.log[before:]


def test_a_daemon_is_downgraded_and_upgraded_again_while_frames_come(host: House, newer: Mapping[str, str]) -> None:
    """The older one leaves what it cannot read, and leaves the entries that it may be about."""
    with host.daemon(environment=newer):
        changes_its_address(host, NEW)
        eventually(lambda: host.managed(2), "g2 is managed")
    kept = {place: at(host, place).read_bytes() for place in (STATE, OBSERVED)}
    assert {version_of(host, place) for place in kept} == {b'{"version": 2'}
    with no_frame_is_lost(host, {"vnet1": NEW, "vnet2": mac_of(2)}):
        for _ in range(2):  # back, and restarted
            with host.daemon():
                repairs(host)
                for verb in ("audit", "apply"):
                    assert host.macmgr(verb).returncode == 0
            assert {place: at(host, place).read_bytes() for place in kept} == kept
        with host.daemon(environment=newer):
            repairs(host)


def test_what_the_older_one_followed_stays_when_the_newer_one_is_back(host: House, newer: Mapping[str, str]) -> None:
    """Its file says the address before: the older one could not write into it."""
    with host.daemon(environment=newer):
        changes_its_address(host, NEW)
    with host.daemon():
        changes_its_address(host, LATER)
    with no_frame_is_lost(host, {"vnet1": LATER}), host.daemon(environment=newer):
        repairs(host)
    environment = {**os.environ, **newer}
    command = host.macmgr_command("release")
    done = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=LONG)
    assert done.returncode == 0, done
    assert (host.flags("vnet1"), host.flags("vnet2")) == ((True, True), (True, False)), "as they were before"


def test_a_newer_ones_memory_of_another_boot_keeps_nobody_from_writing(host: House) -> None:
    at(host, STATE).parent.mkdir(mode=0o700)
    at(host, STATE).write_text('{"version": 2, "boot": "an earlier one", "namespaces": []}')
    said = host.macmgr("apply")
    assert (said.returncode, said.stderr) == (0, b"")
    assert version_of(host, STATE) == b'{"version": 1'
    assert host.macmgr("release").returncode == 0
    assert host.flags("vnet2") == (True, False), "as it was before"


@pytest.mark.parametrize("hooks_are_newer", [True, False])
def test_a_hook_of_one_version_and_the_daemon_of_another(
    host: House, newer: Mapping[str, str], hooks_are_newer: bool
) -> None:
    """The daemon does not know what the hook asks. So the hook does its work itself."""
    shim = install(host) / "99-macmgr"
    if hooks_are_newer:
        script = Path(handover.__file__)
        changed = script.read_text().replace('("hook", *words)', '("hook2", *words)')
        assert changed != script.read_text()
        (host.root / "handover.py").write_text(changed)
        shim.write_text(shim.read_text().replace(str(script.resolve()), str(host.root / "handover.py")))
    with host.daemon(environment=None if hooks_are_newer else newer):
        eventually(lambda: host.managed(2), "g2 is managed")
        with no_frame_is_lost(host, {"vnet2": mac_of(2)}):
            host.ns.add_cable("vnet3")
            xml = host.status_file("g3", "vnet3", mac_of(3))
            words = ("env", "-i", "LC_ALL=C", "PATH=/usr/bin:/bin", str(shim), "g3", "started", "begin", "-")
            said = subprocess.run(host.command(*words), input=xml.encode(), capture_output=True, check=True, cwd="/")
            assert said.stdout == b""
            # it cannot read what a newer daemon wrote
            assert said.stderr.count(b"another macmgr's (version 2)") == (0 if hooks_are_newer else 2), said.stderr
            assert host.managed(3)
    assert (host.root / "itself").exists()


@pytest.mark.parametrize("request_of_another", [b"status2\0", b"hook2\0qemu\0g2\0started\0begin\0-\0", b"\0", b"hook"])
def test_a_request_of_another_version_gets_no_answer(host: House, request_of_another: bytes) -> None:
    with host.daemon(), socket.socket(socket.AF_UNIX) as client:
        client.settimeout(LONG)
        client.connect(str(at(host, "run/macmgr/hook.sock")))
        client.sendall(request_of_another)
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
