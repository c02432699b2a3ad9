"""What is kept of libvirt's XML is what macmgr reads, on its lines; a secret in any place is not in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from macmgr.capture.redaction import redacted
from macmgr.errors import XmlError
from macmgr.model.intent import Manager
from macmgr.readers.document import MAX_BYTES, Reader, read_with
from macmgr.readers.domain import Domain, read_domain_status
from macmgr.readers.metadata import NAMESPACE
from macmgr.readers.network import read_network, read_network_port
from tests.unit.verbs.test_secrets import GOOD, REPLACEMENTS, SECRET, STATUS

_TESTS = Path(__file__).parents[2]
FILES = sorted(
    [
        *(_TESTS / "golden").glob("*/[sln]*/*.xml"),
        *(_TESTS / "golden").glob("*/ports/*/*.xml"),
        *(_TESTS / "captured").glob("*/status-*/**/*.xml"),
    ]
)


def reader_of(data: bytes) -> Reader[object]:
    if b"<networkport" in data:
        return read_network_port
    return read_network if b"<network" in data else read_domain_status


def outcome(data: bytes, reader: Reader[object]) -> object:
    try:
        return read_with(reader, data, "file.xml")
    except XmlError as error:
        return str(error)


def test_there_are_files() -> None:
    assert len(FILES) > 150


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parents[1].name}/{path.name}")
def test_macmgr_reads_the_same_from_what_is_kept(path: Path) -> None:
    """The same record, or the same mistake on the same line; of what is not XML nothing is kept."""
    data = path.read_bytes()
    reader = reader_of(data)
    try:
        kept = redacted(data)
    except ValueError:
        assert isinstance(outcome(data, reader), str)
        return
    found = outcome(kept, reader)
    assert b"hunter2" not in kept
    if b"'hunter2'" in data and not isinstance(found, str):  # a word nobody knows, instead of one of libvirt's
        assert replace_words(found) == replace_words(outcome(data, reader))
    elif "tomorrow" not in str(outcome(data, reader)):
        assert found == outcome(data, reader)


def replace_words(found: object) -> str:
    return str(found).replace("hunter2", "?")


@pytest.mark.parametrize("damage", [None, *REPLACEMENTS])
@pytest.mark.parametrize("name", GOOD)
def test_no_secret_is_kept(name: str, damage: str | None) -> None:
    data = GOOD[name]
    if damage is not None:
        old, new = REPLACEMENTS[damage]
        data = data.replace(old.encode(), new.encode())
    try:
        kept = redacted(data).decode()
    except ValueError:
        return
    pieces = {SECRET[place : place + 5] for place in range(len(SECRET) - 4)}
    assert not {piece for piece in pieces if piece in kept}, kept
    before, after = (outcome(each, reader_of(GOOD[name])) for each in (data, kept.encode()))
    if isinstance(before, str) and isinstance(after, str) and "undefined namespace" not in before:
        assert after == before
    elif isinstance(before, Domain) and before.problem:
        assert isinstance(after, Domain)
        assert after.problem == before.problem


@pytest.mark.parametrize(
    "policy",
    [
        "<m:macTable xmlns:m='{ns}' lock='yess'/>",
        "<m:macTable xmlns:m='{ns}' lcok='yes'/>",
        "<m:macTable xmlns:m='{ns}' lock=''/>",
        "<m:macTable xmlns:m='{ns}' x:lock='yes' xmlns:x='y'/>",
        "<m:macTable xmlns:m='{ns}'>words</m:macTable>",
        "<m:macTable xmlns:m='{ns}'>\n\n<m:interfase mac='52:54:00:aa:00:01'/></m:macTable>",
        "<m:macTable xmlns:m='{ns}'><interface mac='52:54:00:aa:00:01'/></m:macTable>",
        "<m:macTable xmlns:m='{ns}'><m:interface mac='52-54-00-aa-00-01'>\n<m:allow mac='00:00:5e:*'/>"
        "<m:allow mac='own'/></m:interface></m:macTable>",
        "<m:macTable xmlns:m='{ns}'><m:interface mac='52:54:00:aa:00:0g'/></m:macTable>",
        "<m:macTable xmlns:m='{ns}'><m:interface mac='01:54:00:aa:00:01'/></m:macTable>",
        "<m:macTable xmlns:m='{ns}'><m:interface mac='52:54:00:AA:00:01' allow='own'/></m:macTable>",
        "<m:macTable xmlns:m='{ns}'><m:interface mac='52:54:00:aa:00:01' allow='mine'/></m:macTable>",
        "<m:macTable xmlns:m='{ns}'/><o xmlns='urn:other'/><m:macTable xmlns:m='{ns}'/>",
        "<m:mactable xmlns:m='{ns}'/>",
        "<m:macTable xmlns:m='urn:macmgr:mactable:2'/>",
        "<macTable/>",
        "<o:macTable xmlns:o='urn:other' secret='hunter2'>hunter2</o:macTable>",
        "<o xmlns='urn:other'><macTable/>hunter2</o>" * 60 + "<m:macTable xmlns:m='{ns}' lock='no'/>",
        "<m:macTable xmlns:m='{ns}' lock='no'/>" + "<o xmlns='urn:other'>hunter2</o>" * 12000,
        "<m:macTable xmlns:m='{ns}' lock='no'>" + "<m:interface mac='1'/>" * 1600 + "</m:macTable>",
    ],
)
def test_metadata_is_judged_alike(policy: str) -> None:
    metadata = f"<metadata>\n {policy.replace('{ns}', NAMESPACE)}\n</metadata>\n"
    data = f"<domstatus state='running'>\n<domain><name>a\nb</name>\n{metadata}<devices/></domain></domstatus>".encode()
    kept = redacted(data)
    assert b"hunter2" not in kept
    assert outcome(kept, read_domain_status) == outcome(data, read_domain_status)


@pytest.mark.parametrize(
    "data",
    [
        b"<domstatus",
        b"<!DOCTYPE a><domstatus/>",
        "<!DOCTYPE a [<!ENTITY e 'x'>]><domstatus>&e;</domstatus>".encode("utf-16"),
        b"<domstatus>" + bytes(MAX_BYTES),
        b"<domstatus><domain><metadata><a></metadata></domain></domstatus>",
    ],
)
def test_what_is_no_document_of_libvirts_is_not_kept(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a document|not well-formed|DOCTYPE|XML"):
        redacted(data)


def test_a_tag_on_several_lines_keeps_its_lines() -> None:
    data = STATUS.replace("<source network='lan'/>", "<source\n\nnetwork='lan'\n/>").replace(
        "<tag id='10'/>", "<tag id='9999'/>"
    )
    assert outcome(redacted(data.encode()), read_domain_status) == outcome(data.encode(), read_domain_status)
    assert "is not a VLAN tag" in str(outcome(data.encode(), read_domain_status))


def test_managers_are_kept() -> None:
    """The one word of libvirt's that macmgr refuses where it does not know it."""
    for manager in (*Manager, "libvrt", ""):
        data = f"<network><name>n</name>\n<bridge name='br0' macTableManager='{manager}'/></network>".encode()
        assert outcome(redacted(data), read_network) == outcome(data, read_network)
