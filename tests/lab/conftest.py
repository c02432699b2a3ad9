"""The fixtures of the tests that run inside the lab: a daemon, a bridge with its uplink, a LAN, a network, guests."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.daemon import Watch
from tests.lab.life import ALONE, BRIDGE_NIC, LAN_ADDRESSES, NETWORK_NIC, WITH_MACMGR, Life, taps_of
from tests.lab.macmgr_command import CONFIG, HOOK_TIMEOUT, Macmgr
from tests.lab.topology import Guest, HostBridge, Lan, Libvirt, Network, Nic, run, until

MakeGuest = Callable[..., Guest]


def pytest_itemcollected(item: pytest.Item) -> None:
    """The whole lab is a full kernel; what tests/netns has for one is marked there, test by test.

    That is now, before ``-m full_kernel`` selects: marked later, a guest's life would be left out in silence.
    """
    item.add_marker(pytest.mark.full_kernel)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module's tests with hooks come last: so they are installed once in each, and never for its others."""
    places = {item.path: place for place, item in reversed(list(enumerate(items)))}
    items.sort(key=lambda item: (places[item.path], "hooks" in getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session", autouse=True)
def inside_the_lab() -> None:
    """These tests start daemons and make bridges: never on the machine itself. No skip: nothing is green by it."""
    if not Path("/run/lab/settings").exists():
        pytest.fail("not in the lab: python3 -m tests.lab.boot -- .venv/bin/python -m pytest tests/lab", pytrace=False)


@pytest.fixture(scope="session")
def libvirt(inside_the_lab: None) -> Iterator[Libvirt]:
    """A running libvirtd."""
    daemon = Libvirt()
    daemon.start()
    yield daemon
    daemon.stop()


@pytest.fixture(scope="session")
def bridge(inside_the_lab: None) -> Iterator[HostBridge]:
    """br0 with its uplink up0."""
    bridge = HostBridge().create()
    yield bridge
    bridge.delete()


@pytest.fixture(scope="session")
def lan(bridge: HostBridge) -> Lan:
    """The LAN host 10.0.0.1 behind the uplink."""
    return Lan(bridge.lan).up()


@pytest.fixture(scope="session")
def network(libvirt: Libvirt, bridge: HostBridge) -> Iterator[Network]:
    """An active network "lan" on br0 with macTableManager='libvirt'."""
    network = Network.on_host_bridge(libvirt, "lan", bridge.name).define().start()
    yield network
    network.undefine()


@pytest.fixture
def make_guest(libvirt: Libvirt, bridge: HostBridge, lan: Lan) -> Iterator[MakeGuest]:
    """Guests of one test, numbered: make_guest(1) has MAC …:01 and address 10.0.0.11 on the network "lan".

    Further NICs, or others, are said with `nics`. Not started; destroyed and undefined after the test,
    and what bridge and LAN still know of them is dropped, so that tests cannot disturb each other.
    """
    made: list[Guest] = []

    def make(number: int, nics: list[Nic] | None = None, metadata: str = "") -> Guest:
        nics = nics or [Nic(f"52:54:00:aa:00:{number:02x}", f"10.0.0.{10 + number}/24", network="lan")]
        guest = Guest(libvirt, f"g{number}", nics, metadata).define()
        made.append(guest)
        return guest

    yield make
    libvirt.start()  # a test may have left it stopped
    for guest in made:
        guest.undefine()
        for nic in guest.nics:
            bridge.forget(nic.mac)
    lan.forget_neighbours()


@contextlib.contextmanager
def _configured() -> Iterator[Macmgr]:
    command = Macmgr()
    command.configure(f'[bridge."br0"]\nmac_table_manager = "libvirt"\n{HOOK_TIMEOUT}')
    yield command
    CONFIG.unlink()


@pytest.fixture
def macmgr() -> Iterator[Macmgr]:
    """The macmgr command, with br0 given to it for the guests that are there without a network; no hooks."""
    with _configured() as command:
        yield command


@pytest.fixture(scope="module")
def installed(libvirt: Libvirt) -> Iterator[None]:
    """macmgr's hooks are installed, and libvirtd has found them; afterwards they are gone without a trace."""
    with _configured() as macmgr:
        macmgr("install", "--manage")
        libvirt.restart()
    yield
    with _configured() as macmgr:
        macmgr("uninstall")
        libvirt.restart()


@pytest.fixture
def hooks(macmgr: Macmgr, installed: None) -> None:
    """macmgr's hooks are at work, as they are told to."""


@pytest.fixture(scope="module", params=[ALONE, WITH_MACMGR])
def watch(request: pytest.FixtureRequest, libvirt: Libvirt, network: Network) -> Iterator[Watch | None]:
    """Who looks after the MAC table: libvirt alone (None), or macmgr with daemon and hooks. Scenarios run twice."""
    if request.param == ALONE:
        yield None
        return
    macmgr = Macmgr()
    managed = "".join(f'[bridge."{name}"]\nmac_table_manager = "libvirt"\n' for name in ("br0", "br1"))
    macmgr.configure(f"{managed}{HOOK_TIMEOUT}")
    macmgr("install", "--manage")
    libvirt.restart()
    with Watch() as daemon:
        yield daemon
    macmgr("uninstall")
    CONFIG.unlink()
    libvirt.restart()


@pytest.fixture(scope="module")
def subject(watch: Watch | None, libvirt: Libvirt, bridge: HostBridge, lan: Lan) -> Iterator[Guest]:
    """The guest of all scenarios of a module: a NIC on the network "lan", another plainly on br0."""
    for address in LAN_ADDRESSES:
        run("ip", "-n", lan.namespace, "address", "replace", address, "dev", lan.device)
    guest = Guest(libvirt, "life", [NETWORK_NIC, BRIDGE_NIC]).define()
    yield guest
    guest.undefine()
    for nic in (NETWORK_NIC, BRIDGE_NIC):
        bridge.forget(nic.mac)


@pytest.fixture
def life(
    request: pytest.FixtureRequest,
    watch: Watch | None,
    subject: Guest,
    libvirt: Libvirt,
    bridge: HostBridge,
    lan: Lan,
) -> Iterator[Life]:
    """The guest runs and its table is as its start leaves it; afterwards, what was seen is kept for the table."""
    libvirt.start()
    event = (request.function.__doc__ or "").partition("\n")[0].rstrip(".")
    failed_before = request.session.testsfailed
    life = Life(event, request.function.__name__.removeprefix("test_"), watch, subject, libvirt, bridge, lan)
    _as_started(life)
    yield life
    if request.session.testsfailed == failed_before:
        life.keep()


def _as_started(life: Life) -> None:
    """Start the guest anew where the last scenario left another one than a start does.

    With libvirt alone its entries and flags are put back by hand, as libvirt sets them: a start takes seconds.
    """
    guest = life.guest
    taps = taps_of(guest)
    if guest.state != "running" or set(taps) != {NETWORK_NIC.mac, BRIDGE_NIC.mac}:
        guest.nics[:] = [NETWORK_NIC, BRIDGE_NIC]
        guest.destroy()
        for nic in guest.nics:
            life.bridge.forget(nic.mac)
        guest.start().wait_ready()
    elif life.watch is None:
        for nic, flag in ((NETWORK_NIC, "off"), (BRIDGE_NIC, "on")):
            run("ip", "link", "set", taps[nic.mac], "master", life.bridge.name)
            life.bridge.forget(nic.mac)
            life.bridge.set_flags(taps[nic.mac], learning=flag, flood=flag)
        run("bridge", "fdb", "add", NETWORK_NIC.mac, "dev", taps[NETWORK_NIC.mac], "master", "static")
    if life.watch:
        until(life.in_sync, "macmgr is in sync before the event")
