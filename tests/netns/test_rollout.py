"""The commands of docs/rollout.rst and README.rst, typed in their order on one host: what they print, and what changes.

The host has files of its own where macmgr is installed, and a stand-in for systemctl: it starts the real daemon, stops
it, and calls libvirt's hook, as systemd and libvirtd do. ``--update-golden`` writes what is printed into the page.
"""

from __future__ import annotations

import os
import pty
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import termios
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

from tests.netns.conftest import LONG, Namespace, eventually
from tests.netns.house import House, house, mac_of

TOP = Path(__file__).parents[2]
ROLLOUT, README = TOP / "docs" / "rollout.rst", TOP / "README.rst"
BLOCK = re.compile(r"(?m)^(\.\. typed on one host\n\n::\n\n)((?:    .*\n|\n(?=\n*    ))+)")
SHELL = re.compile(r"(?m)^(?:.*)::\n\n((?:    sudo .*\n)+)")
GUESTS = ("web1", "web2")
# Of README.rst: macmgr is installed already, and the lab is a machine of its own.
OTHERWISE = ("python3 -m venv ", "/opt/macmgr/bin/pip ", "ln -s ", "rm -r /opt/macmgr ", "./run ")


def state(host: House) -> tuple[Any, ...]:
    """All that macmgr could have changed, but for what the bridge learns: released addresses age like any other."""
    filtering = host.ns.links()["br0"]["linkinfo"]["info_data"].get("vlan_filtering")
    static = [each for each in host.ns.fdb() if each["state"]]
    return host.ns.bridge_json("-d link"), filtering, host.ns.bridge_json("vlan"), static


@dataclass
class Shell:
    """A root shell on the host."""

    host: House
    daemon: subprocess.Popen[bytes] | None = None

    def typed(self, line: str) -> str:
        """Types a line; what it prints on a terminal of 80 columns."""
        words = shlex.split(line, comments=True)
        if words[:1] == ["systemctl"]:
            self._systemctl(*words[1:])
            return ""
        ours, theirs = pty.openpty()
        ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 80, 0, 0))
        # what says that it works, and how far it is, is for the terminal alone: it is not kept
        process = subprocess.Popen(
            self.host.command("sh", "-c", line),
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=subprocess.PIPE,
            env={**self._environment, "TERM": "xterm", "NO_COLOR": "1"},
        )
        os.close(theirs)
        printed = b""
        with suppress(OSError):  # EIO: nobody has the terminal any more
            while chunk := os.read(ours, 65536):
                printed += chunk
        os.close(ours)
        _, complaints = process.communicate(timeout=LONG)
        assert process.returncode in (0, 1), (line, printed, complaints)
        assert complaints == b"", line
        text = printed.decode().replace("\r\n", "\n")
        return re.sub(r"(?<=within )\d+(?= s)", "120", "".join(f"{each.rstrip()}\n" for each in text.splitlines()))

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

    def _systemctl(self, *words: str) -> None:
        if words == ("enable", "--now", "macmgr"):
            with (self.host.root / "daemon.log").open("ab") as log:
                command = self.host.command("macmgr", "watch")
                self.daemon = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment)
            eventually(lambda: "watches" in self.host.log, lambda: self.host.log)
        elif words == ("disable", "--now", "macmgr"):
            self.stop()
        elif words == ("reload", "macmgr"):
            assert self.daemon is not None
            self.daemon.send_signal(signal.SIGHUP)
            eventually(lambda: self._follows(), lambda: self.host.log)
        else:
            assert words == ("reload", "libvirtd")
            hook = "/etc/libvirt/hooks/daemon.d/99-macmgr"
            command = self.host.command(hook, "-", "reload", "begin", "SIGHUP")
            said = subprocess.run(command, check=True, capture_output=True, timeout=LONG, env={"PATH": "/usr/bin:/bin"})
            assert said.stdout == b""

    def _follows(self) -> bool:
        """The daemon has read the configuration, and made what there is to be made."""
        modes = {each["name"]: each["mode"] for each in self.host.status()["managed"]["bridges"]}
        wanted = re.findall(r'(?m)^mode = "(\w+)"', self.host.config.read_text())[-1]
        return modes.get("br0") == wanted and (wanted == "observe" or (self.host.managed(1) and self.host.managed(2)))

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.terminate()
            self.daemon.wait(LONG)
            self.daemon = None


@pytest.fixture
def shell(ns: Namespace, tmp_path: Path) -> Iterator[Shell]:
    """br0 without VLAN filtering, eth0, and two guests with an interface of type bridge; nothing of macmgr's."""
    pytest.importorskip("inotify_simple")
    with house(ns, tmp_path) as host:
        own = "cp -a /etc /run/etc && mount --bind /run/etc /etc && rm -rf /etc/macmgr /etc/libvirt/hooks/*"
        own += " && mkdir -p /etc/libvirt/hooks /etc/systemd/system /run/systemd/system"
        subprocess.run(host.command("sh", "-c", own), check=True, timeout=LONG)
        libvirtd = shutil.copy(str(shutil.which("sleep")), tmp_path / "libvirtd")  # `install` names the one that runs
        runs = subprocess.Popen(host.command(str(libvirtd), "infinity"))
        Path(f"/proc/{host.keeper.pid}/root/run/libvirtd.pid").write_text(f"{runs.pid}\n")
        ns.ip("link del up0")
        ns.add_cable("eth0")
        for number, name in enumerate(GUESTS, 1):
            ns.add_cable(f"vnet{number}")
            host.status_file(name, f"vnet{number}", mac_of(number))
        ns.settle()
        made = Shell(host)
        host.config.unlink()
        host.config.symlink_to(f"/proc/{host.keeper.pid}/root/etc/macmgr/macmgr.toml")
        try:
            yield made
        finally:
            made.stop()
            runs.kill()
            runs.wait()


@pytest.mark.full_kernel
def test_the_page_is_what_is_printed_and_changes_what_it_says(shell: Shell, request: pytest.FixtureRequest) -> None:
    """Without VLAN filtering in the kernel the ports have no VIDs: then only the changes are compared."""
    knows_vids = shell.host.ns.accepts("link add probe type bridge vlan_filtering 1")
    page = ROLLOUT.read_text()
    start = state(shell.host)
    changed: list[tuple[str, bool]] = []
    for head, body in BLOCK.findall(page):
        parts = []
        for line in re.findall(r"(?m)^    # ((?:macmgr|systemctl) .*)$", body):
            parts.append(f"# {line}\n{shell.typed(line)}")
            changed.append((line, state(shell.host) != start))
        loud = any(part.count("\n") > 1 for part in parts)
        text = ("\n" if loud else "").join(parts)
        if request.config.getoption("--update-golden"):
            page = page.replace(head + body, head + textwrap.indent(text, "    "), 1)
            ROLLOUT.write_text(page)
        elif knows_vids:
            assert textwrap.dedent(body) == text, "--update-golden writes it anew"
    typed, different = [line for line, _ in changed], [line for line, is_changed in changed if is_changed]
    managed, released = typed.index("macmgr manage br0"), typed.index("macmgr release")
    assert typed.index("macmgr install") < typed.index("macmgr apply --bridge br0 --try 120") < managed
    assert different == typed[managed + 1 : released], "only from the daemon's reload on, and until it is given back"
    left = subprocess.run(
        shell.host.command("sh", "-c", "ls /etc/macmgr /etc/libvirt/hooks/*.d /var/lib/macmgr"),
        capture_output=True,
        check=False,
        timeout=LONG,
    )
    assert "99-macmgr" not in left.stdout.decode()
    assert "state.json" not in left.stdout.decode()


def test_each_command_of_the_readme_works_in_its_order(shell: Shell) -> None:
    """Nothing changes before `apply --try`, and what the whole of it leaves behind is nothing."""
    start = state(shell.host)
    lines = [line.strip() for block in SHELL.findall(README.read_text()) for line in block.splitlines()]
    typed = [line.removeprefix("sudo ") for line in lines]
    assert [line for line in lines if not line.startswith("sudo ")] == []
    done = []
    for line in typed:
        if line.startswith(OTHERWISE):
            continue
        shell.typed(line)
        done.append(line.partition("  #")[0].rstrip())
        managed = "macmgr manage br0" in done and "macmgr release" not in done
        is_reloaded = "systemctl reload macmgr" in done
        assert (state(shell.host) != start) == (managed and is_reloaded), line
    assert done[:2] == ["macmgr show", "macmgr audit"]
    assert done[-1] == "macmgr uninstall"
