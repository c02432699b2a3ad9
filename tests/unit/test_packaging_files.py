"""The files that packages are built from say the same as the program, and their scripts are scripts.

That the packages build, install and go without a trace is for tests/packages.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from macmgr import __version__
from macmgr.hookcheck import MARK

PACKAGING = Path(__file__).parents[2] / "packaging"
DEBIAN, SPEC = PACKAGING / "debian", PACKAGING / "rpm" / "macmgr.spec"
PROJECT = tomllib.loads((PACKAGING.parent / "pyproject.toml").read_text())["project"]
MAINTAINER_SCRIPTS = [DEBIAN / name for name in ("preinst", "postinst", "prerm", "postrm")]
SCRIPTS = [*MAINTAINER_SCRIPTS, DEBIAN / "tests" / "observe", PACKAGING / "build-deb.sh", PACKAGING / "build-rpm.sh"]
SECTIONS = ("prep", "build", "install", "post", "preun", "postun")


def libraries() -> dict[str, str]:
    """Returns the oldest version of each library that the project takes."""
    found = (re.fullmatch(r"(\w+)>=([\d.]+)(,<[\d.]+)?", each) for each in PROJECT["dependencies"])
    return {each[1]: each[2] for each in found if each}


def section(name: str) -> str:
    found = re.search(rf"(?ms)^%{name}\n(.*?)(?=^%[a-z]+$)", SPEC.read_text())
    assert found
    return found[1]


def test_the_version_is_one() -> None:
    assert (DEBIAN / "changelog").read_text().startswith(f"macmgr ({__version__}) ")
    assert re.findall(r"(?m)^Version: +(\S+)$", SPEC.read_text()) == [__version__]
    assert f" - {__version__}-1\n" in SPEC.read_text()


def test_the_libraries_are_those_of_the_project() -> None:
    control, spec = (DEBIAN / "control").read_text(), SPEC.read_text()
    assert len(libraries()) == len(PROJECT["dependencies"])
    assert dict(re.findall(r"(?m)^ python3-(\w+) \(>= ([\d.]+)\),$", control.partition("\nPackage:")[2])) == libraries()
    assert dict(re.findall(r"(?m)^Requires: +python3-(\w+) >= (\S+)$", spec)) == libraries()
    (oldest,) = re.findall(r"(?m)^Requires: +python3 >= (\S+)$", spec)
    assert PROJECT["requires-python"] == f">={oldest}"


def test_each_python_that_is_tested_is_named() -> None:
    names = [f"Programming Language :: Python :: 3.{minor}" for minor in range(11, 15)]
    assert [each for each in PROJECT["classifiers"] if ":: 3." in each] == names


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
@pytest.mark.parametrize(
    "checker", [("sh", "-n"), ("shellcheck", "-s", "sh", "-S", "warning")], ids=lambda words: words[0]
)
def test_a_script_is_one(script: Path, checker: tuple[str, ...]) -> None:
    if not shutil.which(checker[0]):
        pytest.skip(f"no {checker[0]} here")
    done = subprocess.run([*checker, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", SECTIONS)
def test_a_section_of_the_spec_is_a_script(name: str) -> None:
    script = re.sub(r"%\{[^}]*\}|%setup -q", "x", section(name))
    done = subprocess.run(["sh", "-n"], input=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("script", MAINTAINER_SCRIPTS, ids=lambda path: path.name)
def test_a_maintainer_script_has_room_for_what_debhelper_adds(script: Path) -> None:
    assert script.read_text().startswith("#!/bin/sh\nset -e\n")
    assert script.read_text().count("\n#DEBHELPER#\n") == 1


def test_nothing_that_macmgr_answers_fails_a_package() -> None:
    """A failed postinst leaves a host with a half-configured package, and a failed prerm with one that stays."""
    texts = [path.read_text() for path in MAINTAINER_SCRIPTS] + [section(name) for name in ("post", "preun", "postun")]
    calls = [
        line
        for text in texts
        for line in text.replace("||\n", "|| ").splitlines()
        if " macmgr " in line or "/macmgr " in line
    ]
    started = [line.strip() for line in calls if "timeout" in line]
    assert len(started) == 6
    assert [line for line in started if "</dev/null ||" not in line] == []


def test_hooks_are_recognised_by_macmgrs_own_mark() -> None:
    for text in ((DEBIAN / "preinst").read_text(), (DEBIAN / "prerm").read_text(), section("post"), section("preun")):
        assert f"'^{MARK.decode()}'" in text


def test_the_administrator_starts_the_daemon() -> None:
    assert "dh_installsystemd --no-enable --no-start\n" in (DEBIAN / "rules").read_text()
    assert not re.search(r"systemctl.* (start|enable|restart)\b", SPEC.read_text())


def test_what_a_package_takes_from_the_checkout_is_there() -> None:
    for name in ("docs", "examples"):
        for pattern in (DEBIAN / name).read_text().split():
            assert list(PACKAGING.parent.glob(pattern)), pattern
