"""A real kernel is captured: elsewhere, without root, the verbs say of it what they said here, byte for byte."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from macmgr import cli, paths
from macmgr.sources.statusfiles import Disk
from tests.netns.conftest import Namespace

pytestmark = pytest.mark.full_kernel
CONFIG = '[bridge.br0]\nmac_table_manager = "libvirt"\nlock = "yes"\nallow = ["00:00:5e:00:01:*"]\n'
QUESTIONS = (
    ("audit",),
    ("audit", "--json"),
    ("audit", "--domain", "web2"),
    ("plan",),
    ("plan", "--json"),
    ("show",),
    ("show", "--json"),
    ("explain", "web1"),
    ("explain", "up0", "--json"),
    ("explain", "52:54:00:aa:00:02"),
    ("doctor",),
    ("doctor", "br1", "--json"),
    ("trace", "--to", "52:54:00:aa:00:01"),
    ("trace", "--from", "vnet1", "--to", "239.1.2.3", "--json"),
    ("trace", "--from", "br0", "--to", "52:54:00:aa:00:09"),
)


def status(name: str, tap: str, mac: str, number: int) -> str:
    return f"""<domstatus state='running' reason='booted' pid='{number}'>
  <domain type='kvm'>
    <name>{name}</name>
    <uuid>00000000-0000-4000-8000-{number:012d}</uuid>
    <devices>
      <graphics type='vnc' passwd='hunter2'/>
      <interface type='bridge'>
        <mac address='{mac}'/>
        <source bridge='br0'/>
        <target dev='{tap}'/>
      </interface>
    </devices>
  </domain>
</domstatus>
"""


@pytest.fixture
def options(ns: Namespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A host with two bridges, an uplink, guests whose entries are here, missing and stolen, and a capture running."""
    for name in ("STATE", "OBSERVED", "REMEMBERED"):
        monkeypatch.setattr(paths, name, tmp_path / "memory" / name)
    filters = "vlan_filtering 1 vlan_default_pvid 1"
    able = ns.accepts(f"link add br9 type bridge {filters}")
    ns.add_bridge("br0", f"{filters if able else ''} mcast_snooping 1")
    ns.add_bridge("br1")
    ns.add_cable("up0")
    for number in range(4):
        ns.add_tap(f"vnet{number}", "br0" if number < 3 else "br1")
    for line in ("link add br0.5 link br0 type vlan id 5", "link add dummy0 type dummy", "link set dummy0 master br1"):
        ns.accepts(line)  # where there are such devices
    ns.bridge("fdb add 52:54:00:aa:00:02 dev up0 master static")
    ns.bridge("fdb add 52:54:00:aa:00:07 dev vnet3 master static sticky")
    run_dir = tmp_path / "run" / "libvirt"
    (run_dir / "qemu").mkdir(parents=True)
    for number, name in enumerate(("web1", "web2", "gone"), 1):
        text = status(name, f"vnet{number - 1}", f"52:54:00:aa:00:0{number}", os.getpid() if number < 3 else 10**8)
        (run_dir / "qemu" / f"{name}.xml").write_text(text)
    (run_dir / "qemu" / "torn.xml").write_text("<domstatus state='running'>\n  <domain")
    (tmp_path / "macmgr.toml").write_text(CONFIG)
    ns.settle()
    return ["--netns", ns.name, "--run-dir", str(run_dir), "--config", str(tmp_path / "macmgr.toml")]


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    capsys.readouterr()
    code = cli.run(words)
    out, err = capsys.readouterr()
    return code, re.sub(r'"taken_at": "[^"]*"', "", out), err


def test_verbs_say_of_the_capture_what_they_say_here(
    ns: Namespace, options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["apply", "--domain", "web1", *options]) in (0, 1)  # so that there is a memory
    for name in ("h1", "h1.tar"):
        with ns.packet_socket("up0"):
            here = [said(capsys, *words, *options) for words in QUESTIONS]
            assert cli.run(["capture", str(tmp_path / name), *options]) == 0
        assert any("stolen-entry" in out for _, out, _ in here)
        for words, answer in zip(QUESTIONS, here, strict=True):
            assert said(capsys, *words, "--replay", str(tmp_path / name)) == answer, words
    assert b"hunter2" not in (tmp_path / "h1.tar").read_bytes()


def test_nobody_can_look_at_it_anywhere(options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without any of root's powers, in another network namespace, and when the host is gone."""
    answer = said(capsys, "audit", *options)
    assert cli.run(["capture", str(tmp_path / "h1.tar"), *options]) == 0
    shutil.rmtree(tmp_path / "run")
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # where pytest's own directories let nobody in
        elsewhere = shutil.copy(tmp_path / "h1.tar", name)
        Path(elsewhere).chmod(0o444)
        command = [sys.executable, "-m", "macmgr", "audit", "--replay", elsewhere]
        powerless = ["setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        alone = ["unshare", "--net", *powerless, *command]  # still root's files: those of tox are root's alone
        done = subprocess.run(alone, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == answer


def test_who_may_not_read_gets_a_capture_that_says_so(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_disk: Disk, _path: Path) -> list[str]:
        raise PermissionError

    with monkeypatch.context() as patched:
        patched.setattr(Disk, "names", refused)
        answer = said(capsys, "audit", *options)
        assert answer[0] == 77
        assert cli.run(["capture", str(tmp_path / "h1.tar"), *options]) == 0
        assert "Without libvirt: " in capsys.readouterr().out
    assert said(capsys, "audit", "--replay", str(tmp_path / "h1.tar")) == answer
