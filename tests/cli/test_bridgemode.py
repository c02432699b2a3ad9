"""`macmgr manage` and `observe`: one bridge's mode in the configuration, and what follows. No port is changed."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from macmgr import cli, paths
from macmgr.installation import default_config
from macmgr.verbs import bridgemode
from tests.cli.conftest import Host, Said

on = pytest.mark.case
DONE, USAGE, GONE, BUSY, WRONG = 0, 2, 69, 75, 78
OBSERVE = b"# ours\r\n[defaults]\r\nmode = 'observe'   # for now"


@pytest.fixture(autouse=True)
def no_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "HOOK_SOCKET", tmp_path / "hook.sock")


def said(host: Host, *words: str) -> list[str]:
    """The lines of an answer without an error, with the file's name for its path."""
    answer = host.macmgr(*words)
    assert (answer.code, answer.stderr) == (DONE, "")
    return answer.stdout.replace(f"{host.config}", "FILE").splitlines()


def refused(host: Host, *words: str) -> Said:
    """One line, and nothing is written."""
    before = sorted((path.name, path.read_bytes()) for path in host.config.parent.iterdir() if path.is_file())
    answer = host.macmgr(*words)
    assert answer.code != DONE
    assert answer.stdout == ""
    after = sorted((path.name, path.read_bytes()) for path in host.config.parent.iterdir() if path.is_file())
    assert after == before
    return answer


@on("drift")
def test_a_bridge_of_a_network_is_observed_and_managed_again(host: Host) -> None:
    host.config.write_bytes(OBSERVE)
    host.config.chmod(0o640)
    snapshot = host.kernel.read_snapshot(())
    managed = said(host, "manage", "br0")
    assert managed[:2] == ['written: FILE:6: mode = "manage"', "br0 is managed now."]
    makes = "The next hook, or 'macmgr apply', makes them"
    assert re.fullmatch(
        rf"\d+ changes are to be made: 'macmgr plan --bridge br0' shows them\. {makes}\.",
        managed[2],
    )
    assert host.config.read_bytes() == OBSERVE + b'\r\n\r\n[bridge."br0"]\r\nmode = "manage"\r\n'
    assert stat.S_IMODE(host.config.stat().st_mode) == 0o640
    assert said(host, "manage", "br0")[0] == 'already there: FILE:6: mode = "manage"'
    observed = said(host, "observe", "br0")
    stays = "What macmgr made there stays until 'macmgr release --bridge br0'."
    assert observed[:2] == [
        'written: FILE:6: mode = "observe"',
        f"br0 is only observed now: nothing is changed. {stays}",
    ]
    assert observed[2].endswith("changes would be made: 'macmgr plan' shows them.")
    assert host.config.read_bytes() == OBSERVE + b'\r\n\r\n[bridge."br0"]\r\nmode = "observe"\r\n'
    assert host.kernel.read_snapshot(()) == snapshot
    assert host.macmgr("apply").stderr.startswith("macmgr: br0 is only observed")
    said(host, "manage", "br0")
    assert host.macmgr("apply").stderr == ""
    assert said(host, "manage", "br0")[2] == "No change is to be made now."


@on("nothing-managed")
@pytest.mark.parametrize("verb", ["manage", "observe"])
def test_a_bridge_that_nobody_hands_over_is_handed_over(host: Host, verb: str) -> None:
    """The mode alone would do nothing: a person who says manage wants its guests managed."""
    host.config.write_text("# mine")
    lines = said(host, verb, "br0")
    assert lines[:2] == [f'written: FILE:5: mode = "{verb}"', 'written: FILE:4: mac_table_manager = "libvirt"']
    assert host.config.read_text() == f'# mine\n\n[bridge."br0"]\nmac_table_manager = "libvirt"\nmode = "{verb}"\n'
    assert "release" not in lines[2]
    assert re.match(r"\d+ changes? (is|are|would be) ", lines[3])


@on("nothing-managed")
def test_without_a_configuration_the_other_bridges_are_only_observed(host: Host) -> None:
    """It begins as the one that `macmgr install` writes: nobody has said that the others are to be managed."""
    assert not host.config.exists()
    said(host, "manage", "br0")
    text = host.config.read_bytes()
    section = b'\n[bridge."br0"]\nmac_table_manager = "libvirt"\nmode = "manage"\n'
    assert text == default_config(manage=False) + section
    assert stat.S_IMODE(host.config.stat().st_mode) == 0o644


@on("nothing-managed")
@pytest.mark.parametrize("name", ["br0", "br-*", "b*"])
def test_a_bridge_that_is_left_to_the_kernel_in_writing(host: Host, name: str) -> None:
    host.config.write_text(f'[bridge."{name}"]\nmac_table_manager = "kernel"\n[bridge."?r0"]\npin = "auto"\n')
    answer = host.macmgr("manage", "br0")
    if name == "br-*":
        assert answer.code == DONE
        return
    assert (answer.code, answer.stderr) == (
        WRONG,
        f'macmgr: {host.config}:2: mac_table_manager = "kernel" leaves br0 to the kernel; change that first\n',
    )


@pytest.mark.parametrize("verb", ["manage", "observe"])
def test_a_bridge_that_nobody_knows(host: Host, verb: str) -> None:
    answer = refused(host, verb, "bro0")
    assert answer.code == GONE
    assert "bridge 'bro0' does not exist here" in answer.stderr
    assert "did you mean 'br0'?" in answer.stderr


def test_a_bridge_that_is_not_here_yet(host: Host) -> None:
    host.config.write_text('[bridge."br7"]\npin = "sticky"\n')
    answer = host.macmgr("manage", "br7")
    assert answer.code == DONE
    assert answer.stderr == "macmgr: bridge 'br7' does not exist here yet\n"
    assert answer.stdout.splitlines()[-1] == "br7 is managed now."
    assert host.config.read_text() == '[bridge."br7"]\nmac_table_manager = "libvirt"\nmode = "manage"\npin = "sticky"\n'


@pytest.mark.parametrize("name", ["", "br-*", "a b", "x" * 16, "a/b", "\udcff", "br0\n"])
def test_no_name_of_a_bridge(host: Host, name: str) -> None:
    assert refused(host, "manage", name).code in (USAGE, GONE)


def test_a_wrong_file(host: Host) -> None:
    host.config.write_text('[bridge."br0"]\nmode = "managed"\n')
    answer = refused(host, "manage", "br0")
    assert answer.code == WRONG
    assert answer.stderr.startswith(f"macmgr: {host.config}:2: mode is 'managed'; allowed: manage, observe")
    host.config.write_text(" \n")
    assert "is empty" in refused(host, "observe", "br0").stderr


def test_a_link_is_not_followed(host: Host) -> None:
    other = host.config.with_name("other.toml")
    other.write_text("")
    host.config.unlink(missing_ok=True)
    host.config.symlink_to(other)
    answer = refused(host, "manage", "br0")
    assert (answer.code, answer.stderr.count("\n")) == (WRONG, 1)
    assert f"name its file: --config {other}" in answer.stderr
    assert host.config.is_symlink()


def test_somebody_writes_it_meanwhile(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.config.write_bytes(OBSERVE)
    looks = bridgemode._is_to_hand_over

    def edits(*arguments: object) -> bool:
        host.config.write_bytes(OBSERVE + b"\n# theirs")
        return looks(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(bridgemode, "_is_to_hand_over", edits)
    assert host.macmgr("manage", "br0").code == BUSY
    assert host.config.read_bytes() == OBSERVE + b"\n# theirs"


def test_without_libvirt_a_bridge_can_be_stopped_and_not_started(host: Host) -> None:
    """Nobody knows then who hands the bridge over, so only the mode is written."""
    host.config.write_text("[audit]\n")
    gone = str(host.run_dir / "gone")
    assert cli.run(["manage", "--run-dir", gone, "br0"]) == GONE
    assert host.config.read_text() == "[audit]\n"
    assert cli.run(["observe", "--run-dir", gone, "br0"]) == DONE
    assert host.config.read_text() == '[audit]\n\n[bridge."br0"]\nmode = "observe"\n'


@on("drift")
def test_what_networks_say_that_cannot_be_read_hands_nothing_over(host: Host) -> None:
    """A file that cannot be read for a moment must not give all guests of the bridge to macmgr."""
    (network,) = (host.run_dir / "network").glob("*.xml")
    network.unlink()
    network.mkdir()
    answer = refused(host, "manage", "br0")
    assert answer.code == GONE
    assert "so it is not known if a network hands br0 to macmgr" in answer.stderr
    stopped = host.macmgr("observe", "br0")
    assert stopped.code == DONE
    assert "is changed nevertheless" in stopped.stderr
    assert '\nmac_table_manager = "libvirt"' not in host.config.read_text()


def test_a_directory_that_may_not_be_written(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    host.config.write_bytes(OBSERVE)

    def no(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(os, "rename", no)
    assert host.macmgr("manage", "br0").code == 77
    assert host.config.read_bytes() == OBSERVE
