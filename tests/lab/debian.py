"""Another release of Debian on this machine: a tree of its files, in which a command sees this checkout.

`python3 -m tests.lab.debian trixie -- ./run demo` makes the tree when it is not there, and runs the command in it.
That is as on a machine of that release: `run` installs its packages there, and makes an environment, a guest and a lab
of it. The checkout has the path that it has here. Its .venv, .tox and .lab are the tree's own; all of it is kept below
.lab/trees. Package sources and pip's configuration are this machine's.

Only the standard library, pip, apt and mmdebstrap are used.
"""

import argparse
import ast
import configparser
import fcntl
import hashlib
import io
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
TREES = CHECKOUT / ".lab" / "trees"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# How packages are fetched here: proxies, patience. What else apt is told here is about this machine.
FETCHING = re.compile(r"Acquire::(https?::|Retries|Check-Valid-Until|ForceIPv)")
INDEXES = ("apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT)", "Origin: Debian")
MMDEBSTRAP = ("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--include=ca-certificates")
# Nothing that a package brings is started, and what a crash would lose is made again.
FILES = {
    "usr/sbin/policy-rc.d": "#!/bin/sh\nexit 101\n",
    "etc/dpkg/dpkg.cfg.d/lab": "force-unsafe-io\n",
}


@dataclass(frozen=True)
class Tree:
    """A release's place in .lab/trees."""

    release: str

    @property
    def place(self) -> Path:
        """Where all of it is."""
        return TREES / self.release

    @property
    def root(self) -> Path:
        """The root directory of the release."""
        return self.place / "root"

    def make(self, sources: str, options: str) -> None:
        """Make the tree, unless there is one of the same sources; then the environments in it are made anew, too."""
        self.place.mkdir(parents=True, exist_ok=True)
        made_from = self.place / "inputs"
        inputs = hashlib.sha256(repr((sources, options, MMDEBSTRAP, FILES)).encode()).hexdigest()
        with (self.place / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if made_from.exists() and made_from.read_text() == inputs:
                return
            print(f"debian: making a tree of {self.release} …", flush=True)
            made_from.unlink(missing_ok=True)
            old = [self.place / name for name in ("root", "venv", "tox", "lab")]
            subprocess.run(["rm", "-rf", "--one-file-system", *old], check=True)
            (self.place / "apt.conf").write_text(options)
            fetching = [f"--aptopt={self.place / 'apt.conf'}"] if options else []
            command = [*MMDEBSTRAP, *fetching, self.release, str(self.root), "-"]
            subprocess.run(command, input=sources, text=True, check=True)
            for name, text in FILES.items():
                (self.root / name).write_text(text)
                (self.root / name).chmod(0o755)
            made_from.write_text(inputs)

    def entering(self, command: Sequence[str], shared: Iterable[Path]) -> list[str]:
        """The command line that runs the command in the tree: mounts in a namespace of its own, so that none stays.

        What is `shared` is at the same path on both sides.
        """
        mounts = [("--bind", self.root, self.root)]
        mounts += [("--rbind", Path(name), self.root / name[1:]) for name in ("/proc", "/sys", "/dev")]
        mounts += [("-t tmpfs", Path("tmpfs"), self.root / name) for name in ("run", "tmp")]
        mounts += [("--bind", path, self.root / str(path)[1:]) for path in (*sorted(shared), CHECKOUT)]
        for name in (".venv", ".tox", ".lab"):
            mounts.append(("--bind", self.place / name[1:], self.root / str(CHECKOUT / name)[1:]))
        lines = ["set -e"]
        for how, source, target in mounts:
            if source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.touch()
            lines.append(f"[ -e {_word(target)} ] || mkdir -p {_word(target)}")
            lines.append(f"mount {how} {_word(source)} {_word(target)}")
        lines.append(f'exec chroot {_word(self.root)} sh -c \'cd "$0" && exec "$@"\' {_word(CHECKOUT)} "$@"')
        return ["unshare", "--mount", "--propagation", "private", "sh", "-c", "\n".join(lines), "sh", *command]

    def run(self, command: Sequence[str]) -> int:
        """Become the command in the tree, with this machine's name servers and its way to Python's packages.

        So a signal that is meant for it reaches it.
        """
        for name in ("venv", "tox", "lab"):
            (self.place / name).mkdir(exist_ok=True)
        pip = _said(sys.executable, "-m", "pip", "config", "list")
        (self.root / "etc" / "pip.conf").write_text(pip_conf(pip))
        servers = Path("/etc/resolv.conf")
        if servers.exists():
            (self.root / "etc" / "resolv.conf").write_text(servers.read_text())
        variables = inside(os.environ)
        certificates = [value for name, value in variables.items() if "_CERT_FILE" in name or "_BUNDLE" in name]
        shared = {path for text in (pip, *certificates) for path in local_paths(text)}
        words = self.entering(command, shared)
        os.execvpe(words[0], words, variables)  # noqa: S606


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the release's tree where it has to be, and answer with the command's exit status."""
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.lab.debian", description="Run a command in a tree of another release of Debian."
    )
    parser.add_argument("release", help="its name: trixie, forky, …")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND…")
    given = parser.parse_args(arguments)
    command = given.command[given.command[:1] == ["--"] :]  # which may have a -- of its own
    if not command:
        parser.error("no command")
    here = re.search(r"^VERSION_CODENAME=(\w+)", Path("/etc/os-release").read_text(), re.MULTILINE)
    indexes = _said(*INDEXES)
    if not indexes:  # apt's lists are not there
        subprocess.run(["apt-get", "-q", "update"], check=True)
        indexes = _said(*INDEXES)
    sources = sources_of(indexes, here[1] if here else "", given.release)
    if not sources:
        print("debian: no package source of Debian in apt's configuration", file=sys.stderr)
        return 1
    options = [line for line in _said("apt-config", "dump").splitlines() if FETCHING.match(line)]
    tree = Tree(given.release)
    try:
        tree.make(sources, "".join(f"{line}\n" for line in options))
    except subprocess.CalledProcessError as error:
        print(f"debian: {error.cmd[0]} failed with {error.returncode}: no tree of {given.release}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"debian: {error.filename} is not here: apt-get install {error.filename}", file=sys.stderr)
        return 1
    return tree.run(command)


def sources_of(indexes: str, here: str, release: str) -> str:
    """The lines of a sources.list: what apt knows of `here`, this machine's release, with the name of the other."""
    found = set()
    for line in indexes.splitlines():
        uri, suite, component = line.split()
        if suite == here or suite.startswith(f"{here}-"):
            found.add(f"deb {uri} {release}{suite.removeprefix(here)} {component}\n")
    return "".join(sorted(found))


def pip_conf(listed: str) -> str:
    """A pip.conf with all that `pip config list` says, but for what the environment says, which is passed on."""
    conf = configparser.RawConfigParser()
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section != ":env:":
            if not conf.has_section(section):
                conf.add_section(section)
            conf.set(section, key, str(ast.literal_eval(value)))
    text = io.StringIO()
    conf.write(text)
    return text.getvalue()


def local_paths(text: str) -> set[Path]:
    """The files and directories of this machine that a setting names, by their paths or file: addresses.

    The pages of a package index name files that lie outside of it, next to it.
    """
    paths = (Path(word.removeprefix("file://")) for word in re.findall(r"(?:file://)?/[^\s'\"]+", text))
    return {path.parent if path.name == "simple" else path for path in paths if path.exists()}


def inside(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a command in the tree: this one, without the virtual environment that we may run in."""
    foreign = ("VIRTUAL_ENV", "TOX", "_TOX", "PYTHON", "LD_", "TMPDIR")
    kept = {name: value for name, value in variables.items() if not name.startswith(foreign)}
    return {**kept, "PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
