"""A name may hold a line feed or what turns the writing round: it is one line in every output of every verb."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from macmgr import cli
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from tests.fake_kernel import FakeKernel
from tests.unit.verbs.test_secrets import GOOD, STATUS, run_dir, write

__all__ = ["run_dir"]  # the fixture: a host with one bridge and one port

ODD = ["\n", "\r", "\r\n", "\t", "\u0085", "\u009b", "\u2028", "\u2029", "\u200f", "\u202e"]
SECOND = "touch /injected #"
VERBS = [["audit"], ["show"], ["plan"], ["explain", "vnet0"], ["doctor", "br0"], ["apply"], ["release"]]


class Kernel(FakeKernel):
    """A guest's tap on one bridge; verbs that come later find what the earlier ones made."""

    def __init__(self) -> None:
        ports = {"vnet0": BridgePort("vnet0", 2, "br0", "fe:54:00:aa:00:01", vids=(10,), pvid=10, kind="tun")}
        bridges = {"br0": Bridge("br0", 1, "02:00:00:00:00:01", vlan_filtering=True)}
        super().__init__(Snapshot(bridges, ports, {"br0": None, "vnet0": "br0"}))

    def __call__(self, _: str | None = None) -> Kernel:
        return self

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def kernel(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_dir
    monkeypatch.setattr("macmgr.verbs.host.Kernel", Kernel())


def lay_out(run_dir: Path, odd: str) -> list[str]:
    name = "".join(f"&#{ord(letter)};" for letter in odd)
    status = STATUS.replace("<name>web1", f"<name>web1{name}{SECOND}")
    status = status.replace("alias name='net0'", f"alias name='net0{name}{SECOND}'")
    write(run_dir, {"qemu/w.xml": status.encode(), "network/lan.xml": GOOD["network/lan.xml"]})
    return ["--run-dir", str(run_dir), "--config", str(run_dir.with_name("macmgr.toml"))]


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_a_name_is_one_line_in_every_verb_and_format(
    run_dir: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    monkeypatch.setenv("COLUMNS", "1000")
    options = lay_out(run_dir, odd)
    for verb in [*VERBS, ["audit", "--domain", f"web1{odd}{SECOND}"], ["explain", f"web1{odd}{SECOND}"]]:
        for form in ([], ["--json"]):
            assert cli.run([*verb, *form, *options]) in (0, 1), verb
            said = capfd.readouterr()
            lines = [*said.out.split("\n"), *said.err.split("\n")]
            assert [line for line in lines if line.strip().startswith("touch")] == [], (verb, form)


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_a_shell_that_is_given_the_plan_runs_no_name(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], odd: str
) -> None:
    options = lay_out(run_dir, odd)
    assert cli.run(["plan", *options]) == 1
    plan = capfd.readouterr().out
    stub = "bridge() { :; }\ntouch() { echo ran; }\n"
    run = subprocess.run(
        ["bash", "-c", stub + plan],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout == ""
