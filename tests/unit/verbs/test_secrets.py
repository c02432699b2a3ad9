"""Status files hold passwords: none of them reaches standard output, standard error or the log, whatever happens.

Every verb, in every format, reads a host whose status files hold secrets in each place where libvirt keeps some, and
then the same files damaged in every way that could make a message quote them. Not even five letters of a secret may
come out. The rule that keeps it so is in macmgr/options.py.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import count
from pathlib import Path

import pytest

from macmgr import cli, paths
from macmgr.commands import make_parser
from macmgr.hook.run import run_hook
from macmgr.model.hookcall import HookCall
from macmgr.model.snapshot import Bridge, BridgePort, Snapshot
from macmgr.readers.metadata import NAMESPACE
from macmgr.state import lock
from tests.fake_kernel import FakeKernel

SECRET = "Zq7wKx9PmV2tRj5sNc8y"  # noqa: S105 - not one letter of it makes sense, so that each piece is recognised
MAC = "52:54:00:aa:00:01"

TABLE = f"""<m:macTable xmlns:m='{NAMESPACE}' pin='static'>
  <m:interface mac='{MAC}' lock='no'><m:allow mac='52:54:00:aa:00:02'/></m:interface></m:macTable>"""
DOMAIN = f"""<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>web1</name>
  <uuid>5f6b7f0e-9a53-4b0c-8f61-1d2b7ac1a001</uuid>
  <description>{SECRET}</description>
  <metadata>{TABLE}<note xmlns='urn:note' key='{SECRET}'>{SECRET}</note></metadata>
  <sysinfo type='smbios'><oemStrings><entry>{SECRET}</entry></oemStrings></sysinfo>
  <devices>
    <disk type='network'>
      <auth username='admin'><secret type='ceph' usage='{SECRET}'/></auth>
      <source protocol='https' name='x'><cookies><cookie name='id'>{SECRET}</cookie></cookies></source>
      <encryption format='luks'><secret type='passphrase' uuid='{SECRET}'/></encryption>
    </disk>
    <interface type='network'>
      <mac address='{MAC}'/>
      <source network='lan'/>
      <vlan><tag id='10'/></vlan>
      <teaming type='persistent'/>
      <actual type='bridge'><source bridge='br0' macTableManager='libvirt'/></actual>
      <target dev='vnet0'/>
      <alias name='net0'/>
    </interface>
    <interface type='vhostuser'><mac address='52:54:00:aa:00:09'/><source path='/run/{SECRET}'/></interface>
    <graphics type='vnc' port='5900' passwd='{SECRET}'/>
    <graphics type='spice' passwd='{SECRET}' passwdValidTo='2030-01-01T00:00:00'/>
  </devices>
  <qemu:commandline><qemu:arg value='password={SECRET}'/><qemu:env name='TOKEN' value='{SECRET}'/></qemu:commandline>
</domain>"""
STATUS = f"""<!-- {SECRET} -->
<domstatus state='running' reason='booted' pid='1'>
  <monitor path='/var/lib/libvirt/qemu/{SECRET}/monitor.sock' type='unix'/>
  <masterKey path='/var/lib/libvirt/qemu/{SECRET}/master-key.aes'/>
  <blockjobs><blockjob><privateData><objects><secret type='auth' alias='{SECRET}'/></objects></privateData></blockjob>
  </blockjobs>
  {DOMAIN}
</domstatus>"""
NETWORK = f"""<network trustGuestRxFilters='yes'><name>lan</name>
  <metadata><m:macTable xmlns:m='{NAMESPACE}'><m:portgroup name='web' lock='yes'/></m:macTable></metadata>
  <bridge name='br0' macTableManager='libvirt'/>
  <portgroup name='web'/>
  <dnsmasq:options xmlns:dnsmasq='http://libvirt.org/schemas/network/dnsmasq/1.0'>
    <dnsmasq:option value='{SECRET}'/></dnsmasq:options>
</network>"""
PORT = f"""<networkport><uuid>5f6b7f0e-9a53-4b0c-8f61-1d2b7ac1a002</uuid><owner><name>web1</name></owner>
  <mac address='{MAC}'/><plug type='network' bridge='br0' macTableManager='libvirt'/>
  <note>{SECRET}</note></networkport>"""
CONFIG = '[bridge."br0"]\nlock = "yes"\n[hook]\ntimeout = 30\n'  # a machine may be busy

Files = dict[str, bytes]
GOOD: Files = {
    "qemu/web1.xml": STATUS.encode(),
    "network/lan.xml": f"<networkstatus><class_id bitmap='0'/>{NETWORK}</networkstatus>".encode(),
    "network/lan/ports/p.xml": PORT.encode(),
}


def cut(text: str) -> str:
    """The file ends in the middle of the VNC password."""
    return text[: text.index(f"passwd='{SECRET}") + len("passwd='") + 12]


# What a damaged or hostile file can look like: in every file where the old text occurs, it is replaced by the new one.
REPLACEMENTS: dict[str, tuple[str, str]] = {
    "mac": (f"<mac address='{MAC}'/>", f"<mac address='{SECRET}'/>"),
    "mac-like": (f"<mac address='{MAC}'/>", f"<mac address='52:54:{SECRET}:00:01'/>"),
    "current mac": (f"<mac address='{MAC}'/>", f"<mac address='{MAC}' currentAddress='{SECRET}'/>"),
    "mac table manager": ("macTableManager='libvirt'", f"macTableManager='{SECRET}'"),
    "almost a mac table manager": ("macTableManager='libvirt'", f"macTableManager='libvirt{SECRET}'"),
    "attribute of bridge": ("macTableManager='libvirt'", f"macTableManager{SECRET}='libvirt'"),
    "interface type": ("type='vhostuser'", f"type='{SECRET}'"),
    "actual type": ("<actual type='bridge'>", f"<actual type='{SECRET}'>"),
    "virtualport": ("<target dev", f"<virtualport type='{SECRET}'/><target dev"),
    "teaming": ("type='persistent'", f"type='{SECRET}'"),
    "vlan": ("<tag id='10'/>", f"<tag id='{SECRET}'/>"),
    "vlan mode": ("<tag id='10'/>", f"<tag id='10' nativeMode='{SECRET}'/>"),
    "state": ("state='running' reason='booted'", f"state='{SECRET}' reason='{SECRET}'"),
    "trust": ("trustGuestRxFilters='yes'", f"trustGuestRxFilters='{SECRET}'"),
    "domain type": ("<domain type='kvm'", f"<domain type='{SECRET}'"),
    "root element": ("domstatus", f"d{SECRET}"),
    "inner element": ("<domain type", f"<{SECRET}/><domain type"),
    "element instead of the domain": ("domain", f"d{SECRET}"),
    "our element": ("m:interface", f"m:i{SECRET}"),
    "our portgroup": ("m:portgroup", f"m:p{SECRET}"),
    "our table": ("m:macTable", f"m:m{SECRET}"),
    "our allow": ("m:allow", f"m:a{SECRET}"),
    "our namespace": (NAMESPACE, f"urn:macmgr:{SECRET}"),
    "almost our namespace": (NAMESPACE, f"{NAMESPACE}{SECRET[:4]}"),
    "our option's value": ("pin='static'", f"pin='{SECRET}'"),
    "our option's name": ("pin='static'", f"p{SECRET}='static'"),
    "our option's value in a network": ("lock='yes'", f"lock='{SECRET}'"),
    "our interface's key": (f"mac='{MAC}'", f"mac='{SECRET}'"),
    "our allowed address": ("<m:allow mac='52:54:00:aa:00:02'", f"<m:allow mac='{SECRET}'"),
    "our allowed prefix": ("<m:allow mac='52:54:00:aa:00:02'", f"<m:allow mac='{SECRET}:*'"),
    "text in ours": ("<m:allow", f"{SECRET}<m:allow"),
    "processing instruction": ("<devices>", f"<?{SECRET} {SECRET}?><devices>"),
    "attribute twice": ("<devices>", f"<devices a{SECRET}='' a{SECRET}=''>"),
    "attribute without quotes": ("<devices>", f"<devices a={SECRET}>"),
    "unknown prefix": ("<devices>", f"<{SECRET}:devices/><devices>"),
    "unknown entity": ("<devices>", f"<devices>&{SECRET};"),
    "wrong end": ("</devices>", f"</{SECRET}>"),
    "bare ampersand": (f"passwd='{SECRET}'", f"passwd='&{SECRET}'"),
    "control character": (f"passwd='{SECRET}'", f"passwd='{SECRET}\x01'"),
}
DAMAGES: dict[str, Callable[[str], bytes]] = {
    "truncated in a password": lambda text: cut(text).encode() if "passwd" in text else text.encode(),
    "truncated in a name": lambda text: text[: text.rindex(SECRET) + 9].encode(),
    "latin-1 in UTF-8": lambda text: text.replace(SECRET, f"{SECRET}ü").encode("latin-1"),
    "unknown encoding": lambda text: f"<?xml version='1.0' encoding='{SECRET}'?>{text}".encode(),
    "wrong encoding": lambda text: f"<?xml version='1.0' encoding='utf-16'?>{text}".encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "no XML at all": lambda _: SECRET.encode(),
    "doctype": lambda text: f"<!DOCTYPE d [<!ENTITY e '{SECRET}'>]>{text}".encode(),
    "doctype in UTF-16": lambda text: f"<!DOCTYPE d{SECRET}>{text}".encode("utf-16"),
    "zero bytes": lambda text: text.replace(SECRET, SECRET + "\0").encode(),
}


def variants() -> Iterator[tuple[str, Files]]:
    yield "good", GOOD
    for name, (old, new) in REPLACEMENTS.items():
        assert any(old.encode() in data for data in GOOD.values()), name
        yield name, {file: data.replace(old.encode(), new.encode()) for file, data in GOOD.items()}
    for name, damage in DAMAGES.items():
        yield name, {file: damage(data.decode()) for file, data in GOOD.items()}


# How each verb that reads libvirt's XML is called here; the others read none, or are called below.
VERBS: dict[str, list[list[str]]] = {
    "audit": [[], ["--strict", "--domain", "web1"], ["--network", "lan"]],
    "plan": [[], ["--domain", "web1"]],
    "apply": [[]],
    "release": [[]],
    "manage": [["br0"]],
    "observe": [["br0"]],
    "show": [[]],
    "capture": [["{run}/../h1-{number}"]],
    "doctor": [[]],
    "graph": [[]],
    "explain": [["web1"], [MAC]],
    "trace": [["--to", MAC], ["--from", "vnet0", "--to", "ff:ff:ff:ff:ff:ff"]],
    "validate": [["{run}/qemu/web1.xml", "{run}/network/lan.xml", "{run}/network/lan/ports/p.xml"]],
}
# compare reads audits, and captures, which are looked at here. net asks libvirt, which gives no secrets unless they are
# asked for (VIR_DOMAIN_XML_SECURE). status asks the daemon, whose words are those of changes and findings.
# What watch says is looked at in tests/netns/test_watch_secrets.py.
NO_XML = {"compare", "install", "uninstall", "hook", "net", "status", "watch"}


def verbs() -> dict[str, argparse.ArgumentParser]:
    choices = next(
        action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction)
    ).choices
    return dict(choices)


def formats(parser: argparse.ArgumentParser) -> list[list[str]]:
    """Every format and every verbosity that a verb knows."""
    found: list[list[str]] = []
    for action in parser._actions:
        if "--format" in action.option_strings:
            found += [["--format", str(choice)] for choice in action.choices or ()]
        if "-v" in action.option_strings:
            found += [["-v"]]
    return found or [[]]


def places(verb: str, run_dir: Path) -> list[str]:
    """Where the verb finds its files; `validate` is told by their names."""
    return [] if verb == "validate" else ["--run-dir", str(run_dir), "--config", str(run_dir.with_name("macmgr.toml"))]


class Kernel(FakeKernel):
    """The host's kernel, as the verbs open it."""

    def __init__(self, netns: str | None = None, most: int = 0) -> None:
        bridge = Bridge("br0", 1, "02:00:00:00:00:01", vlan_filtering=True)
        port = BridgePort("vnet0", 2, "br0", "fe:54:00:aa:00:01", vids=(10,))
        super().__init__(Snapshot({"br0": bridge}, {"vnet0": port}, {"br0": None, "vnet0": "br0"}))

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # dozens of runs in one test: two thirds of their time went into making the parser again
    monkeypatch.setattr(cli, "make_parser", cache(make_parser))
    monkeypatch.setattr("macmgr.verbs.host.Kernel", Kernel)
    monkeypatch.setattr("macmgr.hook.work.Kernel", Kernel)
    monkeypatch.setattr(lock, "hold", partial(lock.hold, tmp_path / "lock"))
    monkeypatch.setattr(paths, "STATE", tmp_path / "state" / "state.json")
    monkeypatch.setattr(paths, "OBSERVED", tmp_path / "observed.json")
    monkeypatch.setattr(paths, "REMEMBERED", tmp_path / "remembered")
    (tmp_path / "macmgr.toml").write_text(CONFIG)
    return tmp_path / "run"


def write(run_dir: Path, files: Files) -> None:
    for name, data in files.items():
        path = run_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def assert_no_secret(text: str) -> None:
    pieces = {SECRET[start : start + 5] for start in range(len(SECRET) - 4)}
    leaked = [line for line in text.splitlines() if any(piece.lower() in line.lower() for piece in pieces)]
    assert not leaked


NUMBERS = count()


def test_every_verb_is_looked_at() -> None:
    assert verbs().keys() == VERBS.keys() | NO_XML, "say in VERBS how the new verb is called, or in NO_XML that none"


@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in variants()])
def test_no_verb_tells_a_secret(files: Files, run_dir: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(run_dir, files)
    parsers = verbs()
    for name, calls in VERBS.items():
        for words in calls:
            for form in formats(parsers[name]):
                call = [word.format(run=run_dir, number=next(NUMBERS)) for word in words]
                assert cli.run([name, *call, *form, *places(name, run_dir)]) in (
                    0,
                    1,
                    3,
                    65,
                    69,
                )  # 3: the plugin does not know
    captured = capfd.readouterr()
    assert captured.out
    assert_no_secret(captured.out + captured.err)
    (capture,) = run_dir.parent.glob("h1-*")
    written = [path for path in capture.rglob("*") if path.is_file()]
    assert len(written) > 5
    assert_no_secret("".join(f"{path}\n{path.read_text()}\n" for path in written))


@pytest.mark.parametrize("files", [pytest.param(files, id=name) for name, files in variants()])
def test_no_hook_tells_a_secret(
    files: Files, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    write(run_dir, files)
    # the tests before this one are not the hook's time
    monkeypatch.setattr("macmgr.hook.run.process_started", time.monotonic)
    logged: list[str] = []
    monkeypatch.setattr("macmgr.hook.run.say", logged.append)  # what goes to standard error and to the system log
    domain = between(files["qemu/web1.xml"], b"<domain", b"</domain>")
    network = b"<hookData>" + between(files["network/lan.xml"], b"<network t", b"</network>") + b"</hookData>"
    for call, data in (
        (HookCall("qemu", "web1", "started", "begin"), domain),
        (HookCall("qemu", "web1", "stopped", "end"), domain),
        (HookCall("lxc", "web1", "started", "begin"), domain),
        (HookCall("network", "lan", "updated", "begin"), network),
    ):
        assert hook(call, data, run_dir, tmp_path) == 0
    captured = capfd.readouterr()
    assert not captured.out
    assert not any("unexpectedly" in line or "gave up" in line for line in logged), logged
    assert_no_secret("\n".join(logged) + captured.err)


def hook(call: HookCall, data: bytes, run_dir: Path, tmp_path: Path) -> int:
    """A hook call of libvirt's, with its input."""
    (tmp_path / "input").write_bytes(data)
    standard_input = os.dup(0)
    try:
        with (tmp_path / "input").open("rb") as file:
            os.dup2(file.fileno(), 0)
        return run_hook(call, tmp_path / "macmgr.toml", run_dir)
    finally:
        os.dup2(standard_input, 0)
        os.close(standard_input)


def between(data: bytes, start: bytes, end: bytes) -> bytes:
    """The domain or network in a status file as the hook gets it; a damaged file is given as it is."""
    first, last = data.find(start), data.find(end)
    return data[first : last + len(end)] if 0 <= first < last else data
