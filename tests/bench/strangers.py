"""What a flood of addresses costs a hook, the daemon's look and an audit: on a bridge that nobody manages, or on ours.

And how what is read of a managed bridge grows with its table. In turns, on two hosts that differ in nothing else.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

from macmgr.config import load_config
from macmgr.kernel import Kernel
from macmgr.kernel.edge import collector_paused
from macmgr.model.snapshot import EntryState
from macmgr.watch.round import Rounds
from tests import crowd
from tests.bench import worlds
from tests.bench.measure import Result, Side, compare
from tests.fake_kernel import put_entry

STRANGERS, LEARNED = 200_000, 100_000
MOST = 1.2  # of what it costs without them
GUESTS = 20
SIZES = (1_000, 10_000, 100_000, 500_000)
_AT_ONCE = 50_000
_PR_SET_CHILD_SUBREAPER = 36
_CONFIG = "[bridge.br0]\nmac_table_manager = 'libvirt'\n[hook]\ntimeout = 30\n"


def strangers(directory: Path) -> Iterator[Result]:
    """A flood on br9, where nobody is."""
    with _host("full", directory) as full, _host("empty", directory) as empty:
        for name in (full, empty):
            crowd.add_bridge(name, "br9")
            crowd.add_taps(name, ["up9"], "br9")
        fill(full, "up9", 0, STRANGERS)
        what = f"{STRANGERS:,} addresses on a bridge that is not managed"
        yield from _costs(what, directory, full, empty, audit=True)


def learned(directory: Path) -> Iterator[Result]:
    """A flood on the uplink of the managed bridge. An audit reads as much of its table as the limit lets it."""
    with _host("full", directory) as full, _host("empty", directory) as empty:
        for name in (full, empty):
            crowd.add_taps(name, ["up0"])
        fill(full, "up0", 0, LEARNED)
        yield from _costs(f"{LEARNED:,} addresses on a managed bridge's own uplink", directory, full, empty)


def _costs(what: str, directory: Path, full: str, empty: str, *, audit: bool = False) -> Iterator[Result]:
    """What a hook, a look of the daemon after an event, and an audit cost on ``full``, beside the same on ``empty``."""

    def words(verb: str, name: str) -> tuple[str, ...]:
        return ("macmgr", verb, *_options(directory, name))

    config = load_config(directory / "macmgr.toml")
    daemons = {name: Rounds(directory / "libvirt", name, observe=True) for name in (full, empty)}

    def look(name: str) -> object:
        with collector_paused():
            done = daemons[name].run([], config, lambda _: False, closed_ports=frozenset())
        assert done.outcome is not None, done.failure
        return done

    works: dict[str, tuple[Callable[[str], object], int]] = {
        "`macmgr hook`, the whole process": (lambda name: _hook(words("hook", name)), 15),
        "a look of the daemon": (look, 40),
    }
    if audit:
        works["`macmgr audit --json`, the whole process"] = (
            lambda name: worlds.python(*words("audit", name), "--json"),
            15,
        )
    for who, (work, rounds) in works.items():
        ours, theirs = Side(who, partial(work, full)), Side("the same without them", partial(work, empty))
        yield compare(f"{what}: {who}", MOST, ours, theirs, rounds=rounds)
    for daemon in daemons.values():
        daemon.close()


def growth(_: Path) -> Iterator[Result]:
    """What is read of a managed bridge: how it grows with what its uplink has seen."""
    with worlds.world(ports=2) as name, Kernel(name) as kernel:
        have, times = 0, {}
        for size in SIZES:
            fill(name, "vnet2", have, size)
            have = size

            def read() -> object:
                with collector_paused():
                    return kernel.read_snapshot({"br0"}, {"vnet1"})

            times[size] = [Side("read", read).once() * 1000 for _ in range(9)]
        for before, size in pairwise(SIZES):
            factor = size / before
            reference = f"{factor:g} times {before:,}"
            what = f"a managed bridge with {size:,} entries behind its uplink, read for a look"
            yield Result(what, reference, 1.3, times[size], [factor * each for each in times[before]])


@contextmanager
def _host(what: str, directory: Path) -> Iterator[str]:
    name = f"macmgr-bench-{what}-{os.getpid()}"
    guests = [crowd.CrowdGuest(number) for number in range(1, GUESTS + 1)]
    if not (directory / "libvirt").exists():
        crowd.write_status_files(directory / "libvirt", guests)
        (directory / "macmgr.toml").write_text(_CONFIG)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        crowd.add_bridge(name)
        crowd.add_taps(name, (guest.tap for guest in guests))
        crowd.bridge(name, [f"fdb replace {guest.mac} dev {guest.tap} master static sticky" for guest in guests])
        crowd.bridge(name, [f"link set dev {guest.tap} learning off flood off" for guest in guests])
        yield name
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


def _options(directory: Path, name: str) -> tuple[str, ...]:
    return ("--config", str(directory / "macmgr.toml"), "--netns", name, "--run-dir", str(directory / "libvirt"))


def _hook(words: tuple[str, ...]) -> object:
    """With the child that does the work: the hook does not wait for its end, and so its time would be nobody's."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    xml = crowd.domain_xml(Path(words[words.index("--run-dir") + 1]), crowd.CrowdGuest(1))
    said = worlds.python(*words, "qemu", "guest1", "started", "begin", "-", stdin=xml)
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)
    return said


def fill(namespace: str, port: str, first: int, last: int) -> None:
    """Entries as a flood of addresses leaves them, but they do not age."""
    with Kernel(namespace) as kernel:
        snapshot = kernel.read_snapshot(())
        for start in range(first, last, _AT_ONCE):
            numbers = range(start, min(last, start + _AT_ONCE))
            puts = [
                put_entry(port, f"02:{number.to_bytes(5, 'big').hex(':')}", None, EntryState.DYNAMIC, extern_learn=True)
                for number in numbers
            ]
            assert not any(kernel.send(puts, snapshot))
