"""The gc page: what each process of the instance keeps. It takes the place of CubicWeb's own."""

from functools import partial
from typing import Any

from cubicweb import _
from cubicweb_web.view import StartupView
from cubicweb_web.views import debug

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.looks import HOLDERS
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views import gc_report
from cubicweb_leakwatch.views.access import ManagersOnly, for_managers
from cubicweb_leakwatch.views.heap_looks import further
from cubicweb_leakwatch.views.markup import Html, element, join
from cubicweb_leakwatch.views.page import Page
from cubicweb_leakwatch.views.processes import asked_as, overview


class LeakwatchGCView(Page, StartupView):
    """What a process keeps alive; the process is chosen by ``process=web-2``, and looked at when it is chosen.

    Opening the page without one walks no heap, nor does ``show=kept``; each further look is a button of its own.
    """

    __regid__ = "gc"
    __select__ = for_managers
    title = _("memory leak debugging")
    cache_max_age = 0

    def call(self, **kwargs: Any) -> None:
        """Write the page."""
        self.begin(self._cw._("What the processes keep alive"))
        chosen = self.parameter("process")
        try:
            processes = [
                row for row in self._cw.call_service("leakwatch_processes")["processes"] if ":" not in row["name"]
            ]
            self.w(self.choice(processes, chosen))
            self.w(self.look(chosen) if chosen else self.overview(processes))
            self.w(join([self.further(processes, chosen)]))
        except LeakwatchError as error:
            self.w(self.failure(error))
        self.end()

    def choice(self, processes: list[dict[str, Any]], chosen: str | None) -> Html:
        """Return the links to the processes, with what a look at one costs."""
        links = [
            element(
                "li",
                element(
                    "a",
                    f"{process['name']} ({self._cw._('pid')} {process['pid']})",
                    href=self.sheet.address("view", vid="gc", process=asked_as(process)),
                    aria_current="page" if chosen in (process["name"], str(process["pid"])) else None,
                ),
            )
            for process in processes
        ]
        cost = self._cw._(
            "A look stops the process for some milliseconds, to copy it; the copy is then read for some seconds."
        )
        nav = element("nav", element("ul", *links, class_="lw-processes lw-looks"), aria_label=self._cw._("Processes"))
        return join([element("p", self._cw._("Look into:")), nav, element("p", cost, class_="lw-note")])

    def look(self, process: str) -> Html:
        """Return the report of one process, looked at now; with ``show=kept`` the last one, for nothing."""
        reports = self._cw.call_service("leakwatch_gc", process=process, look=self.parameter("show") != "kept")
        return join(
            gc_report.report(data, self.figures, partial(self._holders_of, process), self._next(data))
            for data in reports
        )

    def _holders_of(self, process: str, type_name: str) -> str:
        """Return the address of the form that asks who holds objects of a type: it looks at nothing by itself."""
        page = self.sheet.address("view", vid="gc", process=process, show="kept", type=type_name)
        return f"{page}#lw-{HOLDERS}"

    def _next(self, data: dict[str, Any]) -> Html:
        """Return what to do next: ask who holds what piles up, replace the process, see its memory over time."""
        _, name = self._cw._, data["process"]["name"]
        suspect, actions = gc_report.suspect(data), []
        if suspect is not None:
            actions.append(element("a", _("Who holds them?"), href=self._holders_of(name, suspect), class_="lw-next"))
        actions.append(element("a", _("Memory over time"), href=self.sheet.url(), class_="lw-next"))
        if self.sheet.launcher is not None:
            label = _("Restart %s") % clean(name)
            actions.append(self.sheet.button("leakwatch-restart", label, process=name))
        return element("div", join(actions, " "), class_="lw-nexts")

    def further(self, processes: list[dict[str, Any]], chosen: str | None) -> Html | None:
        """Return the further looks into the chosen process."""
        found = [process for process in processes if chosen in (process["name"], str(process["pid"]))]
        if not found:
            return None
        kept = self._cw.call_service("leakwatch_looks", process=found[0]["name"])
        return further(self.sheet, found[0], kept)

    def overview(self, processes: list[dict[str, Any]]) -> Html:
        """Return what is known without a look: memory of each process, and what the last looks found."""
        kept = self._cw.call_service("leakwatch_gc", look=False)
        last = [element("h2", self._cw._("Last looks"))] if kept else []
        last += [gc_report.summary(report, self.figures) for report in kept]
        return join([overview(processes, self.figures), *last])


class ForbiddenGCView(ManagersOnly):
    """The gc page for those who may not see it."""

    __regid__ = "gc"


def registration_callback(vreg: Any) -> None:
    """Put our page in the place of CubicWeb's, in the ``gc`` tab of the site's information too."""
    vreg.register_and_replace(LeakwatchGCView, debug.GCView)
    vreg.register(ForbiddenGCView)
