"""What forbids hooks: filesystems mounted noexec, SELinux, and programs that are gone or do not work any more.

Mounts are made in a mount namespace of the test's own.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from macmgr import hookcheck
from macmgr.errors import NotThere
from macmgr.hookcheck import DRIVERS, NAME, program_fails, tried, unstartable
from macmgr.installation import install_hooks, install_unit
from macmgr.selinux import SELinux
from tests.unit.test_install import tree, write

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
TRUE = Path("/bin/true")
NOEXEC = "mount -t tmpfs -o noexec,mode=0755 none"


def inside(*script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a mount namespace of its own; a line that fails ends it."""
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", "\n".join(script)]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)


def macmgr(*words: str | Path) -> str:
    return shlex.join([sys.executable, "-m", "macmgr", *map(str, words)])


def install_into(hooks: Path, *more: str | Path) -> str:
    return macmgr("install", "--hooks-dir", hooks, *more)


LISTED = "echo LEFT; find . -type f"


def left(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The files that the script has listed at its end."""
    return done.stdout.partition("LEFT\n")[2].split()


@needs_root
@pytest.mark.parametrize("place", ["hooks", "hooks/qemu.d", "hooks/daemon.d", "."])
def test_a_noexec_mount_gets_no_hook(tmp_path: Path, place: str) -> None:
    """The directory itself, that of one driver alone, and one above that is not there yet."""
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    done = inside(
        f"{NOEXEC} {tmp_path / place}",
        f"cd {tmp_path}",
        f"{install_into(tmp_path / 'hooks', '--program', TRUE)} && exit 3 || echo refused $?",
        LISTED,
    )
    assert done.returncode == 0, done.stderr
    assert "refused 69\n" in done.stdout
    assert left(done) == []
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"macmgr: {tmp_path}/hooks/")
    assert f": {tmp_path / place} is mounted noexec, so libvirt can execute no hook there; " in line
    assert "'macmgr install --no-hooks'" in line


@needs_root
def test_hooks_that_can_run_no_more_are_taken_away_and_told_before(tmp_path: Path) -> None:
    """The mount became noexec after they were installed: each libvirtd that restarts would end guests."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    done = inside(
        f"mount -t tmpfs none {hooks}",
        install_into(hooks, "--program", TRUE),
        f"mount -o remount,noexec {hooks}",
        f"{sys.executable} -c 'from macmgr.hookcheck import problems; from pathlib import Path; "
        f'print(*problems(Path("{hooks}")), sep="\\n")\'',
        f"{install_into(hooks)} || echo refused $?",
        f"cd {hooks}",
        LISTED,
    )
    assert done.returncode == 0, done.stderr
    said = f"{hooks}/qemu.d/{NAME}: libvirt cannot execute it ({hooks} is mounted noexec)"
    assert [line.startswith(said) for line in done.stdout.splitlines() if "cannot execute" in line] == [True]
    assert "refused 69\n" in done.stdout
    assert left(done) == []
    assert done.stderr.rstrip().endswith("those that were there are removed")


@needs_root
@pytest.mark.parametrize("bound", ["hooks", "."])
def test_mounts_of_libvirts_own_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str) -> None:
    """A unit with NoExecPaths= has libvirtd see a directory noexec that nobody else does."""
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    place = (tmp_path / bound).resolve()
    script = f"mount --bind {place} {place}; mount -o remount,bind,noexec {place}; echo ready; exec sleep infinity"
    words = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as libvirtd:
        try:
            assert libvirtd.stdout is not None
            assert libvirtd.stdout.readline() == "ready\n"
            monkeypatch.setattr(hookcheck, "PID_FILES", tmp_path)
            install_hooks(hooks, TRUE)
            (tmp_path / "libvirtd.pid").write_text(f"{libvirtd.pid}\n")
            (line,) = problems(hooks)
            assert f"libvirt cannot execute it ({place}, as libvirtd sees it, is mounted noexec)" in line
            with pytest.raises(NotThere, match=r"as libvirtd sees it, is mounted noexec.*removed"):
                install_hooks(hooks, TRUE)
            assert not list(hooks.rglob(NAME))
        finally:
            libvirtd.kill()
    install_hooks(hooks, TRUE)  # a file of a daemon that is gone


@needs_root
@pytest.mark.parametrize("what", ["program", "interpreter"])
def test_a_program_on_a_noexec_mount_is_refused(tmp_path: Path, what: str) -> None:
    place = tmp_path / "opt"
    place.mkdir()
    program = tmp_path / "macmgr" if what == "interpreter" else place / "macmgr"
    interpreter = place / "sh" if what == "interpreter" else Path("/bin/sh")
    done = inside(
        f"mount -t tmpfs none {place}",
        f"cp /bin/sh {place}/sh",
        f"printf '#!{interpreter}\\n' > {program}",
        f"chmod 755 {program}",
        f"mount -o remount,noexec {place}",
        f"{install_into(tmp_path / 'hooks', '--program', program)} || echo refused $?",
        f"cd {tmp_path}",
        "echo LEFT; find . -path ./hooks",
    )
    assert "refused 69\n" in done.stdout, done.stderr
    assert left(done) == []
    assert done.stderr.count("\n") == 1
    assert "is not an executable file" in done.stderr or f"{place} is mounted noexec" in done.stderr


@needs_root
def test_no_hooks_is_for_a_host_where_they_cannot_run(tmp_path: Path) -> None:
    hooks, units = tmp_path / "hooks", tmp_path / "units"
    for path in (hooks, units):
        path.mkdir()
    done = inside(
        f"mount -t tmpfs none {hooks}",
        install_into(hooks, "--program", TRUE),
        f"mount -o remount,noexec {hooks}",
        install_into(
            hooks, "--program", TRUE, "--no-hooks", "--units-dir", units, "--config", tmp_path / "macmgr.toml"
        ),
        f"cd {hooks}",
        LISTED,
    )
    assert done.returncode == 0, done.stderr
    assert left(done) == []
    assert (units / "macmgr.service").exists()
    assert (tmp_path / "macmgr.toml").exists()


@pytest.mark.parametrize(
    ("shim", "why"),
    [
        ("#!/nonexistent/sh\n", "its interpreter /nonexistent/sh is gone"),
        ("#!/bin/sh\nexit 3\n", "it fails (exit 3)"),
        ("#!/bin/sh\necho no >&2; exit 1\n", "it fails (exit 1: no)"),
        ("#!/bin/sh\nkill -9 $$\n", "it fails (exit -9)"),
        ("#!/bin/sh\necho '<domain/>'\n", "it must be silent, but says: <domain/>"),
        ("#!/bin/sh\nsleep 60 & sleep 60\n", "it does not end within 0.5 s"),
    ],
)
def test_what_is_wrong_with_a_hook_is_said(tmp_path: Path, shim: str, why: str) -> None:
    assert why in tried([write(tmp_path / "hook", shim)], timeout=0.5)


def test_a_hook_is_tried_as_libvirt_calls_it(tmp_path: Path) -> None:
    record = tmp_path / "record"
    hook = write(tmp_path / "hook", f'#!/bin/sh\n{{ pwd; echo "$LC_ALL $HOME"; cat; echo "$@"; }} > {record}\n')
    assert tried([hook, *hookcheck.TRIAL]) == ""
    assert record.read_text() == "/\nC \n- try begin -\n"


@pytest.mark.parametrize("fault", ["exit 1", "exit 126", "echo word"])
def test_one_that_fails_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """At no time is one of them where libvirt would run it: not even those that are tried before it."""
    from macmgr import installation

    seen: list[list[str]] = []

    def watched(words: Sequence[str | Path]) -> str:
        runnable = [path for path in tmp_path.rglob("*") if path.is_file() and os.access(path, os.X_OK)]
        seen.append([str(path) for path in runnable if path.parent.name in {f"{each}.d" for each in DRIVERS}])
        return tried(words)

    built: list[str] = []

    def shim(*_: object) -> str:
        built.append(
            "#!/bin/sh\n# installed by macmgr\n" + (f"{fault}\n" if len(built) == DRIVERS.index("daemon") else "")
        )
        return built[-1]

    monkeypatch.setattr(installation, "tried", watched)
    monkeypatch.setattr(installation, "_shim", shim)
    with pytest.raises(NotThere, match=r"daemon\.d/99-macmgr: it "):
        install_hooks(tmp_path, TRUE)
    assert seen == [[]] * len(DRIVERS)
    assert tree(tmp_path) == {}


def test_older_ones_that_run_stay_when_new_ones_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from macmgr import installation

    hooks = tmp_path / "hooks"
    install_hooks(hooks, TRUE)
    before = tree(hooks)
    monkeypatch.setattr(installation, "_shim", lambda *_: "#!/bin/sh\n# installed by macmgr\nexit 1\n")
    with pytest.raises(NotThere, match="it fails"):
        install_hooks(hooks, TRUE)
    assert tree(hooks) == before


def test_what_a_killed_install_left_goes(tmp_path: Path) -> None:
    hooks = tmp_path / "hooks"
    install_hooks(hooks, TRUE)
    before = tree(hooks)
    for name in ("uninstall", "install"):
        (hooks / "qemu.d" / ".macmgr-x1").mkdir()
        write(hooks / "qemu.d" / ".macmgr-x1" / NAME, "#!/bin/sh\n")
        write(hooks / "qemu.d" / ".macmgr-x2", "#!/bin/sh\n# installed by macmgr\n")
        (hooks / "qemu.d" / NAME).unlink()
        if name == "install":
            install_hooks(hooks, TRUE)
            assert tree(hooks) == before
        else:
            list(install_uninstall(hooks))
            assert not hooks.exists()
            install_hooks(hooks, TRUE)


def install_uninstall(hooks: Path) -> Iterator[object]:
    from macmgr.installation import uninstall_hooks

    yield from uninstall_hooks(hooks)


# What doctor and status say


def problems(hooks: Path) -> list[str]:
    return list(hookcheck.problems(hooks, SELinux(Path("/nonexistent"))))


def test_hooks_that_work_are_no_problem(tmp_path: Path) -> None:
    assert problems(tmp_path / "hooks") == []
    install_hooks(tmp_path / "hooks", TRUE)
    assert problems(tmp_path / "hooks") == []


@pytest.mark.parametrize("hook", ["#!/nonexistent/sh", "#!/bin/sh\nexit 1", ""])
def test_a_hook_that_cannot_be_executed_is_the_problem(tmp_path: Path, hook: str) -> None:
    install_hooks(tmp_path, TRUE)
    path = tmp_path / "network.d" / NAME
    path.write_text(f"{hook}\n# installed by macmgr\n" if hook else "\x7fELF# installed by macmgr")
    (line,) = problems(tmp_path)
    assert line.startswith(f"{path}: libvirt cannot execute it (")
    assert "'macmgr uninstall'" in line


def test_a_hook_that_lost_its_permission_is_told(tmp_path: Path) -> None:
    install_hooks(tmp_path, TRUE)
    (tmp_path / "lxc.d" / NAME).chmod(0o644)
    (line,) = problems(tmp_path)
    assert line.startswith(f"{tmp_path}/lxc.d/{NAME}: it is not executable")


def test_other_peoples_hooks_are_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / "qemu.d").mkdir()
    write(tmp_path / "qemu.d" / NAME, "#!/bin/sh\nexit 1\n")
    os.mkfifo(tmp_path / "qemu.d" / "10-theirs")
    (tmp_path / "network.d").mkdir()
    os.mkfifo(tmp_path / "network.d" / NAME)
    assert problems(tmp_path) == []


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("gone", "it is gone"),
        ("not executable", "it is not executable"),
        ("without its interpreter", "its interpreter /nonexistent/python is gone"),
        ("directory", "it is no regular file"),
        ("broken", "it fails (exit 1: ModuleNotFoundError: No module named 'macmgr')"),
        ("talks", "it must be silent, but says: hello"),
    ],
)
def test_a_program_that_does_not_work_is_told_once(tmp_path: Path, fault: str, why: str) -> None:
    """The four hooks start one program."""
    program = write(tmp_path / "macmgr", "#!/bin/sh\n")
    install_hooks(tmp_path / "hooks", program)
    assert problems(tmp_path / "hooks") == []
    if fault == "not executable":
        program.chmod(0o644)
    elif fault == "without its interpreter":
        program.write_text("#!/nonexistent/python\n")
    elif fault == "broken":
        program.write_text("#!/usr/bin/python3 -I\nimport macmgr\n")
    elif fault == "talks":
        program.write_text("#!/bin/sh\necho hello\n")
    else:
        program.unlink()
        if fault == "directory":
            program.mkdir()
    said = f"{program}: the hooks start it and do nothing, because {why}: fix it, or run 'macmgr install'"
    assert problems(tmp_path / "hooks") == [said]


def test_a_virtual_environment_whose_python_is_another_one_by_now(tmp_path: Path) -> None:
    """An upgrade of the host's Python: the interpreter is there, and looks for its libraries elsewhere."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "lib" / "python3.1" / "site-packages" / "macmgr").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (venv / "bin" / "python3").symlink_to(shutil.which("python3", path="/usr/bin:/usr/local/bin") or sys.executable)
    text = "from macmgr.__main__ import main\nraise SystemExit(main())\n"
    program = write(venv / "bin" / "macmgr", f"#!{venv}/bin/python3\n{text}")
    assert unstartable(program) == ""
    assert re.fullmatch(r"it fails \(exit 1: ModuleNotFoundError: No module named 'macmgr.*'\)", program_fails(program))


@pytest.mark.parametrize("library", ["lxml", "pyroute2"])
def test_a_library_that_the_new_python_does_not_have(tmp_path: Path, library: str) -> None:
    """macmgr itself may be found, and what it needs was built for the Python before: the hooks would do nothing."""
    text = f"#!{sys.executable}\nimport sys\nsys.modules[{library!r}] = None\nfrom macmgr.__main__ import main\n"
    program = write(tmp_path / "macmgr", f"{text}raise SystemExit(main())\n")
    install_hooks(tmp_path / "hooks", program)
    (line,) = problems(tmp_path / "hooks")
    assert line.startswith(f"{program}: the hooks start it and do nothing, because it fails (exit 1: {sys.executable} ")
    assert "does not find all that macmgr needs (ModuleNotFoundError: " in line
    assert library in line
    assert "install macmgr again for that Python" in line


def test_what_the_daemons_unit_starts_may_be_gone(tmp_path: Path) -> None:
    """The daemon that runs goes on with what it has loaded, and the next one cannot start."""
    programs = [write(tmp_path / name, "#!/bin/sh\n") for name in ("my macmgr", "100%")]
    unit = tmp_path / "macmgr.service"
    for program in programs:
        install_unit(tmp_path, program)
        assert hookcheck.started_by(unit) == program
        assert list(hookcheck.problems(tmp_path / "hooks", SELinux(Path("/nonexistent")), unit)) == []
        program.unlink()
        (line,) = hookcheck.problems(tmp_path / "hooks", SELinux(Path("/nonexistent")), unit)
        why = "because it is gone: run 'macmgr install'"
        assert line == f"{program}: {unit} starts it, and no daemon can start, {why}"
        write(program, "#!/bin/sh\n")
    install_hooks(tmp_path / "hooks", programs[1])
    programs[1].unlink()
    (line,) = hookcheck.problems(tmp_path / "hooks", SELinux(Path("/nonexistent")), unit)
    assert "the hooks start it and do nothing" in line, "one cause, one line"
    unit.write_text("[Service]\nExecStart=/nonexistent\n")
    assert hookcheck.started_by(unit) is None, "somebody else's"


@pytest.mark.parametrize("name", ["python", "handover"])
def test_what_else_the_hooks_start_may_be_gone(tmp_path: Path, name: str) -> None:
    install_hooks(tmp_path, TRUE)
    for driver in DRIVERS:
        shim = tmp_path / f"{driver}.d" / NAME
        shim.write_text(re.sub(rf"(?m)^{name}=.*$", f"{name}='/no such/{name}'", shim.read_text()))
    (line,) = problems(tmp_path)
    assert line.startswith(f"/no such/{name}: the hooks start it and do nothing, because it is gone")


# SELinux


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch, answers: dict[tuple[str, str], str]) -> Iterator[list[tuple[str, str]]]:
    """Answer the questions to the policy: ``answers`` by transaction file and first context."""
    questions: list[tuple[str, str]] = []

    def ask(_: SELinux, name: str, question: str) -> str:
        questions.append((name, question))
        found = answers.get((name, question.split()[0].split(":")[2]))
        if found is None:
            raise OSError(22, "Invalid argument")  # the policy has no such domain
        return found

    monkeypatch.setattr(SELinux, "_ask", ask)
    monkeypatch.setattr("macmgr.selinux._label", lambda _: "system_u:object_r:virt_hook_t:s0")
    yield questions


def selinux(root: Path, enforce: str = "1", boolean: str | None = "0 0", daemons: Sequence[str] = ()) -> SELinux:
    """selinuxfs with the class indices of a real policy's form, and libvirt's daemons."""
    files = {
        "enforce": enforce,
        "class/file/index": "6",
        "class/file/perms/execute": "14",
        "class/file/perms/execute_no_trans": "18",
        "class/process/index": "2",
        "class/process/perms/transition": "2",
    }
    if boolean is not None:
        files["booleans/virt_hooks_unconfined"] = boolean
    for name, text in files.items():
        path = root / "selinux" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "sbin").mkdir()
    (root / "run").mkdir()
    for name in daemons:
        (root / "sbin" / name).touch()
    return SELinux(root / "selinux", (root / "sbin",), root / "run")


def access(*bits: int, permissive: bool = False) -> str:
    return f"{sum(1 << (bit - 1) for bit in bits):x} ffffffff 0 ffffffff 1 {int(permissive):x}"


def test_without_selinux_nothing_is_forbidden(tmp_path: Path) -> None:
    assert SELinux(tmp_path / "nothing").forbids(tmp_path) == ""
    assert selinux(tmp_path, enforce="0").forbids(tmp_path) == ""


def test_where_the_policy_cannot_be_asked_the_boolean_counts(tmp_path: Path) -> None:
    said = selinux(tmp_path, daemons=["virtqemud"]).forbids(tmp_path)
    assert "the boolean virt_hooks_unconfined is off" in said
    assert "setsebool -P virt_hooks_unconfined on" in said


@pytest.mark.parametrize("boolean", ["1 1", None])
def test_a_boolean_that_is_on_or_unknown_forbids_nothing(tmp_path: Path, boolean: str | None) -> None:
    assert selinux(tmp_path, boolean=boolean).forbids(tmp_path) == ""


EXECUTE, NO_TRANS, TRANSITION = 14, 18, 2


@pytest.mark.parametrize(
    ("virtqemud", "denied"),
    [
        (access(), True),
        (access(EXECUTE), True),  # it may map the file, and neither stay in its domain nor leave it
        (access(EXECUTE, NO_TRANS), False),
        (access(permissive=True), False),
    ],
)
def test_the_policy_is_asked_for_each_daemon_that_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virtqemud: str, denied: bool
) -> None:
    answers = {
        ("access", "virtqemud_t"): virtqemud,
        ("create", "virtqemud_t"): "system_u:system_r:virtqemud_t:s0",
        ("access", "virtnetworkd_t"): access(EXECUTE, TRANSITION),
        ("create", "virtnetworkd_t"): "system_u:system_r:virt_hook_unconfined_t:s0",
    }
    kernel = selinux(tmp_path, boolean="1 1", daemons=["virtqemud", "virtnetworkd"])
    with asked(monkeypatch, answers) as questions:
        said = kernel.forbids(tmp_path)
    assert ("does not let virtqemud execute hooks" in said) == denied
    assert ("access", "system_u:system_r:virtqemud_t:s0 system_u:object_r:virt_hook_t:s0 6 ffffffff") in questions
    assert not any("virtlxcd_t" in question for _, question in questions)


def test_a_daemon_that_is_installed_and_not_used_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = selinux(tmp_path, daemons=["libvirtd", "virtqemud"])
    answers = {("access", "virtqemud_t"): access(), ("access", "virtd_t"): access(EXECUTE, NO_TRANS)}
    with asked(monkeypatch, answers):
        assert "does not let virtqemud execute" in kernel.forbids(tmp_path)
        (tmp_path / "run" / "libvirt-sock").touch()
        assert kernel.forbids(tmp_path) == ""
        (tmp_path / "run" / "virtqemud-sock").touch()
        assert "does not let virtqemud execute" in kernel.forbids(tmp_path)


def test_a_host_that_forbids_them_gets_none(tmp_path: Path) -> None:
    kernel = selinux(tmp_path, daemons=["libvirtd"])
    hooks = tmp_path / "hooks"
    with pytest.raises(NotThere, match=r"SELinux is enforcing.*'macmgr install --no-hooks'"):
        install_hooks(hooks, TRUE, kernel)
    assert not hooks.exists()
