"""`macmgr capture`, and the verbs on what it wrote: they say there what they say on the host, byte for byte."""

from __future__ import annotations

import json
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NoReturn

import pytest

from macmgr.errors import NoPermission
from macmgr.model.multicast import Mdb, Member
from macmgr.model.snapshot import Entry, EntryState
from macmgr.verbs import bugreport
from tests.cli.conftest import Host, Said, run_macmgr
from tests.golden.case import CASES

on = pytest.mark.case
ALL = [pytest.param(folder.name, marks=on(folder.name)) for folder in CASES]
# Hosts with every kind of file that is read, and of what may be wrong with one.
SOME = [
    pytest.param(name, marks=on(name))
    for name in ("unreadable-files", "unreadable-policy", "control-plane", "roles", "metadata-of-an-interface", "names")
]
QUESTIONS = (
    ("audit", "--problems"),
    ("audit", "--format", "plugin"),
    ("plan", "--json"),
    ("plan", "--vlans"),
    ("show",),
    ("show", "--json"),
    ("doctor",),
    ("doctor", "--json"),
    ("explain", "br0", "-v"),
    ("explain", "vnet0", "--json"),
    ("trace", "--to", "52:54:00:aa:00:01"),
    ("trace", "--from", "vnet0", "--to", "ff:ff:ff:ff:ff:ff", "--json"),
    ("trace", "--from", "vnet0", "--to", "239.1.2.3"),
    ("graph", "--format", "dot"),
)


def replay(host: Host, capture: Path, *words: str) -> Said:
    """macmgr on the capture, and on nothing of the host."""
    return host.macmgr_without_run_dir(*words, "--replay", str(capture))


def without_times(said: Said) -> Said:
    """The time of a look is that of the capture, and the replay has that."""
    return Said(said.code, re.sub(r'"taken_at": "[^"]*"', "", said.stdout), said.stderr)


def same(host: Host, capture: Path, *words: str) -> None:
    assert without_times(replay(host, capture, *words)) == without_times(host.macmgr(*words)), words


@pytest.mark.parametrize("_case", ALL)
def test_an_audit_of_the_capture_is_that_of_the_host(_case: str, host: Host, tmp_path: Path) -> None:
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    same(host, tmp_path / "h1.tar", "audit", "--json")
    same(host, tmp_path / "h1.tar", "plan")


@pytest.mark.parametrize("_case", SOME)
def test_every_verb_says_the_same(_case: str, host: Host, tmp_path: Path) -> None:
    """In a directory, too, and with groups of multicast."""
    host.kernel.mdb = {"br0": Mdb((Member("239.1.2.3", 1, "vnet0", "192.0.2.1"),), frozenset({"eth0"}))}
    assert host.macmgr("capture", str(tmp_path / "h1")).code == 0
    for words in QUESTIONS:
        same(host, tmp_path / "h1", *words)


def test_the_capture_of_a_capture_is_the_same(host: Host, tmp_path: Path) -> None:
    assert host.macmgr("capture", str(tmp_path / "one")).code == 0
    assert replay(host, tmp_path / "one", "capture", str(tmp_path / "two")).code == 0
    one, two = (
        {path.relative_to(top): path.read_bytes() for path in top.rglob("*.*") if path.name != "capture.json"}
        for top in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two


def test_memory_and_sightings_are_in_it(host: Host, tmp_path: Path) -> None:
    host.kernel.lose_entry("br0", "52:54:00:aa:00:01", 0)
    assert host.macmgr("apply").code == 0
    (tmp_path / "observed.json").write_text("{")
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    assert "is not what macmgr watch wrote" in replay(host, tmp_path / "h1.tar", "audit").stderr
    same(host, tmp_path / "h1.tar", "audit")


def test_a_capture_changes_nothing_and_is_its_owners_alone(host: Host, tmp_path: Path) -> None:
    before = host.kernel.read_snapshot()
    files = set(tmp_path.rglob("*"))
    for name in ("h1", "h1.tar"):
        assert host.macmgr("capture", str(tmp_path / name)).code == 0
    assert (host.kernel.read_snapshot(), host.kernel.sent) == (before, [])
    made = set(tmp_path.rglob("*")) - files
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    with tarfile.open(tmp_path / "h1.tar") as archive:
        assert {(each.mode, each.uid) for each in archive} == {(0o600, 0)}


@pytest.mark.parametrize("name", ["h1", "h1.tar"])
def test_a_capture_replaces_nothing(host: Host, tmp_path: Path, name: str) -> None:
    (tmp_path / name).symlink_to("nowhere")
    said = host.macmgr("capture", str(tmp_path / name))
    assert (said.code, said.stdout) == (71, "")
    assert "is there already" in said.stderr
    assert (tmp_path / name).is_symlink()


def test_a_capture_needs_a_directory_to_be_in(host: Host, tmp_path: Path) -> None:
    said = host.macmgr("capture", str(tmp_path / "no" / "h1.tar"))
    assert (said.code, said.stdout) == (71, "")
    assert said.stderr == f"macmgr: {tmp_path}/no/h1.tar: cannot be written: {tmp_path}/no is no directory\n"


@pytest.mark.parametrize("verb", ["apply", "release", "manage", "status", "watch"])
def test_what_changes_a_host_takes_no_capture(host: Host, tmp_path: Path, verb: str) -> None:
    after = host.macmgr_without_run_dir(verb, "--replay", str(tmp_path), *(["br0"] if verb == "manage" else []))
    before = host.macmgr_without_run_dir("--replay", str(tmp_path), verb, *(["br0"] if verb == "manage" else []))
    assert (after.code, before.code) == (2, 2)
    assert f"macmgr {verb}: error: unrecognized arguments: --replay" in after.stderr
    assert f"{verb} has no option --replay" in before.stderr


@pytest.mark.parametrize("option", ["config", "run-dir", "source", "connect", "netns"])
def test_a_capture_and_a_host_are_not_read_at_once(host: Host, tmp_path: Path, option: str) -> None:
    words = ["audit", "--replay", str(tmp_path), f"--{option}", "status"]
    said = host.macmgr_without_run_dir(*words)
    assert said.code == 2
    assert f"argument --{option}: not with --replay" in said.stderr


def test_an_unknown_name_is_refused_as_on_the_host(host: Host, tmp_path: Path) -> None:
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    for words in (("audit", "--bridge", "br9"), ("plan", "--domain", "web9"), ("trace", "--to", "52:54:00:aa:00:99")):
        same(host, tmp_path / "h1.tar", *words)


def test_what_cannot_be_read_here_cannot_be_read_there(host: Host, tmp_path: Path) -> None:
    """No libvirt, and a wrong configuration: both verbs and capture say it, and the capture is written."""
    host.config.write_text('[bridge.br0]\nlock = "maybe"\n')
    said = host.macmgr("capture", str(tmp_path / "config.tar"))
    assert (said.code, said.stderr) == (0, "")
    assert f"Without config: {host.config}:2: lock is 'maybe'" in said.stdout
    same(host, tmp_path / "config.tar", "audit")
    host.config.write_text("")
    host.run_dir = tmp_path / "nowhere"
    said = host.macmgr("capture", str(tmp_path / "libvirt.tar"))
    assert said.code == 0
    assert f"Without libvirt: {tmp_path}/nowhere: no such directory" in said.stdout
    same(host, tmp_path / "libvirt.tar", "audit")
    assert replay(host, tmp_path / "libvirt.tar", "audit").code == 69


def test_a_look_up_is_believed_more_than_a_dump(host: Host, tmp_path: Path) -> None:
    """An entry that a dump misses is not missing, and so not in the capture either."""
    host.kernel.skipped_by_dumps = {("br0", "52:54:00:aa:00:01", 1)}
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    host.kernel.skipped_by_dumps = set()
    same(host, tmp_path / "h1.tar", "audit")


def test_a_long_table_is_as_long_there(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that is too long is not read to its end in a replay either, and the doctor reads it whole."""
    monkeypatch.setattr("macmgr.capture.recordedkernel.MOST_LISTED", 3)
    for number in range(9):
        host.kernel.set_entry(Entry(f"02:00:00:00:01:{number:02x}", 0, "eth0", EntryState.DYNAMIC))
    host.kernel.too_long = {"br0"}
    assert host.macmgr("capture", str(tmp_path / "h1.tar")).code == 0
    for words in (("audit", "--json"), ("doctor",), ("explain", "eth0"), ("trace", "--to", "02:00:00:00:01:07")):
        same(host, tmp_path / "h1.tar", *words)


def test_the_capture_names_versions(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bugreport, "_LIBVIRT_DAEMONS", ("no-such-daemon", "uname"))
    assert host.macmgr("capture", str(tmp_path / "h1")).code == 0
    index = json.loads((tmp_path / "h1" / "capture.json").read_text())
    assert index["versions"].keys() == {"macmgr", "kernel", "python", "libvirt", "pyroute2", "lxml", "rich"}
    assert all(index["versions"].values())


def test_nothing_of_this_machine_is_read(tmp_path: Path) -> None:
    """As a process of its own, what is no capture is refused in one line."""
    said = run_macmgr("audit", "--replay", tmp_path, capture_output=True)
    assert (said.returncode, said.stdout) == (65, "")
    assert said.stderr == f"macmgr: {tmp_path}: is no capture: it has no capture.json\n"
    said = run_macmgr("audit", "--replay", tmp_path / "none", capture_output=True)
    assert said.returncode == 69


def test_a_bug_does_not_keep_its_report_from_being_written(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a reader, in the planner, in the kernel's edge: the replay meets it again."""

    def bug(*_: object, **__: object) -> NoReturn:
        raise KeyError("bug")

    for number, place in enumerate(("sources.statusfiles.read_domain_status", "reconcile.with_taps")):
        with monkeypatch.context() as patched:
            patched.setattr(f"macmgr.{place}", bug)
            failed = host.macmgr("audit")
            assert failed.code == 70
            said = host.macmgr("capture", str(tmp_path / f"{number}.tar"))
            assert said.code == 0
            assert replay(host, tmp_path / f"{number}.tar", "audit").code == 70
        assert number or "Without libvirt: failed unexpectedly (KeyError" in said.stdout
    monkeypatch.setattr(host.kernel, "read_snapshot", bug)
    said = host.macmgr("capture", str(tmp_path / "kernel.tar"))
    assert "Without kernel: failed unexpectedly (KeyError" in said.stdout
    assert replay(host, tmp_path / "kernel.tar", "audit").code == 70


def test_without_the_kernel(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its devices may be the only part that cannot be read: only the doctor asks for them."""

    def refused(*_: object, **__: object) -> NoReturn:
        raise NoPermission("reading the addresses of eth0: Operation not permitted (EPERM)")

    monkeypatch.setattr(host.kernel, "read_devices", refused)
    assert "Without devices: reading" in host.macmgr("capture", str(tmp_path / "devices.tar")).stdout
    same(host, tmp_path / "devices.tar", "doctor")
    same(host, tmp_path / "devices.tar", "audit")
    monkeypatch.setattr(host.kernel, "read_snapshot", refused)
    assert "Without kernel: reading" in host.macmgr("capture", str(tmp_path / "kernel.tar")).stdout
    same(host, tmp_path / "kernel.tar", "audit")
    assert replay(host, tmp_path / "kernel.tar", "audit").code == 77


JUNK: tuple[Any, ...] = (None, True, -1, 10**12, 1.5, "", "x", "zz:zz:zz:zz:zz:zz", "\x1b[31m", [], [[]], {})


def places_in(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*way, key)
        yield from places_in(value[key], (*way, key))


@on("roles")
def test_a_strangers_capture_gets_an_answer_or_one_line(host: Host, tmp_path: Path) -> None:
    """One value at a time is another."""
    random = Random(1)  # noqa: S311 - no secret
    assert host.macmgr("apply").code in (0, 1)
    assert host.macmgr("capture", str(tmp_path / "good")).code == 0
    refused = 0
    for number in range(60):
        made = Path(shutil.copytree(tmp_path / "good", tmp_path / str(number)))
        path = random.choice(sorted(made.glob("*.json")))
        document = changed = json.loads(path.read_text())
        *way, last = random.choice(list(places_in(document)))
        for key in way:
            changed = changed[key]
        changed[last] = random.choice(JUNK)
        path.write_text(json.dumps(document))
        for words in (("audit",), ("doctor",), ("explain", "eth0")):
            said = replay(host, made, *words)
            assert said.code in (0, 1, 65, 69), (path.name, way, last, changed[last], said)
            assert "\x1b" not in said.stdout + said.stderr
            refused += said.code == 65
    assert refused
