"""What reads bytes that others wrote, each with what it may raise. Everything else that comes out of it is a fault.

A document is given to its reader as macmgr gives it, and what was understood goes on through the rest of the pipeline,
to the JSON of an audit. Files are in memory, so that a million of them take no disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import re
import socket
import tempfile
import tomllib
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from macmgr.capture.recordedkernel import RecordedKernel
from macmgr.capture.redaction import redacted
from macmgr.capture.renaming import make_renaming
from macmgr.config import Config, HookSettings, read_config
from macmgr.errors import MacmgrError, XmlError
from macmgr.hook.work import read_call
from macmgr.kernel import Kernel, wire
from macmgr.kernel.devicedump import _device, _features
from macmgr.kernel.events import decode_events, is_strange
from macmgr.kernel.fdbdump import decode_age, decode_entries, decode_replies
from macmgr.kernel.links import decode_links, decode_vids
from macmgr.kernel.mdbdump import decode_mdbs
from macmgr.kernel.sockets import _socket
from macmgr.kernel.vlanstates import decode_vlan_states
from macmgr.model.devices import DeviceFacts
from macmgr.model.hookcall import OPERATIONS, HookCall
from macmgr.model.intent import Intent, Manager, Settings
from macmgr.model.known import NOTHING_KNOWN, Known
from macmgr.model.snapshot import Bridge, BridgePort, Entry, EntryState, Snapshot
from macmgr.readers.document import Reader, read_with
from macmgr.readers.domain import Domain, read_domain_status
from macmgr.readers.network import read_network, read_network_port
from macmgr.readers.problems import check_document
from macmgr.reconcile import look
from macmgr.report.auditdocument import audit_document
from macmgr.sources import definition
from macmgr.sources.statusfiles import LibvirtState
from macmgr.state import memory
from macmgr.state.lock import WriterLock
from macmgr.state.memory import StateFile, is_lost, mark_of
from macmgr.state.observedfile import read_observed
from macmgr.tomledit import with_word
from macmgr.verbs import host as verbs
from macmgr.verbs.status import _understood
from macmgr.view import judged
from macmgr.wanted import WaitingCall, wanted
from macmgr.watch.hooksocket import HookSocket, Waits
from tests.fuzz import mutation

BOOT = "6f0c3c1d-1111-4222-8333-444455556666"
_CONFIG = Config({"br0": Settings(manager=Manager.LIBVIRT)})
_NAMES = {number: f"port{number}" for number in range(1, 40)}
_ANSWERS = re.compile(rb"(?:(?:ok|failed|refuse)(?: [^\n]+)?\n)?")
_SHM = Path("/dev/shm")  # memory, where there is such a place


@dataclass(frozen=True)
class Target:
    """One reader. ``buffer``: it reads what the kernel sends, and nothing that a person or a program wrote."""

    run: Callable[[bytes], object]
    form: mutation.Mutation
    declared: tuple[type[Exception], ...] = ()
    buffer: bool = False


def _host() -> RecordedKernel:
    ports = [
        BridgePort(f"vnet{each}", 10 + each, "br0", f"fe:54:00:aa:00:{each:02x}", vids=(1, 10), pvid=1, kind="tun")
        for each in range(4)
    ]
    ports.append(BridgePort("eth0", 5, "br0", "02:00:00:00:00:05", vids=(1, 10), pvid=1))
    entries = [Entry("52:54:00:aa:00:01", 1, "vnet1", EntryState.STATIC, True), Entry("02:ee:00:00:00:01", 1, "eth0")]
    bridges = {"br0": Bridge("br0", 1, "02:00:00:00:00:01", True), "br1": Bridge("br1", 2, "02:00:00:00:00:02")}
    masters: dict[str, str | None] = {port.name: port.bridge for port in ports}
    there = {port.name: port for port in ports}
    return RecordedKernel(Snapshot(bridges, there, masters | dict.fromkeys(bridges), tuple(entries)), DeviceFacts())


_KERNEL = cast("Kernel", _host())


_looks: set[int] = set()


def _look(intent: Intent, known: Known = NOTHING_KNOWN) -> None:
    """Once for each intent and memory: most inputs are refused, or come to the same."""
    what = hash(f"{intent}{known}")
    if what in _looks:
        return
    _looks.add(what)
    if len(_looks) > 100_000:
        _looks.clear()
    view = judged(look(lambda: intent, _KERNEL, known=known))
    json.dumps(audit_document(view, "h1", "2026-01-01T00:00:00Z")).encode("utf-8", "backslashreplace")


def _told(error: Exception) -> None:
    assert re.fullmatch(r"[^\n\r]{5,1000}", str(error)), f"not one line that a person reads: {str(error)[:2000]!r}"


def _read(reader: Reader[object], data: bytes) -> object:
    try:
        return read_with(reader, data, "file")
    except XmlError as error:
        _told(error)
        return None


def domain(data: bytes) -> None:
    """A domain's status file, beside a guest that has done nothing."""
    found = _read(read_domain_status, data)
    if isinstance(found, Domain):
        _look(wanted(LibvirtState((found, _GUEST)), _CONFIG))


def metadata(data: bytes) -> None:
    """What a guest's owner writes, in what libvirt writes."""
    domain(_status(1, data))


def _status(number: int, metadata: bytes = b"") -> bytes:
    return (
        b"<domstatus state='running' pid='1'><domain type='kvm'><name>g%d</name><uuid>u</uuid><metadata>%b</metadata>"
        b"<devices><interface type='bridge'><mac address='52:54:00:aa:00:0%d'/><source bridge='br0'/>"
        b"<target dev='vnet%d'/></interface></devices></domain></domstatus>" % (number, metadata, number, number)
    )


_GUEST = read_with(read_domain_status, _status(2), "file")


def network(data: bytes) -> None:
    found, port = _read(read_network, data), _read(read_network_port, data)
    networks = (found,) if found else ()
    ports = {"u": port} if port else {}
    _look(wanted(LibvirtState((_GUEST,), networks, ports=ports, definitions=networks), _CONFIG))  # type: ignore[arg-type]


def hook(data: bytes) -> None:
    for driver in OPERATIONS:
        call = HookCall(driver, "g1", OPERATIONS[driver][0])
        try:
            given = read_call(call, data)
        except XmlError as error:
            _told(error)
        else:
            _look(wanted(LibvirtState((_GUEST,)), _CONFIG, [WaitingCall(call, given)]))


def validate(data: bytes) -> None:
    for problem in check_document(data).problems:
        _told(ValueError(problem.at("file")))


def redaction(data: bytes) -> None:
    """The XML of a capture, plain and anonymous; and the network's definition that `net set` changes."""
    renaming = make_renaming([("domain", "g1"), ("mac", "52:54:00:aa:00:01"), ("network", "lan")], [], [])
    for renamed in (lambda _, value: value, renaming.renamed):
        with contextlib.suppress(ValueError):
            redacted(data, renamed)
    with contextlib.suppress(XmlError, UnicodeDecodeError):
        text = data.decode()
        changed = definition.with_manager(text, Manager.LIBVIRT)
        assert definition.without_manager(changed) == definition.without_manager(text)


def configuration(data: bytes) -> None:
    config, problems = read_config(data)
    for problem in problems:
        _told(ValueError(problem.at("file")))
    _look(wanted(LibvirtState((_GUEST,)), config))
    with contextlib.suppress(UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError):
        text = data.decode()
        if not problems and (edited := with_word(text, ("bridge", "br0", "mode"), "observe")) is not None:
            assert tomllib.loads(edited)["bridge"]["br0"]["mode"] == "observe"


async def _call(call: HookCall, data: bytes, _waits: Waits) -> tuple[bool, str]:
    try:
        return True, str(read_call(call, data).domain)
    except XmlError as error:
        return False, str(error)


_loop: list[asyncio.AbstractEventLoop] = []
_SOCKET = HookSocket(Path("hook.sock"), _call, lambda: b'{"version": 1}\n', HookSettings(refuse=True))


def hooksocket(data: bytes) -> None:
    """A request to the daemon, through a socket, and the answer as a hook reads it."""
    if not _loop:
        _loop.append(asyncio.new_event_loop())
    ours, theirs = socket.socketpair()
    with ours:
        theirs.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        ours.settimeout(5)
        ours.sendall(data[: 1 << 16])
        ours.shutdown(socket.SHUT_WR)
        _loop[0].run_until_complete(_SOCKET._serve(theirs))
        answer = b""
        while chunk := ours.recv(1 << 16):
            answer += chunk
    assert _ANSWERS.fullmatch(answer) or data == b"status\0", answer[:200]


def answer(data: bytes) -> None:
    """What `macmgr status` takes from the socket."""
    _understood(data, Path("hook.sock"))


def _place() -> Path:
    """A directory of this process, in memory."""
    if not _places:
        _places.append(tempfile.TemporaryDirectory(dir=_SHM if _SHM.is_dir() else None))
        (Path(_places[0].name) / "boot_id").write_text(BOOT)
        (Path(_places[0].name) / "macmgr").mkdir(mode=0o700)
    return Path(_places[0].name) / "macmgr"


_places: list[tempfile.TemporaryDirectory[str]] = []


@contextlib.contextmanager
def _in_that_boot() -> Iterator[None]:
    before, memory._BOOT_ID = memory._BOOT_ID, _place().parent / "boot_id"
    try:
        yield
    finally:
        memory._BOOT_ID = before


@_in_that_boot()
def remembered(data: bytes) -> None:
    """The state file, read by a writer, and a look with what it says."""
    path = _place() / "state.json"
    path.write_bytes(data)
    file = StateFile(WriterLock(), None, path)
    known = Known(memory=file.read())
    _look(wanted(LibvirtState((_GUEST,)), _CONFIG), known)
    file.keep(known.memory)
    (_place() / "state.json.broken").unlink(missing_ok=True)
    mark_of(path).unlink(missing_ok=True)


@_in_that_boot()
def mark(data: bytes) -> None:
    path = _place() / "remembered"
    path.write_bytes(data)
    is_lost(path, there=True)


def observed(data: bytes) -> None:
    path = _place() / "observed.json"
    path.write_bytes(data)
    read = read_observed(path=path)
    _look(wanted(LibvirtState((_GUEST,)), _CONFIG), Known(seen=read.records, seen_lost=read.lost))


def capture(data: bytes) -> None:
    """A capture of a stranger's host, and an audit of it."""
    descriptor = os.memfd_create("capture")
    try:
        os.write(descriptor, data)
        source = Path(f"/proc/self/fd/{descriptor}")
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            verbs._captured.cache_clear()
            verbs.audit(Namespace(**_AUDIT, replay=source))
    except MacmgrError as error:
        _told(error)
    finally:
        os.close(descriptor)


_AUDIT = {
    "verb": "audit", "domain": None, "bridge": None, "network": None, "config": None, "run_dir": Path("/run/libvirt"),
    "source": "status", "connect": None, "netns": None, "format": "json", "strict": False, "watch": False,
    "problems": False, "verbose": 0, "no_color": True,
}  # fmt: skip


def _grouped(data: bytes) -> dict[bytes, list[bytes]]:
    groups: dict[bytes, list[bytes]] = {}
    wire.group(data, groups)
    return groups


def fdb(data: bytes) -> None:
    """One datagram of an FDB dump: in bulk, and each message by itself."""
    groups = _grouped(data)
    decode_entries(groups, _NAMES)
    each = [message for _, _, _, message in wire.messages(data)]
    decode_replies(each, _NAMES)
    for message in each:
        decode_age(message)


def links(data: bytes) -> None:
    """One datagram of a dump of interfaces, ports and their VIDs; for the doctor, too."""
    groups = _grouped(data)
    found = decode_links(groups)
    decode_vids(groups)
    messages = list(wire.grouped_messages(groups, (wire.RTM_NEWLINK,), 32))
    names = {link.ifindex: link.name for link in found}
    for message in messages:
        _device(message, names)
    _features(messages)


def vlans(data: bytes) -> None:
    """The states of VLANs, and the groups of bridges."""
    groups = _grouped(data)
    decode_vlan_states(groups)
    decode_mdbs(groups, _NAMES)


def events(data: bytes) -> None:
    is_strange(data, (1, 2))
    decode_events(data)


def answers(data: bytes) -> None:
    """What the kernel says to a change, and about packet sockets."""
    for kind, _, _, message in wire.messages(data):
        if kind in (wire.NLMSG_ERROR, wire.NLMSG_DONE):
            wire.parse_error(message)
        else:
            _socket(message)


TARGETS = {
    "domain": Target(domain, mutation.of_xml),
    "metadata": Target(metadata, mutation.of_xml),
    "network": Target(network, mutation.of_xml),
    "hook": Target(hook, mutation.of_xml),
    "validate": Target(validate, mutation.of_xml),
    "redaction": Target(redaction, mutation.of_xml),
    "configuration": Target(configuration, mutation.of_text),
    "hooksocket": Target(hooksocket, mutation.of_text),
    "answer": Target(answer, mutation.of_json, (MacmgrError,)),
    "remembered": Target(remembered, mutation.of_json),
    "mark": Target(mark, mutation.of_text),
    "observed": Target(observed, mutation.of_json),
    "capture": Target(capture, mutation.of_tar),
    "fdb": Target(fdb, mutation.of_netlink, (wire.WireError,), buffer=True),
    "links": Target(links, mutation.of_netlink, (wire.WireError,), buffer=True),
    "vlans": Target(vlans, mutation.of_netlink, (wire.WireError,), buffer=True),
    "events": Target(events, mutation.of_netlink, (wire.WireError,), buffer=True),
    "answers": Target(answers, mutation.of_netlink, (wire.WireError,), buffer=True),
}
