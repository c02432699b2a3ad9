"""A folder is a case: libvirt's files, a configuration, a snapshot of the kernel, and all that macmgr says of them.

``status/``, ``lxc/``, ``network/`` and ``ports/NET/`` hold what libvirt's run directory has under ``qemu/``, ``lxc/``,
``network/`` and ``network/NET/ports/``, and ``definitions/`` what /etc/libvirt has of networks.
``hook/DRIVER OBJECT OP.xml``, where it is there, is a hook call on top.
``snapshot.json`` is short: ports in the order of their ifindex, an entry with all its VIDs on one line, and what it
does not say is as the kernel makes it. That of a capture (`tests.golden.case_of_capture`) has macmgr's own records, and
beside it is ``memory.json``. ``before.json`` has the flags that macmgr found when it first managed a port,
``kept.json`` the bridge, domain and port of each MAC that it remembers of guests that are gone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from rich.console import Console

from macmgr.capture.recordedkernel import RecordedKernel
from macmgr.capture.records import from_json
from macmgr.config import Config, load_config
from macmgr.model.flags import FLAGS, flags_of
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import Intent, Scope
from macmgr.model.known import KeptMac, Known, Memory, PortBefore
from macmgr.model.relay import PortRelay, PortState
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, PortFlags, Snapshot, Stacked
from macmgr.planning.reading import Beside
from macmgr.planning.remembering import closed_once, gone_macs, learning_off, locked_since, to_release
from macmgr.readers.domain import Domain
from macmgr.readers.hookdata import HookInput, read_hook_input
from macmgr.readers.network import Network, NetworkPort
from macmgr.reconcile import look
from macmgr.report.auditdocument import audit_document
from macmgr.report.audittext import print_audit
from macmgr.report.explain import explain
from macmgr.report.explaintext import print_explanations
from macmgr.report.planlines import print_plan
from macmgr.sources.statusfiles import StatusFiles, definitions_directory
from macmgr.state.observedfile import Read
from macmgr.view import View, judged
from macmgr.vlanfiltering import with_next_starts
from macmgr.wanted import WaitingCall, wanted
from tests.fake_kernel import FakeKernel

CASES = sorted(path.parent for path in Path(__file__).parent.glob("*/snapshot.json"))
RUN_DIR = "/run/libvirt"
_PLACES = {"status": "qemu", "lxc": "lxc", "network": "network"}


@dataclass(frozen=True)
class Case:
    """What was read of one case, and the look at it."""

    domains: tuple[Domain, ...]
    networks: tuple[Network, ...]
    ports: tuple[NetworkPort, ...]
    config: Config
    view: View


FILTERING = {"vlan_filtering": True, "default_pvid": 1, "pvid": 1, "vids": (1,), "untagged": (1,)}


def read_case(folder: Path, workshop: Path) -> Case:
    """Read a case as macmgr reads a host; ``workshop`` is a directory to lay libvirt's run directory out in."""
    run_dir = lay_out(folder, workshop)
    path = folder / "config.toml"
    config = load_config(path) if path.exists() else Config(written=False)
    said = json.loads((folder / "snapshot.json").read_text())
    sources = StatusFiles(run_dir, lambda pid: pid not in said.get("ended", ())).read()
    given, calls = HookInput(), []
    for hook in folder.glob("hook/*.xml"):
        call = HookCall(*hook.stem.split(" "))
        given = read_hook_input(call.driver, hook.read_bytes())
        calls.append(WaitingCall(call, given))
    intent = wanted(sources, config, calls)
    snapshot = read_snapshot(said)
    kernel: FakeKernel | RecordedKernel = RecordedKernel(snapshot) if "recorded" in said else FakeKernel(snapshot)
    if isinstance(kernel, FakeKernel):
        kernel.too_long = {*said.get("too long", ())}
    known = _read_known(folder, intent, snapshot)
    scope = Scope(observes=config.observes)
    beside = Beside(frozenset(snapshot.bridges), bystanders=True)
    view = look(lambda: intent, kernel, scope, known, beside=beside)
    assert view.plan == look(lambda: intent, kernel, scope, known).plan, "what is shown beside it changes the plan"
    return Case(
        (*sources.domains, *([given.domain] if given.domain else [])),
        (*sources.networks, *([given.network] if given.network else [])),
        (*sources.ports.values(), *([given.port] if given.port else [])),
        config,
        judged(with_next_starts(view, kernel)),
    )


def _read_known(folder: Path, intent: Intent, snapshot: Snapshot) -> Known:
    if not (folder / "memory.json").exists():
        return Known(_read_memory(folder, intent, snapshot))
    said = json.loads((folder / "memory.json").read_text())
    seen = from_json(Read, said["seen"])
    return Known(from_json(Memory, said["memory"]), seen.records, seen.lost)


def _read_memory(folder: Path, intent: Intent, snapshot: Snapshot) -> Memory:
    """What macmgr remembers of the ports and MACs that the case names."""
    flags, kept = (
        json.loads(path.read_text()) if (path := folder / name).exists() else {}
        for name in ("before.json", "kept.json")
    )
    guests = [guest for guest in intent.ports if guest.port in flags]
    ports = {guest.port: snapshot.ports[guest.port] for guest in guests}
    return Memory(
        tuple(
            PortBefore(
                guest.port,
                ports[guest.port].ifindex,
                ports[guest.port].mac,
                guest.bridge,
                snapshot.bridges[guest.bridge].ifindex,
                guest.domain,
                guest.uuid,
                _flags(flags[guest.port]),
            )
            for guest in guests
        ),
        (
            *(
                KeptMac(mac, guest.bridge, guest.domain, guest.port, ports[guest.port].ifindex)
                for guest in guests
                for mac in guest.macs
            ),
            *(KeptMac(mac, bridge, domain, port, 0) for mac, (bridge, domain, port) in kept.items()),
        ),
    )


def lay_out(folder: Path, workshop: Path) -> Path:
    """libvirt's run directory with the files of the case."""
    run_dir = workshop / "run"
    if (folder / "definitions").is_dir():
        there = workshop / "host" / "run" / "libvirt"  # libvirt's definitions are not below its run directory
        there.mkdir(parents=True)
        run_dir.symlink_to(there.resolve())
        shutil.copytree(folder / "definitions", definitions_directory(run_dir))
    else:
        run_dir.mkdir()
    for ours, libvirts in _PLACES.items():
        if (folder / ours).is_dir():
            shutil.copytree(folder / ours, run_dir / libvirts)
    for network in folder.glob("ports/*"):
        shutil.copytree(network, run_dir / "network" / network.name / "ports")
    return run_dir


def read_snapshot(said: dict[str, Any]) -> Snapshot:
    """The snapshot that a case's JSON stands for."""
    if "recorded" in said:
        return from_json(Snapshot, said["recorded"])
    bridges = {
        name: Bridge(name, ifindex, **(FILTERING | values))
        for ifindex, (name, values) in enumerate(said["bridges"].items(), 1)
    }
    ports = {name: _port(name, ifindex, **values) for ifindex, (name, values) in enumerate(said["ports"].items(), 100)}
    masters: dict[str, str | None] = dict.fromkeys([*bridges, *said.get("on no bridge", ())])
    masters |= {port.name: port.bridge for port in ports.values()}
    entries = [entry for line in said.get("entries", ()) for entry in _entries(line)]
    on_bridges = said.get("stacked", {}).items()
    stacked = tuple(Stacked(bridge, name, mac, tuple(vids), kind) for name, (bridge, mac, vids, kind) in on_bridges)
    return Snapshot(bridges, ports, masters, tuple(entries), stacked=stacked)


def _port(
    name: str, ifindex: int, *, flags: str = "learning flood", vids: Iterable[int] = (1,), **values: Any
) -> BridgePort:
    carried = tuple(vids)
    pvid = values.pop("pvid", 1 if 1 in carried else carried[0] if len(carried) == 1 else None)
    untagged = tuple(values.pop("untagged", (pvid,) if pvid else ()))
    if relay := values.pop("relay", {}):
        values["relay"] = PortRelay(**relay | {"state": PortState[relay.get("state", "forwarding").upper()]})
    return BridgePort(name, ifindex, flags=_flags(flags), vids=carried, pvid=pvid, untagged=untagged, **values)


def _flags(said: str) -> PortFlags:
    words = said.split()
    old = "no-lock" in words
    return flags_of({flag.field: None if old and flag.since else flag.bridge_word in words for flag in FLAGS})


def _entries(line: str) -> Iterable[Entry]:
    """``MAC dev PORT vid 0,1 static sticky``: bridge(8)'s words, with all VIDs at once."""
    mac, _, port, _, vids, state, *flags = line.split()
    for vid in vids.split(","):
        yield Entry(mac, int(vid), port, EntryState(state), "sticky" in flags, "extern_learn" in flags)


def as_json(value: Any) -> Any:
    """A record with the fields that say something: what is at its default is left out."""
    if is_dataclass(value) and not isinstance(value, type):
        said = {field.name: getattr(value, field.name) for field in fields(value)}
        silent: tuple[Any, ...] = (None, "", (), {}, frozenset(), False)
        return {name: as_json(each) for name, each in said.items() if each not in silent}
    if isinstance(value, dict):
        return {str(key): as_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(each) for each in value]
    return value


def intent_text(case: Case) -> str:
    return json.dumps(as_json(case.view.intent) | _recalled(case.view), indent=1, ensure_ascii=False) + "\n"


def _recalled(view: View) -> dict[str, Any]:
    of = view.known.memory, view.intent, view.snapshot
    conclusions = {
        "learning_off": learning_off(*of),
        "locked": locked_since(*of),
        "to_release": to_release(*of),
        "closed_once": sorted(closed_once(view.known.memory, view.snapshot)),
        "gone_macs": [[*place, domain] for place, domain in gone_macs(*of).items()],
    }
    said = {name: as_json(value) for name, value in conclusions.items() if value}
    return {"recalled": said} if said else {}


def plan_text(case: Case) -> str:
    with _paper() as out:
        print_plan(out.console, case.view)
    return out.text


def audit_text(case: Case, width: int = 400) -> str:
    with _paper(width) as out:
        print_audit(out.console, case.view)
    return out.text


def audit_json(case: Case) -> dict[str, Any]:
    return audit_document(case.view, "h1", "2026-11-21T12:00:00Z")


def explain_text(case: Case) -> str:
    """What `explain` says of each domain, of each port that is no guest's, and of each MAC that has left."""
    intent = case.view.intent
    domains = [*(guest.domain for guest in intent.ports), *(nic.domain for nic in intent.portless)]
    others = [port for port in case.view.snapshot.ports if port not in {guest.port for guest in intent.ports}]
    others += [device.name for device in case.view.snapshot.stacked]
    parts = [
        f"$ macmgr explain {what!r}\n{explained(case.view, what)}"
        for what in dict.fromkeys([*domains, *others, *(mac for _, mac in case.view.gone_macs)])
    ]
    return "\n".join(parts)


def explained(view: View, what: str, width: int = 400, *, verbose: bool = False) -> str:
    with _paper(width) as out:
        print_explanations(out.console, explain(view, what), verbose=verbose)
    return out.text


class _paper:  # noqa: N801 - a with block
    """A console that is a text."""

    def __init__(self, width: int = 400) -> None:
        self._file = StringIO()
        self.console = Console(file=self._file, width=width, height=24, highlight=False, soft_wrap=True)
        self.text = ""

    def __enter__(self) -> _paper:
        return self

    def __exit__(self, *_: object) -> None:
        self.text = "".join(f"{line.rstrip()}\n" for line in self._file.getvalue().splitlines())
