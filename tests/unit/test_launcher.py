"""The program `macmgr` in an environment that is broken: one line with the fault, its place, and the next step."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from macmgr import __version__
from macmgr.commands import make_parser
from macmgr.hookcheck import problems, program_fails
from macmgr.installation import install_hooks

TOP = Path(__file__).parents[2]
VERBS = next(list(action.choices or ()) for action in make_parser()._actions if action.dest == "verb")
# One valid call of each verb; what it would look at does not matter.
WORDS = {
    "explain": ["web1"],
    "trace": ["--to", "52:54:00:aa:00:01"],
    "manage": ["br0"],
    "observe": ["br0"],
    "capture": ["target"],
    "hook": ["qemu", "web1", "started"],
    "net": ["get", "lan"],
    "validate": ["macmgr.toml"],
}


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """A virtual environment in which macmgr was installed, as far as the program sees it."""
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("home = /usr/bin\n")
    shutil.copy(TOP / "packaging" / "launcher", tmp_path / "venv" / "bin" / "macmgr")
    return tmp_path / "venv"


def with_python(environment: Path, text: str) -> Path:
    """Gives the environment a Python that runs this first. Returns the program."""
    python = environment / "bin" / "python3"
    start = f'import sys; {text}; sys.argv = sys.argv[1:]; exec(compile(open(sys.argv[0]).read(), sys.argv[0], "exec"))'
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{start}' \"$@\"\n")
    python.chmod(0o755)
    return environment / "bin" / "macmgr"


def said(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd="/", env=clean)


def found(environment: Path) -> Path:
    return with_python(environment, f"sys.path.insert(0, {str(TOP)!r})".replace("'", '"'))


def lacking(environment: Path, library: str) -> Path:
    return with_python(environment, f'sys.path.insert(0, "{TOP}"); sys.modules["{library}"] = None')


def test_it_starts_macmgr_also_by_a_link(environment: Path, tmp_path: Path) -> None:
    program = found(environment)
    (tmp_path / "link").symlink_to(program)
    for each in (program, tmp_path / "link"):
        assert said(each, "--version").stdout == f"macmgr {__version__}\n"
        assert said(each, "no-such-verb").returncode == 2
    assert program_fails(program) == ""


def test_a_shell_understands_all_of_it() -> None:
    """lintian has the whole file read by the shell: Python's part is a text there."""
    subprocess.run(["sh", "-n", TOP / "packaging" / "launcher"], check=True)


def test_its_process_has_its_name(environment: Path) -> None:
    program = found(environment)
    with subprocess.Popen([program, "validate", "/dev/stdin"], stdin=subprocess.PIPE) as process:
        comm = Path(f"/proc/{process.pid}/comm")
        while comm.read_text() != "macmgr\n":
            assert process.poll() is None
        process.communicate(b"")


@pytest.mark.parametrize(("fault", "verb"), [*(("gone", verb) for verb in VERBS), ("another", "audit")])
def test_a_python_that_is_gone_or_another_one(environment: Path, fault: str, verb: str) -> None:
    """An upgrade of the host's Python removes the old one, or leaves an environment without libraries."""
    python = environment / "bin" / "python3"
    target = "/nonexistent/python3" if fault == "gone" else shutil.which("python3", path="/usr/bin") or sys.executable
    python.symlink_to(target)
    done = said(environment / "bin" / "macmgr", verb, *WORDS.get(verb, []))
    assert (done.returncode, done.stdout) == (70, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"macmgr: {environment}/bin/macmgr does not start: ")
    assert (f"its Python {python} is gone" if fault == "gone" else f"{python} has no macmgr (No module") in line
    assert line.endswith(f"'python3 -m venv --clear {environment}', and the same 'pip install' as before")
    plugin = said(environment / "bin" / "macmgr", verb, "--format", "plugin")
    assert (plugin.returncode, plugin.stdout) == (3, plugin.stderr.replace("macmgr:", "MACMGR UNKNOWN:", 1))


@pytest.mark.parametrize("library", ["lxml", "pyroute2", "rich", "libvirt"])
def test_a_library_that_is_missing(environment: Path, library: str) -> None:
    """No verb shows a traceback. What says how macmgr is used needs none of them."""
    program = lacking(environment, library)
    assert said(program, "--version").stdout == f"macmgr {__version__}\n"
    assert said(program, "--help").returncode == 0
    needing = {"lxml": "audit", "pyroute2": "audit", "rich": "release", "libvirt": "net"}[library]
    assert said(program, needing, "--help").returncode == 0
    done = said(program, needing, *WORDS.get(needing, []))
    (line,) = done.stderr.splitlines()
    assert re.search(rf"\b{library}\b", line), line
    assert done.returncode == (69 if needing == "net" else 70)
    assert said(program, "hook", *WORDS["hook"]).returncode == 0  # libvirt would end the guest


def test_hooks_report_it(environment: Path, tmp_path: Path) -> None:
    program = found(environment)
    install_hooks(tmp_path / "hooks", program)
    assert problems(tmp_path / "hooks") == ()
    (environment / "bin" / "python3").unlink()
    (line,) = problems(tmp_path / "hooks")
    assert "it fails (exit 70: macmgr: " in line
    assert f"its Python {environment}/bin/python3 is gone; install macmgr again" in line


def test_where_there_is_no_environment_it_takes_the_python_of_path(environment: Path) -> None:
    (environment / "pyvenv.cfg").unlink()
    path = environment / "path"
    path.mkdir()
    words = [str(environment / "bin" / "macmgr"), "--version"]
    without = path / "python3"  # -S: no libraries, so it has no macmgr
    without.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    without.chmod(0o755)
    clean = {"PATH": f"{path}:/usr/bin:/bin"}
    assert "does not start" in subprocess.run(words, capture_output=True, text=True, check=False, env=clean).stderr
    shutil.move(found(environment).with_name("python3"), path / "python3")
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=clean)
    assert done.stdout == f"macmgr {__version__}\n"
