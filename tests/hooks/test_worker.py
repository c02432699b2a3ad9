"""The process that does a hook's work: what it holds, how much it reads, whom it waits for, and when it says no."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from macmgr.hook.run import REFUSED
from macmgr.state.lock import hold
from tests.hooks.conftest import SCRUBBED, Host, domain, domstatus
from tests.lab.wait import until

CALL = ("hook", "qemu", "g1", "started", "begin", "-")


def outputs(parent: int) -> list[set[str]]:
    """Where standard output and standard error of each child lead."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [{str(Path(f"/proc/{child}/fd/{number}").readlink()) for number in (1, 2)} for child in children]


def test_the_worker_holds_neither_of_libvirts_outputs(host: Host) -> None:
    """A worker that cannot be killed, stuck in the kernel, would else hold libvirtd for as long as it is stuck."""
    words = [str(host.program()), *CALL]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe, cwd="/", env=SCRUBBED) as process:
        until(lambda: outputs(process.pid) == [{"/dev/null"}], "the worker's outputs lead nowhere")
        process.communicate()


def test_an_input_without_an_end_is_read_no_further_than_a_document_may_be_long(host: Host) -> None:
    """It is refused for its length; memory, and the time that a hook has, are not filled with it."""
    zero = os.open("/dev/zero", os.O_RDONLY)
    try:
        said = host.hook(*CALL[1:], stdin=zero)
    finally:
        os.close(zero)
    assert (said.code, said.stdout) == (0, b"")
    (line,) = said.lines
    assert "bytes, more than the 8388608 macmgr reads" in line


def test_another_writer_is_waited_for_and_named(host: Host) -> None:
    """In time to say so, and not killed while it waits. What it keeps for that is long here: a machine may be busy."""
    host.configure("[bridge.br-test0]\nmac_table_manager = 'libvirt'\n")
    program = host.root / "program.py"
    program.write_text(program.read_text().replace("raise", "from macmgr.hook import work\nwork._RESERVE = 28\nraise"))
    host.status_file("qemu/g1.xml", domstatus("g1", "running"))
    with hold(host.root / "lock"):
        said = host.hook(*CALL[1:], stdin=domain("g1").encode())
    assert (said.code, said.stdout) == (0, b"")
    (line,) = said.lines
    assert "another macmgr is writing" in line


@pytest.mark.parametrize(
    ("operation", "code"), [("start", REFUSED), ("started", 0), ("reconnect", 0), ("stopped", 0), ("release", 0)]
)
def test_the_no_is_said_for_start_alone_whoever_calls(host: Host, operation: str, code: int) -> None:
    """The shim checks it too; somebody else's shim may not."""
    host.configure("[hook]\non_error = 'refuse'\n")
    words = [str(host.program()), "hook", "qemu", "g1", operation, "begin", "-"]
    said = subprocess.run(words, check=False, input=b"", capture_output=True, cwd="/", env=SCRUBBED)
    assert (said.returncode, said.stdout) == (code, b"")
