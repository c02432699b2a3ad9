"""A world, one thing that macmgr does in it, and what must hold whatever fails meanwhile.

A case is one run with one fault, a look at what is left, and the same once more without a fault. `Scene.violations`
names what does not hold:

    no guest that was reached is unreached, and nobody hears what he did not (tests/harmjudge.py, by the model)
    nothing changes that macmgr does not manage
    exit code and lines are those of the contract; 0 only where nothing is left to do
    the files are whole: the configuration, the memory, its mark, what the daemon saw
    the next run without a fault ends as if there had been none, and remembers as much, or says that it lacks something
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from lxml import etree

from macmgr import cli, paths, reconcile
from macmgr.commands import make_parser
from macmgr.config import load_config, read_config
from macmgr.errors import MacmgrError, unexpected
from macmgr.hook import work
from macmgr.kernel import netlink
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import Intent, Manager, Scope, skip_nothing
from macmgr.model.known import Known, SeenMacs
from macmgr.model.snapshot import Entry, EntryState, Snapshot
from macmgr.planning.draft import Plan
from macmgr.planning.planner import plan
from macmgr.planning.plugged import with_taps
from macmgr.planning.release import plan_release
from macmgr.readers.document import read_with
from macmgr.reconcile import Planner
from macmgr.sources import statusfiles
from macmgr.sources.statusfiles import StatusFiles
from macmgr.state import lock, memory
from macmgr.state.observedfile import read_observed, write_observed
from macmgr.tomledit import with_word
from macmgr.wanted import wanted
from macmgr.watch.round import Rounds
from tests.fake_kernel import FakeKernel
from tests.faults.faultydisk import FaultyDisk, Files, files_below
from tests.faults.points import Fault, Killed, Points, cases
from tests.faults.wirekernel import WireKernel, copy_of, is_true_to, state_of
from tests.golden.case import lay_out, read_snapshot
from tests.harmjudge import Judge

GOLDEN = Path(__file__).parents[1] / "golden"
OPERATIONS = ("apply", "again", "watch", "hook", "release", "return", "observe", "manage")
_BOOT, _NEXT_BOOT = "11111111-2222-4333-8444-555555555555\n", "66666666-7777-4888-8999-000000000000\n"
_CODES = (0, 1, 65, 69, 71, 75, 77, 78)
_LEFT_OUT = ("lock", "remembered")


@dataclass(frozen=True)
class Result:
    """What a run came to. ``code`` is None for one that was killed."""

    code: int | None
    lines: tuple[str, ...] = ()
    out: str = ""


class Host:
    """A golden case on this disk: libvirt's files, macmgr's own, and the kernel."""

    def __init__(self, name: str, batch: int) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="macmgr-faults-", dir="/dev/shm"))
        case = GOLDEN / name
        self.run_dir = lay_out(case, self.root)
        said = json.loads((case / "snapshot.json").read_text())
        self.start, self.batch = FakeKernel(read_snapshot(said)), batch
        self.config = self.root / "etc" / "macmgr.toml"
        self.config.parent.mkdir()
        text = (case / "config.toml").read_text() if (case / "config.toml").exists() else "# nothing\n"
        self.config.write_text(text)
        self.boot = self.root.with_name(f"{self.root.name}-boot")  # /proc does not fail
        self.boot.write_text(_BOOT)
        self.fit = "ended" not in said and "too long" not in said and "recorded" not in said and is_true_to(self.start)
        self.kernel = copy_of(self.start)
        self.rounds: Rounds | None = None
        self.guest = self._first_guest()
        self._points = Points()

    def _first_guest(self) -> tuple[str, bytes]:
        """The name of a guest of the case, and its domain as a hook gets it; empty where there is none."""
        for path in sorted((self.run_dir / "qemu").glob("*.xml")):
            try:
                domain = etree.fromstring(path.read_bytes()).find("domain")
            except etree.XMLSyntaxError:
                continue
            if domain is not None and (name := domain.findtext("name")) is not None:
                return name, etree.tostring(domain)
        return "", b""

    def close(self) -> None:
        shutil.rmtree(self.root)
        self.boot.unlink()

    @contextmanager
    def here(self) -> Iterator[None]:
        """This host is the one that macmgr runs on."""
        runtime = self.root / "runtime"
        with ExitStack() as patched:
            for module, name, value in (
                (netlink, "open_socket", lambda *_: WireKernel(self.kernel, self._points, self.batch).open()),
                (paths, "CONFIG", self.config),
                (paths, "STATE", self.root / "state" / "state.json"),
                (paths, "OBSERVED", runtime / "observed.json"),
                (paths, "REMEMBERED", runtime / "remembered"),
                (paths, "HOOK_SOCKET", runtime / "hook.sock"),
                (memory, "_BOOT_ID", self.boot),
                (lock, "hold", partial(lock.hold, runtime / "lock", wait=0.0)),
                (cli, "make_parser", _parser),
                (statusfiles, "read_with", _read_once),
                (reconcile, "plan", _planned_once(plan)),
                (reconcile, "plan_release", _planned_once(plan_release)),
                (cli, "_drop_output", lambda: None),  # it would be the test's own
            ):
                patched.enter_context(patch.object(module, name, value))
            yield

    def files(self) -> Files:
        """All that macmgr has written."""
        return files_below(self.root)

    def put(self, files: Files) -> None:
        for name in self.files():
            (self.root / name).unlink()
        for name, data in files.items():
            path = self.root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)

    def run(self, act: Callable[[Host], Result], points: Points) -> tuple[Result, FaultyDisk]:
        self._points = points
        disk = FaultyDisk(self.root, points)
        try:
            with disk:
                result = act(self)
        except Killed:
            result = Result(None)
        self._points = Points()
        return result, disk

    def intent(self) -> Intent:
        config = load_config(self.config)
        return with_taps(wanted(StatusFiles(self.run_dir).read(), config), self.kernel.read_snapshot())


_parser = cache(make_parser)
_read_once = lru_cache(maxsize=512)(read_with)  # a document's record depends on nothing else
_plans: dict[bytes, Plan] = {}


def _planned_once(planner: Planner) -> Planner:
    """The planner is pure: what it says of one state of the world, it says each time."""

    def planned(intent: Intent, snapshot: Snapshot, known: Known, scope: Scope) -> Plan:
        read = [getattr(snapshot, each.name) for each in fields(snapshot)]
        key = pickle.dumps((planner.__name__, intent, read, known, scope.domain, scope.bridges))
        key = hashlib.sha256(key).digest()
        if key not in _plans:
            _plans[key] = planner(intent, snapshot, known, scope)
        return _plans[key]

    return planned


def _typed(host: Host, *words: str) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with patch.object(sys, "stdout", out), patch.object(sys, "stderr", err):
        code = cli.run(["--run-dir", str(host.run_dir), *words])
    return Result(code, tuple(err.getvalue().splitlines()), out.getvalue())


def _apply(host: Host) -> Result:
    return _typed(host, "apply", "--json")


def _release(host: Host) -> Result:
    return _typed(host, "release", "--json")


def _bridge(host: Host) -> str:
    return next(iter(host.start.bridges))


def _observe(host: Host) -> Result:
    return _typed(host, "observe", _bridge(host))


def _manage(host: Host) -> Result:
    return _typed(host, "manage", _bridge(host))


def _watch(host: Host) -> Result:
    """Two rounds of one daemon, which also writes down what it saw."""
    host.rounds = host.rounds or Rounds(host.run_dir, None)
    try:
        config = load_config(host.config)
    except MacmgrError as error:
        return Result(error.exit_code, (f"macmgr: {error}",))
    seen = read_observed()
    lines = [seen.problem, write_observed(seen.records or _SEEN)]
    done = host.rounds.run([], config, skip_nothing, observed=seen.records, lost=seen.lost, kept=True)
    lines += [done.problem, str(done.failure or "")]
    outcome = done.outcome
    well = outcome is not None and outcome.complete and not outcome.errors and not outcome.view.skipped
    code = done.failure.exit_code if done.failure else int(not well)
    return Result(code, tuple(f"macmgr: {line}" for line in lines if line))


_SEEN = (SeenMacs("vnet99", 99, "no-uuid", "52:54:00:99:99:99", "", (), (), (), False),)


def _hook(host: Host) -> Result:
    """libvirt says that the first guest of the case runs."""
    name, domain = host.guest
    call = HookCall("qemu", name, "started", "begin")
    try:
        config = load_config(host.config)
        line = work.act(call, domain, config, host.run_dir, None, time.monotonic() + 600)
    except MacmgrError as error:
        return Result(error.exit_code, (f"macmgr: {error}",))
    except Exception as error:  # noqa: BLE001 - as `macmgr hook` does
        return Result(70, (f"macmgr: {unexpected(error)}",))
    return Result(0, (f"macmgr: {line}",) if line else ())


ACTS: dict[str, Callable[[Host], Result]] = {
    "apply": _apply,
    "again": _apply,
    "watch": _watch,
    "hook": _hook,
    "release": _release,
    "return": _apply,
    "observe": _observe,
    "manage": _manage,
}


class Scene:
    """One operation in one world. ``batch``: how many requests go to the kernel at a time."""

    def __init__(self, world: str, operation: str, batch: int = 500) -> None:
        self.name, self.operation, self.act = world, operation, ACTS[operation]
        self.host = Host(world, batch)
        self.fit = self.host.fit and (operation != "hook" or bool(self.host.guest[0]))
        if not self.fit:
            return
        with self.host.here():
            if operation in ("again", "release", "return"):
                self.host.run(_apply, Points())
            if operation == "return":  # policy leaves the ports to the kernel by now
                self._leave_to_the_kernel()
            self.kernel, self.files = copy_of(self.host.kernel), self.host.files()
            self.intent = self.host.intent()
            self.judge = Judge(self.intent, self.kernel.read_snapshot())
            self._harm: dict[object, list[str]] = {}
            self._repaired: dict[object, list[str]] = {}
            self.clean, self.log = self._clean()

    def close(self) -> None:
        self.host.close()

    def cases(self) -> Iterator[Fault]:
        return cases(self.log)

    def _leave_to_the_kernel(self) -> None:
        text = self.host.config.read_text()
        for bridge in self.host.start.bridges:
            data = with_word(text, ("bridge", bridge, "mac_table_manager"), str(Manager.KERNEL))
            text = data if data is not None else text
        self.host.config.write_text(text)

    def _clean(self) -> tuple[Result, list[tuple[str, str]]]:
        """A run without a fault, with all that it changes, and its points."""
        points = Points()
        before = _parts(self.host.kernel)
        result, _ = self.host.run(self.act, points)
        self.after, self.files_after = state_of(self.host.kernel), self.host.files()
        self.after_kernel = copy_of(self.host.kernel)
        changed = {key for key, value in _parts(self.host.kernel).items() ^ before.items()}
        self.ours = changed | {("port", guest.port) for guest in self.intent.ports if guest.managed}
        self.macs = {mac for guest in self.intent.ports if guest.managed for mac in (*guest.macs, *guest.moved)}
        self.ports = {guest.port for guest in self.intent.ports if guest.managed}
        self.moving = {
            name: port.vlans
            for name, port in self.host.kernel.ports.items()
            if port.vlans != self.kernel.ports[name].vlans
        }
        self.clean_harm = set(self._harm_of(self.host.kernel))
        return result, points.log

    def violations(self, fault: Fault) -> list[str]:
        with self.host.here():
            return list(self._violations(fault))

    def _violations(self, fault: Fault) -> Iterator[str]:
        host, points = self.host, Points(fault)
        host.kernel, host.rounds = copy_of(self.kernel), None
        host.put(self.files)
        host.boot.write_text(_BOOT)
        result, disk = host.run(self.act, points)
        yield from self._said(result)
        if fault.how.startswith("power"):
            yield from self._after_power_cut(disk.after_power_cut(fault.how))
            return
        if result.code is None:
            host.rounds = None
        yield from (each for each in self._harm_of(host.kernel) if each not in self.clean_harm)
        yield from self._foreign(host.kernel)
        files = host.files()
        yield from self._files(files)
        key = (
            state_of(host.kernel),
            tuple(sorted(files.items())),
            self.operation == "watch" and result.code,
            fault.where,
        )
        if key not in self._repaired:
            self._repaired[key] = list(self._next_run(fault, result))
        yield from self._repaired[key]

    def _said(self, result: Result) -> Iterator[str]:
        if result.code is None:
            return
        yield from self._well_said(result)
        done = state_of(self.host.kernel) == self.after
        if self.operation == "hook" and not result.code and not done and result.lines == self.clean.lines == ():
            yield "the hook says nothing, and it is not done"
        says_so = any(" are left" in line for line in result.lines)
        if self.operation != "hook" and result.code == self.clean.code == 0 and not (done or says_so):
            yield f"exit code 0, and it is not done: {result.lines}"

    def _well_said(self, result: Result) -> Iterator[str]:
        if result.code not in _CODES:
            yield f"exit code {result.code}: {result.lines}"
        if any("unexpectedly" in line or "Traceback" in line for line in result.lines):
            yield f"a bug: {result.lines}"
        if len(result.lines) > 4 or not all(line.startswith("macmgr: ") for line in result.lines):
            yield f"not one line: {result.lines}"
        if (result.code or 0) >= 65 and not result.lines:
            yield f"exit code {result.code}, and not a word"

    def _harm_of(self, kernel: FakeKernel) -> list[str]:
        """A port that has just come into the VLANs of its XML waits for its entries there (docs/design.rst)."""
        state = state_of(kernel)
        if state not in self._harm:
            waiting = [name for name, vlans in self.moving.items() if kernel.ports[name].vlans == vlans]
            self._harm[state] = self.judge.harm(kernel.read_snapshot(), under_way=waiting)
        return self._harm[state]

    def _foreign(self, kernel: FakeKernel) -> Iterator[str]:
        for key, _ in _parts(kernel).items() ^ _parts(self.kernel).items():
            if key in self.ours:
                continue
            if key[0] == "entry" and key[1][1] in self.macs:
                continue
            entry = (self.kernel.fdb.get(key[1]) or kernel.fdb.get(key[1])) if key[0] == "entry" else None
            if entry is not None and entry.port in self.ports:
                continue
            yield f"{key} is not ours, and was changed"

    def _files(self, files: Files) -> Iterator[str]:
        for name, data in files.items():
            try:
                if name.endswith(".json"):
                    json.loads(data)
                elif name.endswith("macmgr.toml"):
                    # without the kernel, `observe` writes the mode alone
                    if data not in (self.files.get(name), self.files_after.get(name)) and self.operation != "observe":
                        yield f"{name} is neither the old nor the new one"
                    if read_config(data)[1]:
                        yield f"{name} is torn"
                elif name.endswith("remembered") and data:
                    data.decode("ascii")
            except ValueError:
                yield f"{name} is torn"

    def _next_run(self, fault: Fault, failed: Result) -> Iterator[str]:
        """The same again: it ends as if nothing had been."""
        result, _ = self.host.run(self.act, Points())
        if result.code != self.clean.code:
            yield f"the next run ends with {result.code} and not {self.clean.code}: {result.lines}"
        if different := _differences(self.host.kernel, self.after_kernel):
            yield f"the next run does not repair it: {different}"
        files = self.host.files()
        mine, clean = _remembered(files), _remembered(self.files_after)
        lied_to = fault.how in ("ENOENT", "ENODEV")  # that an entry is not there
        if not mine >= clean and not _says_what_it_lacks(files, failed) and not lied_to:
            yield f"the next run remembers something else: {mine} and not {clean}"
        for name, data in self.files_after.items():
            if name.startswith("etc/") and files.get(name) != data:
                yield f"{name} is not what it is without the fault"

    def _after_power_cut(self, files: Files) -> Iterator[str]:
        """The machine starts again: the same host, a kernel that knows nothing, and what the disk has kept."""
        host = self.host
        yield from self._files(files)
        host.boot.write_text(_NEXT_BOOT)
        host.put(files)
        host.kernel, host.rounds = copy_of(host.start), None
        result, _ = host.run(self.act, Points())
        yield from self._well_said(result)


def _parts(kernel: FakeKernel) -> dict[tuple[str, Any], object]:
    """Each port and each entry, to see which of them are others."""
    ports = {
        ("port", name): (port.bridge, port.flags, port.vids, port.pvid, port.untagged)
        for name, port in kernel.ports.items()
    }
    return ports | {("entry", key): entry for key, entry in kernel.fdb.items()}


def _differences(one: FakeKernel, other: FakeKernel) -> list[str]:
    """What differs, and does not age."""
    mine, theirs = _parts(one), _parts(other)
    return [
        f"{key}: {mine.get(key)} and not {theirs.get(key)}"
        for key in dict(mine.items() ^ theirs.items())
        if not all(_ages(each.get(key)) for each in (mine, theirs))
    ]


def _ages(part: object) -> bool:
    return part is None or (isinstance(part, Entry) and part.state is EntryState.DYNAMIC and not part.extern_learn)


def _remembered(files: Files) -> frozenset[str]:
    """How ports were, the MACs, and the ports closed once."""
    spaces = json.loads(files.get("state/state.json", b"{}")).get("namespaces", {})
    return frozenset(
        f"{key}: {one}" for each in spaces.values() for key in ("ports", "macs", "closed") for one in each[key]
    )


def _says_what_it_lacks(files: Files, failed: Result) -> bool:
    lost = files.get("runtime/remembered", b"").endswith(b"lost") or any("state.json" in line for line in failed.lines)
    return lost or json.loads(files.get("state/state.json", b"{}")).get("lost") is True
