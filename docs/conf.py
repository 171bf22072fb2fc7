"""The documentation site: ``make docs`` builds it into docs/_build, with warnings as errors.

The pages are those that stand in the repository: their links work there too.
"""

from __future__ import annotations

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import reliable_ws

project = "reliable_ws"
author = "the reliable_ws authors"
release = version = reliable_ws.__version__
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "docs/index"
include_patterns = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "protocol.md",
    "docs/*.md",
]
html_theme = "furo"
html_title = "reliable_ws"
html_copy_source = False
myst_heading_anchors = 4  # as on GitHub


def setup(app: Sphinx) -> None:
    """Show what Pygments has no colours for as it is."""
    for name in ("hex", "mermaid"):
        app.add_lexer(name, TextLexer)
