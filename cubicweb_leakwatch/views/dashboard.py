"""The dashboard: verdict, recorded memory, processes with their restart button, restarts, latest snapshots."""

from typing import Any

from cubicweb import _
from cubicweb_web.view import StartupView
from cubicweb_web.views.actions import ManagersAction
from pyramid.csrf import get_csrf_token

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views import history
from cubicweb_leakwatch.views.access import ManagersOnly, for_managers
from cubicweb_leakwatch.views.markup import Html, element, join
from cubicweb_leakwatch.views.page import Page
from cubicweb_leakwatch.views.processes import overview
from cubicweb_leakwatch.views.span import SPAN_NAMES, Span, asked_span
from cubicweb_leakwatch.views.verdict import verdict

CHART_POINTS = 720
"""Samples of each process on the chart: one every two minutes of a day, which is more than a screen shows."""


class LeakwatchView(Page, StartupView):
    """The dashboard of the instance; all but the table of processes comes from recorded data."""

    __regid__ = "leakwatch"
    __select__ = for_managers
    title = _("Memory of the processes")
    cache_max_age = 0

    def call(self, **kwargs: Any) -> None:
        """Write the page."""
        self.begin(self._cw._(self.title))
        span = asked_span(self.parameter)
        status = self._status()
        recorded = self._cw.call_service("leakwatch_history", since=span.start, until=span.end, points=CHART_POINTS)
        processes = status.get("processes", [])
        self.w(self.verdict(status))
        self.w(self.chart(recorded, processes, span))
        self.w(self.processes(processes))
        self.w(self.restarts(recorded))
        self.w(self.snapshots(recorded))
        self.end()

    def _status(self) -> dict[str, Any]:
        """Return the processes and the verdict, or why they cannot be told, in the key ``error``."""
        try:
            return dict(self._cw.call_service("leakwatch_processes"))
        except LeakwatchError as error:
            return {"error": error}

    def verdict(self, status: dict[str, Any]) -> Html:
        """Return the sentence that comes before all numbers."""
        if "error" in status:
            return self.failure(status["error"])
        told = [verdict(status["processes"], self.figures)]
        told += [element("p", failure["message"], class_="lw-alarm") for failure in status.get("failures", ())]
        return join(told)

    def chart(self, recorded: dict[str, Any], processes: list[dict[str, Any]], span: Span) -> Html:
        """Return the chart and the links to other spans of time."""
        limits = {process["name"]: process.get("limit") for process in processes}
        shown = history.chart(recorded["samples"], recorded["events"], limits, span, self.figures)
        return join([element("h2", self._cw._("Recorded memory")), self._spans(span), shown])

    def _spans(self, span: Span) -> Html:
        links = [
            element(
                "li",
                element(
                    "a",
                    self._cw._(shown),
                    href=self._cw.build_url("view", vid="leakwatch", span=name),
                    aria_current="true" if name == span.name else None,
                ),
            )
            for name, shown in SPAN_NAMES.items()
        ]
        listed = element("ul", *links, class_="lw-processes")
        return element("nav", listed, aria_label=self._cw._("Time shown"))

    def processes(self, processes: list[dict[str, Any]]) -> Html | None:
        """Return the table of processes: a link to a look into each, and a button to replace it, if a launcher can."""
        if not processes:
            return element("p", "")
        _, launcher = self._cw._, self._launcher()
        if launcher is None:
            told = _("No launcher serves this instance, so no process can be replaced from here.")
        else:
            told = _("Restart starts a successor first; the old process then finishes its requests and leaves.")
        flags = [element("p", clean(flag), class_="lw-alarm") for flag in (launcher or {}).get("flags", ())]
        shown = overview(processes, self.figures, self._look if launcher is None else self._actions)
        return join([element("h2", _("Processes")), *flags, shown, element("p", told, class_="lw-note")])

    def _launcher(self) -> dict[str, Any] | None:
        """Return what the launcher says of itself; None where there is none to ask."""
        try:
            return dict(self._cw.call_service("leakwatch_launcher"))
        except LeakwatchError:
            return None

    def _look(self, process: dict[str, Any]) -> Html:
        return element("a", self._cw._("Look"), href=self._cw.build_url("view", vid="gc", process=process["name"]))

    def _actions(self, process: dict[str, Any]) -> Html:
        button = self.button("leakwatch-restart", self._cw._("Restart"), process=process["name"])
        return join([self._look(process), button], " ")

    def button(self, action: str, label: str, **fields: str) -> Html:
        """Return a form of one button that posts ``fields`` to ``action``."""
        values = {"csrf_token": get_csrf_token(self._cw._request), **fields}
        hidden = [element("input", type="hidden", name=name, value=value) for name, value in values.items()]
        described = f"{label} {fields['process']}" if "process" in fields else None
        do = element("button", label, type="submit", class_="lw-do", aria_label=described)
        return element("form", *hidden, do, action=self._cw.build_url(action), method="post", class_="lw-action")

    def restarts(self, recorded: dict[str, Any]) -> Html:
        """Return the log of restarts."""
        shown = history.restarts(recorded["restarts"], self.figures)
        return join([element("h2", self._cw._("Restarts")), shown])

    def snapshots(self, recorded: dict[str, Any]) -> Html:
        """Return the latest snapshots, and the button that takes one now."""
        button = self.button("leakwatch-snapshot", self._cw._("Take a snapshot now"))
        shown = history.latest(recorded["samples"], self.figures) if recorded["samples"] else None
        return join([element("h2", self._cw._("Snapshots")), element("p", button), shown])


class ForbiddenLeakwatchView(ManagersOnly):
    """The dashboard for those who may not see it."""

    __regid__ = "leakwatch"


class LeakwatchAction(ManagersAction):
    """The link to the dashboard, in the menu of the site's managers."""

    __regid__ = "leakwatch"
    title = _("Memory of the processes")
    category = "manage"
    order = 1010

    def url(self) -> str:
        """Return the address of the dashboard."""
        return str(self._cw.build_url("view", vid="leakwatch"))
