"""What the pages of leakwatch have in common: style sheet, script, parameters, figures, and how a failure looks."""

from functools import cached_property
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.views.failures import failure
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Html, element, text
from cubicweb_leakwatch.views.sheet import Sheet

NO_SITE_TITLE = "unset title"
"""The default of CubicWeb's property ``ui.site-title``."""


class Page:
    """Mixed into a view; needs its ``_cw`` and ``w``."""

    _cw: Any
    w: Any
    title: str

    @cached_property
    def sheet(self) -> Sheet:
        """What the parts of the page share."""
        return Sheet(self._cw)

    @property
    def figures(self) -> Figures:
        """Numbers and times in the reader's language."""
        return self.sheet.figures

    def parameter(self, name: str) -> str | None:
        """Return one parameter of the address as text; the last one when it was given twice."""
        return self.sheet.parameter(name)

    def page_title(self) -> str:
        """Return the title of the browser's window; a site without a name is not called "unset title"."""
        site = self._cw.property_value("ui.site-title")
        title = str(self._cw._(self.title))
        return f"{title} ({site})" if site and site != NO_SITE_TITLE else title

    def begin(self, title: str) -> None:
        """Open the page; a tab of another page, and a part of a page, has its title already."""
        _ = self._cw._
        self._cw.add_css("cubes.leakwatch.css")
        self._cw.add_js([f"cubes.leakwatch{part}.js" for part in (".chart", ".progress", "")])
        self._cw.html_headers.add_raw('<meta name="viewport" content="width=device-width, initial-scale=1"/>')
        self._cw.set_header("Cache-Control", "no-cache, private")
        told = {
            "loading": _("Loading…"),
            "failed": _("The server did not answer. Try again."),
            "working": _("At work for %s s…"),
            "home": _("Front page"),
            "search": _("Search"),
        }
        said = " ".join(f'data-{name}="{text(words)}"' for name, words in told.items())
        self.w(f'<div class="lw-page" role="main" lang="{text(self._cw.lang or "en")}" {said}>')
        if self.parameter("fname") != "view" and self.parameter("__notemplate") is None:
            self.w(element("h1", title))

    def end(self) -> None:
        """Close the page."""
        self.w("</div>")

    def failure(self, error: LeakwatchError) -> Html:
        """Return what failed and what to do, as a part of the page."""
        return failure(error, self._cw._, self._cw.lang or "en")
