"""A tree of another release: what of this machine's configuration goes into it. `tox -e lab-debian13` runs one."""

import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.lab import debian
from tests.lab.debian import Tree, inside, local_paths, main, pip_conf, sources_of

INDEXES = """\
http://mirror.test/debian/ bookworm main
http://mirror.test/debian/ bookworm main
http://mirror.test/debian/ bookworm-updates main
https://security.test/ bookworm-security main
https://packages.test/apt cloud-bookworm main
"""


def test_the_sources_are_those_of_this_machine_with_the_name_of_the_other_release() -> None:
    """Each index of a source names it once more; what is not of this release by its name, the other may not have."""
    assert sources_of(INDEXES, "bookworm", "trixie") == (
        "deb http://mirror.test/debian/ trixie main\n"
        "deb http://mirror.test/debian/ trixie-updates main\n"
        "deb https://security.test/ trixie-security main\n"
    )
    assert sources_of(INDEXES, "trixie", "forky") == ""


def test_pip_is_configured_as_here() -> None:
    listed = ":env:.cert='/etc/ca.crt'\nglobal.index-url='https://index.test/simple'\ninstall.find-links='/a /b'\n"
    assert pip_conf(listed) == "[global]\nindex-url = https://index.test/simple\n\n[install]\nfind-links = /a /b\n\n"
    assert pip_conf("") == ""


def test_what_pip_finds_on_this_machine_is_shared(tmp_path: Path) -> None:
    """The pages of an index name files outside of it."""
    for name in ("wheels", "index/simple"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "ca.crt").touch()
    listed = (
        f"global.find-links='{tmp_path}/wheels {tmp_path}/gone'\nglobal.cert='{tmp_path}/ca.crt'\n"
        f"global.extra-index-url='file://{tmp_path}/index/simple https://index.test/simple'\n"
    )
    assert local_paths(listed) == {tmp_path / "wheels", tmp_path / "index", tmp_path / "ca.crt"}


def test_our_own_python_is_not_handed_on() -> None:
    """A path of it is a path that the tree does not have."""
    variables = {
        "PATH": "/venv/bin",
        "VIRTUAL_ENV": "/venv",
        "TOX_ENV_NAME": "x",
        "PYTHONHOME": "/x",
        "PIP_CERT": "/ca",
    }
    assert inside(variables) == {"PIP_CERT": "/ca", "PATH": debian.PATH, "HOME": "/root", "LANG": "C.UTF-8"}


def test_a_tree_is_made_once_and_anew_when_its_sources_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = tmp_path / "made"
    program = tmp_path / "mmdebstrap"
    program.write_text(
        "#!/bin/sh\nfor root; do case $root in */root)\n"
        'mkdir -p "$root/usr/sbin" "$root/etc/dpkg/dpkg.cfg.d"\nesac; done\n'
        f"cat >>{made}\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(debian, "TREES", tmp_path / "trees")
    tree = Tree("trixie")
    tree.make("one\n", "")
    (tree.place / "venv").mkdir()
    tree.make("one\n", "")
    assert made.read_text() == "one\n"
    assert (tree.place / "venv").exists()
    assert (tree.root / "usr/sbin/policy-rc.d").read_text().endswith("exit 101\n"), "no package starts anything"
    tree.make("two\n", "")
    assert made.read_text() == "one\ntwo\n"
    assert not (tree.place / "venv").exists(), "it was of the other tree's Python"


def test_the_command_has_a_double_dash_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def run(_: Tree, command: list[str]) -> int:
        ran.append(command)
        return 3

    monkeypatch.setattr(debian, "_said", lambda *_: "http://mirror.test/debian/ bookworm main")
    monkeypatch.setattr(debian, "sources_of", lambda *_: "one\n")
    monkeypatch.setattr(Tree, "make", lambda *_: None)
    monkeypatch.setattr(Tree, "run", run)
    assert main(["trixie", "--", "./run", "test", "--", "-x"]) == 3
    assert ran == [["./run", "test", "--", "-x"]]
    with pytest.raises(SystemExit):
        main(["trixie", "--"])


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_the_command_in_the_tree_sees_the_checkout_and_gets_the_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tree here is this machine's own root, so that there is something to run."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        _sees_and_gets(Path(place), monkeypatch)


def _sees_and_gets(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "TREES", place)
    tree = Tree("trixie")
    for name in ("root", "venv", "tox", "lab"):
        (tree.place / name).mkdir(parents=True)
    (tree.place / "lab" / "mark").touch()
    root = tree.root
    monkeypatch.setattr(Tree, "root", Path("/"))
    words = tree.entering(["sh", "-c", "pwd; ls .lab; echo $$; exec sleep infinity"], ())
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().strip() for _ in range(3)]
        process.kill()
    assert said == [str(debian.CHECKOUT), "mark", str(process.pid)]
    assert not any(root.iterdir()), "no mount stays"
