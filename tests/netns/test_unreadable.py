"""What macmgr wrote down and cannot read: no guest loses its entry by it, and its own work is not taken for the start.

Real files, and the real bridge. Where a file cannot be opened or read, the call fails in the process that macmgr is: a
`sitecustomize` of the tests' own does that.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.netns.conftest import Namespace, eventually
from tests.netns.house import MANAGED, House, house, mac_of

OWN, NEW = mac_of(1), "52:54:00:bb:00:01"
OBSERVED, STATE = "run/macmgr/observed.json", "var/lib/macmgr/state.json"
NIC = f"<mac address='{OWN}'/><source bridge='br0'/><target dev='vnet1'/><alias name='net0'/>"
DOMAIN = (
    "<domain type='kvm'><name>g1</name><uuid>u-g1</uuid><devices>"
    f"<interface type='bridge' trustGuestRxFilters='yes'>{NIC}</interface></devices></domain>"
)
FAULTS = """
import errno, os
target, call, number = os.environ["MACMGR_TEST_FAULT"].split(":")
def refuse():
    raise OSError(int(number), os.strerror(int(number)))
def wrap(name, when, real):
    def called(*args, **words):
        if name == call and when(*args):
            refuse()
        return real(*args, **words)
    return called
by_name = lambda path, *_: not isinstance(path, int) and os.path.basename(str(path)) == target
by_number = lambda number, *_: os.path.basename(os.readlink(f"/proc/self/fd/{number}")) == target
by = {"stat": by_name, "open": by_name, "fstat": by_number, "read": by_number, "fdopen": by_number}
for name, when in by.items():
    setattr(os, name, wrap(name, when, getattr(os, name)))
"""


@pytest.fixture
def host(ns: Namespace, tmp_path: Path) -> Iterator[House]:
    """Guest g1 may change its address, and sends from vnet1-far."""
    with house(ns, tmp_path) as made:
        ns.add_cable("vnet1")
        made.config.write_text(f"{MANAGED}[hook]\ntimeout = 25\n")
        made.write("qemu/g1.xml", f"<domstatus state='running' pid='1'>{DOMAIN}</domstatus>")
        yield made


def at(host: House, place: str) -> Path:
    return Path(f"/proc/{host.keeper.pid}/root/{place}")


def followed(host: House) -> None:
    """The guest has changed its address, the daemon has followed, and was ended."""
    with host.daemon():
        host.ns.send_frame("vnet1-far", NEW)
        eventually(lambda: host.ns.port_of(NEW) == "vnet1" and host.ns.port_of(OWN) is None, "it is followed")


def acts(host: House, how: str, code: int = 0) -> str:
    """What is said on stderr by who acts."""
    if how == "watch":
        before = len(host.log)
        with host.daemon():
            pass
        return host.log[before:]
    stdin = DOMAIN.encode()
    hook = ("hook", "qemu", "g1", "reconnect", "begin", "-")
    done = host.macmgr(*hook, stdin=stdin) if how == "hook" else host.macmgr(how)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stderr.decode()


def torn(path: Path) -> None:
    path.write_text(path.read_text()[:-5])


def another_versions(path: Path) -> None:
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))


def a_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def somebody_elses(path: Path) -> None:
    os.chown(path, 1000, 1000)


def a_bad_record(path: Path) -> None:
    path.write_text(path.read_text().replace('"ifindex":', '"ifindexx":'))


SPOILT: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "torn": torn,
    "empty": lambda path: os.truncate(path, 0),
    "another version's": another_versions,
    "a directory": a_directory,
    "somebody else's": somebody_elses,
    "with a bad record": a_bad_record,
}


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
def test_no_guest_loses_its_address_because_the_record_of_it_cannot_be_read(
    host: House, spoil: Callable[[Path], None]
) -> None:
    followed(host)
    fdb = host.ns.fdb()
    spoil(at(host, OBSERVED))
    for how in ("audit", "apply", "hook"):
        said = acts(host, how)
        assert (said.count("\n"), "observed.json" in said, "are left" in said) == (1, True, True), said
        assert host.ns.fdb() == fdb
    acts(host, "watch")
    assert (host.ns.port_of(NEW), host.flags("vnet1")) == ("vnet1", (False, False))
    if spoil not in (a_directory, another_versions):  # what may be good is left; what is not is written anew
        assert acts(host, "audit") == ""
    with host.daemon():
        host.ns.send_frame("vnet1-far", OWN)
        eventually(lambda: host.ns.port_of(OWN) == "vnet1" and host.ns.port_of(NEW) is None, "it is followed again")
    acts(host, "release")
    assert host.flags("vnet1") == (True, True)
    assert not [each for each in host.ns.fdb() if each["ifname"] == "vnet1" and each["state"] == "static"]


@pytest.mark.parametrize("place", [OBSERVED, STATE], ids=["observed", "state"])
@pytest.mark.parametrize(
    ("call", "number"),
    [
        ("open", errno.EMFILE),
        ("open", errno.EACCES),
        ("stat", errno.EACCES),
        ("fstat", errno.EIO),
        ("fdopen", errno.EIO),
    ],
)
def test_a_call_that_fails_costs_no_guest_its_address(
    host: House, place: str, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each of those who read the file; what may be good in it is left."""
    followed(host)
    fdb, before = host.ns.fdb(), at(host, place).read_bytes()
    (host.root / "sitecustomize.py").write_text(FAULTS)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(host.root))
        patch.setenv("MACMGR_TEST_FAULT", f"{Path(place).name}:{call}:{number}")
        for how in ("audit", "apply", "hook", "watch"):
            acts(host, how)
            assert host.ns.fdb() == fdb, how
            assert host.flags("vnet1") == (False, False)
    assert at(host, place).read_bytes() == before
    acts(host, "release")
    assert host.flags("vnet1") == (True, True)


LOST: dict[str, Callable[[Path], None]] = {
    name: SPOILT[name] for name in ("missing", "torn", "empty", "another version's", "somebody else's")
}
DRIFTS = {
    "it learns": "link set dev vnet1 learning on",
    "it floods": "link set dev vnet1 flood on",
    "its entry is gone": f"fdb del {OWN} dev vnet1 master",
    "nothing": "link set dev vnet1 mcast_flood on",
}


@pytest.mark.parametrize("spoil", LOST.values(), ids=LOST)
def test_a_release_after_the_memory_was_lost_leaves_nothing_of_macmgrs(
    host: House, spoil: Callable[[Path], None]
) -> None:
    for drift in DRIFTS.values():
        assert host.macmgr("apply").returncode == 0
        spoil(at(host, STATE))
        document = at(host, STATE).read_bytes() if at(host, STATE).exists() else b""
        host.ns.bridge(drift)
        said = acts(host, "apply")
        assert "gives the default back where nothing is remembered" in said
        assert host.managed(1), "it is mended all the same"
        acts(host, "hook")
        acts(host, "release", code=int(spoil is another_versions))  # that file may know more, and stays
        assert host.flags("vnet1") == (True, True)
        assert not [each for each in host.ns.fdb() if each["ifname"] == "vnet1" and each["state"] == "static"]
        if spoil is another_versions:
            assert at(host, STATE).read_bytes() == document
        at(host, STATE).unlink()


def test_what_could_not_be_written_down_is_known_later(host: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The port was changed for the first time while the memory could not be read: that is no state of before."""
    host.ns.add_cable("vnet2")
    host.status_file("g2", "vnet2", mac_of(2))
    host.remove("qemu/g1.xml")
    assert host.macmgr("apply").returncode == 0  # there is a memory
    host.write("qemu/g1.xml", f"<domstatus state='running' pid='1'>{DOMAIN}</domstatus>")
    (host.root / "sitecustomize.py").write_text(FAULTS)
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(host.root))
        patch.setenv("MACMGR_TEST_FAULT", f"state.json:open:{errno.EIO}")
        acts(host, "apply")
    assert host.managed(1)
    host.ns.bridge("link set dev vnet1 learning on")
    acts(host, "apply")
    acts(host, "release")
    assert (host.flags("vnet1"), host.flags("vnet2")) == ((True, True), (True, True))
    assert not [each for each in host.ns.fdb() if each["ifname"] in ("vnet1", "vnet2") and each["state"] == "static"]
