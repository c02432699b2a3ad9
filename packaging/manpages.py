"""Writes the man pages into a directory: macmgr(1), macmgr.toml(5) and macmgr-hooks(7).

macmgr(1) is macmgr.1.rst with what the command line's parser knows. The other two are pages of docs/. docutils makes
them; nothing of it is needed where macmgr runs.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from docutils.core import publish_doctree, publish_from_doctree

from macmgr import __version__, config, paths
from macmgr.commands import EXIT_CODES, make_parser
from macmgr.model.hookcall import OPERATIONS

TOP = Path(__file__).parents[1]
# The page of docs/ that a man page is made of, and what it is about.
PAGES = {
    "macmgr.toml.5": ("configuration.rst", "the configuration of macmgr(1)"),
    "macmgr-hooks.7": ("hooks.rst", "libvirt's hooks, and hosts where they cannot run"),
}
SEE_ALSO = {
    "macmgr.toml.5": "**macmgr**\\(1), **macmgr-hooks**\\(7)",
    "macmgr-hooks.7": "**macmgr**\\(1), **macmgr.toml**\\(5), **libvirtd**\\(8), **virtqemud**\\(8)",
}
# Those that --help has no room for.
MORE_EXITS = (
    ("3", "macmgr audit --format plugin alone, where 0 is OK, 1 WARNING, 2 CRITICAL, and this UNKNOWN"),
    ("10", "macmgr hook alone: the start of the guest is refused"),
    ("70", "a fault of macmgr itself"),
    ("130", "interrupted"),
)
FILES = (
    (paths.CONFIG, "the configuration, **macmgr.toml**\\(5)"),
    (paths.LIBVIRT_RUN, "libvirt's status files: domains in *qemu* and *lxc*, networks in *network*"),
    (paths.LIBVIRT_HOOKS, "the hooks, **macmgr-hooks**\\(7)"),
    (paths.STATE, "how ports were before macmgr, and which entries are its own"),
    (paths.RUNTIME, "the lock, the daemon's socket, and the addresses that it has seen"),
    (paths.UNITS / "macmgr.service", "the daemon's unit, where **macmgr install** put it"),
)


def main(directory: str) -> None:
    target = Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for name, text in [("macmgr.1", command_page()), *((name, page_of_docs(name)) for name in PAGES)]:
        (target / name).write_text(man_page(text, name), encoding="utf-8")


def man_page(text: str, name: str) -> str:
    settings = {"report_level": 2, "halt_level": 2, "input_encoding": "utf-8", "output_encoding": "unicode"}
    tree = publish_doctree(text, source_path=name, settings_overrides=settings)
    for table in list(tree.findall(nodes.table)):
        table.replace_self(definitions(table))
    # The address of another page of docs/ leads nowhere in a terminal.
    for reference in list(tree.findall(nodes.reference)):
        reference.replace_self(nodes.emphasis("", reference.astext()))
    for title in [section[0] for section in tree.children if isinstance(section, nodes.section)]:
        title.replace_self(nodes.title("", title.astext().upper()))
    for comment in list(tree.findall(nodes.comment)):
        comment.parent.remove(comment)
    page: str = publish_from_doctree(tree, writer_name="manpage", settings_overrides=settings)
    return page.replace("\n.SH Name\n", "\n.SH NAME\n")


def definitions(table: nodes.table) -> nodes.definition_list:
    """Turns a table, which is too wide for a terminal of 80: the first column becomes the term, the others follow."""
    result = nodes.definition_list()
    for row in next(iter(table.findall(nodes.tbody))).children:
        first, *others = row.children
        term = nodes.term("", "", nodes.strong("", first.astext()))
        told = [paragraph for cell in others for paragraph in cell.children]
        result += nodes.definition_list_item("", term, nodes.definition("", *told))
    return result


def page_of_docs(name: str) -> str:
    page, about = PAGES[name]
    text = (TOP / "docs" / page).read_text(encoding="utf-8")
    _, _, body = text.partition("\n===")  # the page's own title
    body = body.partition("\n")[2]
    title, _, section = name.rpartition(".")
    head = f"{title}\n{'=' * len(title)}\n\n{about}\n{'~' * len(about)}\n\n"
    head += f":Manual section: {section}\n:Manual group: macmgr\n:Version: macmgr {__version__}\n\n"
    before, after = settings() if name == "macmgr.toml.5" else hook_calls()
    head += f"Synopsis\n--------\n{before}\n\nDescription\n-----------\n"
    return f"{head}{body}\n{after}\nSee also\n--------\n{SEE_ALSO[name]}\n"


def settings() -> tuple[str, str]:
    """Every name of the configuration, and the words of those that have words."""
    words, tables = config.WORDS_BY_NAME, config.NAMES_BY_TABLE
    lines = [str(paths.CONFIG), "", "::", ""]
    for table, names in tables.items():
        lines.append(f"    [{table}]")
        lines += (f"    {name} = {' | '.join(words.get(name, ())) or '...'}" for name in names)
        lines.append("")
    return "\n".join(lines), ""


def hook_calls() -> tuple[str, str]:
    before = [f"| {paths.LIBVIRT_HOOKS}/*DRIVER*.d/99-macmgr *OBJECT* *OPERATION* *SUB-OPERATION* *EXTRA*", ""]
    before += (f"*{driver}*\n  {', '.join(operations)}" for driver, operations in OPERATIONS.items())
    after = """\
Exit status
-----------
0
  always, but for
1
  the start of a guest is refused, which ``on_error = "refuse"`` in **macmgr.toml**\\(5) asks for

Files
-----
"""
    after += "\n".join(f"*{plain(str(path))}*\n  {text}" for path, text in FILES if path != paths.STATE)
    return "\n".join(before), after + "\n"


def command_page() -> str:
    parser = make_parser()
    common = {option for action in parser._actions for option in action.option_strings}
    parts = {
        "version": __version__,
        "verbs": "\n".join(line for verb in verbs(parser) for line in of_verb(verb, common)),
        "options": "\n".join(line for action in parser._actions for line in of_option(action)),
        "exits": "\n".join(f"{code}\n  {plain(text)}" for code, text in exit_codes()),
        "files": "\n".join(f"*{plain(str(path))}*\n  {text}" for path, text in FILES),
    }
    text = (TOP / "packaging/macmgr.1.rst").read_text(encoding="utf-8")
    return re.sub(r"@(\w+)@", lambda found: parts[found[1]], text)


def verbs(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yields each verb, and in place of a verb with verbs of its own these."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb in action.choices.values():
                yield from list(verbs(verb)) or [verb]


def of_verb(verb: argparse.ArgumentParser, common: set[str]) -> Iterator[str]:
    own = [action for action in verb._actions if not set(action.option_strings) & common]
    places = [action for action in own if not action.option_strings]
    needed = [
        f" **{action.option_strings[-1]}** {value_of(action)}"
        for action in own
        if action.required and action not in places
    ]
    yield f"**{verb.prog}** [*OPTION*...]{''.join([*needed, *(f' {word_of(action)}' for action in places)])}"
    yield f"  {plain(verb.description or '')}"
    yield ""
    for action in own:
        if action.option_strings or action.help or action.choices:
            yield from (f"  {line}" for line in (of_option(action) if action.option_strings else of_place(action)))
    options = [action.option_strings[-1] for action in verb._actions if set(action.option_strings) & common]
    yield ""
    yield f"  Also: {', '.join(f'**{option}**' for option in options)}."
    yield ""
    _, _, example = (verb.epilog or "").partition("example:\n")
    yield from ("  Example::", "", f"    {example}", "")


def of_option(action: argparse.Action) -> Iterator[str]:
    if not action.option_strings:
        return
    value = "" if action.nargs == 0 else f" {value_of(action)}"
    yield ", ".join(f"**{option}**{value}" for option in action.option_strings)
    yield f"  {plain(action.help or '')}"


def of_place(action: argparse.Action) -> Iterator[str]:
    yield f"*{plain(name_of(action))}*"
    yield f"  {plain(action.help or 'one of ' + ', '.join(action.choices or ()))}"


def word_of(action: argparse.Action) -> str:
    name = f"*{plain(name_of(action))}*"
    return {"?": f"[{name}]", "+": f"{name}..."}.get(str(action.nargs), name)


def value_of(action: argparse.Action) -> str:
    return "|".join(action.choices).replace("|", "\\|") if action.choices else f"*{plain(name_of(action))}*"


def name_of(action: argparse.Action) -> str:
    return str(action.metavar or action.dest.upper())


def exit_codes() -> list[tuple[str, str]]:
    """Returns the codes in their order; --help has them in two columns."""
    found = re.findall(r"(?:^|  )(\d+) (\S.*?)(?=  |$)", EXIT_CODES, re.MULTILINE)
    return sorted([*found, *MORE_EXITS], key=lambda each: int(each[0]))


def plain(text: str) -> str:
    """Keeps a text of the parser from being read as markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


if __name__ == "__main__":
    main(*sys.argv[1:])
