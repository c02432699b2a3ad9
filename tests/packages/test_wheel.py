"""Wheel and source archive: what PyPI would refuse is not in them, and what macmgr needs at its place is."""

from __future__ import annotations

import subprocess
import sys
import venv
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

from macmgr import __version__
from tests.packages.cleantree import CHECKOUT


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, and the wheel that is built from it: what is not in the one cannot be in the other."""
    target = tmp_path_factory.mktemp("archives")
    run(sys.executable, "-m", "build", "--outdir", target, CHECKOUT)
    return target


@pytest.fixture(scope="module")
def installed(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but the wheel and what it requires."""
    place = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(place, with_pip=True)
    run(place / "bin/python", "-m", "pip", "install", "-q", archives / f"macmgr-{__version__}-py3-none-any.whl")
    return place


def run(*words: str | Path) -> str:
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, cwd="/")
    assert done.returncode == 0, f"{words} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout


def test_twine_finds_nothing(archives: Path) -> None:
    said = run(sys.executable, "-m", "twine", "check", "--strict", *archives.iterdir())
    assert said.count("PASSED") == 2


def test_the_metadata(archives: Path) -> None:
    with ZipFile(archives / f"macmgr-{__version__}-py3-none-any.whl") as wheel:
        (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        said = Parser().parsestr(wheel.read(name).decode())
        assert any(name.endswith("/LICENSE") for name in wheel.namelist())
    assert said["License-Expression"] == "LGPL-2.1-or-later"
    assert said["Requires-Python"] == ">=3.11"
    assert said.get_all("Project-URL")


def test_the_wheel_brings_what_macmgr_needs(installed: Path, tmp_path: Path) -> None:
    assert run(installed / "bin/macmgr", "--version") == f"macmgr {__version__}\n"
    hooks_dir, units_dir, config = (tmp_path / name for name in ("hooks", "units", "macmgr.toml"))
    options = ("--hooks-dir", hooks_dir, "--units-dir", units_dir, "--config", config)
    run(installed / "bin/macmgr", "install", *options)
    hooks = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("99-macmgr"))
    assert hooks == [f"hooks/{driver}.d/99-macmgr" for driver in ("daemon", "lxc", "network", "qemu")]
    assert f"ExecStart={installed}/bin/macmgr watch" in (tmp_path / "units/macmgr.service").read_text()
    run(installed / "bin/macmgr", "validate", tmp_path / "macmgr.toml")
    share = installed / "share"
    assert {path.name for path in (share / "macmgr/xml-schemas").iterdir()} == {
        path.name for path in (CHECKOUT / "xml-schemas").iterdir()
    }
    for place in ("bash-completion/completions/macmgr", "zsh/site-functions/_macmgr", "fish/vendor_completions.d"):
        assert (share / place).exists()


def test_the_source_archive_makes_the_man_pages(archives: Path, tmp_path: Path) -> None:
    run("tar", "-C", tmp_path, "-xf", archives / f"macmgr-{__version__}.tar.gz")
    top = tmp_path / f"macmgr-{__version__}"
    run(sys.executable, top / "packaging/manpages.py", tmp_path / "man")
    assert {path.name for path in (tmp_path / "man").iterdir()} == {"macmgr.1", "macmgr.toml.5", "macmgr-hooks.7"}
    assert (top / "packaging/debian/control").is_file()
    assert (top / "packaging/rpm/macmgr.spec").is_file()
