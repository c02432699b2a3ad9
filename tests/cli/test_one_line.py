"""A name may hold a line feed or what turns the writing round: it is one line in every output of every verb."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from macmgr import cli, paths
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from macmgr.readers.network import Network
from macmgr.sources.hypervisor import Definition
from macmgr.verbs.net import Report
from macmgr.watch.journal import datagram
from macmgr.watch.messages import Line, Priority
from tests.cli.conftest import Said
from tests.cli.test_status import busy, locked, quiet, told
from tests.fake_kernel import FakeKernel
from tests.unit.verbs.test_secrets import GOOD, STATUS, run_dir, write

__all__ = ["run_dir"]  # the fixture: a host with one bridge and one port

ODD = ["\n", "\r", "\r\n", "\t", "\u0085", "\u009b", "\u2028", "\u2029", "\u200f", "\u202e"]
OBEYED = {chr(each) for each in (*range(9), *range(11, 0x20), *range(0x7F, 0xA0), 0x200F, 0x2028, 0x2029, 0x202E)}
SECOND = "touch /injected #"
Macmgr = Callable[..., None]
VERBS = [["audit"], ["show"], ["plan"], ["explain", "vnet0"], ["doctor", "br0"], ["apply"], ["release"]]
VERBS += [["trace", "--to", "ff:ff:ff:ff:ff:ff"], ["trace", "--from", "vnet0", "--to", "52:54:00:aa:00:01"]]


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
def kernel(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    assert run_dir
    kernel = Kernel()
    monkeypatch.setattr("macmgr.verbs.host.Kernel", kernel)
    return kernel


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


def is_plain(said: Said, *call: object) -> None:
    """Every name is on the line of its sentence, and a terminal obeys none."""
    lines = [*said.stdout.split("\n"), *said.stderr.split("\n")]
    assert [line for line in lines if line.strip().startswith("touch")] == [], call
    assert [line for line in lines if OBEYED & set(line)] == [], call


@pytest.fixture
def macmgr(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Macmgr:
    monkeypatch.setenv("COLUMNS", "1000")

    def run(*words: str) -> None:
        code = cli.run(words)
        assert code in (0, 1, 2, 65, 69, 75, 78), words
        is_plain(Said(code, *capfd.readouterr()), *words)

    return run


@pytest.mark.parametrize("odd", [*ODD, "\x1b[2J", "\x07", "\x7f"], ids=ascii)
def test_no_name_of_the_host_breaks_a_line(run_dir: Path, macmgr: Macmgr, kernel: Kernel, odd: str) -> None:
    """Bridges and ports (the kernel refuses only white space), networks, portgroups, files, and what is configured."""
    name = f"b{odd}{SECOND}" if not odd.isspace() else "b"
    named = (json.dumps(f"n{odd}{SECOND}{star}") for star in ("", "*"))
    run_dir.with_name("macmgr.toml").write_text("".join(f"[bridge.{each}]\nlock = true\n" for each in named))
    for bridge in ("br0", name):
        kernel.bridges[bridge] = replace(kernel.bridges["br0"], name=bridge, ifindex=len(bridge))
        kernel.ports[f"e{bridge}"] = BridgePort(
            f"e{bridge}", 90 + len(bridge), bridge, "02:00:00:00:00:90", kind="", promiscuity=1
        )
        kernel.masters |= {bridge: None, f"e{bridge}": bridge}
    if odd.isprintable() or odd in "\t\n\r" or ord(odd[0]) > 0x7F:
        xml = "".join(f"&#{ord(letter)};" for letter in odd) + SECOND
        domain = STATUS.replace("<name>web1", f"<name>web1{xml}").replace(
            "network='lan'", f"network='lan{xml}' portgroup='p{xml}'"
        )
        network = (
            GOOD["network/lan.xml"]
            .decode()
            .replace("<name>lan", f"<name>lan{xml}")
            .replace("name='web'", f"name='p{xml}'")
        )
        write(run_dir, {"qemu/w.xml": domain.encode(), "network/lan.xml": network.encode()})
    write(run_dir, {f"qemu/x{odd}touch.xml": b"<domstatus", f"network/x{odd}touch.xml": b"<networkstatus"})
    options = ["--run-dir", str(run_dir), "--config", str(run_dir.with_name("macmgr.toml"))]
    for verb in (
        *VERBS,
        ["doctor"],
        ["doctor", name],
        ["explain", name],
        ["explain", f"e{name}"],
        ["explain", f"nobody{odd}{SECOND}"],
        ["trace", "--from", name, "--to", "ff:ff:ff:ff:ff:ff"],
        ["trace", "--from", f"e{name}", "--to", "02:00:00:00:00:01"],
        ["trace", "--from", f"nobody{odd}{SECOND}", "--to", "ff:ff:ff:ff:ff:ff"],
        ["trace", "--to", f"nobody{odd}{SECOND}"],
        ["audit", "--bridge", name],
        ["audit", "--bridge", f"nobody{odd}{SECOND}"],
        ["audit", "--network", f"lan{odd}{SECOND}"],
        ["apply", "--bridge", name],
        ["apply", "--vlan-filtering", name],
        ["release", "--bridge", name],
    ):
        for form in ([], ["--json"]):
            macmgr(*verb, *form, *options)


@pytest.mark.parametrize("odd", [*ODD, "\x1b[2J", "\x07", "\x7f"], ids=ascii)
def test_no_file_path_or_word_does(
    run_dir: Path, tmp_path: Path, macmgr: Macmgr, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    there = tmp_path / f"d{odd}touch"
    there.mkdir()
    xml = STATUS.replace("<name>web1", f"<name>web1&#{ord(odd[0])};{SECOND}").encode()
    key = json.dumps(f"k{odd}{SECOND}")
    write(there, {"bad.xml": b"<domain", "good.xml": GOOD["network/lan.xml"], "odd.xml": xml})
    for number, toml in enumerate(
        (
            f"{key} = 1",
            f"[{key}]",
            f"[bridge.{key}]\n{key} = 1",
            f"[bridge.br0]\nallow = [{key}]\npin = {key}",
            f"[defaults]\nmode = {key}",
        )
    ):
        config = there / f"{number}.toml"
        config.write_text(toml + "\n")
        macmgr("audit", "--run-dir", str(run_dir), "--config", str(config))
        macmgr("validate", str(config), *map(str, there.glob("*.xml")), str(there), str(there / "not there"))
        macmgr("validate", "--json", str(config), *map(str, there.glob("*.xml")))
    monkeypatch.setattr(paths, "SYSTEMD", there)
    monkeypatch.setattr(paths, "HOOK_SOCKET", there / "s")
    monkeypatch.setattr(paths, "LIBVIRT_HOOKS", there / "hooks")
    (there / "hooks").mkdir()
    where = ["--hooks-dir", str(there / "hooks"), "--units-dir", str(there), "--config", str(there / "macmgr.toml")]
    macmgr("install", *where, "--run-dir", str(run_dir))
    macmgr("install", *where, "--run-dir", str(run_dir), "--program", str(there / "none"))
    macmgr("uninstall", *where)
    macmgr("uninstall", "--hooks-dir", str(there))
    macmgr("status")
    macmgr("hook", "qemu", f"web1{odd}{SECOND}", "started", "begin", "--config", str(there / "0.toml"))
    for words in (
        ["audit"],
        ["net", "get"],
        ["help"],
        ["hook"],
        ["audit", "--domain"],
        ["explain", "x"],
        ["--format"],
        [],
    ):
        macmgr(*words, f"x{odd}{SECOND}", *(["--connect", "test:///default"] if "net" in words else []))


@pytest.mark.parametrize("odd", [*ODD, "\x1b[2J", "\x07", "\x7f"], ids=ascii)
def test_no_name_does_in_what_libvirt_and_the_daemon_answer(
    macmgr: Macmgr, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    bad = f"n{odd}{SECOND}"

    def spoiled(value: Any, key: str = "") -> Any:
        """Each text of the document, but for its times and for words of macmgr's own."""
        if isinstance(value, dict):
            return {name: spoiled(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [spoiled(each) for each in value]
        own = not isinstance(value, str) or key in ("verdict", "mode") or re.match(r"\d{4}-\d\d-\d\dT", value)
        return value if own else f"{value}{odd}{SECOND}"

    for counters in (quiet(), busy(), locked()):
        monkeypatch.setattr("macmgr.verbs.status.ask", lambda _, made=counters: spoiled(told(made)))
        macmgr("status")
        macmgr("status", "-v")
        macmgr("status", "--json")
    network = Network(bad, "u", bad, manager="libvirt", forward="bridge")
    report = Report(network, replace(network, manager=""), replace(network, manager=""), (bad,), (f"- {bad}",))
    monkeypatch.setattr("macmgr.verbs.net.connect", lambda *_, **__: nullcontext())
    monkeypatch.setattr("macmgr.verbs.net.change_manager", lambda *_: report)
    monkeypatch.setattr("macmgr.verbs.net.read_definition", lambda *_: Definition(bad, "a", "p", transient=False))
    for managers in (("libvirt", "libvirt"), ("libvirt", "kernel")):
        forms = dict(zip(("a", "p"), (replace(network, manager=each) for each in managers), strict=True))
        monkeypatch.setattr("macmgr.verbs.net._network", forms.get)
        monkeypatch.setattr("macmgr.verbs.net._has_table", lambda *_: True)
        for words in (
            ["get", "x"],
            ["get", "-v", "x"],
            ["get", "--json", "x"],
            ["set", "x", "libvirt"],
            ["set", "--json", "x", "libvirt"],
        ):
            macmgr("net", *words)
    assert len(datagram(Line(Priority.INFO, bad)).splitlines()) == len(datagram(Line(Priority.INFO, "n")).splitlines())


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
