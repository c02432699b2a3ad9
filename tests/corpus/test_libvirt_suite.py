"""Every XML file of libvirt's own test suite is read or refused in one line, and no NIC is read wrongly.

Opt-in (`tox -e corpus`): the files come from Debian's source package and are not ours to keep. What the NICs are is
found a second time here, with another parser and without any of macmgr's code.
"""

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from macmgr.errors import XmlError
from macmgr.model.intent import Manager, Settings
from macmgr.policy.guests import build_intent
from macmgr.policy.precedence import PolicySources
from macmgr.readers.document import parse_document
from macmgr.readers.domain import Nic, read_domain, read_domain_status
from macmgr.readers.network import read_network, read_network_port
from macmgr.readers.problems import check_document

CORPUS = Path(__file__).parents[2] / ".lab" / "corpus"
ENOUGH_FILES, ENOUGH_NICS = 3000, 700

Facts = tuple[str, str, str, str, str, tuple[int, ...]]


def _files() -> list[Path]:
    return sorted(CORPUS.glob("libvirt-*/tests/**/*.xml"))


def test_the_corpus_is_there() -> None:
    """tests/corpus/fetch.sh has run; a corpus of ten files would prove nothing."""
    assert len(_files()) > ENOUGH_FILES


def test_every_file_is_read_or_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """No traceback but ours, no second line, and the NICs are those that another parser finds."""
    tally: Counter[str] = Counter()
    nics = 0
    wrong: list[str] = []
    for path in _files():
        data = path.read_bytes()
        try:
            kind, found = _read(data, str(path))
        except XmlError as error:
            tally["refused"] += 1
            if "\n" in str(error) or not str(error).startswith(str(path)):
                wrong.append(f"{path}: not one line that names the file: {error}")
            if _has_nics(data):
                wrong.append(f"refused, though another parser finds its NICs: {error}")
            continue
        tally[kind] += 1
        if kind in ("domain", "domain status"):
            expected = sorted(_second_opinion(data))
            nics += len(expected)
            if sorted(_facts(nic) for nic in found) != expected:
                wrong.append(f"{path}: {sorted(_facts(nic) for nic in found)} is not {expected}")
    assert not wrong, "\n".join(wrong[:20])
    with capsys.disabled():
        print(f"\n{sum(tally.values())} files: {dict(tally)}; {nics} NICs compared")
    assert nics > ENOUGH_NICS


def test_validate_has_lines_for_every_file_and_no_traceback() -> None:
    """And policy is decided for each NIC that the readers find, whatever it is."""
    ports: Counter[str] = Counter()
    for path in _files():
        data = path.read_bytes()
        for problem in check_document(data).problems:
            assert problem.text, path
            assert "\n" not in problem.text, path
        try:
            root = parse_document(data, str(path))
            domain = read_domain(root, str(path)) if root.tag == "domain" else None
        except XmlError:
            continue
        if domain is not None:
            sources = PolicySources([], {"br0": Settings(Manager.LIBVIRT)})
            intent = build_intent([replace(domain, state="running")], sources)
            assert len(intent.ports) + len(intent.portless) + len(intent.findings) == len(domain.nics), path
            ports.update(nic.kind for nic in intent.portless)
            assert all(nic.why for nic in intent.portless), path
    assert {"user", "direct", "hostdev", "vhostuser", "ethernet", "mcast", "server"} <= ports.keys()


def _read(data: bytes, where: str) -> tuple[str, tuple[Nic, ...]]:
    root = parse_document(data, where)
    if root.tag == "domain":
        return "domain", read_domain(root, where).nics
    if root.tag == "domstatus":
        return "domain status", read_domain_status(root, where).nics
    if root.tag in ("network", "networkstatus"):
        read_network(root, where)
        return "network", ()
    if root.tag == "networkport":
        read_network_port(root, where)
        return "network port", ()
    return "another document", ()


def _facts(nic: Nic) -> Facts:
    return nic.mac, nic.kind, nic.bridge, nic.network, nic.tap, nic.vlan.vids if nic.vlan else ()


def _second_opinion(data: bytes) -> Iterator[Facts]:
    root = ET.fromstring(data)  # noqa: S314
    domain = root if root.tag == "domain" else root.find("domain")
    assert domain is not None
    for interface in domain.findall("./devices/interface"):
        if interface.find("./mac[@address]") is None:
            continue
        became = interface.find("actual") if interface.find("actual") is not None else interface
        assert became is not None
        tags = became.findall("./vlan/tag") or interface.findall("./vlan/tag")
        yield (
            ":".join(f"{int(pair, 16):02x}" for pair in _get(interface, "mac", "address").split(":")),
            became.get("type", ""),
            _get(became, "source", "bridge"),
            _get(interface, "source", "network"),
            _get(interface, "target", "dev"),
            tuple(int(tag.get("id", "")) for tag in tags),
        )


def _get(element: ET.Element, child: str, name: str) -> str:
    found = element.find(child)
    return found.get(name, "") if found is not None else ""


def _has_nics(data: bytes) -> bool:
    """Whether a refused file is a domain whose NICs another reader understands."""
    try:
        return any(True for _ in _second_opinion(data))
    except (ET.ParseError, AssertionError, ValueError):
        return False
