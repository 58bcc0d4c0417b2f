"""How Sphinx makes HTML of this manual (``make docs``). The pages are plain reStructuredText, as a forge shows them."""

from cubicweb_leakwatch.__pkginfo__ import version as release

project = "cubicweb-leakwatch"
version = release
copyright = "the leakwatch maintainers"
extensions: list[str] = []
exclude_patterns: list[str] = []
html_theme = "alabaster"
html_theme_options = {"description": "Finds, explains and contains the memory leaks of a CubicWeb instance"}
html_show_sphinx = False
CONTENTS = "\n\n.. toctree::\n   :hidden:\n   :glob:\n\n   *\n"


def add_contents(_app, name, source):
    """Give the first page the list of all pages: the directive is Sphinx's own, a forge would stumble over it."""
    if name == "index":
        source[0] += CONTENTS


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
