"""What every panel of the dashboard is: some data, which is also its JSON twin, and the same as a part of the page."""

import logging
from typing import Any, ClassVar

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.views.failures import failure, told
from cubicweb_leakwatch.views.markup import Html, element
from cubicweb_leakwatch.views.sheet import Sheet

logger = logging.getLogger("leakwatch.panels")


class Panel:
    """One panel: ``?vid=leakwatch&panel=NAME`` shows it alone, ``/_leakwatch/NAME.json`` is its twin.

    What cannot be told is a state of the panel: those beside it are shown all the same.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, sheet: Sheet) -> None:
        self.sheet = sheet
        self.figures = sheet.figures
        self._ = sheet.request._

    def data(self) -> Any:
        """Return what the panel shows, in a documented shape. Raises ``LeakwatchError``."""
        raise NotImplementedError

    def beside(self) -> dict[str, Any]:
        """Return what stands beside ``data`` in the JSON document."""
        return {}

    def show(self, data: Any) -> Html | None:
        """Return the data as a part of the page."""
        raise NotImplementedError

    def content(self) -> Html | None:
        """Return the data as a part of the page. Raises ``LeakwatchError``."""
        return self.show(self.data())

    def section(self) -> Html:
        """Return the panel with its heading, or with why there is nothing to show."""
        try:
            shown = self.content()
        except LeakwatchError as error:
            logger.info("panel %s: %s", self.name, error.message)
            shown = self._failure(error)
        return element(
            "section", self.heading(), shown, id=f"lw-{self.name}", class_="lw-panel", aria_label=self._(self.title)
        )

    def _failure(self, error: LeakwatchError) -> Html:
        """Return what failed and what to do; a panel above may have told it already."""
        lang = self.sheet.request.lang or "en"
        if error.message in self.sheet.told:
            return element("p", told(error, self._, lang)[0], class_="lw-note")
        self.sheet.told.add(error.message)
        return failure(error, self._, lang)

    def heading(self) -> Html | None:
        """Return the heading, with the way to the numbers alone."""
        twin = element(
            "a", "JSON", href=self.twin(), class_="lw-twin", aria_label=f"{self._(self.title)}: JSON", rel="nofollow"
        )
        return element("h2", self._(self.title), " ", twin)

    def twin(self) -> str:
        """Return the address of the JSON twin of what is shown."""
        return self.sheet.address(f"_leakwatch/{self.name}.json", **self.sheet.span.as_parameters())
