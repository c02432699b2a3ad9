"""The pages of docs/ as a site: each is reached from the index, each link leads somewhere, and the pictures are true.

docutils reads the pages here, in seconds; `tox run -e docs` builds them with Sphinx, where each warning is an error.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from macmgr.model.findings import Code
from macmgr.model.snapshot import Bridge, BridgePort, Entry, PortFlags
from tests.fake_kernel import FakeKernel, make_snapshot

DOCS = Path(__file__).parents[2] / "docs"
docutils_core = pytest.importorskip("docutils.core")
nodes, rst = pytest.importorskip("docutils.nodes"), pytest.importorskip("docutils.parsers.rst")

sys.path.insert(0, str(DOCS))
import sitebuild  # type: ignore[import-not-found]  # noqa: E402

sys.path.remove(str(DOCS))

PAGES = {str(path.relative_to(DOCS).with_suffix("")): path for path in [*DOCS.rglob("*.rst"), *DOCS.rglob("*.md")]}
RST = {name: path for name, path in PAGES.items() if path.suffix == ".rst"}


def tree_of(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The page as docutils reads it; what it warns of is an error. Sphinx's own directives stand for nothing here."""

    def nothing(*_: Any) -> list[Any]:
        return []

    nothing.options = dict.fromkeys(("hidden", "caption"), str)  # type: ignore[attr-defined]
    nothing.content = True  # type: ignore[attr-defined]
    monkeypatch.setitem(rst.directives._directives, "toctree", nothing)
    monkeypatch.setitem(rst.directives._directives, "generated", sitebuild.Generated)
    settings = {"report_level": 2, "halt_level": 2, "input_encoding": "utf-8", "syntax_highlight": "none"}
    text = sitebuild.with_contents(name, RST[name].read_text())
    return docutils_core.publish_doctree(text, source_path=str(RST[name]), settings_overrides=settings)


def test_each_page_is_reached_from_the_index() -> None:
    reached: list[str] = ["index"]
    for page in reached:
        if page in RST:
            text = sitebuild.with_contents(page, RST[page].read_text())
            below = re.findall(r"(?m)^   (\w[\w/-]+)$", text.partition(".. toctree::")[2])
            reached += [each for each in below if each not in reached]
    assert sorted(reached) == sorted(PAGES)
    assert len(reached) == len(set(reached))


@pytest.mark.parametrize("name", sorted(RST))
def test_a_page_is_understood_and_its_links_lead_to_pages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tree_of(name, monkeypatch)
    for link in tree.findall(nodes.reference):
        address = link.get("refuri", "")
        if not re.match(r"[a-z]+:", address) and address:
            page = sitebuild.page_of(address, name)
            assert page in PAGES, f"{name}: {address}"
    for image in tree.findall(nodes.image):
        assert (RST[name].parent / image["uri"]).is_file()
        assert image["alt"]


def test_the_parts_are_in_the_order_in_which_a_user_reads() -> None:
    parts = dict(sitebuild.parts_of((DOCS / "index.rst").read_text()))
    wanted = ["What it is", "Set it up", "Something is wrong", "How to", "Reference", "How it works"]
    assert list(parts) == [*wanted, "Proofs and decisions"]
    assert parts["What it is"][0] == "what-it-is"
    assert parts["Set it up"][0] == "rollout"
    assert parts["Something is wrong"][0] == "incident"
    assert {"benchmarks", "decisions"} <= set(parts["Proofs and decisions"])


def test_decisions_are_all_there_with_their_titles() -> None:
    text = " ".join((DOCS / "decisions.rst").read_text().split())
    for path in sorted((DOCS / "adr").glob("*.rst")):
        number, _, title = path.read_text().splitlines()[0].partition(": ")
        assert f"- `{number} <adr/{path.name}>`__: {title}" in text


@pytest.mark.parametrize("part", sorted(sitebuild.Generated.parts))
def test_what_is_generated_stands_on_a_page(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = [name for name, path in RST.items() if f".. generated:: {part}\n" in path.read_text()]
    assert len(list(sitebuild.Generated.parts[part]())) > 5
    assert tree_of(name, monkeypatch).astext().count("\n") > 20


def test_the_reference_has_every_code_verb_and_metric() -> None:
    from tests.unit.watch.test_watch_docs import DOCS as WATCH

    metrics = {name for name, _, _ in sitebuild.exported_metrics()}
    rows = re.findall(r"^macmgr_.*?  ", WATCH, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"macmgr_\w+", row)} <= metrics
    assert {str(code) for code in Code} == set(re.findall(r"`([a-z-]+) <", "\n".join(sitebuild.findings())))
    verbs = "\n".join(sitebuild.verbs())
    assert all(f"\nmacmgr {verb}\n---" in f"\n{verbs}" for verb in ("audit", "net set", "apply", "install"))


# The pictures of docs/bridge.rst: who gets a frame, as the model of the bridge has it

WEB1, LAN = "52:54:00:aa:00:01", "02:00:00:00:00:99"
STATES = {
    "frame-before": (True, []),
    "frame-after": (False, [Entry(WEB1, 0, "vnet0", sticky=True)]),
    "frame-stolen": (False, [Entry(WEB1, 0, "eth0")]),
}


@pytest.mark.parametrize("picture", STATES)
def test_a_picture_shows_who_gets_the_frame(picture: str) -> None:
    is_open, entries = STATES[picture]
    bridge = Bridge("br0", 1, "02:00:00:00:00:b0")
    ports = [BridgePort("eth0", 2, "br0", "02:00:00:00:00:e0", PortFlags())]
    flags = PortFlags(learning=is_open, unicast_flood=is_open)
    ports += [BridgePort(f"vnet{n}", 10 + n, "br0", f"fe:54:00:aa:00:0{n}", flags, kind="tun") for n in range(3)]
    gets = FakeKernel(make_snapshot([bridge], ports, entries)).frame("eth0", LAN, WEB1)
    drawn = ElementTree.parse(DOCS / "frames" / f"{picture}.svg").getroot()  # noqa: S314
    shown = {each.get("data-port"): each.get("data-gets") for each in drawn.iter() if each.get("data-port")}
    assert shown == {port.name: "yes" if port.name in gets else "no" for port in ports}
    assert f".. image:: frames/{picture}.svg" in (DOCS / "bridge.rst").read_text()


def test_there_is_no_picture_that_no_test_knows() -> None:
    assert {path.stem for path in (DOCS / "frames").iterdir()} == set(STATES)
    assert Path(DOCS / "conf.py").is_file()
