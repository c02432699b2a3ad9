"""`./run` where it cannot do its work: one clear line, and an exit status that is not 0."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lab.boot import CHECKOUT

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, and to be somebody else")

NOBODY = 65534
LONG = 900  # seconds; without a network apt and pip try more than once, and the machine may be busy


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A copy of the checkout for everybody to read, in which the virtual environment is said to be made."""
    with TemporaryDirectory(prefix="macmgr-run-") as name:
        copy = Path(name)
        shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".*", "__pycache__"), dirs_exist_ok=True)
        copy.chmod(0o755)
        (copy / ".venv").mkdir()
        made_from = hashlib.sha256((copy / "pyproject.toml").read_bytes()).hexdigest()
        (copy / ".venv" / "made-from").write_text(f"{made_from}  pyproject.toml\n")
        yield copy


def told(command: list[str], code: int = 1, **how: object) -> str:
    """The one line of a call that fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG, check=False, **how)  # type: ignore[call-overload]
    assert done.returncode == code, done
    (line,) = done.stderr.splitlines()
    return str(line)


@pytest.mark.parametrize("what", ["demo", "test", "shell"])
def test_not_root(checkout: Path, what: str) -> None:
    line = told([str(checkout / "run"), what], user=NOBODY, group=NOBODY, extra_groups=[])
    assert line == f"run: needs root: sudo ./run {what}"
    assert not (checkout / ".lab").exists()


def test_no_apt(checkout: Path, tmp_path: Path) -> None:
    """A PATH with everything that the script needs until then, and without apt-get."""
    for program in ("dirname", "id", "sh"):
        (tmp_path / program).symlink_to(shutil.which(program) or "")
    line = told([str(checkout / "run"), "demo"], env={"PATH": str(tmp_path)})
    assert line == "run: needs apt-get: it knows Debian 12 and its relatives"


def test_a_file_system_that_cannot_be_written(checkout: Path) -> None:
    script = f"mount --bind {checkout} {checkout} && mount -o remount,ro,bind {checkout} && exec {checkout}/run demo"
    line = told(["unshare", "--mount", "sh", "-c", script])
    assert line == f"run: cannot write to {checkout}/.lab, where everything is kept"


def test_no_network(checkout: Path) -> None:
    """apt and pip end with a line about a file or a version; what is told is the cause."""
    line = told(["unshare", "--net", str(checkout / "run"), "demo"])
    assert line == (
        "run: building the guest failed: the network cannot be reached, or the name of a package server not be found "
        "(all of it: .lab/log/run.log)"
    )
    assert "dpkg" not in (checkout / ".lab" / "log" / "run.log").read_text(), "nothing is unpacked that was not fetched"


def test_without_a_network_pip_is_not_believed_either(checkout: Path) -> None:
    """Its last line says that no version of a library matches."""
    shutil.rmtree(checkout / ".venv")
    line = told(["unshare", "--net", str(checkout / "run"), "demo"])
    assert line.startswith("run: pip install failed: the network cannot be reached, or the name of a package server")


def test_another_word(checkout: Path) -> None:
    done = subprocess.run([checkout / "run", "dmeo"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: sudo ./run demo")
