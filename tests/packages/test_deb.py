"""The Debian package in clean trees of Debian: built, installed, used, upgraded, removed and purged.

`python -m pytest -s` prints what a person sees, and how long `apt install` took; no time decides.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from macmgr import __version__
from macmgr.watch.eventsources import NO_INOTIFY
from tests.netns.conftest import eventually
from tests.packages.cleantree import BUILD, RELEASES, CleanTree, network, unpacked

HOOKS = [f"/etc/libvirt/hooks/{driver}.d/99-macmgr" for driver in ("daemon", "lxc", "network", "qemu")]
CONFIG = "/etc/macmgr/macmgr.toml"
DOMAIN = """\
<domain type='kvm'><name>web1</name><uuid>u1</uuid><devices><interface type='bridge'>
<mac address='52:54:00:aa:00:01'/><source bridge='br0'/><target dev='vnet0'/></interface></devices></domain>"""
INSTALL = "apt-get -q -y --no-install-recommends install"


@pytest.fixture(scope="session", params=RELEASES)
def builder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CleanTree]:
    """A tree in which the package was built, as /root/macmgr_*.deb. Nothing is fetched for it."""
    with unpacked(request.param, tmp_path_factory.mktemp("builder"), BUILD) as tree:
        tree.script("BUILD=full unshare --net sh /mnt/packaging/build-deb.sh /root")
        yield tree


@pytest.fixture
def clean(builder: CleanTree, tmp_path: Path) -> Iterator[CleanTree]:
    """A tree of the same release with nothing but the package's file."""
    with unpacked(builder.root.name, tmp_path) as tree:
        shutil.copy(builder.path(f"/root/macmgr_{__version__}_all.deb"), tree.path("/root/macmgr.deb"))
        yield tree


def bridge_state(tree: CleanTree) -> tuple[object, object]:
    """The flags of the ports, and the entries that the bridge has not learned by itself."""

    def said(*words: str) -> list[dict[str, Any]]:
        command = ["bridge", "-n", tree.namespace, "-d", "-j", *words]
        answer: list[dict[str, Any]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return answer

    entries = [(each["mac"], each["ifname"], each.get("state")) for each in said("fdb", "show", "br", "br0")]
    return said("link"), sorted(entry for entry in entries if entry[2] == "static")


def hooks_of(tree: CleanTree) -> list[str]:
    return [hook for hook in HOOKS if os.access(tree.path(hook), os.X_OK)]


def test_lintian_finds_nothing(builder: CleanTree) -> None:
    said = builder.script("lintian --allow-root --fail-on none /root/macmgr_*.changes")
    assert said == ""


def test_the_packages_own_test(builder: CleanTree) -> None:
    """autopkgtest installs the package, and runs debian/tests of its source."""
    said = builder.script("cd /root && autopkgtest --no-built-binaries macmgr_*.deb macmgr_*.dsc -- null", check=False)
    assert re.search(r"(?m)^observe +PASS$", said), said


def test_from_the_installation_to_the_purge(clean: CleanTree) -> None:
    clean.script("apt-get -q update")
    before, start = clean.files(), time.monotonic()
    said = clean.script(f"cd /root && {INSTALL} ./macmgr.deb")
    print(f"{clean.root.name}: apt install took {time.monotonic() - start:.0f} s")
    print(said[said.index("Setting up macmgr") :])
    assert "Traceback" not in said
    assert "without hooks" not in said
    assert hooks_of(clean) == HOOKS
    assert '\nmode = "observe"\n' in clean.path(CONFIG).read_text()
    units = {path for path in clean.files() if path.endswith("/macmgr.service")}
    assert len({clean.path(path).resolve() for path in units}) == 1  # one of the paths goes through a link
    assert not any("/etc/systemd" in f"/{path}" for path in units)
    with network(clean):
        used(clean)
        upgraded(clean)
        removed(clean)
    shutil.rmtree(clean.path("/run/libvirt"))  # the guest's file is ours
    clean.script("dpkg --purge macmgr")
    clean.script("apt-get -q -y autoremove --purge")
    left = clean.files() - before  # of libraries that it brought, apt keeps some
    assert {
        path for path in left if "macmgr" in path or path.startswith(("etc/libvirt", "etc/systemd", "run"))
    } == set()


def used(clean: CleanTree) -> None:
    """On a bridge with a guest nothing changes, and each verb says so."""
    status = clean.path("/run/libvirt/qemu/web1.xml")
    status.parent.mkdir(parents=True)
    status.write_text(f"<domstatus state='running' pid='1'>{DOMAIN}</domstatus>")
    state = bridge_state(clean)
    print(clean.run("macmgr", "observe", "br0", bridge=True))
    audit = clean.run("macmgr", "audit", bridge=True, check=False)
    assert "br0 is only observed" in audit
    for operation in ("started", "reconnect"):
        # What it says is for the journal: on a busy machine that it gave up after two seconds.
        print(clean.run(HOOKS[-1], "web1", operation, "begin", "-", stdin=DOMAIN, bridge=True))
    with_a_daemon(clean)
    assert bridge_state(clean) == state
    completed = (
        ". /usr/share/bash-completion/completions/macmgr; COMP_WORDS=(macmgr au); COMP_CWORD=1; COMP_LINE='macmgr au'"
        "; COMP_POINT=9; $(complete -p macmgr | sed -n 's/.* -F \\([^ ]*\\) .*/\\1/p'); echo \"${COMPREPLY[@]}\""
    )
    assert clean.run("bash", "-c", completed).strip() == "audit"
    for page in ("man1/macmgr.1", "man5/macmgr.toml.5", "man7/macmgr-hooks.7"):
        assert ".SH NAME" in clean.script(f"gzip -dc /usr/share/man/{page}.gz")
    assert clean.path("/usr/share/zsh/vendor-completions/_macmgr").is_file()
    assert clean.path("/usr/share/macmgr/xml-schemas/macmgr-network.rng").is_file()


def with_a_daemon(clean: CleanTree) -> None:
    log = clean.path("/root/daemon.log")
    with log.open("wb") as said:
        command = ["macmgr", "watch"]
        daemon = subprocess.Popen(clean.command(*command, bridge=True), stdout=said, stderr=said, env=clean.environment)
    try:
        answers: list[str] = []

        def answered() -> bool:
            answers.append(clean.run("macmgr", "status", "--json", bridge=True, check=False))
            return answers[-1].startswith("{") and json.loads(answers[-1])["managed"]["bridges"] != []

        eventually(answered, lambda: f"the daemon has looked\n{log.read_text()}\n{answers[-1:]}")
        assert [each["mode"] for each in json.loads(answers[-1])["managed"]["bridges"]] == ["observe"]
        assert log.read_text().count(NO_INOTIFY) == 1
    finally:
        daemon.send_signal(signal.SIGTERM)
        daemon.wait(60)


def upgraded(clean: CleanTree) -> None:
    """Hooks and configuration stay; and where there are no hooks, none come."""
    config = clean.path(CONFIG).read_text()
    again = f"cd /root && {INSTALL} --reinstall ./macmgr.deb"
    clean.script(again)
    assert hooks_of(clean) == HOOKS
    assert clean.path(CONFIG).read_text() == config
    clean.run("macmgr", "install", "--no-hooks")
    clean.script(again)
    assert hooks_of(clean) == []
    clean.run("macmgr", "install")
    assert hooks_of(clean) == HOOKS


def removed(clean: CleanTree) -> None:
    """The ports are given back, the hooks are gone, and the changed configuration stays until the purge."""
    state = bridge_state(clean)
    clean.run("macmgr", "manage", "br0", bridge=True)
    clean.run("macmgr", "apply", bridge=True)
    assert bridge_state(clean) != state
    said = clean.script("apt-get -q -y remove macmgr", bridge=True)
    print(said)
    assert "Traceback" not in said
    assert bridge_state(clean) == state
    assert not any("macmgr" in path for path in clean.files() if path.startswith(("etc/libvirt", "usr/", "lib/")))
    assert clean.path(CONFIG).exists()


def test_a_host_on_which_hooks_cannot_be_put(clean: CleanTree) -> None:
    """Another program's file is in their place: the package is installed, says so, and goes again."""
    mine = clean.path(HOOKS[-1])
    mine.parent.mkdir(parents=True)
    mine.write_text("#!/bin/sh\n# mine\n")
    clean.script("apt-get -q update")
    said = clean.script(f"cd /root && {INSTALL} ./macmgr.deb")
    print(said[said.index("Setting up macmgr") :])
    assert "exists and is not macmgr's" in said
    assert "without hooks until 'macmgr install' succeeds" in said
    assert hooks_of(clean) == []
    assert "install ok installed" in clean.run("dpkg-query", "-W", "-f", "${Status}", "macmgr")
    clean.script("apt-get -q -y purge macmgr")
    assert mine.read_text() == "#!/bin/sh\n# mine\n"
    assert not clean.path("/etc/macmgr").exists()
    assert not clean.path("/var/lib/macmgr").exists()
