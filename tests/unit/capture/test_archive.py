"""A capture is written whole or not at all, and one from a stranger leads nowhere and takes no room."""

from __future__ import annotations

import errno
import io
import json
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from macmgr.capture import archive
from macmgr.capture.archive import read_capture, write_capture
from macmgr.capture.origin import Origin
from macmgr.capture.records import from_json, to_json
from macmgr.capture.replaying import origin_of_capture
from macmgr.errors import CaptureError, KernelError, NotThere
from macmgr.model.snapshot import Entry, Snapshot

FILES: Mapping[str, bytes] = {"capture.json": b"{}", "libvirt/qemu/web 1.xml": b"<a/>", "libvirt/empty.xml": b""}


@pytest.mark.parametrize("name", ["h1", "h1.tar"])
def test_what_is_written_is_read_back(tmp_path: Path, name: str) -> None:
    write_capture(tmp_path / name, FILES)
    assert read_capture(tmp_path / name) == FILES
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["h1", "h1.tar"])
@pytest.mark.parametrize("fails", ["write", "rename"])
def test_nothing_is_left_of_what_could_not_be_written(
    tmp_path: Path, name: str, fails: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("pathlib.Path.rename" if fails == "rename" else "macmgr.capture.archive.os.fdopen", full)
    with pytest.raises(KernelError, match=rf"{name}: cannot be written: No space left on device; nothing is left"):
        write_capture(tmp_path / name, FILES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["h1", "h1.tar"])
def test_what_came_meanwhile_is_not_replaced(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fdopen = os.fdopen

    def somebody_else(*words: Any) -> Any:
        (tmp_path / name).write_text("mine")
        return fdopen(*words)

    monkeypatch.setattr("macmgr.capture.archive.os.fdopen", somebody_else)
    with pytest.raises(KernelError, match="is there already"):
        write_capture(tmp_path / name, FILES)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_other_programs_may_pack_it(tmp_path: Path) -> None:
    """In any of tar's formats, below a directory of any name, or below none."""
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        for top in ("", "./", "h1/"):
            path = tmp_path / f"{form}{top.strip('/')}.tar"
            with tarfile.open(path, "w", format=form, pax_headers={"comment": "by hand"}) as made:
                for name, data in FILES.items():
                    member = tarfile.TarInfo(f"{top}{name}")
                    member.size, member.mtime = len(data), 1.5
                    made.addfile(member, io.BytesIO(data))
            assert read_capture(path) == FILES


def tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as made:
        for member in members:
            made.addfile(member, io.BytesIO(bytes(member.size)))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, size, "/etc/shadow"
    return made


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ([member("../capture.json")], "leads out of it"),
        ([member("/etc/capture.json")], "leads out of it"),
        ([member("a/../../capture.json")], "leads out of it"),
        ([member("a//capture.json")], "leads out of it"),
        ([member("capture.json", tarfile.SYMTYPE)], "is a link, or no file"),
        ([member("capture.json", tarfile.LNKTYPE)], "is a link, or no file"),
        ([member("capture.json", tarfile.CHRTYPE)], "is a link, or no file"),
        ([member("capture.json", tarfile.FIFOTYPE)], "is a link, or no file"),
        ([member("capture.json", tarfile.GNUTYPE_SPARSE)], "is a link, or no file"),
        ([member("capture.json"), member("capture.json")], "is in it twice"),
        ([member("a/b/c/d/e/f/g/capture.json")], "too deep"),
        ([member("x" * 200)], "is a link, or no file"),
        ([member("something")], "has no capture.json"),
    ],
)
def test_a_hostile_tar_is_refused(tmp_path: Path, members: list[tarfile.TarInfo], why: str) -> None:
    with pytest.raises(CaptureError, match=why):
        read_capture(tar(tmp_path / "h1.tar", *members))


def test_a_torn_tar_is_refused(tmp_path: Path) -> None:
    write_capture(tmp_path / "h1.tar", FILES)
    data = (tmp_path / "h1.tar").read_bytes()
    for length in (0, 1, 511, 512, 513, 1024, 1536):
        (tmp_path / "torn.tar").write_bytes(data[:length])
        with pytest.raises(CaptureError, match="ends too early"):
            read_capture(tmp_path / "torn.tar")
    for garbage in (bytes(range(256)) * 4, b"\x80" * 512, data[:100] + b"x" + data[101:], b"<xml/>" * 200):
        (tmp_path / "torn.tar").write_bytes(garbage)
        with pytest.raises(CaptureError, match="is no capture that can be read"):
            read_capture(tmp_path / "torn.tar")


def test_a_bomb_takes_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_MOST_FILES", 5)
    monkeypatch.setattr(archive, "_MOST_BYTES", 100_000)
    with pytest.raises(CaptureError, match="more than 5 files"):
        read_capture(tar(tmp_path / "many.tar", *(member(str(number)) for number in range(9))))
    with pytest.raises(CaptureError, match="more than 5 files"):
        read_capture(tar(tmp_path / "big.tar", member("a", size=60_000), member("b", size=60_000)))
    with pytest.raises(CaptureError, match="a file in it is too large"):
        read_capture(tar(tmp_path / "one.tar", member("a", size=150_000)))
    with (tmp_path / "sparse.tar").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(CaptureError, match="it is larger than"):
        read_capture(tmp_path / "sparse.tar")
    (tmp_path / "directory").mkdir()
    for number in range(9):
        (tmp_path / "directory" / str(number)).touch()
    with pytest.raises(CaptureError, match="more than 5 files"):
        read_capture(tmp_path / "directory")


@pytest.mark.parametrize("put", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo], ids=["link", "fifo"])
def test_a_hostile_directory_is_refused(tmp_path: Path, put: Callable[[Path], None]) -> None:
    put(tmp_path / "capture.json")
    with pytest.raises(CaptureError, match="is a link, or no file"):
        read_capture(tmp_path)
    with pytest.raises((CaptureError, NotThere)):
        read_capture(tmp_path / "capture.json")


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    index = {"format": "macmgr capture", "version": 1, "taken_at": "2026-11-21T12:00:00+00:00", "host": "h1"}
    return {
        "capture.json": index | {"versions": {"macmgr": "1.0"}},
        "config.json": {"config": {}},
        "devices.json": {"devices": {}},
        "kernel.json": {"snapshot": {}},
        "libvirt.json": {"run_dir": "/r", "definitions": "/d", "documents": [], "unlisted": {}, "ended": []},
        "memory.json": {"memory": {}, "problem": "", "seen": [], "hooks": []},
    }


def origin(folder: Path, documents: Mapping[str, Any]) -> Origin:
    write_capture(folder / "h1", {name: json.dumps(each).encode() for name, each in documents.items()})
    return origin_of_capture(folder / "h1")


def test_a_capture_needs_no_more_than_this(tmp_path: Path, whole: Mapping[str, Any]) -> None:
    assert origin(tmp_path, whole).name == "h1"


def test_a_missing_part_is_a_torn_capture(tmp_path: Path, whole: Mapping[str, Any]) -> None:
    for number, name in enumerate(each for each in whole if each != "capture.json"):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(CaptureError, match=f"h1: is torn: '{name}' is not in it"):
            origin(tmp_path / str(number), {key: each for key, each in whole.items() if key != name})


@pytest.mark.parametrize(
    ("name", "changed", "why"),
    [
        ("capture.json", {"format": "another"}, "the format is another one"),
        ("capture.json", {"version": 2}, "is a capture of version 2, and this macmgr reads version 1; macmgr 1.0"),
        ("capture.json", {"version": "1"}, "'1' where int is expected"),
        ("capture.json", {"taken_at": "yesterday"}, "Invalid isoformat"),
        ("config.json", {"config": {"bridges": {"br0": {"pin": "superglue"}}}}, "'superglue' is not a valid Pin"),
        ("config.json", {"error": {"kind": "SystemExit", "text": ""}}, "without 'SystemExit'"),
        ("devices.json", {"devices": {"devices": {"a": {"name": 1, "ifindex": 1}}}}, "1 where str is expected"),
        ("kernel.json", {"snapshot": {"bridges": {"br0": {"name": "br1", "ifindex": 1, "mac": ""}}}}, "another's name"),
        ("kernel.json", {"snapshot": {"entries": [["52:54:00:aa:00:01", 0, "vnet0"]]}}, "which is no bridge port"),
        ("kernel.json", {"snapshot": {"entries": [["52:54:00:aa:00:01"]]}}, "Entry: a list of 1"),
        ("kernel.json", {"snapshot": {"ports": {"a": {"name": "a", "color": 1}}}}, "has no field 'color'"),
        ("kernel.json", {"snapshot": {"refreshed": [1, 2]}}, "int where list is expected|1 where list"),
        ("kernel.json", {"snapshot": []}, "list where dict is expected"),
        ("libvirt.json", {"documents": [{"path": "/r/qemu/a.xml", "file": "../../etc/passwd"}]}, "is torn"),
        ("libvirt.json", {"documents": [{}]}, "without 'path'"),
        ("memory.json", {"memory": {"ports": [[]]}}, "list where dict is expected"),
    ],
)
def test_a_part_that_is_wrong_is_refused_in_one_line(
    tmp_path: Path, whole: dict[str, Any], name: str, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(CaptureError, match=why) as refused:
        origin(tmp_path, whole | {name: whole[name] | changed})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{", "[]", '{"config": NaN}', '{"config": 1' + "0" * 5000 + "}", "\xff"]
)
def test_what_is_no_document_is_refused(tmp_path: Path, whole: Mapping[str, Any], text: str) -> None:
    files = {name: json.dumps(each).encode() for name, each in whole.items()}
    write_capture(tmp_path / "h1", files | {"config.json": text.encode("latin-1")})
    with pytest.raises(CaptureError, match=r"config.json: is not what"):
        origin_of_capture(tmp_path / "h1")


def test_records_are_read_back_exactly() -> None:
    """What has its default is left out, and a row is as short as it can be."""
    entry = Entry("52:54:00:aa:00:01", 1, "vnet0")
    snapshot = Snapshot(entries=(entry, entry._replace(sticky=True)), refreshed={("br0", "m", 1): (0.1, 2.0)})
    said = json.loads(json.dumps(to_json(snapshot)))
    assert said == {
        "entries": [["52:54:00:aa:00:01", 1, "vnet0"], ["52:54:00:aa:00:01", 1, "vnet0", "static", True]],
        "refreshed": [[["br0", "m", 1], [0.1, 2.0]]],
    }
    assert from_json(Snapshot, said) == snapshot
