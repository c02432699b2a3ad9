"""What is beyond a limit is one document's mistake: it is reported by name, and every other guest is managed on."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from macmgr.errors import XmlError
from macmgr.model.findings import Code
from macmgr.readers import document
from macmgr.readers.document import MAX_ATTRIBUTES, MAX_BYTES, MAX_NAME, MAX_NICS, MAX_PORTGROUPS, MAX_TAGS, read_with
from macmgr.readers.network import read_network
from macmgr.sources.statusfiles import StatusFiles

PAGE = Path(__file__).parents[3] / "docs" / "limits.rst"


def status(name: str, devices: str = "", *, around: str = "", uuid: str = "u") -> str:
    domain = f"<domain type='kvm'><name>{name}</name><uuid>{uuid}</uuid>{around}<devices>{devices}</devices></domain>"
    return f"<domstatus state='running' pid='1'>{domain}</domstatus>"


def nic(inside: str = "<source bridge='br0'/><target dev='vnet0'/>") -> str:
    return f"<interface type='bridge'><mac address='52:54:00:00:00:01'/>{inside}</interface>"


LONG = "n" * (MAX_NAME + 1)
TAG = "<tag id='1'/>"


def attributes(count: int) -> str:
    return " ".join(f"a{each}='1'" for each in range(count))


BEYOND: dict[str, Callable[[], str]] = {
    "size": lambda: status("evil", around=f"<description>{'x' * MAX_BYTES}</description>"),
    "interfaces": lambda: status("evil", nic() * (MAX_NICS + 1)),
    "tags": lambda: status("evil", nic(f"<vlan>{TAG * (MAX_TAGS + 1)}</vlan>")),
    "attributes": lambda: status("evil", around=f"<os {attributes(MAX_ATTRIBUTES + 1)}/>"),
    "name": lambda: status(LONG),
    "uuid": lambda: status("evil", uuid=LONG),
    "bridge": lambda: status("evil", nic(f"<source bridge='{LONG}'/>")),
    "tap": lambda: status("evil", nic(f"<target dev='{LONG}'/>")),
    "portgroup": lambda: status("evil", nic(f"<source network='lan' portgroup='{LONG}'/>")),
    "alias": lambda: status("evil", nic(f"<alias name='ua-{LONG}'/>")),
    "filter": lambda: status("evil", nic(f"<filterref filter='{LONG}'/>")),
}


@pytest.mark.parametrize("what", BEYOND)
def test_it_is_unreadable_by_itself_and_named(what: str, tmp_path: Path) -> None:
    run_dir = tmp_path / "run" / "libvirt"
    (run_dir / "qemu").mkdir(parents=True)
    (run_dir / "qemu" / "evil.xml").write_text(BEYOND[what]())
    (run_dir / "qemu" / "good.xml").write_text(status("good", nic()))
    state = StatusFiles(run_dir, lambda _: True).read()
    assert [domain.name for domain in state.domains] == ["good"]
    (told,) = state.findings
    assert (told.code, told.domain) == (Code.UNREADABLE_XML, "evil")
    assert "evil.xml" in told.message
    assert len(told.message) < 500


def network(inside: str) -> bytes:
    return f"<network><name>lan</name><bridge name='br0'/>{inside}</network>".encode()


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("<portgroup name='p'/>" * (MAX_PORTGROUPS + 1), f"more than {MAX_PORTGROUPS} portgroups"),
        (f"<portgroup name='{LONG}'/>", f"a name has more than {MAX_NAME} letters"),
    ],
)
def test_a_network_has_limits_too(inside: str, words: str) -> None:
    with pytest.raises(XmlError, match=rf"^lan\.xml:1: {words}$"):
        read_with(read_network, network(inside), "lan.xml")


def test_what_is_within_the_limits_is_read() -> None:
    assert len(read_with(read_network, network("<portgroup name='p'/>" * MAX_PORTGROUPS), "lan.xml").portgroups) == 1
    for text in (f"<os {attributes(MAX_ATTRIBUTES)}/>", f"<os>{'x' * 50_000}</os>", f"<!-- {'x' * 50_000} -->"):
        assert document.parse_document(f"<domain>{text}</domain>".encode(), "d.xml").tag == "domain"


def test_the_page_has_each_of_them() -> None:
    said = set(re.findall(r"\d+", PAGE.read_text().replace(",", "")))
    limits = {name: value for name, value in vars(document).items() if name.startswith("MAX_")}
    shown = {name: value >> 20 if value >= 1 << 20 else value for name, value in limits.items()}
    shown["MAX_METADATA"] >>= 10
    assert not {name for name, value in shown.items() if str(value) not in said}
