"""A round that fails: it is told, hooks are answered, and the next one begins anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from macmgr import paths
from macmgr.config import Config
from macmgr.errors import NotThere
from macmgr.model.findings import Code
from macmgr.model.hookcall import HookCall
from macmgr.model.intent import skip_nothing
from macmgr.readers.domain import Domain, Nic
from macmgr.readers.hookdata import HookInput
from macmgr.sources.statusfiles import StatusFiles
from macmgr.wanted import WaitingCall, wanted
from macmgr.watch import round as round_module
from macmgr.watch.round import Rounds

HEARD = WaitingCall(HookCall("daemon", "-", "start"), HookInput())


@pytest.fixture(autouse=True)
def no_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "LOCK", tmp_path / "lock")
    monkeypatch.setattr(paths, "STATE", tmp_path / "state.json")
    monkeypatch.setattr(paths, "REMEMBERED", tmp_path / "remembered")


def test_no_libvirt_is_a_failure_that_every_hook_hears_of(tmp_path: Path) -> None:
    done = Rounds(tmp_path / "libvirt", None).run([HEARD, HEARD], Config(), skip_nothing)
    assert isinstance(done.failure, NotThere)
    assert done.answers == ((False, str(done.failure)),) * 2
    assert done.outcome is None


def test_a_bug_is_one_line_that_says_where_and_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise KeyError("hunter2")

    rounds = Rounds(tmp_path, None)
    with monkeypatch.context() as patched:
        patched.setattr(round_module, "wanted", broken)
        done = rounds.run([HEARD], Config(), skip_nothing)
    assert str(done.failure).startswith("failed unexpectedly (KeyError at test_watch_round.py:")
    assert "hunter2" not in str(done.failure)
    assert rounds.run([], Config(), skip_nothing, whole=False).failure is None


def test_a_call_that_concerns_nothing_managed_asks_no_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most calls on most hosts: no lock is taken, no netlink socket opened."""
    monkeypatch.setattr(round_module, "Kernel", None)
    heard = WaitingCall(HookCall("qemu", "g1", "started"), HookInput(domain=Domain("g1", "u", "qemu", ())))
    done = Rounds(tmp_path, None).run([heard], Config(), skip_nothing, whole=False)
    assert (done.answers, done.outcome, done.failure) == (((True, ""),), None, None)


def test_ports_that_are_left_as_they_are_are_a_failure_as_they_are_in_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy that is not understood: on_error = "refuse" has to hear of it, whoever does the work."""
    nic = Nic("52:54:00:00:00:01", "bridge", "bridge", bridge="br0", tap="vnet0")
    domain = Domain("g1", "u", "qemu", (nic,), problem="the metadata of g1 is not understood")
    heard = WaitingCall(HookCall("qemu", "g1", "start"), HookInput(domain=domain))
    monkeypatch.setattr(round_module, "Kernel", None)
    ((well, text),) = Rounds(tmp_path, None).run([heard], Config(), skip_nothing, whole=False).answers
    assert not well
    assert "vnet0 is left as before" in text


def test_the_daemon_and_audit_know_the_same_conflicts(tmp_path: Path) -> None:
    """A network that waits for its next start is a conflict for both; each look of a hook does without it."""
    run_dir, definitions = tmp_path / "run/libvirt", tmp_path / "etc/libvirt/qemu/networks"
    (run_dir / "network").mkdir(parents=True)
    definitions.mkdir(parents=True)
    active = "<network><name>lan</name><uuid>n</uuid><bridge name='br0'/></network>"
    (run_dir / "network/lan.xml").write_text(f"<networkstatus>{active}</networkstatus>")
    (definitions / "lan.xml").write_text(active.replace("'br0'", "'br0' macTableManager='libvirt'"))
    audited = wanted(StatusFiles(run_dir).read(), Config())
    assert [finding.code for finding in audited.findings] == [Code.CONFLICTING_SETTINGS]
    assert Rounds(run_dir, None)._intent([], Config()) == audited
    assert wanted(StatusFiles(run_dir).read(definitions=False), Config()).findings == ()
