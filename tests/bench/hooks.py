"""What a hook costs a guest's start: by the clock on the wall, for that is what libvirt waits for.

The real shims, the real daemon; guests that are managed already, so that all of it is handing over and looking. Both
sides of a line in turns. As a program it measures, inside of the host that `hooks` makes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

from macmgr.installation import PYTHON, install_hooks
from tests import crowd
from tests.bench.measure import Result, Side, compare
from tests.netns.conftest import eventually, namespace
from tests.netns.house import House, house, mac_of

NICS = (1, 2, 8)
MANY, AT_ONCE, LIMIT = 200, 8, 2500.0  # hooks, ms
ENVIRONMENT = {"LC_ALL": "C", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
LOOKING = """\
the shim, with something at the socket that answers at once, is 1.15 of a bare interpreter; the rest is the daemon's \
look at the host, in which it reads the status files and the bridges anew."""
_SIZE = 6000  # of a domain's XML
# What people write today.
_SCRIPT = """\
xml=$(cat)
for i in 1 2; do
    mac=$(printf %s "$xml" | xmllint --xpath "string(//interface[$i]/mac/@address)" -)
    tap=$(printf %s "$xml" | xmllint --xpath "string(//interface[$i]/target/@dev)" -)
    bridge fdb replace "$mac" dev "$tap" master static
    bridge link set dev "$tap" learning off flood off
done
"""


def hooks(_: Path) -> Iterator[Result]:
    """All lines about hooks: on a host with three guests, and on one with two hundred."""
    yield from _on_a_host({f"n{count}": count for count in NICS}, "few")
    yield from _on_a_host({f"m{count}": 1 for count in range(MANY)}, "many")


def _on_a_host(guests: Mapping[str, int], what: str) -> Iterator[Result]:
    with namespace() as ns, tempfile.TemporaryDirectory() as name, house(ns, Path(name)) as host:
        list(install_hooks(host.root / "hooks", Path(sys.executable).with_name("macmgr")))
        numbers = range(1, sum(guests.values()) + 1)
        crowd.add_taps(ns.name, [f"vnet{number}" for number in numbers])
        taps = iter(numbers)
        for guest, nics in guests.items():
            _guest(host, guest, [next(taps) for _ in range(nics)])
        with host.daemon():
            eventually(lambda: bool(host.status()["in_sync"]), "all ports are managed")
            words = [sys.executable, "-m", "tests.bench.hooks", what, str(host.root / "hooks"), str(host.config)]
            # The host's mount namespace has another working directory, where Python would look for the tests.
            here = {**os.environ, "PYTHONPATH": str(Path.cwd())}
            said = subprocess.run(host.command(*words), check=True, stdout=subprocess.PIPE, text=True, env=here).stdout
    for line in said.splitlines():
        yield Result(**json.loads(line))


def _guest(host: House, name: str, numbers: Sequence[int]) -> None:
    nics = "".join(
        f"<interface type='bridge'><mac address='{mac_of(number)}'/><source bridge='br0'/>"
        f"<target dev='vnet{number}'/></interface>"
        for number in numbers
    )
    domain = f"<domain type='kvm'><name>{name}</name><uuid>u-{name}</uuid><devices>{nics}</devices></domain>"
    padding = "<!-- what else a domain has -->" * ((_SIZE - len(domain)) // 31)
    domain = domain.replace("<devices>", padding + "<devices>")
    host.write(f"qemu/{name}.xml", f"<domstatus state='running' pid='1'>{domain}</domstatus>")
    (host.root / f"{name}.xml").write_text(domain)


def _few(shim: str, config: Path) -> Iterator[Result]:
    def side(words: Sequence[str], name: str, what: str = "") -> Side:
        xml = _xml(config, name)
        return Side(what or words[0], lambda: _seconds(words, xml), times_itself=True)

    def started(name: str) -> Side:
        return side([shim, name, "started", "begin", "-"], name)

    what = "hook of a guest with 2 NICs, handed to the daemon, by the clock on the wall"
    bare = side([str(PYTHON), "-ISE", "-c", "pass"], "n2", "`python3 -ISE -c pass`")
    yield compare(what, 1.4, started("n2"), bare, rounds=100, why_not=LOOKING)
    if shutil.which("xmllint"):
        script = side(["sh", "-c", _SCRIPT], "n2", "sh + xmllint + `bridge`")
        yield compare(what, 1.0, started("n2"), script, rounds=40)
    alone = [sys.executable, "-m", "macmgr", "hook", "--config", str(config), "qemu", "n2", "started", "begin", "-"]
    process = side(alone, "n2", "lxml + pyroute2 in process: `macmgr hook`")
    yield compare(what, 0.2, started("n2"), process, rounds=20)

    irrelevant = side([shim, "n2", "prepare", "begin", "-"], "n2")
    shell = side(["sh", "-c", ":"], "n2", "`sh -c :`")
    yield compare("hook with nothing to do, by the clock on the wall", 1.3, irrelevant, shell, rounds=200)

    few, many = started("n1"), started("n8")
    pairs = [(few.once(), many.once()) for _ in range(150)]
    more = (min(late for _, late in pairs) - min(early for early, _ in pairs)) * 1000  # noise only ever adds
    yield Result("what 8 NICs add to the hook of a guest with 1, minima of 150", "1 ms", 1.0, [max(more, 0.0)], [1.0])


def _many(shim: str, config: Path) -> Iterator[Result]:
    inputs = [(f"m{number}", _xml(config, f"m{number}")) for number in range(MANY)]

    def all_of_them(words: Callable[[str], list[str]]) -> float:
        start = time.perf_counter()
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda each: _seconds(words(each[0]), each[1]), inputs))
        return (time.perf_counter() - start) * 1000

    took, bare = [], []
    for _ in range(5):
        took.append(all_of_them(lambda name: [shim, name, "started", "begin", "-"]))
        bare.append(all_of_them(lambda _: [str(PYTHON), "-ISE", "-c", "pass"]))
    what = f"{MANY} hooks, {AT_ONCE} at a time, on a host with {MANY} guests, by the clock on the wall"
    why_not = (
        f"as many bare interpreters, as many at a time, took {min(bare):.0f} ms at least in the same run; the rest "
    )
    why_not += "is the daemon's looks at all guests, one for the calls that wait at a time."
    yield Result(what, f"{LIMIT:.0f} ms", 1.0, took, [LIMIT], why_not)


def _xml(config: Path, name: str) -> bytes:
    return (config.parent / f"{name}.xml").read_bytes()


def _seconds(words: Sequence[str], xml: bytes) -> float:
    """As libvirt does it: input by a pipe, both outputs by pipes, and wait."""
    start = time.perf_counter()
    said = subprocess.run(words, input=xml, capture_output=True, check=True, cwd="/", env=ENVIRONMENT)
    took = time.perf_counter() - start
    assert said.stdout == b"", said.stdout
    return took


def main(what: str, shims: str, config: str) -> None:
    measure = _few if what == "few" else _many
    for result in measure(f"{shims}/qemu.d/99-macmgr", Path(config)):
        print(json.dumps(asdict(replace(result, by_median=True))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
