"""The latest snapshots, and the button that takes one now."""

from typing import Any

from cubicweb import _

from cubicweb_leakwatch.views import history
from cubicweb_leakwatch.views.markup import Html, element, join
from cubicweb_leakwatch.views.panels.base import Panel


class SnapshotsPanel(Panel):
    """What was measured last."""

    name = "snapshots"
    title = _("Snapshots")

    def data(self) -> list[dict[str, Any]]:
        """Return the latest samples, oldest first."""
        span = self.sheet.span
        return list(self.sheet.ask_database("leakwatch_latest", since=span.start, until=span.end, most=history.LATEST))

    def show(self, data: list[dict[str, Any]]) -> Html:
        """Return the button, and the table behind a click: the chart says most of it."""
        button = self.sheet.button("leakwatch-snapshot", self._("Take a snapshot now"))
        shown = history.latest(data, self.figures) if data else None
        folded = element("details", element("summary", self._("Latest snapshots")), shown) if shown else None
        return join([element("p", button), folded])
