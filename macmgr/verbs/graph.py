"""The verb graph: a picture of one look, as SVG, DOT or Mermaid. It changes nothing."""

from __future__ import annotations

import argparse

from macmgr import errors
from macmgr.graphviz import svg_of
from macmgr.planning.reading import Beside
from macmgr.report.dotpicture import dot_of
from macmgr.report.mermaidpicture import mermaid_of
from macmgr.report.painter import picture_of
from macmgr.verbs.host import view_of


def graph(arguments: argparse.Namespace) -> int:
    """Print the picture of what is in scope. Without Graphviz there is no SVG, and the others are there."""
    picture = picture_of(view_of(arguments, Beside(bystanders=True)), each=arguments.verbose)
    if arguments.format == "mermaid":
        print(mermaid_of(picture), end="")
    elif arguments.format == "dot":
        print(dot_of(picture), end="")
    else:
        print(svg_of(dot_of(picture)))
    return errors.IN_SYNC
