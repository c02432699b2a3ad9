"""`macmgr graph`: what is drawn, the same each time, and no name of a guest's is more than text in it."""

from __future__ import annotations

import os
import re
import shutil
from html import unescape
from pathlib import Path

import pytest
from lxml import etree

from macmgr import graphviz
from macmgr.errors import NotThere
from macmgr.graphviz import svg_of
from macmgr.readers.document import MAX_NAME
from macmgr.report.dotpicture import dot_of
from macmgr.report.mermaidpicture import mermaid_of
from macmgr.report.picture import Box, Line, Look, Picture, Yard, shortened
from tests.cli.conftest import Host
from tests.conftest import Golden

HERE = Path(__file__).parent / "graph"
DOCUMENTED = Path(__file__).parents[2] / "docs/drawn/one-guest-cut-off.svg"
drawn = pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz' dot is not here")
SVG = "{http://www.w3.org/2000/svg}"
DRAWN = (
    "container",
    "isolated",
    "missing-port-and-wrong-bridge",
    "not-reached",
    "observed-host",
    "roles",
    "three-hundred-guests",
    "twenty-guests",
    "two-guests-and-a-plain-bridge",
    "types-without-a-port",
)
HOSTILE = (
    'a"b',
    "x\\",
    "\\n\\N\\G\\l",
    "<script>alert(1)</script>",
    "&lt;b&gt; &amp; &#60; &copy;",
    "a]b)c}d>e|f",
    "#35;#quot;",
    "é中 😀",
    "`md` __x__ **y**",
    "1. one",
    '"]\nclick n0 "javascript:alert(1)"\n\r\x85n9["',
    '"];\n"x" [URL="javascript:alert(1)" image="/etc/passwd"];//',
    "style x:#1; classDef y:#2;",
    "end",
    "--> n1 %% comment",
    "%s%n {{x}} @{ shape: x } $$x$$",
    "\x1b[31mred\x9b",
    "w" * MAX_NAME,
)


@pytest.mark.parametrize("form", ["dot", "mermaid"])
@pytest.mark.parametrize("case", [pytest.param(each, marks=pytest.mark.case(each)) for each in DRAWN])
def test_a_picture(host: Host, case: str, form: str, golden: Golden) -> None:
    said = host.macmgr("graph", "--format", form)
    assert (said.code, said.stderr) == (0, "")
    golden(HERE / f"{case}.{form}", said.stdout)
    assert host.macmgr("graph", "--format", form).stdout == said.stdout


@pytest.mark.case("twenty-guests")
def test_who_is_cut_off_stands_first_in_words(host: Host) -> None:
    dot = host.macmgr("graph", "--format", "dot").stdout
    assert "5 guests are cut off: ci01" in dot.splitlines()[1]
    cut = re.findall(r'label="(\w+)\\l[^"]*CUT OFF \(([\w-]+)\)', dot)
    assert sorted(cut) == [
        ("ci01", "wrong-bridge"),
        ("db01", "missing-entry"),
        ("mail01", "local-entry"),
        ("metrics01", "missing-port"),
        ("web01", "stolen-entry"),
    ]
    assert '"br0" -> "eno1" [class="cut-off"' in dot
    assert 'label="frames for web01"' in dot
    assert "marked" not in dot


@pytest.mark.case("three-hundred-guests")
def test_the_one_of_three_hundred_is_seen_and_each_on_request(host: Host) -> None:
    few, all_ = (host.macmgr("graph", "--format", "dot", *more).stdout for more in ((), ("-v",)))
    assert few.count(" -> ") == 4
    assert "299 guests" in few
    assert all_.count(" -> ") == 302
    assert not re.search(r'label="\d+ guests', all_)


@pytest.mark.case("twenty-guests")
def test_of_a_domain_its_port_and_how_it_is_reached(host: Host) -> None:
    dot = host.macmgr("graph", "--format", "dot", "--domain", "web01").stdout
    assert re.findall(r'(?m)^    "(.*?)" \[', dot) == ["vnet1", "br0", "eno1"]
    assert host.macmgr("graph", "--format", "dot", "--bridge", "br7").code == 69
    assert host.macmgr("graph", "--format", "dot", "--domain", "web1").stderr.endswith("did you mean 'web01'?\n")


@pytest.mark.case("one-guest-cut-off")
@pytest.mark.parametrize(
    "name", [each for each in HOSTILE if each.isprintable()], ids=lambda name: name[:6].encode().hex()
)
def test_a_domains_name_is_text(host: Host, name: str) -> None:
    for path in host.run_dir.rglob("*.xml"):
        element = etree.fromstring(b"<name/>")
        element.text = name
        text = etree.tostring(element, encoding="unicode")
        path.write_text(path.read_text().replace("<name>web1</name>", text))
    dot, mermaid = (host.macmgr("graph", "--format", form).stdout for form in ("dot", "mermaid"))
    wanted = shortened(name, 40)
    assert labels(mermaid)["n2"][0] == wanted
    if shutil.which("dot"):
        assert wanted in words(svg_of(dot))


def picture(names: tuple[str, ...]) -> Picture:
    boxes = tuple(
        Box(f"{number} {shortened(name)}", (shortened(name, 40), f"again {shortened(name)}"), Look.CUT_OFF)
        for number, name in enumerate(names)
    )
    lines = [
        Line(boxes[0].key, box.key, Look.CUT_OFF, shortened(name, 40), aside=bool(number % 2))
        for number, (box, name) in enumerate(zip(boxes, names, strict=True))
    ]
    return Picture(
        shortened(" ".join(names)),
        tuple(Yard(name, shortened(name), look, boxes) for name, look in zip(names[:1], [Look.PLAIN], strict=True)),
        tuple(lines),
    )


def labels(mermaid: str) -> dict[str, list[str]]:
    """The lines of each box, as Mermaid shows them: numbers are characters."""
    found = re.findall(r'(?m)^    (n\d+)(?:\[|\{\{)"([^"\n]*)"(?:\]|\}\}):::\w+$', mermaid)
    return {key: [unescape(re.sub(r"#(\d+);", r"&#\1;", line)) for line in text.split("<br/>")] for key, text in found}


def words(svg: str) -> list[str]:
    return [element.text or "" for element in etree.fromstring(svg).iter(f"{SVG}text")]


def test_mermaid_gets_letters_digits_and_numbers_of_characters() -> None:
    text = mermaid_of(picture(HOSTILE))
    assert [lines[0] for lines in labels(text).values()] == [shortened(each, 40) for each in HOSTILE]
    for label in re.findall(r'"([^"\n]*)"', text):
        assert re.fullmatch(r"(?:[A-Za-z0-9 ,/]|#\d+;|<br/>)*", label), label
    rest = re.sub(r'"[^"\n]*"', "", text)
    assert set(re.findall(r"[A-Za-z]+", rest.partition("classDef")[0])) <= {
        *("flowchart", "LR", "answer", "subgraph", "s", "direction", "n", "cutoff", "end", "x"),
    }


@drawn
def test_graphviz_shows_each_name_as_it_is() -> None:
    found = words(svg_of(dot_of(picture(HOSTILE))))
    for name in HOSTILE:
        assert shortened(name, 40) in found


@drawn
@pytest.mark.case("twenty-guests")
def test_svg_is_one_element_of_plain_shapes_in_ascii(host: Host) -> None:
    said = host.macmgr("graph")
    assert (said.code, said.stderr) == (0, "")
    assert said.stdout.isascii()
    root = etree.fromstring(said.stdout)
    assert root.tag == f"{SVG}svg"
    assert "CUT OFF (stolen-entry)" in words(said.stdout)
    names = {str(name) for element in root.iter() for name in element.attrib}
    assert not [name for name in names if "href" in name or name.startswith("on")]


@pytest.mark.case("one-guest-cut-off")
def test_without_its_bridge_a_guest_is_cut_off_and_the_title_says_so(host: Host) -> None:
    vars(host.kernel).update(bridges={}, ports={}, entries={})
    dot = host.macmgr("graph", "--format", "dot").stdout
    assert "3 guests are cut off: db1" in dot
    assert "On no bridge of this host" in dot
    for path in host.run_dir.rglob("*.xml"):
        path.unlink()
    assert "There is no bridge here." in host.macmgr("graph", "--format", "dot").stdout


@drawn
@pytest.mark.case("one-guest-cut-off")
def test_the_picture_of_the_documentation_is_drawn_by_this_command(host: Host, request: pytest.FixtureRequest) -> None:
    """Another Graphviz sets the boxes elsewhere: the text of each is compared."""
    said = host.macmgr("graph").stdout
    if request.config.getoption("--update-golden"):
        DOCUMENTED.write_text(said)
    assert sorted(words(DOCUMENTED.read_text())) == sorted(words(said))


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    made = tmp_path / "bin/dot"
    made.parent.mkdir()
    made.write_text(f"#!/bin/sh\n{script}\n")
    made.chmod(0o755)
    monkeypatch.setenv("PATH", str(made.parent))
    return made


def test_without_graphviz_one_line_says_what_to_install(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said = host.macmgr("graph")
    assert (said.code, said.stdout, said.stderr.count("\n")) == (69, "", 1)
    assert "apt install graphviz" in said.stderr
    assert "--format dot" in said.stderr
    for form in ("dot", "mermaid"):
        assert host.macmgr("graph", "--format", form).code == 0


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", "has failed (3)"),
        ("echo 'no such layout' >&2; exit 1", "has failed (1): no such layout"),
        ("echo '<svg'", "is not SVG"),
        ("exec /usr/bin/yes", "has failed (-25)"),
        ("exec /usr/bin/sleep 60", "has not drawn the picture"),
        ("echo '<svg xmlns=\"http://www.w3.org/2000/svg\"><script/></svg>'", "more than a picture"),
        ('echo \'<svg xmlns="http://www.w3.org/2000/svg" onload="x()"/>\'', "more than a picture"),
        ("echo '<html/>'", "more than a picture"),
        (
            'echo \'<!DOCTYPE s [<!ENTITY x SYSTEM "/etc/passwd">]><svg xmlns="http://www.w3.org/2000/svg"><text>&x;</text></svg>\'',
            "more than a picture",
        ),
    ],
)
def test_whatever_graphviz_does_is_one_line(
    host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, why: str
) -> None:
    monkeypatch.setattr(graphviz, "_SECONDS", 1 if "sleep" in script else 60)
    program(tmp_path, monkeypatch, script)
    said = host.macmgr("graph")
    assert (said.code, said.stdout, said.stderr.count("\n")) == (69, "", 1), said.stderr
    assert why in said.stderr


def test_a_program_that_cannot_be_started_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = program(tmp_path, monkeypatch, "")
    made.write_text("#!/nowhere\n")
    with pytest.raises(NotThere, match="cannot be used: No such file"):
        svg_of("digraph {}")
    assert os.access(made, os.X_OK)


def test_a_full_disk_costs_the_picture_alone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("macmgr.graphviz.tempfile.TemporaryFile", full)
    monkeypatch.setattr("macmgr.graphviz.shutil.which", lambda _name: "/usr/bin/dot")
    assert "cannot be used: No space left on device" in host.macmgr("graph").stderr
    said = host.macmgr("audit", "--format", "html")
    assert (said.code, said.stderr) == (0, "")
    assert "There is no picture: /usr/bin/dot cannot be used" in said.stdout


def test_a_picture_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program(tmp_path, monkeypatch, "exit 0")
    with pytest.raises(NotThere, match="too large"):
        svg_of(" " * (8 * 1024 * 1024 + 1))
