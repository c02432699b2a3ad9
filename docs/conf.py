"""The site: `tox run -e docs` builds it into build/site. What it is built of is in sitebuild.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from docutils import nodes
from sitebuild import Generated, page_of, with_contents
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

from macmgr import __version__

project = "macmgr"
author = "the macmgr developers"
release = version = __version__
extensions = ["myst_parser"]  # docs/benchmarks.md is written by tests/bench
html_theme = "furo"
html_title = f"macmgr {__version__}"
html_copy_source = False
nitpicky = True
root_doc = "index"
exclude_patterns = ["*.json"]
highlight_language = "none"  # blocks are what a terminal shows; a block of another language says so


class LinksBetweenPages(SphinxTransform):
    """A link to a page's file becomes one to the page; one that leads nowhere is a warning, and so an error."""

    default_priority = 5

    def apply(self, **_: Any) -> None:
        page = self.env.docname
        for link in list(self.document.findall(nodes.reference)):
            target = page_of(link.get("refuri", ""), page)
            if target is not None:
                text = nodes.inline("", link.astext())
                link.replace_self(
                    addnodes.pending_xref(
                        "", text, refdomain="std", reftype="doc", reftarget=f"/{target}", refexplicit=True, refwarn=True
                    )
                )


def setup(app: Sphinx) -> None:
    def add_contents(_: Sphinx, page: str, source: list[str]) -> None:
        if not page.startswith("benchmarks"):
            source[0] = with_contents(page, source[0])

    app.add_directive("generated", Generated)
    app.add_transform(LinksBetweenPages)
    app.connect("source-read", add_contents)
