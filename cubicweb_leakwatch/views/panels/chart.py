"""Panel 1: recorded memory over time, with limits, events, ceilings and what is predicted."""

from typing import Any

from cubicweb import _

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.recording.tracks import samples_of
from cubicweb_leakwatch.views import history
from cubicweb_leakwatch.views.markup import Html, element, join
from cubicweb_leakwatch.views.panels.base import Panel
from cubicweb_leakwatch.views.span import SPAN_NAMES


class ChartPanel(Panel):
    """The chart; the time it shows is in the address, so that a narrower one is asked of the server."""

    name = "chart"
    title = _("Recorded memory")

    def data(self) -> list[dict[str, Any]]:
        """Return the samples, as the list of ``leak-history``."""
        return samples_of(self.sheet.recorded["tracks"])

    def beside(self) -> dict[str, Any]:
        """Return what happened, and which time it is."""
        return {name: self.sheet.recorded[name] for name in ("since", "until", "events", "restarts")}

    def content(self) -> Html:
        """Return the links to other times, the chart, and its numbers; no object is made of each sample."""
        tracks, living = self.sheet.recorded["tracks"], self._living()
        limits = {process["name"]: process.get("limit") for process in living}
        hosts = {process["host"] for process in living if process.get("host")}
        shown = history.chart(
            tracks, self._events(), limits, self._foreseen(), self.sheet.span, self.figures, hosts
        )  # fmt: skip
        return join([self._spans(), shown])

    def _living(self) -> list[dict[str, Any]]:
        try:
            return list(self.sheet.status["processes"])
        except LeakwatchError:
            return []

    def _foreseen(self) -> list[dict[str, Any]]:
        """Return the findings from which the chart is continued: those that hold, where it ends now."""
        return self.sheet.open_findings if self.sheet.span.to_now else []

    def _events(self) -> list[dict[str, Any]]:
        return [*self.sheet.recorded["events"], *history.finding_events(self.sheet.findings, self.sheet.span)]

    def _spans(self) -> Html:
        span = self.sheet.span
        ways = [(self._(shown), {"span": name}, name == span.name) for name, shown in SPAN_NAMES.items()]
        ways += [
            (self._("Earlier"), span.shifted(-0.5).as_parameters(), False),
            (self._("Later"), span.shifted(0.5).as_parameters(), False),
            (self._("Zoom in"), span.zoomed(0.5).as_parameters(), False),
            (self._("Zoom out"), span.zoomed(2.0).as_parameters(), False),
        ]
        links = [
            element(
                "li",
                element(
                    "a", label, href=self.sheet.url(**where), data_panel="chart", aria_current="true" if now else None
                ),
            )
            for label, where, now in ways
        ]
        return element("nav", element("ul", *links, class_="lw-processes"), aria_label=self._("Time shown"))
