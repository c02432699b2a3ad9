"""`macmgr validate FILE…` checks that macmgr and libvirt will read the files as they were meant.

Each mistake gets one line, ``FILE:LINE: what is wrong; what is allowed; did you mean …``, in the form of editors and
compilers. Each file without a mistake gets one line. The suffix .xml or .toml decides what a file is, else its content:
XML begins with ``<``, everything else is configuration.
"""

from __future__ import annotations

import argparse
import codecs
import json
import re
from dataclasses import dataclass
from pathlib import Path

from macmgr import errors
from macmgr.config import read_config
from macmgr.errors import ConfigError, NoPermission, NotThere, Problem, XmlError
from macmgr.phrases import counted
from macmgr.readers.document import MAX_BYTES
from macmgr.readers.problems import Checked, check_document
from macmgr.safefiles import read_regular

_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The kind of one file, and the exit code of its problems; 0 without any."""

    file: str
    checked: Checked
    exit_code: int


def validate(arguments: argparse.Namespace) -> int:
    """Check the files and print the verdicts in their order. The exit code is that of the first file with a mistake."""
    verdicts = [check_file(file) for file in arguments.files]
    if arguments.format == "json":
        print(json.dumps({"version": 1, "files": [_document(verdict) for verdict in verdicts]}, indent=2))
    else:
        for line in _lines(verdicts):
            print(line)
    return next((verdict.exit_code for verdict in verdicts if verdict.exit_code), errors.IN_SYNC)


def check_file(file: str) -> Verdict:
    try:
        data = _read(file)
    except FileNotFoundError:
        return _unread(file, "no such file", NotThere.exit_code)
    except IsADirectoryError:
        return _unread(file, "a directory; name the files in it", NotThere.exit_code)
    except PermissionError:
        return _unread(file, "may not be read; libvirt's own files need root", NoPermission.exit_code)
    except (OSError, ValueError) as error:
        return _unread(file, f"cannot be read: {getattr(error, 'strerror', 'no such name')}", NotThere.exit_code)
    if _is_xml(file, data):
        checked = check_document(data)
        return Verdict(file, checked, XmlError.exit_code if checked.problems else errors.IN_SYNC)
    config, problems = read_config(data)
    size = len(config.bridges)
    summary = f"policy for {counted(size, 'bridge')}"
    code = ConfigError.exit_code if problems else errors.IN_SYNC
    return Verdict(file, Checked("configuration", "", summary, tuple(problems)), code)


def _read(file: str) -> bytes:
    """Reads a file, or what the caller has opened for us: ``/dev/stdin``, the shell's ``<(…)``."""
    if not re.fullmatch(r"/dev/stdin|/dev/fd/\d+|/proc/self/fd/\d+", file):
        return read_regular(file, MAX_BYTES)
    with Path(file).open("rb") as opened:
        return opened.read(MAX_BYTES + 1)


def _is_xml(file: str, data: bytes) -> bool:
    if file.endswith(".toml"):
        return False
    return file.endswith(".xml") or data.startswith(_BOMS) or data.lstrip()[:1] == b"<"


def _unread(file: str, why: str, code: int) -> Verdict:
    return Verdict(file, Checked("file", problems=(Problem(None, why),)), code)


def _lines(verdicts: list[Verdict]) -> list[str]:
    """Understood files stand in columns, for people; mistakes have a compiler's form."""
    good = [verdict for verdict in verdicts if not verdict.checked.problems]
    wide = max((len(verdict.file) for verdict in good), default=0) + 1
    wider = max((len(_what(verdict.checked)) for verdict in good), default=0) + 1
    lines = []
    for verdict in verdicts:
        lines += [_printable(problem.at(verdict.file)) for problem in verdict.checked.problems]
        if not verdict.checked.problems:
            summary = f" ({verdict.checked.summary})" if verdict.checked.summary else ""
            head = f"{verdict.file + ':':<{wide}} {_what(verdict.checked) + ':':<{wider}}"
            lines.append(_printable(f"{head} understood{summary}"))
    return lines


def _what(checked: Checked) -> str:
    return f"{checked.kind} {checked.name!r}" if checked.name else checked.kind


def _printable(line: str) -> str:
    """Names come from documents; a terminal must not obey them."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in line)


def _document(verdict: Verdict) -> dict[str, object]:
    checked = verdict.checked
    return {
        "file": verdict.file,
        "kind": checked.kind,
        "name": checked.name or None,
        "understood": not checked.problems,
        "summary": checked.summary or None,
        "problems": [{"line": problem.line, "message": problem.text} for problem in checked.problems],
    }
