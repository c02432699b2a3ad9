"""The state file: whole or not at all, ours or nobody's, and never in the way of a repair."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.errors import KernelError
from macmgr.model.intent import GuestPort, Intent, Manager, Policy
from macmgr.model.known import NOTHING, Held, KeptMac, Memory, PortBefore
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags, Snapshot
from macmgr.reconcile import apply
from macmgr.safefiles import write_own
from macmgr.state import memory
from macmgr.state.lock import WriterLock
from macmgr.state.memory import LastRead, StateFile, is_another_macmgrs, managed_ports, read_memory, remove
from tests.fake_kernel import FakeKernel, make_snapshot

MAC = "52:54:00:00:00:01"
TAP_MAC = "fe:54:00:00:00:01"
LOCK = WriterLock()
PORT = PortBefore(
    "vnet0",
    7,
    TAP_MAC,
    "br0",
    2,
    "web1",
    "u1",
    PortFlags(learning=True, unicast_flood=False, locked=None),
    (Held(MAC, False, (0, 1, 2, 3, 10)), Held(MAC, True, (4094,))),
)
KEPT = KeptMac(MAC, "br0", "web1", "vnet0", 7)
MEMORY = Memory((PORT,), (KEPT,), (("vnet9", 9),))
GUEST = GuestPort("vnet0", "br0", "web1", "u1", (MAC,), policy=Policy(Manager.LIBVIRT))
INTENT = Intent((GUEST,), {"br0": "a test says so"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "macmgr" / "state.json"


LOST = Memory(lost=True)


def keep(path: Path, what: Memory, netns: str | None = None) -> str:
    """One writer's life; what it has to say."""
    file = StateFile(LOCK, netns, path)
    file.read()
    file.keep(what)
    return file.problem


def host(*entries: Entry, ifindex: int = 7, bridge_ifindex: int = 2) -> Snapshot:
    tap = BridgePort("vnet0", ifindex, "br0", TAP_MAC, vids=(1,), pvid=1)
    uplink = BridgePort("eth0", 3, "br0", "02:00:00:00:00:03", vids=(1,), pvid=1)
    return make_snapshot([Bridge("br0", bridge_ifindex, "02:00:00:00:00:02", True)], [tap, uplink], entries)


def test_what_is_kept_is_read_by_the_next_process(path: Path) -> None:
    assert keep(path, MEMORY) == ""
    assert read_memory(None, path) == (MEMORY, "")
    assert StateFile(LOCK, None, path).read() == MEMORY


def test_nothing_is_remembered_before_the_first_write(path: Path) -> None:
    assert read_memory(None, path) == (NOTHING, "")
    assert keep(path, NOTHING) == ""
    assert not path.parent.exists()


def test_only_root_reads_it(path: Path) -> None:
    keep(path, MEMORY)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_directory_that_others_may_enter_is_closed(path: Path) -> None:
    path.parent.mkdir(0o755)
    keep(path, MEMORY)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_did_not_change_is_not_written(path: Path) -> None:
    keep(path, MEMORY)
    before = path.stat()
    keep(path, MEMORY)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_network_namespaces_do_not_forget_each_other(path: Path) -> None:
    other = Memory((replace(PORT, ifindex=8),))
    keep(path, MEMORY)
    keep(path, other, "blue")
    assert read_memory(None, path)[0] == MEMORY
    assert read_memory("blue", path)[0] == other
    keep(path, NOTHING)
    assert read_memory("blue", path)[0] == other


def test_a_thousand_vids_are_a_pair(path: Path) -> None:
    trunk = Memory((replace(PORT, held=(Held(MAC, False, tuple(range(4095))),)),))
    keep(path, trunk)
    assert path.stat().st_size < 600
    assert read_memory(None, path)[0] == trunk


@pytest.mark.parametrize("moment", ["fsync", "rename"])
def test_a_writer_killed_half_way_leaves_the_old_file(path: Path, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(path, MEMORY)
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(os, moment, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL))
        keep(path, NOTHING)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert read_memory(None, path) == (MEMORY, "")
    more = Memory((PORT,))
    assert keep(path, more) == ""  # what the killed one left is in nobody's way
    assert read_memory(None, path) == (more, "")
    assert os.listdir(path.parent) == [path.name]


def test_the_file_is_synced_before_it_takes_the_name(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def noted_fsync(descriptor: int) -> None:
        order.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_rename(old: str, new: str, *, src_dir_fd: int, dst_dir_fd: int) -> None:
        order.append("rename")
        rename(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "rename", noted_rename)
    keep(path, MEMORY)
    assert order[:3] == ["file", "rename", "directory"]  # the mark comes after it


def document(**changed: object) -> bytes:
    good = {"version": 1, "boot": memory.boot(), "namespaces": {}}
    return json.dumps(good | changed).encode()


BROKEN = {
    "empty": b"",
    "truncated": document()[:-3],
    "not text": b"\xff\xfe\x00",
    "another document": b"[1, 2]",
    "another program's": document(version="2"),
    "a port that is none": document(namespaces={"": {"ports": [{"port": "vnet0"}], "macs": [], "given_back": []}}),
    "a number for a name": document(namespaces={"": {"ports": [], "macs": [[1, 2, 3, 4, 5]], "given_back": []}}),
    "no VIDs": document(
        namespaces={
            "": {
                "ports": [
                    {
                        "port": "vnet0",
                        "ifindex": 7,
                        "mac": TAP_MAC,
                        "bridge": "br0",
                        "bridge_ifindex": 2,
                        "domain": "web1",
                        "uuid": "u1",
                        "learning": True,
                        "unicast_flood": True,
                        "locked": None,
                        "static": [{"mac": MAC, "sticky": False, "vids": [[0, 2**40]]}],
                    }
                ],
                "macs": [],
                "given_back": [],
            }
        }
    ),
    "deep": b"[" * 100_000,
    "huge": b" " * (17 << 20),
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line_and_moved_aside(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    looked, problem = read_memory(None, path)
    assert looked == LOST
    assert problem.startswith(f"{path}: is ")
    assert path.exists(), "who only looks moves nothing"
    said = keep(path, MEMORY)
    assert said.startswith(f"{path}: is ")
    assert "\n" not in said
    assert "state.json.broken" in said
    assert path.with_name("state.json.broken").read_bytes() == content
    assert read_memory(None, path) == (replace(MEMORY, lost=True), "")


def test_a_symbolic_link_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(document())
    path.parent.mkdir()
    path.symlink_to(target)
    assert "symbolic link" in read_memory(None, path)[1]
    assert "symbolic link" in keep(path, MEMORY)
    assert target.read_bytes() == document()
    assert not path.is_symlink()
    assert read_memory(None, path) == (replace(MEMORY, lost=True), "")


def test_a_link_in_the_place_of_the_directory_is_not_followed(path: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path.parent.symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in keep(path, MEMORY)
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_link_in_the_place_of_the_new_file_is_not_followed(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_text("mine")
    path.parent.mkdir(0o700)
    (path.parent / ".state.json.new").symlink_to(target)
    assert keep(path, MEMORY) == ""
    assert target.read_text() == "mine"


def test_a_fifo_holds_nobody(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)
    assert "not a regular file" in keep(path, MEMORY)


def test_somebody_elses_directory_is_not_trusted(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(document())
    os.chown(path.parent, 12345, -1)
    assert "belongs to user 12345" in keep(path, MEMORY)
    assert path.read_bytes() == document()


@pytest.mark.parametrize("call", ["open", "rename", "fsync"])
def test_what_cannot_be_written_is_one_line(path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path.parent.mkdir(0o700)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    file = StateFile(LOCK, None, path)
    file.read()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse)
        file.keep(MEMORY)
    assert file.problem.startswith(f"{path}: cannot be written: No space left on device; ports are still managed")


def test_what_cannot_be_read_is_not_overwritten(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(path, MEMORY)
    file = StateFile(LOCK, None, path)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", _fail)
        assert file.read() == LOST
    file.keep(Memory((PORT,), (KEPT,), lost=True))
    assert "cannot be read: Input/output error" in file.problem
    # and it is known later that something is missing
    assert read_memory(None, path) == (replace(MEMORY, lost=True), "")


def _fail(descriptor: int, *_: object, **__: object) -> None:
    os.close(descriptor)
    raise OSError(5, "Input/output error")


@pytest.mark.parametrize("content", [b"", b"{"], ids=["empty", "truncated"])
def test_a_broken_file_does_not_stop_an_apply(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    kernel = FakeKernel(host())
    outcome = apply(LOCK, lambda: INTENT, kernel, notes=StateFile(LOCK, None, path))
    assert outcome.complete
    assert outcome.done
    assert read_memory(None, path)[0].ports[0].flags == PortFlags()


def test_another_boots_file_says_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every interface it names is gone, and others may have the names and the numbers."""
    keep(path, MEMORY)
    monkeypatch.setattr(memory, "boot", lambda: "another boot")
    assert read_memory(None, path) == (NOTHING, "")
    fresh = Memory((replace(PORT, flags=PortFlags()),))
    assert keep(path, fresh) == ""
    assert read_memory(None, path) == (fresh, "")
    assert not path.with_name("state.json.broken").exists()


def test_a_run_that_fails_after_its_memory_was_not_written_says_both(path: Path) -> None:
    path.parent.touch()
    file = StateFile(LOCK, None, path)
    file.read()
    file.keep(MEMORY)
    with pytest.raises(KernelError, match=r"^reading the FDB: no; .*state\.json: cannot be read"), file.told():
        raise KernelError("reading the FDB: no")


def test_a_file_that_cannot_be_looked_at_for_a_moment_is_not_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is it replaced by the little that this process knows."""
    keep(path, MEMORY)

    def refused(*_: object, **__: object) -> os.stat_result:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    file = StateFile(LOCK, None, path)
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", refused)
        assert file.read().lost
        file.keep(replace(MEMORY, macs=()))
    assert "cannot be read: Cannot allocate memory" in file.problem
    assert StateFile(LOCK, None, path).read().ports == MEMORY.ports


def test_removing_leaves_nothing_of_ours_and_everything_of_others(path: Path) -> None:
    keep(path, MEMORY)
    path.with_name("state.json.broken").touch()
    assert set(remove(path)) == {path, path.with_name("state.json.broken"), path.parent}
    assert not path.parent.exists()
    keep(path, MEMORY)
    path.with_name("notes").touch()
    list(remove(path))
    assert os.listdir(path.parent) == ["notes"]


def test_ports_that_are_gone_are_not_said_to_be_managed(path: Path) -> None:
    """The loopback device always has ifindex 1."""
    here = replace(PORT, port="lo", ifindex=1)
    keep(path, Memory((here, PORT, replace(PORT, port="lo", ifindex=2))))
    assert managed_ports(path) == ["lo on br0"]
    path.write_text("rubbish")
    assert managed_ports(path) == []


def test_it_is_written_before_the_kernel_is_touched(path: Path) -> None:
    """A macmgr that is killed in between knows how the port was."""
    kernel = FakeKernel(host())
    known: list[Memory] = []
    kernel.before_each_send = lambda: known.append(read_memory(None, path)[0])
    apply(LOCK, lambda: INTENT, kernel, notes=StateFile(LOCK, None, path))
    assert {each.ports[0].flags for each in known} == {PortFlags()}


def test_an_apply_writes_once(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = _counted(monkeypatch)
    kernel = FakeKernel(host())
    for _ in range(3):
        apply(LOCK, lambda: INTENT, kernel, notes=StateFile(LOCK, None, path))
    assert writes() == 1


def _counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    done: list[Path] = []

    def counted(path: Path, text: str, *, mode: int = 0o700) -> None:
        if path.suffix == ".json":  # the mark beside it is a word for this boot
            done.append(path)
        write_own(path, text, mode=mode)

    monkeypatch.setattr(memory, "write_own", counted)
    return lambda: len(done)


def test_what_another_process_wrote_meanwhile_is_seen(path: Path) -> None:
    """Who reads again and again reads the file only when it is another one."""
    known = LastRead()
    for what in (MEMORY, NOTHING, MEMORY):
        keep(path, what)
        for _ in range(2):
            assert StateFile(LOCK, None, path, known).read() == what
    path.unlink()
    assert StateFile(LOCK, None, path, known).read() == LOST
    path.write_text("{")
    assert StateFile(LOCK, None, path, known).read() == LOST


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = LastRead()
    keep(path, MEMORY)
    StateFile(LOCK, None, path, known).read()
    monkeypatch.setattr(memory, "_read", None)
    assert StateFile(LOCK, None, path, known).read() == MEMORY


def test_what_cannot_be_read_for_a_moment_is_lost_only_if_a_port_was_changed_meanwhile(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(path, MEMORY)
    for changed in (False, True):
        file = StateFile(LOCK, None, path, watched=True)
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdopen", _fail)
            found = file.read()
        file.keep(replace(found, macs=(KEPT,), ports=(PORT,) if changed else ()))
        assert read_memory(None, path)[0].lost is changed


def test_another_versions_document_is_left_where_it_is(path: Path) -> None:
    keep(path, MEMORY)
    content = path.read_bytes().replace(b'"version": 1', b'"version": 2')
    path.write_bytes(content)
    looked, problem = read_memory(None, path)
    assert (looked, "is another macmgr's (version 2)" in problem) == (LOST, True)
    said = keep(path, MEMORY)
    assert ("is left as it is" in said, "\n" in said) == (True, False)
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name]
    assert is_another_macmgrs(path)
    path.write_bytes(content.replace(b'"version": 2', b'"version": 1'))
    assert not is_another_macmgrs(path)
    assert read_memory(None, path)[0] == replace(MEMORY, lost=True)  # and the other one knows that more was done


def test_what_a_newer_one_wrote_into_fields_of_its_own_is_kept(path: Path) -> None:
    """Within a version fields may be added. Whoever does not know them writes them again."""
    keep(path, MEMORY)
    keep(path, MEMORY, "blue")
    document = json.loads(path.read_text())
    document["colour"] = "red"
    document["namespaces"][""]["shapes"] = [1, 2]
    document["namespaces"][""]["ports"][0]["hairpin_mode"] = {"was": True}
    path.write_text(json.dumps(document))
    other = replace(PORT, port="vnet1", ifindex=8)
    keep(path, replace(MEMORY, ports=(other, PORT)))
    keep(path, NOTHING, "blue")
    written = json.loads(path.read_text())
    assert written["colour"] == "red"
    assert written["namespaces"][""]["shapes"] == [1, 2]
    assert [port.get("hairpin_mode") for port in written["namespaces"][""]["ports"]] == [None, {"was": True}]
    assert "blue" not in written["namespaces"]
    again = replace(PORT, ifindex=9)  # a new tap of that name is another port
    keep(path, replace(MEMORY, ports=(again,)))
    assert "hairpin_mode" not in path.read_text()
    keep(path, NOTHING)
    assert json.loads(path.read_text())["namespaces"] == {"": {**written["namespaces"][""], **EMPTY}}


EMPTY: dict[str, list[object]] = {"ports": [], "macs": [], "given_back": []}


@pytest.mark.parametrize("boots", [{"boot": "an earlier one"}, {"boot": "an earlier one", "namespaces": 5}])
def test_a_newer_ones_document_of_another_boot_is_nobodys(path: Path, boots: dict[str, object]) -> None:
    keep(path, MEMORY)
    document = json.loads(path.read_text()) | {"version": 2} | boots
    path.write_text(json.dumps(document))
    (path.parent.parent / "macmgr.remembered").unlink()  # a new boot has an empty /run
    assert read_memory(None, path) == (NOTHING, "")
    assert not is_another_macmgrs(path)
    assert keep(path, MEMORY) == ""
    assert read_memory(None, path) == (MEMORY, "")


@pytest.mark.parametrize("version", [0, -1, True, None, "2", 1.0])
def test_what_is_no_version_is_no_memory(path: Path, version: object) -> None:
    keep(path, MEMORY)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": version}))
    assert "is not what macmgr wrote" in keep(path, MEMORY)


def test_a_mark_of_another_form_says_that_something_is_lost(path: Path) -> None:
    keep(path, MEMORY)
    (path.parent.parent / "macmgr.remembered").write_text(f"{memory.boot()} whole in 2 files")
    assert read_memory(None, path)[0].lost
