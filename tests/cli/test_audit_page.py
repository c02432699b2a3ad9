"""`macmgr audit --format html`: one page that needs nothing else, the answer first, and no name is more than text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil

import pytest
from lxml import etree, html
from lxml.etree import _Element as Element

from tests.cli.conftest import CASES, Host
from tests.cli.hostworlds import WORLDS
from tests.cli.test_graph import HOSTILE
from tests.doctorworld import OPEN

EVERY = sorted(path.parent.name for path in CASES.glob("*/snapshot.json")) + list(WORLDS)
ELEMENTS = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "h1",
        "h2",
        "h3",
        "p",
        "ul",
        "li",
        "span",
        "b",
        "code",
        "small",
    ),
    *("details", "summary", "figure", "div", "table", "thead", "tbody", "tr", "th", "td", "footer"),
    *("svg", "g", "title", "text", "path", "polygon", "polyline", "ellipse"),
}


def page(host: Host, *words: str, code: int | None = None) -> Element:
    said = host.macmgr("audit", "--format", "html", *words)
    assert said.stderr == ""
    assert code is None or said.code == code
    assert said.stdout.startswith("<!DOCTYPE html>\n<html lang=")
    assert said.stdout.isascii()  # whatever the terminal's encoding is
    root = html.fromstring(said.stdout)
    assert {str(element.tag).rpartition("}")[2] for element in root.iter()} <= ELEMENTS
    for element in root.iter():
        for name, value in element.attrib.items():
            assert not str(name).startswith("on")
            assert str(name) not in ("src", "href", "style", "srcset", "action")
            assert str(name).startswith("xmlns") or "//" not in str(value)
    return root


def texts(root: Element, path: str) -> list[str]:
    return [" ".join("".join(str(each) for each in found.itertext()).split()) for found in root.iterfind(path)]


@pytest.mark.parametrize("case", [pytest.param(each, marks=pytest.mark.case(each)) for each in EVERY])
def test_the_page_says_what_the_document_says(host: Host, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")  # to draw takes longest, and is tried below
    table = host.macmgr("audit")
    root = page(host, code=table.code)
    document = json.loads(host.macmgr("audit", "--json").stdout)
    assert texts(root, ".//p[@class]")[0] == " ".join(table.stdout.partition("\n\n")[0].split())
    codes = texts(root, ".//li/b")
    serious = [each["code"] for each in document["findings"] if each["severity"] != "info"]
    assert sorted(codes[: len(serious)]) == sorted(serious)
    ports = {row[0].text for row in root.iterfind(".//tbody/tr")}
    assert {port["port"] for bridge in document["bridges"] if bridge["managed"] for port in bridge["ports"]} <= ports
    for each in document["findings"]:
        if each["severity"] != "info" and each["fix"] and not each["fix"].startswith("macmgr apply"):
            assert any(command in texts(root, ".//code") for command in [each["fix"].partition("  # ")[0]]) or (
                not each["mends"]
            )


@pytest.mark.case("twenty-guests")
def test_the_answer_stands_first(host: Host) -> None:
    root = page(host, code=1)
    assert texts(root, ".//p")[0].startswith("5 guests are cut off: ci01 (wrong-bridge), db01 (missing-entry)")
    assert texts(root, ".//ul")[0].startswith("ci01 (wrong-bridge)db01 (missing-entry)mail01")
    first = [element.get("class") for element in root.iterfind(".//ul[@class='findings']/li")][:6]
    assert first == ["cut-off"] * 5 + ["exposed"]
    assert texts(root, ".//li/p")[0] == "fix: ip link set dev vnet8 master br0"
    assert [row[-1].text for row in root.iterfind(".//tr[@class='cut-off']")] == ["cut off"] * 3


@pytest.mark.case("twenty-guests")
def test_a_browser_may_fetch_and_run_nothing(host: Host) -> None:
    said = host.macmgr("audit", "--format", "html").stdout
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', said)
    (style,) = re.findall(r"<style>(.*?)</style>", said, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert said.index("Content-Security-Policy") < said.index("<style>")
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz' dot is not here")
@pytest.mark.case("one-guest-cut-off")
def test_the_picture_is_in_it_and_without_graphviz_it_says_so(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    root = page(host, code=1)
    shown = [element.text for element in root.iterfind(".//figure//text")]
    assert "CUT OFF (stolen-entry)" in shown
    monkeypatch.setenv("PATH", "/nowhere")
    root = page(host, code=1)
    assert root.find(".//figure") is None
    assert any(
        text.startswith("There is no picture: ") and "apt install graphviz" in text for text in texts(root, ".//p")
    )


@pytest.mark.case("one-guest-cut-off")
@pytest.mark.parametrize(
    "name", [each for each in HOSTILE if each.isprintable()], ids=lambda name: name[:6].encode().hex()
)
def test_a_domains_name_is_text(host: Host, name: str) -> None:
    for path in host.run_dir.rglob("*.xml"):
        element = etree.Element("name")
        element.text = name
        path.write_text(path.read_text().replace("<name>web1</name>", etree.tostring(element, encoding="unicode")))
    root = page(host, code=1)
    assert name in [row[1].text for row in root.iterfind(".//tbody/tr") if len(row) > 1]
    assert f"{name} (stolen-entry)" in [element.text for element in root.iterfind(".//ul/li")]


@pytest.mark.case("three-hundred-guests")
def test_many_of_a_kind_are_folded(host: Host) -> None:
    for number in range(1, 41):
        host.kernel.set_flags(f"vnet{number}", OPEN)
    root = page(host, code=1)
    assert "learning-on: 35 more (vm006, vm007, vm008, vm009, vm010 and 30 more)" in texts(root, ".//summary")
    assert texts(root, ".//li/b").count("learning-on") == 40
    assert page(host, "-v").find(".//details") is None


@pytest.mark.case("twenty-guests")
def test_what_is_wrong_and_nothing_else(host: Host) -> None:
    root = page(host, "--problems", code=1)
    assert texts(root, ".//h2") == ["Cut off", "Findings"]
    assert not root.findall(".//span[@class='info']")
    assert page(host, code=1).findall(".//span[@class='info']")


@pytest.mark.case("observed-host")
def test_a_bridge_that_is_only_observed_is_told(host: Host) -> None:
    root = page(host)
    assert any("only observed" in text for text in texts(root, ".//h3"))


@pytest.mark.case("two-guests-and-a-plain-bridge")
def test_the_scope_stands_in_it(host: Host) -> None:
    root = page(host, "--bridge", "br0", code=0)
    assert texts(root, ".//h1")[0].startswith("macmgr audit --bridge=br0 on ")
