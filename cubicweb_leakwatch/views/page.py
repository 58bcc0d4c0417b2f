"""What the pages of leakwatch have in common: style sheet, script, parameters, figures, and how a failure looks."""

from functools import cached_property
from typing import Any

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Html, element


class _AsTyped:
    """The form validator that CubicWeb asks for: parameters as they came, for :meth:`Page.parameter` to judge."""

    @staticmethod
    def validate(form: dict[str, Any]) -> dict[str, Any]:
        """Return the form."""
        return form


class Page:
    """Mixed into a view; needs its ``_cw`` and ``w``."""

    _cw: Any
    w: Any

    @cached_property
    def figures(self) -> Figures:
        """Numbers and times in the reader's language."""
        return Figures(self._cw._, self._cw.lang or "en")

    def parameter(self, name: str) -> str | None:
        """Return one parameter of the address as text; the last one when it was given twice."""
        value = self._cw.get_cleaned_form(_AsTyped).get(name)
        value = value[-1] if isinstance(value, list | tuple) and value else value
        return value.strip() or None if isinstance(value, str) else None

    def begin(self, title: str) -> None:
        """Open the page; a tab of another page has its title already."""
        self._cw.add_css("cubes.leakwatch.css")
        self._cw.add_js("cubes.leakwatch.js")
        self.w('<div class="lw-page">')
        if self.parameter("fname") != "view":
            self.w(element("h1", title))

    def end(self) -> None:
        """Close the page."""
        self.w("</div>")

    def failure(self, error: LeakwatchError) -> Html:
        """Return what failed and what to do, as a part of the page."""
        hint = element("p", error.hint) if error.hint else None
        return element("div", element("p", error.message), hint, class_="lw-verdict lw-open", role="status")
