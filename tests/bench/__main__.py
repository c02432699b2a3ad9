"""Measure all of it, and write the table: ``python -m tests.bench [FILE [PART…]]``, as root.

Without a FILE that is docs/benchmarks.md. Of a few parts one wants it here: ``tox -e bench -- /dev/stdout flood``.
"""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from lxml import etree

from macmgr.kernel import Kernel
from macmgr.kernel.edge import collector_paused
from macmgr.kernel.fdbdump import decode_entries
from macmgr.kernel.links import decode_links
from macmgr.kernel.netlink import Connection
from macmgr.kernel.wire import fdb_dump, link_dump
from tests import crowd
from tests.bench import flood, hooks, strangers, tenants, watching, worlds
from tests.bench.measure import Result, Side, compare
from tests.bench.table import write_table
from tests.fake_kernel import put_entry

GUESTS = 1000
DUMPS = ((1_000, 60, 0.2), (10_000, 40, 0.2), (100_000, 7, 0.5))  # entries, rounds, target
MEMORY_LIMIT = 60.0  # MB
AUDIT_IS_SLOWER = """\
of 0.46 s of processor time, when it was looked into, the interpreter's start and end take 0.08, pyroute2's import \
0.11 (it has no public part that can be imported without all of it), and lxml parsing the status files 0.11, which \
the other side pays too; the other imports take 0.05, opening the files and finding a NIC's settings in the tree \
0.04, the kernel 0.03, the policies 0.02, the plan 0.02 and JSON with indentation, which Python writes without its C \
encoder, 0.01. The first three alone are more than the target."""
SHARED = """\
it is met on a quiet machine and not on a busy one: in six runs on two shared cores the ratio to bridge(8) was 0.16 to \
0.24 with 10,000 entries, and that to the reader in C 1.72 to 2.03. What others do to the caches weighs more on Python \
than on C."""
KERNEL_BOUND = """\
the kernel's own part, measured on an idle machine by sending messages made beforehand and by receiving without \
decoding, is 0.11 of `bridge -batch` for putting entries and 0.29 of `bridge -d link show` for the interfaces; the \
rest is Python. A busy machine moves the ratio by a tenth."""


def dumps(directory: Path) -> Iterator[Result]:
    """The FDB of a bridge, asked of the kernel and decoded."""
    floor = worlds.build_floor(directory)
    for entries, rounds, target in DUMPS:
        with worlds.world(entries=entries) as namespace:
            yield from dumps_of(namespace, entries, rounds, target, floor)


def dumps_of(namespace: str, entries: int, rounds: int, target: float, floor: Path) -> Iterator[Result]:
    what = f"FDB of {entries:,} entries, dumped and decoded"
    connection = Connection(namespace)
    names = {link.ifindex: link.name for link in decode_links(connection.dump(link_dump(), "reading the interfaces"))}

    def read() -> object:
        with collector_paused():
            found = decode_entries(connection.dump(fdb_dump(), "reading the FDB"), names)
        assert len(found) >= entries
        return found

    ours = Side("dump and decode_entries()", read)
    fdb = Side("`bridge -j fdb show` and json.loads()", lambda: worlds.bridge_json(namespace, *worlds.BRIDGE_FDB))
    yield compare(what, target, ours, fdb, rounds=rounds, why_not=SHARED)
    if entries == 10_000:
        in_c = Side("a reader in C", lambda: worlds.floor_seconds(floor, namespace, entries), times_itself=True)
        yield compare(what, 1.8, ours, in_c, rounds=rounds, why_not=SHARED)
    if entries == 100_000:
        megabytes = [float(worlds.python("tests.bench.memory", namespace)) for _ in range(3)]
        what = f"memory to read {entries:,} entries, peak RSS over the imports"
        yield Result(what, f"{MEMORY_LIMIT:.0f} MB", 1.0, megabytes, [MEMORY_LIMIT], unit="MB")
    connection.close()


def adding(directory: Path) -> Iterator[Result]:
    """Ten thousand entries put, with the requests and the batch file made before."""
    count = 10_000
    batch = directory / "batch"
    batch.write_text("\n".join(worlds.put_lines(count)))
    puts = [put_entry("vnet1", crowd.stray_mac(number), None) for number in range(count)]
    with worlds.world() as namespace, Kernel(namespace) as kernel:
        snapshot = kernel.read_snapshot()

        def put() -> None:
            assert not any(kernel.send(puts, snapshot))

        def tidy() -> None:
            assert len(kernel.read_snapshot().entries) > count
            worlds.flush(namespace)

        ours = Side("Kernel.send()", put, tidy)
        theirs = Side("`bridge -batch`", lambda: worlds.bridge(namespace, "-batch", str(batch)), tidy)
        yield compare(f"{count:,} entries put", 0.2, ours, theirs, rounds=25, why_not=KERNEL_BOUND)


def flags(directory: Path) -> Iterator[Result]:
    """The flags of a thousand ports, with names, masters and promiscuity: one AF_UNSPEC dump."""
    with worlds.world(ports=GUESTS) as namespace:
        connection = Connection(namespace)

        def read() -> object:
            with collector_paused():
                links = decode_links(connection.dump(link_dump(), "reading the interfaces"))
            assert sum(link.flags is not None for link in links) == GUESTS
            return links

        ours = Side("dump and decode_links()", read)
        theirs = Side(
            "`bridge -j -d link show` and json.loads()", lambda: worlds.bridge_json(namespace, *worlds.BRIDGE_LINK)
        )
        yield compare(f"flags of {GUESTS:,} ports read", 0.5, ours, theirs, rounds=40, why_not=KERNEL_BOUND)
        connection.close()


def whole_audit(directory: Path) -> Iterator[Result]:
    """The command, from its start to its end, for a host that is in sync."""
    guests = [crowd.CrowdGuest(number) for number in range(1, GUESTS + 1)]
    run_dir = directory / "libvirt"
    crowd.write_status_files(run_dir, guests)
    files = sorted((run_dir / "qemu").iterdir())
    with worlds.world(ports=GUESTS) as namespace:
        crowd.bridge(namespace, [f"fdb replace {guest.mac} dev {guest.tap} master static sticky" for guest in guests])
        crowd.bridge(namespace, [f"link set dev {guest.tap} learning off flood off" for guest in guests])
        command = ("macmgr", "audit", "--json", "--netns", namespace, "--run-dir", str(run_dir))
        yield compare(
            f"`macmgr audit --json`, the whole process, {GUESTS:,} guests on one bridge",
            1.2,
            Side("audit", lambda: worlds.python(*command)),
            Side("`bridge -j fdb show`", lambda: worlds.bridge(namespace, *worlds.BRIDGE_FDB)),
            Side("`bridge -j -d link show`", lambda: worlds.bridge(namespace, *worlds.BRIDGE_LINK)),
            Side("lxml parsing the status files", lambda: [etree.parse(file) for file in files]),
            rounds=8,
            why_not=AUDIT_IS_SLOWER,
        )


PARTS: Mapping[str, Callable[[Path], Iterable[Result]]] = {
    "dumps": dumps,
    "adding": adding,
    "flags": flags,
    "audit": whole_audit,
    "repair": watching.repair,
    "hooks": hooks.hooks,
    "strangers": strangers.strangers,
    "learned": strangers.learned,
    "growth": strangers.growth,
    "flood": flood.flood,
    "tenants": tenants.tenants,
}


def main(place: str = "docs/benchmarks.md", *names: str) -> None:
    if os.geteuid() != 0:
        raise SystemExit("tests.bench makes network namespaces: run it as root")
    results: dict[str, list[Result]] = {}
    for name in names or PARTS:
        with tempfile.TemporaryDirectory() as directory:
            results[name] = list(PARTS[name](Path(directory)))
    machine = f"Python {platform.python_version()}, Linux {platform.release().partition('-')[0]}, {os.cpu_count()} CPUs"
    write_table(Path(place), results, machine)


if __name__ == "__main__":
    main(*sys.argv[1:])
