"""A hook never kills, blocks or refuses a guest by accident, whatever comes on its standard input."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import pytest

from tests.hooks.conftest import BUDGET, DEFAULT_TIME, DRIVERS, Host, Said, domain, domstatus, open_pipe

MANAGED = "[bridge.br-test0]\nmac_table_manager = 'libvirt'\n"
QUICK = "[hook]\ntimeout = 0.5\n"
OBJECT = "g1"

_LAUGHS = "".join(f"<!ENTITY l{level} '{f'&l{level - 1};' * 10}'>" for level in range(1, 30))
BAD_INPUT = {
    "empty": b"",
    "white space": b" \n\t ",
    "truncated": domain(OBJECT).encode()[:80],
    "another document": b"<pool><name>g1</name></pool>",
    "another domain": domain("g2").encode(),
    "no name": b"<domain type='kvm'/>",
    "no MAC": domain(OBJECT).replace("52:54:00:aa:00:01", "hunter2").encode(),
    "20 MiB": b"<domain><name>" + b"g" * (20 << 20) + b"</name></domain>",
    "20 MiB of white space": b" " * (20 << 20),
    "deep": b"<domain>" * 100_000,
    "billion laughs": f"<!DOCTYPE d [<!ENTITY l0 'ha'>{_LAUGHS}]><domain><name>&l29;</name></domain>".encode(),
    "billion laughs in UTF-16": f"<!DOCTYPE d [<!ENTITY l0 'ha'>{_LAUGHS}]><domain>&l29;</domain>".encode("utf-16"),
    "external entity": b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><domain><name>&x;</name></domain>",
    "external DTD": b"<!DOCTYPE domain SYSTEM 'http://192.0.2.1/d.dtd'><domain><name>g1</name></domain>",
    "random bytes": b"".join(hashlib.sha256(bytes([n])).digest() for n in range(128)),
    "NUL bytes": bytes(4096),
}


def assert_harmless(said: Said) -> None:
    """What holds for every call: nothing on standard output, exit 0, at most one line, and little processor time."""
    assert (said.code, said.stdout) == (0, b"")
    assert len(said.lines) <= 1
    assert "Traceback" not in said.stderr
    assert said.busy < BUDGET


# The shim hands on what it does not read: to it an input is long, empty, or no text.
FOR_THE_SHIM = ("empty", "20 MiB", "20 MiB of white space", "random bytes", "NUL bytes")


@pytest.mark.parametrize("what", BAD_INPUT)
@pytest.mark.parametrize("operation", ["start", "started", "stopped"])
def test_bad_input_is_told_in_one_line_and_hurts_nobody(host: Host, operation: str, what: str) -> None:
    call = host.hook if operation == "started" and what in FOR_THE_SHIM else host.macmgr
    said = call("qemu", OBJECT, operation, "begin", "-", stdin=BAD_INPUT[what])
    assert_harmless(said)
    assert "gave up" not in said.stderr
    assert len(said.lines) == 1
    assert said.lines[0].startswith(f"macmgr: qemu {OBJECT} {operation}: ")
    assert "hunter2" not in said.stderr


@pytest.mark.parametrize("driver", ["lxc", "network"])
@pytest.mark.parametrize("what", ["empty", "truncated", "billion laughs", "random bytes"])
def test_bad_input_to_the_other_hooks(host: Host, driver: str, what: str) -> None:
    call = host.hook if what in FOR_THE_SHIM else host.macmgr
    said = call(driver, OBJECT, "started", "begin", "-", stdin=BAD_INPUT[what])
    assert_harmless(said)
    assert "gave up" not in said.stderr
    assert len(said.lines) == 1


def test_the_daemon_hook_is_called_with_nothing(host: Host) -> None:
    said = host.hook("daemon", "-", "start", "-", "start")
    assert_harmless(said)
    assert said.lines == []


def test_an_input_that_never_ends_is_given_up(host: Host) -> None:
    """The working process is killed in the middle of reading, and nobody holds libvirt's pipes afterwards."""
    host.configure(QUICK)
    with open_pipe() as stdin:
        said = host.hook("qemu", OBJECT, "started", "begin", "-", stdin=stdin)
    assert_harmless(said)
    assert said.lines == [
        "macmgr: qemu g1 started: gave up after 0.5 s; run 'macmgr audit' to see what is left to do",
    ]


def test_it_gives_up_after_two_seconds_by_default(host: Host) -> None:
    host.configure(DEFAULT_TIME)
    with open_pipe() as stdin:
        said = host.hook("qemu", OBJECT, "started", "begin", "-", stdin=stdin)
    assert_harmless(said)
    assert "gave up after 2 s" in said.stderr


def test_good_input_says_nothing(host: Host) -> None:
    host.configure(MANAGED)
    host.status_file("qemu/g1.xml", domstatus("g1", "running"))
    said = host.hook("qemu", "g1", "started", "begin", "-", stdin=domain("g1").encode())
    assert_harmless(said)
    assert said.lines == []


NAMES = {
    "an option": "--help",
    "an option with a value": "--config=/nonexistent",
    "the end of options": "--",
    "one dash": "-",
    "spaces": "g one",
    "quotes": 'it\'s "g1"',
    "a command": "$(echo g1); `id` & g1 *",
    "a newline": "g\n1",
    "Unicode": "größe-机-\N{GRINNING FACE}",
}


@pytest.mark.parametrize("kind", NAMES)
def test_a_domain_may_be_named_like_anything(host: Host, kind: str) -> None:
    """It is handled as a domain: its own input is taken, and another domain's is refused in its name."""
    name = NAMES[kind]
    host.configure(MANAGED)
    host.status_file("qemu/some.xml", domstatus(name, "running"))
    own = host.hook("qemu", name, "started", "begin", "-", stdin=domain(name).encode())
    assert_harmless(own)
    assert own.lines == []
    another = host.macmgr("qemu", name, "started", "begin", "-", stdin=domain("g2").encode())
    assert_harmless(another)
    who = f"macmgr: qemu {' '.join(name.split())} started"
    assert another.lines == [f"{who}: the hook's input describes domain 'g2', but the call names {name!r}"]


def test_a_name_that_is_not_unicode_is_one_line_too(host: Host) -> None:
    said = host.hook("qemu", b"g\xff1", "started", "begin", "-", stdin=domain("g1").encode())
    assert_harmless(said)
    assert said.lines[0].startswith("macmgr: qemu g?1 started: ")


def test_a_name_cannot_write_to_the_terminal_of_who_reads_the_log(host: Host) -> None:
    said = host.hook("qemu", "g\x1b[2J\x071", "started", "begin", "-", stdin=b"")
    assert_harmless(said)
    assert said.lines[0].isprintable()


SMALL = {
    "qemu": {"start", "started", "reconnect", "stopped", "release"},
    "lxc": {"start", "started", "reconnect", "stopped", "release"},
    "network": {"started", "updated"},
    "daemon": {"start", "reload"},
}
OPERATIONS = {
    "qemu": ("prepare", "start", "started", "stopped", "release", "migrate", "restore", "reconnect", "attach"),
    "lxc": ("prepare", "start", "started", "stopped", "release", "reconnect"),
    "network": ("start", "started", "stopped", "updated", "plugged", "unplugged", "port-created", "port-deleted"),
    "daemon": ("start", "shutdown", "reload"),
}


@pytest.mark.parametrize("driver", DRIVERS)
def test_only_operations_with_something_to_do_start_a_program(host: Host, driver: str) -> None:
    """On a host with a thousand ports the network hook runs a thousand times: most calls cost one shell."""
    calls = host.root / "calls"
    host.install(host.program(script=f'echo "$@" >> {calls}', name="recorder"))
    for operation in OPERATIONS[driver]:
        assert_harmless(host.hook(driver, "g1", operation, "begin", "-"))
    started = [line.split() for line in calls.read_text().splitlines()]
    assert [words[4:] for words in started] == [
        [driver, "g1", each, "begin", "-"] for each in OPERATIONS[driver] if each in SMALL[driver]
    ]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("script", ["exit 1", "exit 2", "exit 127", "kill -9 $$", "echo words; exit 3"])
def test_a_broken_macmgr_is_no_reason_to_refuse(host: Host, driver: str, script: str) -> None:
    host.install(host.program(script=script, name="broken"))
    for operation in OPERATIONS[driver]:
        said = host.hook(driver, "g1", operation, "begin", "-")
        assert (said.code, said.stdout) == (0, b"")


@pytest.mark.parametrize("kind", ["missing", "not executable", "without its interpreter"])
def test_a_missing_macmgr_is_no_reason_to_refuse(host: Host, kind: str) -> None:
    program = host.program(name="gone")
    host.install(program)
    if kind == "missing":
        program.unlink()
    elif kind == "not executable":
        program.chmod(0o644)
    else:
        program.write_text("#!/nonexistent/python\n")
    for driver in DRIVERS:
        for operation in OPERATIONS[driver]:
            assert_harmless(host.hook(driver, "g1", operation, "begin", "-"))


@pytest.mark.parametrize("driver", ["qemu", "lxc"])
def test_refusing_is_for_start_alone(host: Host, driver: str) -> None:
    """At `started` and `reconnect` a non-zero exit kills the running guest; later ones are for nobody's good."""
    host.configure("[hook]\non_error = 'refuse'\n")
    codes = {operation: host.hook(driver, "g1", operation, "begin", "-").code for operation in OPERATIONS[driver]}
    assert codes == {operation: int(operation == "start") for operation in OPERATIONS[driver]}


def test_refusing_a_start_that_hangs(host: Host) -> None:
    host.configure(QUICK + "on_error = 'refuse'\n")
    with open_pipe() as stdin:
        said = host.hook("qemu", "g1", "start", "begin", "-", stdin=stdin)
    assert (said.code, said.stdout, len(said.lines)) == (1, b"", 1)


@pytest.mark.parametrize("driver", ["network", "daemon"])
def test_networks_and_daemons_are_never_refused(host: Host, driver: str) -> None:
    host.configure("[hook]\non_error = 'refuse'\n")
    for operation in OPERATIONS[driver]:
        assert host.hook(driver, "n1", operation, "begin", "-").code == 0


def test_a_wrong_configuration_refuses_nobody(host: Host) -> None:
    """What on_error says is not known, and the default is not to refuse."""
    host.configure("[hook]\non_error = 'refuse'\nmispelt = 1\n")
    said = host.hook("qemu", "g1", "start", "begin", "-", stdin=domain("g1").encode())
    assert_harmless(said)
    assert "macmgr.toml:3: unknown name 'mispelt'" in said.stderr


def test_a_host_without_status_files_is_told(host: Host) -> None:
    (host.root / "libvirt" / "qemu").rmdir()
    (host.root / "libvirt").rmdir()
    said = host.hook("qemu", "g1", "started", "begin", "-", stdin=domain("g1").encode())
    assert_harmless(said)
    assert "no such directory" in said.stderr


def test_the_killed_worker_leaves_no_process(host: Host, tmp_path: Path) -> None:
    """Whoever still had the input open would be a process that outlives the hook."""
    host.configure(QUICK)
    fifo = tmp_path / "input"
    os.mkfifo(fifo)
    keeper = os.open(fifo, os.O_RDWR)
    said = host.hook("qemu", "g1", "started", "begin", "-", stdin=keeper)
    assert_harmless(said)
    assert _holders(fifo) == [os.getpid()]
    os.close(keeper)


def _holders(path: Path) -> list[int]:
    """The processes that have ``path`` open."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # the process has ended
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    if descriptor.readlink() == path:
                        found.append(int(process.name))
    return found
