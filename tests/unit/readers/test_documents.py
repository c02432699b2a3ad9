"""Documents that must not hurt: each is refused with one clear line, which repeats nothing of what is in it."""

from __future__ import annotations

import re

import pytest

from macmgr.errors import XmlError
from macmgr.readers.document import MAX_BYTES, parse_document

SECRET = "hunter2"  # noqa: S105 - it is in every document here, and in no message
LAUGHS = "".join(f"<!ENTITY l{level} '{f'&l{level - 1};' * 10}'>" for level in range(1, 30))
BOMB = f"<!DOCTYPE d [<!ENTITY l0 '{SECRET}'>{LAUGHS}]><d>&l29;</d>"
QUADRATIC = f"<!DOCTYPE d [<!ENTITY a '{SECRET * 1000}'>]><d>{'&a;' * 1000}</d>"

REFUSED = {
    "empty": (b"", "the document is empty"),
    "white space": (b" \r\n\t", "the document is empty"),
    "text": (f"password={SECRET}".encode(), "not well-formed XML at column 1"),
    "truncated": (f"<domain><graphics passwd='{SECRET}".encode(), "not well-formed XML"),
    "wrong end": (f"<domain>\n<a x='{SECRET}'></b></domain>".encode(), ":2: not well-formed XML at column"),
    "two roots": (f"<a>{SECRET}</a><b/>".encode(), "not well-formed XML"),
    "control character": (f"<a>{SECRET}\x01</a>".encode(), "not well-formed XML"),
    "no such encoding": (f"<?xml version='1.0' encoding='{SECRET}'?><a/>".encode(), "not well-formed XML"),
    "not the encoding it says": (f"<a>{SECRET}\xff</a>".encode("latin-1"), "not well-formed XML"),
    "DOCTYPE": (f"<!DOCTYPE domain><domain>{SECRET}</domain>".encode(), "declares a DOCTYPE"),
    "DOCTYPE in UTF-16": (f"<!DOCTYPE domain><domain>{SECRET}</domain>".encode("utf-16"), "declares a DOCTYPE"),
    "DOCTYPE in UTF-32": (f"<!DOCTYPE domain><domain>{SECRET}</domain>".encode("utf-32"), ""),
    "DOCTYPE in UTF-7": (b"<?xml version='1.0' encoding='UTF-7'?>+ADwAIQ-DOCTYPE d+AD4-<d/>", ""),
    "external DTD": (b"<!DOCTYPE d SYSTEM 'http://192.0.2.1/d.dtd'><d/>", "declares a DOCTYPE"),
    "external entity": (b"<!DOCTYPE d [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><d>&x;</d>", "declares a DOCTYPE"),
    "parameter entity": (b"<!DOCTYPE d [<!ENTITY % x SYSTEM 'file:///etc/hostname'>%x;]><d/>", "declares a DOCTYPE"),
    "unknown entity": (f"<d>&{SECRET};</d>".encode(), "not well-formed XML"),
    "billion laughs": (BOMB.encode(), "declares a DOCTYPE"),
    "billion laughs in UTF-16": (BOMB.encode("utf-16"), ""),
    "quadratic blow-up in UTF-16": (QUADRATIC.encode("utf-16"), ""),
    "deep": (b"<d>" * 100_000, "not well-formed XML"),
    "deep and whole": (b"<d>" * 5000 + b"</d>" * 5000, "not well-formed XML"),
    "many attributes": (b"<d " + b" ".join(b"a='" for _ in range(9)) + b"/>", "not well-formed XML"),
    "too big": (b"<d>" + b" " * MAX_BYTES + b"</d>", f"more than the {MAX_BYTES} macmgr reads"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused_with_one_line_that_repeats_nothing(what: str) -> None:
    data, words = REFUSED[what]
    with pytest.raises(XmlError) as caught:
        parse_document(data, "web1.xml")
    line = str(caught.value)
    assert re.fullmatch(r"web1\.xml(:\d+)?: [^\n]{10,150}", line)
    assert words in line
    assert SECRET not in line


def test_as_big_as_a_document_may_be() -> None:
    data = b"<d>" + b" " * (MAX_BYTES - 7) + b"</d>"
    assert len(data) == MAX_BYTES
    assert parse_document(data, "web1.xml").tag == "d"


def test_comments_and_instructions_are_nothing() -> None:
    """libvirt's status files begin with a comment that says who writes them."""
    root = parse_document(b"<!-- generated -->\n<d><!-- x --><?php y ?><e/></d>", "web1.xml")
    assert [root.tag, *(child.tag for child in root)] == ["d", "e"]


def test_a_document_cannot_include_another() -> None:
    include = b"<d xmlns:xi='http://www.w3.org/2001/XInclude'><xi:include href='/etc/hostname' parse='text'/></d>"
    root = parse_document(include, "web1.xml")
    assert "".join(str(text) for text in root.itertext()) == ""
