"""The dashboard: verdict, recorded memory, processes, what grows, findings, restarts, snapshots, settings."""

from typing import Any

from cubicweb import _
from cubicweb_web.view import StartupView
from cubicweb_web.views.actions import ManagersAction

from cubicweb_leakwatch.views.access import ManagersOnly, for_managers
from cubicweb_leakwatch.views.page import Page
from cubicweb_leakwatch.views.panels import PANELS


class LeakwatchView(Page, StartupView):
    """The dashboard of the instance: everything is recorded, or known to the processes without a look at their heaps.

    ``panel=NAME`` shows one panel alone, which is what the script asks for when only that one changes.
    """

    __regid__ = "leakwatch"
    __select__ = for_managers
    title = _("Memory of the processes")
    cache_max_age = 0

    def call(self, **kwargs: Any) -> None:
        """Write the page."""
        self.begin(self._cw._(self.title))
        wanted = self.parameter("panel")
        chosen = [panel for panel in PANELS if panel.name == wanted] or PANELS
        for panel in chosen:
            self.w(panel(self.sheet).section())
        self.end()


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
