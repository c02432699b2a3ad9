"""`macmgr validate`: every mistake on its line, in words; every good file on one line; the exit code says which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from macmgr.cli import run
from macmgr.readers.metadata import NAMESPACE
from macmgr.readers.problems import check_document

LAN = f"""<network>
  <name>lan</name>
  <metadata>
    <macmgr:macTable xmlns:macmgr='{NAMESPACE}'>
      <macmgr:portgroup name='web' lock='yes'/>
    </macmgr:macTable>
  </metadata>
  <bridge name='br0' macTableManager='libvirt'/>
  <portgroup name='web'/>
</network>
"""
WEB = f"""<domain type='kvm'>
  <name>web 1</name>
  <metadata>
    <macmgr:macTable xmlns:macmgr='{NAMESPACE}' pin='static'>
      <macmgr:interface mac='52:54:00:aa:00:01' manager='libvirt'/>
    </macmgr:macTable>
  </metadata>
  <devices>
    <interface type='network'>
      <mac address='52:54:00:aa:00:01'/>
      <source network='lan'/>
      <vlan><tag id='10'/></vlan>
    </interface>
  </devices>
</domain>
"""
PORT = "<networkport><owner><name>web1</name></owner><mac address='52:54:00:aa:00:01'/></networkport>"
CONFIG = '[bridge."br0"]\nmac_table_manager = "libvirt"\n'


def told(document: str) -> list[str]:
    return [problem.at("f") for problem in check_document(document.encode()).problems]


@pytest.mark.parametrize(
    ("document", "kind", "name", "summary"),
    [
        (LAN, "network", "lan", "br0, managed by libvirt"),
        (f"<networkstatus>{LAN}</networkstatus>", "networkstatus", "lan", "br0, managed by libvirt"),
        (WEB, "domain", "web 1", "1 NIC, with policy in its metadata"),
        (f"<domstatus state='running'>{WEB}</domstatus>", "domstatus", "web 1", "1 NIC, with policy in its metadata"),
        (PORT, "networkport", "web1", ""),
        (f"<hookData>{LAN}{PORT}</hookData>", "hookData", "lan", "br0, managed by libvirt"),
        (f"<macTable xmlns='{NAMESPACE}' lock='yes'/>", "macTable", "", "of a domain"),
        (f"<macTable xmlns='{NAMESPACE}'><portgroup name='a'/></macTable>", "macTable", "", "of a network"),
        ("<network><name>n</name></network>", "network", "n", "no bridge of its own, managed by kernel"),
    ],
)
def test_recognises(document: str, kind: str, name: str, summary: str) -> None:
    checked = check_document(document.encode())
    assert (checked.kind, checked.name, checked.summary, checked.problems) == (kind, name, summary, ())


def test_virsh_takes_and_gives_the_element_without_its_namespace() -> None:
    """`virsh metadata --set` adds the namespace and `virsh metadata` takes it off (virXMLInjectNamespace)."""
    checked = check_document(b"<macTable lock='yes'><interface mac='52:54:00:aa:00:01' lock='n'/></macTable>")
    assert [problem.text for problem in checked.problems] == ["lock is 'n'; allowed: yes, no; did you mean 'no'?"]
    assert not check_document(b"<macTable lock='yes'/>").problems


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("macTableManager", "macTableManger", "f:8: unknown attribute 'macTableManger', which libvirt drops without a "
         "word; did you mean 'macTableManager'?"),
        ("<name>lan</name>", "<forward macTableManager='libvirt'/><name>lan</name>", "f:2: macTableManager stands on "
         "the network's <bridge> only; here libvirt drops it without a word"),
        ("'libvirt'/>", "'libvrit'/>", "f:8: macTableManager is 'libvrit'; allowed: kernel, libvirt; did you mean "
         "'libvirt'?"),
        ("<name>lan</name>", "<forward mode='vepa'/><name>lan</name>", "f:8: macTableManager='libvirt' with forward "
         "mode 'vepa', which has no bridge: libvirt refuses it"),
        ("<portgroup name='web'/>", "<portgroup name='wab'/>\n<portgroup name='db'/>", "f:5: the network has no "
         "portgroup 'web'; allowed: wab, db; did you mean 'wab'?"),
        ("<portgroup name='web'/>", "", "f:5: the network has no portgroup 'web'; it has none at all"),
        ("</macmgr:macTable>", f"</macmgr:macTable><x:macTable xmlns:x='{NAMESPACE}'/>", "f:6: a second "
         "<macmgr:macTable>, which libvirt drops; put both into one"),
        ("<macmgr:portgroup", "<macmgr:interface", "f:5: unknown element 'interface'; allowed: portgroup; interface "
         "stands in a domain's macTable"),
        ("'yes'/>", "'yes'><macmgr:allow mac='52.54.00.aa.00.09'/></macmgr:portgroup>", "f:5: '52.54.00.aa.00.09' is "
         "not a MAC address (six hex pairs joined by colons); did you mean '52:54:00:aa:00:09'?"),
        ("<name>lan</name>", "", "f:1: the network has no name"),
        ("<portgroup name='web'/>", "<portgroup name='web'><vlan><tag id='5000'/></vlan></portgroup>",
         "f:9: 5000 is not a VLAN tag; allowed: 0 to 4095"),
        ("<metadata>", "<metadata><macTable/>", f"f:3: <macTable> without a namespace, which libvirt drops; write "
         f"xmlns='{NAMESPACE}'"),
        ("<portgroup name='web'/>", f"<portgroup name='web'><macTable xmlns='{NAMESPACE}'/></portgroup>", "f:9: an "
         "element of macmgr's outside of <metadata>, which nobody reads; put it directly into <metadata>"),
        ("mactable:1", "mactable:2", f"f:4: an unknown namespace of macmgr's; allowed: {NAMESPACE}; did you mean "
         f"'{NAMESPACE}'?"),
    ],
)  # fmt: skip
def test_network(old: str, new: str, expected: str) -> None:
    assert told(LAN.replace(old, new)) == [expected]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("address='52:54:00:aa:00:01'", "address='52:54:00:aa:00:10'", "f:5: no NIC of the domain has the address "
         "52:54:00:aa:00:01; its NICs have 52:54:00:aa:00:10; did you mean '52:54:00:aa:00:10'?"),
        ("<mac address='52:54:00:aa:00:01'/>", "", "f:5: no NIC of the domain has the address 52:54:00:aa:00:01; it "
         "has no NIC with an address"),
        ("id='10'", "id='ten'", "f:12: this is not a VLAN tag; allowed: 0 to 4095"),
        ("<source network='lan'/>", "<source network='lan' macTableManager='libvit'/>", "f:11: macTableManager is "
         "'libvit'; allowed: kernel, libvirt; did you mean 'libvirt'?"),
        ("manager='libvirt'", "manager='both'", "f:5: manager is a word that has no meaning here; allowed: kernel, "
         "libvirt"),
        ("manager='libvirt'", "manager=''", "f:5: manager is empty; allowed: kernel, libvirt"),
        (" mac='52:54:00:aa:00:01'", "", "f:5: <macmgr:interface> needs the attribute mac"),
        ("<name>web 1</name>", "", "f:1: the domain has no name"),
    ],
)  # fmt: skip
def test_domain(old: str, new: str, expected: str) -> None:
    assert told(WEB.replace(old, new)) == [expected]


def test_all_mistakes_of_a_file_are_told_by_line() -> None:
    bad = LAN.replace("lock='yes'", "lock='ys' pim='sticky'").replace("macTableManager", "mactablemanager")
    assert told(bad) == [
        "f:5: lock is 'ys'; allowed: yes, no; did you mean 'yes'?",
        "f:5: unknown name 'pim'; allowed: manager, pin, lock, guestMac, vlans, name, allow; did you mean 'pin'?",
        "f:8: unknown attribute 'mactablemanager', which libvirt drops without a word; did you mean 'macTableManager'?",
    ]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("<netwrk/>", "f:1: the root element is 'netwrk'; allowed: network, domain, domstatus, networkstatus, "
         "networkport, hookData, macTable; did you mean 'network'?"),
        ("<pool/>", "f:1: the root element is something else; allowed: network, domain, domstatus, networkstatus, "
         "networkport, hookData, macTable"),
        ("<domstatus/>", "f:1: <domstatus> without a <domain> in it"),
        ("<hookData/>", "f:1: <hookData> without a <network> in it"),
        ("<networkport/>", "f:1: this is not a MAC address (six hex pairs joined by colons)"),
        ("", "f: the document is empty"),
        ("<network>\n<name", "f:2: not well-formed XML at column 6 (gt required)"),
        ("<!DOCTYPE a><network/>", "f: the document declares a DOCTYPE or entities, which libvirt never writes"),
        ("<macTable xmlns='urn:x'/>", f"f:1: this macTable is not in macmgr's namespace, {NAMESPACE}"),
        (f"<mactabl xmlns='{NAMESPACE}'/>", "f:1: unknown element in macmgr's namespace 'mactabl'; allowed: macTable; "
         "did you mean 'macTable'?"),
    ],
)  # fmt: skip
def test_what_is_none_of_them(document: str, expected: str) -> None:
    assert told(document) == [expected]


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in (("lan.xml", LAN), ("web.xml", WEB), ("macmgr.toml", CONFIG)):
        (tmp_path / name).write_text(text)
    (tmp_path / "bad.xml").write_text(LAN.replace("macTableManager", "macTableManger"))
    (tmp_path / "bad.toml").write_text(CONFIG.replace("libvirt", "libvrt") + "lock = 1\n")
    return tmp_path


def test_good_files_in_columns(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "lan.xml", "web.xml", "macmgr.toml"]) == 0
    assert capsys.readouterr().out == (
        "lan.xml:     network 'lan':  understood (br0, managed by libvirt)\n"
        "web.xml:     domain 'web 1': understood (1 NIC, with policy in its metadata)\n"
        "macmgr.toml: configuration:  understood (policy for 1 bridge)\n"
    )


def test_mistakes_in_the_order_of_the_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", "bad.toml", "lan.xml", "bad.xml", "gone.xml"]) == 78
    assert capsys.readouterr().out == (
        "bad.toml:2: mac_table_manager is 'libvrt'; allowed: kernel, libvirt; did you mean 'libvirt'?\n"
        "bad.toml:3: lock is the number 1, a word in quotes is expected; allowed: yes, no; did you mean 'yes'?\n"
        "lan.xml: network 'lan': understood (br0, managed by libvirt)\n"
        "bad.xml:8: unknown attribute 'macTableManger', which libvirt drops without a word; "
        "did you mean 'macTableManager'?\n"
        "gone.xml: no such file\n"
    )


@pytest.mark.parametrize(
    ("words", "code"),
    [(["bad.xml"], 65), (["bad.toml"], 78), (["gone.xml"], 69), (["."], 69), (["lan.xml", "bad.xml", "gone.xml"], 65)],
)
def test_exit_codes(files: Path, words: list[str], code: int) -> None:
    assert run(["validate", *words]) == code
    assert run(["validate", "--json", *words]) == code


def test_json(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(["validate", "--json", "lan.xml", "bad.toml"])
    document = json.loads(capsys.readouterr().out)
    assert document["version"] == 1
    good, bad = document["files"]
    assert good == {
        "file": "lan.xml",
        "kind": "network",
        "name": "lan",
        "understood": True,
        "summary": "br0, managed by libvirt",
        "problems": [],
    }
    assert (bad["kind"], bad["understood"]) == ("configuration", False)
    assert [problem["line"] for problem in bad["problems"]] == [2, 3]


def test_content_says_what_a_file_is(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "one").write_text("\n" + LAN)
    (files / "two").write_text(CONFIG)
    (files / "three").write_bytes(('<?xml version="1.0" encoding="UTF-16"?>' + LAN).encode("utf-16"))
    (files / "four.xml").write_text("")
    run(["validate", "one", "two", "three", "four.xml"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines] == ["network", "configuration:", "network", "the"]


def test_a_terminal_does_not_obey_a_name(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "odd.xml").write_text(LAN.replace("br0", "\u009b31mbr0"))
    run(["validate", "odd.xml"])
    assert "\u009b" not in capsys.readouterr().out
