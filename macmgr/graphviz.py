"""Lets Graphviz draw: its program `dot` makes SVG of DOT, bounded in time and size, and its answer is checked."""

from __future__ import annotations

import resource
import shutil
import subprocess
import tempfile
from contextlib import suppress

from lxml import etree

from macmgr.errors import NotThere
from macmgr.phrases import system_words

_INSTALL = "install Graphviz (on Debian 'apt install graphviz', on Fedora 'dnf install graphviz')"
_SECONDS = 60
_MEGABYTE = 1 << 20
_LONGEST_DOT, _LONGEST_SVG, _MEMORY = 8 * _MEGABYTE, 32 * _MEGABYTE, 2048 * _MEGABYTE
_SVG = "{http://www.w3.org/2000/svg}"
# All that a drawing of ours has. Nothing in it is a link, a script or a style sheet, whatever a guest is called.
_ELEMENTS = frozenset(
    f"{_SVG}{name}" for name in ("svg", "g", "title", "text", "path", "polygon", "polyline", "ellipse")
)
_ATTRIBUTES = frozenset(
    (
        *("id", "class", "transform", "points", "d", "x", "y", "cx", "cy", "rx", "ry", "width", "height", "viewBox"),
        *("fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "text-anchor"),
        *("text-decoration", "font-family", "font-size", "font-weight", "font-style"),
    )
)


def svg_of(dot: str) -> str:
    """Returns the drawing as an SVG element in ASCII. Raises NotThere where Graphviz is not, or does not draw it."""
    program = shutil.which("dot")
    if program is None:
        raise NotThere(f"there is no 'dot' on the PATH, which draws SVG; {_INSTALL}, or take --format dot or mermaid")
    text = dot.encode()
    if len(text) > _LONGEST_DOT:
        raise NotThere("the picture is too large for Graphviz; draw one bridge with --bridge")
    try:
        return _drawn(program, text)
    except OSError as error:  # it does not start, or there is no room for what it draws
        raise NotThere(f"{program} cannot be used: {system_words(error)}; {_INSTALL}") from None
    except subprocess.TimeoutExpired:
        raise NotThere(f"{program} has not drawn the picture in {_SECONDS} s; try one bridge with --bridge") from None


def _drawn(program: str, text: bytes) -> str:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as drawn, tempfile.TemporaryFile() as told:
        given.write(text)
        given.seek(0)
        code = _run(program, given.fileno(), drawn.fileno(), told.fileno())
        drawn.seek(0)
        told.seek(0)
        if code:
            first = told.read(300).decode(errors="replace").partition("\n")[0]
            raise NotThere(f"{program} has failed ({code}){f': {first}' if first else ''}; {_INSTALL}")
        return _checked(drawn.read(_LONGEST_SVG + 1), program)


def _run(program: str, given: int, drawn: int, told: int) -> int:
    """Draws, and returns the exit code. The limits are set from here, so that nothing of ours runs in the child."""
    here = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "HOME": "/nonexistent"}
    process = subprocess.Popen([program, "-Tsvg"], stdin=given, stdout=drawn, stderr=told, env=here, cwd="/")
    try:
        with suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (_LONGEST_SVG, _LONGEST_SVG))
            resource.prlimit(process.pid, resource.RLIMIT_AS, (_MEMORY, _MEMORY))
            resource.prlimit(process.pid, resource.RLIMIT_CPU, (_SECONDS, _SECONDS))
        return process.wait(_SECONDS)
    finally:
        process.kill()
        process.wait()


def _checked(svg: bytes, program: str) -> str:
    parser = etree.XMLParser(
        resolve_entities=False, load_dtd=False, no_network=True, remove_comments=True, huge_tree=True
    )
    try:
        root = etree.fromstring(svg, parser)
    except etree.XMLSyntaxError as error:
        raise NotThere(f"what {program} has drawn is not SVG: {error.msg}") from None
    for element in root.iter():
        strange = {*element.attrib} - _ATTRIBUTES - {"{http://www.w3.org/XML/1998/namespace}space"}
        if element.tag not in _ELEMENTS or strange:
            raise NotThere(f"what {program} has drawn has more than a picture in it: {element.tag} {' '.join(strange)}")
    return etree.tostring(root, encoding="ascii").decode()
