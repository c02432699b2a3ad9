"""What the site is built of: the order of its pages, and the reference, which is read from the program.

``index.rst`` is the one place of the order: its headings are the parts, its links the pages. A page links to others by
their file names, so that it can be read where the repository is browsed; the site turns these into links between its
pages. docutils alone is needed here, so tests read the pages too; ``conf.py`` hands it to Sphinx.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList

from macmgr import config
from macmgr.commands import EXIT_CODES, make_parser
from macmgr.model.codes import Code
from macmgr.options import OPTIONS
from macmgr.watch import messages

DOCS = Path(__file__).parent
TOP = DOCS.parent
README = "what-it-is"  # the page that has README.rst in it, which is outside of the site's pages
LISTS = {"findings": "findings", "decisions": "adr"}  # pages that list those of a directory
_LINK = re.compile(r"`[^`]*?<([\w./-]+\.(?:rst|md))>`_")
_HEADING = re.compile(r"(?m)^(\S.*)\n-{3,}$")


def page_of(target: str, page: str) -> str | None:
    """Returns the page, by its name, that a link in ``page`` leads to; None if it leads out of the site."""
    if not re.fullmatch(r"[\w./-]+\.(rst|md)", target):
        return None
    name = target.rpartition(".")[0]
    if page == README:  # written as README.rst has it
        return name.removeprefix("docs/")
    if PurePosixPath(name).name == "README":
        return README
    parts: list[str] = list(PurePosixPath(page).parent.parts)
    for part in PurePosixPath(name).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)


def linked(page: str, text: str) -> list[str]:
    """Returns the pages that a page links to, in their order."""
    found = (page_of(target, page) for target in _LINK.findall(text))
    return list(dict.fromkeys(each for each in found if each is not None))


def parts_of(index: str) -> list[tuple[str, list[str]]]:
    """Returns the parts of the site with their pages, as the index has them."""
    _, *parts = _HEADING.split(index)
    return [(title, linked("index", body)) for title, body in zip(parts[::2], parts[1::2], strict=True)]


def with_contents(page: str, text: str) -> str:
    """Returns the page with the pages below it: of the index all parts, of a list those in its directory."""
    trees = parts_of(text) if page == "index" else []
    if page in LISTS:
        trees = [("", [each for each in linked(page, text) if each.startswith(f"{LISTS[page]}/")])]
    for title, pages in trees:
        lines = [".. toctree::", "   :hidden:", *([f"   :caption: {title}"] if title else []), ""]
        text += "\n" + "\n".join([*lines, *(f"   {each}" for each in pages)]) + "\n"
    return text


class Generated(Directive):
    """``.. generated:: metrics`` stands for the metrics as the program has them."""

    required_arguments = 1
    optional_arguments = 0
    parts: ClassVar[dict[str, Callable[[], Iterator[str]]]] = {}

    def run(self) -> list[nodes.Node]:
        what = self.arguments[0]
        lines = list(self.parts[what]())
        holder = nodes.section()
        holder.document = self.state.document
        self.state.nested_parse(StringList(lines, f"generated {what}"), 0, holder, match_titles=True)
        return holder.children


def _part(make: Callable[[], Iterator[str]]) -> Callable[[], Iterator[str]]:
    Generated.parts[make.__name__] = make
    return make


@_part
def verbs() -> Iterator[str]:
    """Each verb's help, as it prints it."""
    parser = make_parser()
    for verb in _verbs(parser):
        yield from _titled(verb.prog, _literal(verb.format_help()))
    yield from _titled("Exit codes", _literal(EXIT_CODES))


def _verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from list(_verbs(verb)) or [verb]


@_part
def settings() -> Iterator[str]:
    words, tables = config.WORDS_BY_NAME, config.NAMES_BY_TABLE
    in_xml = {option.toml: option.xml for option in OPTIONS} | {"allow": "allow"}
    rows = [
        (f"``[{table}]``", f"``{name}``", f"``{in_xml[name]}``" if name in in_xml and "bridge" in table else "", values)
        for table, names in tables.items()
        for name in names
        for values in [", ".join(words.get(name, ()))]
    ]
    yield from _table(("table", "name", "in metadata", "words"), rows)


@_part
def findings() -> Iterator[str]:
    rows = [(f"`{code} <findings/{code}.rst>`__", code.severity, code.consequence, code.why) for code in Code]
    yield from _table(("code", "severity", "consequence", "why an apply changes something"), rows)


@_part
def metrics() -> Iterator[str]:
    rows = [(f"``{name}``", kind, text) for name, kind, text in exported_metrics()]
    yield from _table(("metric", "type", "meaning"), rows)


def exported_metrics() -> list[tuple[str, str, str]]:
    """Returns name, type and help of each metric, as the calls that make them say."""
    found = []
    for path in ("report/hostmetrics.py", "watch/metrics.py"):
        tree = ast.parse((TOP / "macmgr" / path).read_text(encoding="utf-8"))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                said = {
                    node.targets[0].id: node.value
                    for node in function.body
                    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
                }
                found += [_metric(node, said) for node in ast.walk(function) if _makes_a_metric(node)]
    return sorted(set(found))


def _makes_a_metric(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("gauge", "counter")


def _metric(call: Any, said: dict[str, ast.expr]) -> tuple[str, str, str]:
    """The help of a long one stands in a name before the call."""
    name, text = (ast.literal_eval(said.get(getattr(each, "id", ""), each)) for each in call.args[:2])
    kind = call.func.id
    return f"macmgr_{name}{'_total' if kind == 'counter' else ''}", kind, text


@_part
def messageids() -> Iterator[str]:
    rows = [(name, f"``{value}``") for name, value in vars(messages).items() if name.isupper()]
    yield from _table(("kind", "MESSAGE_ID"), rows)


@_part
def documents() -> Iterator[str]:
    """The fields of each JSON document, as its schema has them."""
    for path in sorted(DOCS.glob("*.schema.json")):
        schema = json.loads(path.read_text(encoding="utf-8"))
        rows = [(f"``{name}``", kind, text) for name, kind, text in _fields(schema, schema)]
        head = [f"``docs/{path.name}``", "", *_plain(schema.get("description", "")).splitlines(), ""]
        yield from _titled(path.name.partition("-v1")[0], [*head, *_table(("field", "type", "meaning"), rows)])


def _fields(schema: dict[str, Any], root: dict[str, Any], place: str = "") -> Iterator[tuple[str, str, str]]:
    for name, field in schema.get("properties", {}).items():
        reference = field.get("$ref", "") or field.get("items", {}).get("$ref", "")
        known = root.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {}) if reference.startswith("#") else {}
        inside = field if "properties" in field else field.get("items", {})
        inside = inside if "properties" in inside else known
        kind = field.get("type") or known.get("type") or ("one of" if "enum" in field else "")
        text = field.get("description") or known.get("description") or ""
        where = f"{place}{name}"
        yield where, " or ".join([kind] if isinstance(kind, str) else kind), _plain(text)
        if "properties" in inside and place.count(".") < 2:  # as deep as somebody reads
            yield from _fields(inside, root, f"{where}{'[]' if field.get('type') == 'array' else ''}.")


def _plain(text: str) -> str:
    return re.sub(r"([*`|_\\])", r"\\\1", text)


def _titled(title: str, lines: list[str] | Iterator[str]) -> Iterator[str]:
    yield from (title, "-" * len(title), *lines, "")


def _literal(text: str) -> list[str]:
    return ["::", "", *(f"    {line}".rstrip() for line in text.rstrip().splitlines()), ""]


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield from (".. list-table::", "   :header-rows: 1", "")
    for row in (heads, *rows):
        for number, cell in enumerate(row):
            yield f"   {'*' if not number else ' '} - {cell}"
    yield ""
