"""Panel 2: the processes, with the way to a look into each, and the button that replaces it."""

from typing import Any

from cubicweb import _

from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views.launcher_words import in_words
from cubicweb_leakwatch.views.markup import Html, element, join
from cubicweb_leakwatch.views.panels.base import Panel
from cubicweb_leakwatch.views.processes import asked_as, overview


class ProcessesPanel(Panel):
    """One row a process; a slot has two while its worker is replaced."""

    name = "processes"
    title = _("Processes")

    def data(self) -> dict[str, Any]:
        """Return the data of ``leak-status``."""
        return self.sheet.status

    def show(self, data: dict[str, Any]) -> Html:
        """Return the table, and above it what the launcher complains of."""
        _, launcher = self._, self.sheet.launcher
        if launcher is None:
            told = _("No launcher serves this instance, so no process can be replaced from here.")
        else:
            told = _("Restart starts a successor first; the old process then finishes its requests and leaves.")
        told_of = (launcher or {}).get("flags", ())
        flags = [element("p", clean(in_words(flag, self.figures)), class_="lw-alarm") for flag in told_of]
        if not any(process.get("role") == "scheduler" for process in data["processes"]):
            idle = _("No scheduler answers on this host: nothing is recorded until one runs (or leak-collect does).")
            flags.append(element("p", idle, class_="lw-alarm"))
        shown = overview(data["processes"], self.figures, self._look if launcher is None else self._actions)
        return join([*flags, shown, element("p", told, class_="lw-note")])

    def _look(self, process: dict[str, Any]) -> Html:
        href = self.sheet.address("view", vid="gc", process=asked_as(process))
        return element("a", self._("Look"), href=href, aria_label=f"{self._('Look')} {clean(process['name'])}")

    def _actions(self, process: dict[str, Any]) -> Html:
        if ":" in process["name"]:  # of another host: a look is taken there
            return self._restart(process)
        if process.get("state") != "serving":
            return self._look(process)
        return join([self._look(process), self._restart(process)], " ")

    def _restart(self, process: dict[str, Any]) -> Html:
        return self.sheet.button("leakwatch-restart", self._("Restart"), process=process["name"])
