"""How Sphinx makes HTML of this manual (``make docs``). The pages are plain reStructuredText, as a forge shows them."""

import re

from cubicweb_leakwatch.__pkginfo__ import version as release

project = "cubicweb-leakwatch"
version = release
copyright = "the leakwatch maintainers"
extensions: list[str] = []
exclude_patterns: list[str] = []
html_theme = "alabaster"
html_theme_options = {
    "description": "Finds, explains and contains the memory leaks of a CubicWeb instance",
    "page_width": "1140px",
    "body_max_width": "none",  # the pictures are of pages 980 pixels wide
}
html_show_sphinx = False
CONTENTS = "\n\n.. toctree::\n   :hidden:\n\n   "


def add_contents(_app, name, source):
    """Give the first page the list of all pages, in its own order: a forge would stumble over Sphinx's directive."""
    if name == "index":
        pages = re.findall(r"<([\w-]+)\.rst>", source[0])
        source[0] += CONTENTS + "\n   ".join(pages) + "\n"


def link_pages(_app, doctree):
    """Let a link to a page's source lead to the page."""
    from docutils import nodes

    for link in doctree.findall(nodes.reference):
        target = link.get("refuri", "")
        if target.endswith(".rst") and "://" not in target:
            link["refuri"] = target.removeprefix("docs/").removesuffix(".rst") + ".html"


def setup(app):
    """Register both."""
    app.connect("source-read", add_contents)
    app.connect("doctree-read", link_pages)
