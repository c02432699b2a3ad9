"""The output that README.rst and docs/ show is what macmgr prints on the host that the page names.

A comment names the host, which is a case of tests/golden, before a literal block::

    .. output of stolen-entry

    ::

        # macmgr audit --domain web1
        ...

Its commands are typed in their order on that host, on a terminal of 80 columns, and what they print stands below each.
``.. finding CODE of CASE`` shows one finding as the audit of CASE does; the code may be left out on its own page.
``--update-golden`` writes the blocks anew.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from macmgr.report import terminal
from tests.cli.conftest import Host
from tests.cli.test_trace import as_the_kernel_makes_it
from tests.golden.case import audit_text, read_case

TOP = Path(__file__).parents[2]
GOLDEN = TOP / "tests" / "golden"
PAGES = [TOP / "README.rst", *sorted((TOP / "docs").rglob("*.rst"))]
HEAD = r"\.\. (output|finding)(?: ([\w-]+))? of ([\w-]+)\n\n::\n\n"
BLOCK = re.compile(rf"(?m)^({HEAD})((?:    .*\n|\n(?=\n*    ))+)")
PROMPT = "# macmgr "
WIDTH = 80
RUN = Path("/run/libvirt")
LAID_OUT = Path("whatever/run")  # as long, so that lines break at the same words


@dataclass(frozen=True)
class Block:
    page: Path
    head: str
    kind: str
    code: str
    case: str
    body: str

    @property
    def text(self) -> str:
        return textwrap.dedent(self.body)

    @property
    def commands(self) -> list[str]:
        return [line for line in self.text.splitlines() if line.startswith(PROMPT)]


BLOCKS = [Block(page, *found) for page in PAGES for found in BLOCK.findall(page.read_text())]


def of_kind(kind: str) -> pytest.MarkDecorator:
    """A test of each block of the kind, on the host that it names."""
    found = [block for block in BLOCKS if block.kind == kind]
    return pytest.mark.parametrize(
        "block",
        [
            pytest.param(each, marks=pytest.mark.case(each.case), id=f"{each.page.stem}-{each.code}-{each.case}")
            for each in found
        ],
    )


@pytest.fixture
def compare(block: Block, request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Asserts that the block holds what is printed; with --update-golden it writes that instead."""

    def check(says: str) -> None:
        text = "".join(f"{line.rstrip()}\n" for line in says.replace(str(LAID_OUT), str(RUN)).splitlines())
        if request.config.getoption("--update-golden"):
            after = block.head + textwrap.indent(text, "    ")
            block.page.write_text(block.page.read_text().replace(block.head + block.body, after))
        else:
            assert block.text == text, f"{block.page} is out of date; --update-golden writes it anew"

    return check


@of_kind("output")
def test_an_output_is_what_macmgr_prints(
    block: Block, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compare: Callable[[str], None]
) -> None:
    monkeypatch.setattr(terminal, "Console", lambda **how: Console(**{**how, "width": WIDTH}))
    monkeypatch.chdir(tmp_path)
    LAID_OUT.parent.mkdir()
    host.run_dir = host.run_dir.rename(LAID_OUT)
    as_the_kernel_makes_it(host)
    parts = []
    for command in block.commands:
        said = host.macmgr(*shlex.split(command.removeprefix(PROMPT)))
        parts.append(f"{command}\n{said.stdout}{said.stderr}")
    compare("\n".join(parts))


@of_kind("finding")
def test_a_finding_is_what_an_audit_prints(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compare: Callable[[str], None]
) -> None:
    monkeypatch.chdir(tmp_path)
    LAID_OUT.parent.mkdir()
    case = read_case(GOLDEN / block.case, LAID_OUT.parent)
    compare(finding(audit_text(case, WIDTH), block.code or block.page.stem))


def finding(text: str, code: str) -> str:
    """The first finding with the code: its line, and those below that belong to it."""
    lines = iter(text.splitlines())
    found = [next(line for line in lines if re.match(rf"(error|warning|info)\W+{code}(?![\w-])", line))]
    depth = len(found[0]) - len(found[0].lstrip())
    for line in lines:
        if not line.strip() or len(line) - len(line.lstrip()) <= depth:
            break
        found.append(line)
    return textwrap.dedent("\n".join(found))
