"""A clean Debian on this machine: a minimal tree of a release, unpacked anew for each use, and a network of its own.

Package sources are this machine's, with the name of the release. A tree's archive is kept in .lab/packages.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.debian import FETCHING, FILES, INDEXES, PATH, sources_of

CHECKOUT = Path(__file__).resolve().parents[2]
KEPT = CHECKOUT / ".lab" / "packages"
RELEASES = ("bookworm", "trixie")
BUILD = (
    *("build-essential", "debhelper", "dh-python", "pybuild-plugin-pyproject", "python3-docutils", "python3-hatchling"),
    *("lintian", "autopkgtest", "iproute2", "rpm", "python3-build", "python3-lxml", "python3-pyroute2", "python3-rich"),
)
# Mounts for one command, in a namespace of its own: none stays. The checkout is there to be read.
_ENTER = """\
set -e
mount --bind "$1" "$1"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
mount --rbind /dev "$1/dev"
mount --bind "$2" "$1/mnt"
mount -o remount,bind,ro "$1/mnt"
root=$1
shift 2
exec chroot "$root" "$@"
"""


@dataclass(frozen=True)
class CleanTree:
    """The tree. ``namespace``: the network namespace of the commands that are run `on_the_bridge`."""

    root: Path
    namespace: str = ""

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

    def command(self, *words: str, bridge: bool = False) -> list[str]:
        """The command line that runs a command in the tree, or on its ``bridge``."""
        outside = ["ip", "netns", "exec", self.namespace] if bridge else []
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh"]
        return [*outside, *enter, str(self.root), str(CHECKOUT), *words]

    def run(self, *words: str, stdin: str = "", check: bool = True, bridge: bool = False) -> str:
        """Runs a command; returns what it says on both its outputs."""
        done = subprocess.run(
            self.command(*words, bridge=bridge),
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            env=self.environment,
        )
        assert not check or done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout

    def script(self, text: str, *, check: bool = True, bridge: bool = False) -> str:
        return self.run("sh", "-ec", text, check=check, bridge=bridge)

    def files(self) -> set[str]:
        """The paths of all there is, but for what apt and dpkg keep for themselves."""
        own = re.compile(
            r"(var/(cache|log|lib/(apt|dpkg|systemd/deb-systemd-helper-\w+))|tmp|mnt|proc|sys|dev|root)(/|$)"
        )
        found = (str(path.relative_to(self.root)) for path in self.root.rglob("*"))
        return {path for path in found if not own.match(path)}

    def path(self, place: str) -> Path:
        return self.root / place.lstrip("/")


@contextmanager
def unpacked(release: str, place: Path, packages: Sequence[str] = ()) -> Iterator[CleanTree]:
    """A new tree of the release with these packages, and the lists of apt."""
    archive = _archive(release, packages)
    root = place / release
    root.mkdir()
    try:
        subprocess.run(["tar", "-C", root, "-xf", archive], check=True)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        for name, text in FILES.items():
            (root / name).write_text(text)
            (root / name).chmod(0o755)
        yield CleanTree(root, f"mm-{hashlib.sha256(bytes(root)).hexdigest()[:8]}")
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", root], check=True)


@contextmanager
def network(tree: CleanTree) -> Iterator[None]:
    """A network namespace with a bridge br0, an uplink eth0 and a guest's tap vnet0."""
    subprocess.run(["ip", "netns", "add", tree.namespace], check=True)
    lines = """\
link add br0 type bridge
link set br0 up
link add eth0 type veth peer name far0
link set eth0 master br0 up
link set far0 up
tuntap add vnet0 mode tap
link set vnet0 master br0 up
"""
    try:
        subprocess.run(["ip", "-n", tree.namespace, "-batch", "-"], input=lines, text=True, check=True)
        yield
    finally:
        subprocess.run(["ip", "netns", "del", tree.namespace], check=True)


def _archive(release: str, packages: Sequence[str]) -> Path:
    here = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    sources = sources_of(_said(*INDEXES), here[1] if here else "", release)
    assert sources, "apt has no package source of Debian, or no lists: apt-get update"
    options = [line for line in _said("apt-config", "dump").splitlines() if FETCHING.match(line)]
    command = [
        *("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--skip=cleanup/apt/lists"),
        *(f"--aptopt={line}" for line in options),
        *(f"--include={package}" for package in ("ca-certificates", *packages)),
    ]
    inputs = hashlib.sha256(repr((sources, command)).encode()).hexdigest()[:16]
    archive = KEPT / f"{release}-{inputs}.tar"
    if not archive.exists():
        KEPT.mkdir(parents=True, exist_ok=True)
        unfinished = archive.with_suffix(".new.tar")
        subprocess.run([*command, release, unfinished, "-"], input=sources, text=True, check=True)
        unfinished.rename(archive)
    return archive


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
