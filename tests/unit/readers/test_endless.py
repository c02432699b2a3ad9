"""Documents without an end: whoever can write one must not use up the time that a hook has for all guests together.

Each hook call reads the status files of all guests, in two seconds; one guest's metadata is a few letters from most of
them. What is measured is the processor's time, and each document here took three seconds of it and more.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from macmgr.config import read_config
from macmgr.readers.document import MAX_BYTES, read_with
from macmgr.readers.domain import Domain, read_domain
from macmgr.readers.metadata import NAMESPACE
from macmgr.readers.problems import check_document

SECONDS = 1.0
WITHIN, BEYOND = 5_000, 50_000  # of the limit on metadata


def domain(metadata: str, devices: str = "") -> bytes:
    return f"<domain><name>d</name><metadata>{metadata}</metadata><devices>{devices}</devices></domain>".encode()


def read(data: bytes) -> Domain:
    return read_with(read_domain, data, "d.xml")


def table(attributes: str = "", children: str = "") -> str:
    return f"<m:macTable xmlns:m='{NAMESPACE}' {attributes}>{children}</m:macTable>"


def documents(many: int) -> Iterator[tuple[str, bytes, bool]]:
    """What is endless, the document, and whether it has a mistake."""
    macs = [f"52:54:00:{number >> 16:x}:{number >> 8 & 255:x}:{number & 255:x}" for number in range(many)]
    strangers = "".join(f"<a xmlns='urn:macmgr{number:06d}table'/>" for number in range(many))
    yield "namespaces nearly ours", domain(strangers), many > WITHIN
    yield "attributes", domain(table(" ".join(f"lokc{number}='no'" for number in range(many)))), True
    wrong = "".join(f"<m:interface mac='{mac}' lokc='no'/>" for mac in macs)
    yield "interfaces with a mistake", domain(table(children=wrong)), True
    yield "unknown elements", domain(table(children="".join(f"<m:allov{number}/>" for number in range(many)))), True


def cases(many: int) -> list[Any]:
    return [pytest.param(data, wrong, id=f"{many} {what}") for what, data, wrong in documents(many)]


@pytest.mark.parametrize(("data", "wrong"), cases(WITHIN) + cases(BEYOND))
def test_a_document_takes_no_time_to_speak_of(data: bytes, wrong: bool) -> None:
    assert len(data) < MAX_BYTES
    start = time.process_time()
    found = read(data)
    assert time.process_time() - start < SECONDS
    assert bool(found.problem) is wrong


def test_validate_tells_as_many_mistakes_as_a_person_reads() -> None:
    problems = check_document(domain(table(children="\n".join(["<m:interface mac='52:54:00:0:0'/>"] * 1000)))).problems
    assert 10 < len(problems) < 200


@pytest.mark.parametrize(("data", "_wrong"), cases(BEYOND))
def test_of_what_libvirt_wrote_no_more_is_parsed_than_its_limit(data: bytes, _wrong: bool) -> None:
    """As a status file or at a hook: one that is too large is a mistake at once, and others' names meet no parser."""
    assert read_with(read_domain, data, "d.xml").problem.startswith("d.xml:1: <metadata> has ")


def test_what_stands_behind_many_neighbours_is_still_read() -> None:
    found = read(domain("".join(f"<a xmlns='urn:{number}'/>" for number in range(200)) + table("lock='yes'")))
    assert found.metadata[""].lock is True


def test_a_vlan_tag_of_thousands_of_digits_is_no_traceback() -> None:
    nic = (
        f"<interface type='bridge'><mac address='52:54:00:00:00:01'/><vlan><tag id='{'1' * 5000}'/></vlan></interface>"
    )
    (problem,) = check_document(domain("", nic)).problems
    assert problem.text == "11111111111111111111 is not a VLAN tag; allowed: 0 to 4095"


@pytest.mark.parametrize(
    "text",
    [
        *("[daemon]\nresync = {}", "[daemon]\nmetrics_file = {}", "[bridge.b]\nlock = {}", "[bridge.b]\nallow = [{}]"),
        *("[bridge]\nb = {}", "hook = {}", "[hook]\non_error = {}", "[audit]\nstrict = {}"),
    ],
)
def test_a_number_of_thousands_of_digits_in_the_configuration_is_no_traceback(text: str) -> None:
    """Python refuses to read one in decimal, but not in hexadecimal; then it refuses to write it."""
    (problem,) = read_config(text.format(f"0x{'f' * 5000}").encode())[1]
    assert "the number without an end" in problem.text


def test_a_nic_is_allowed_a_thousand_addresses_and_no_more() -> None:
    """Each would be an entry in each VID of its port."""

    def problems(count: int) -> list[str]:
        allow = "".join(f"<m:allow mac='00:00:5e:00:{number >> 8:02x}:{number & 255:02x}'/>" for number in range(count))
        nic = f"<m:interface mac='52:54:00:00:00:01'>{allow}</m:interface>"
        return [problem.text for problem in check_document(domain(table(children=nic), device)).problems]

    device = "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='b'/></interface>"
    assert problems(1000) == []
    (text,) = problems(1001)
    assert text == "more than 1000 <macmgr:allow>; a prefix that ends in :* stands for many addresses"
