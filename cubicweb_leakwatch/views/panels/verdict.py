"""Panel 0: the sentence that comes before all numbers, with what to do next beside it."""

from typing import Any

from cubicweb import _

from cubicweb_leakwatch.live import one_a_slot
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views.markup import Html, element, join
from cubicweb_leakwatch.views.panels.base import Panel
from cubicweb_leakwatch.views.panels.restarts import under_way
from cubicweb_leakwatch.views.verdict import needs_look, over_limit, verdict


class VerdictPanel(Panel):
    """The worst that is known of the processes."""

    name = "verdict"
    title = _("Verdict")

    def data(self) -> dict[str, Any]:
        """Return ``verdict``, ``failures`` and ``processes`` (one a slot), as ``leak-status`` has them."""
        status = self.sheet.status
        return {**status, "processes": one_a_slot(status["processes"])}

    def show(self, data: dict[str, Any]) -> Html:
        """Return the strip across the page."""
        told = [verdict(data["processes"], self.figures, self._next(data["processes"]))]
        if data.get("overdue_since") is not None:
            since = self.figures.moment(data["overdue_since"])
            told.append(
                element(
                    "p", self._("Nothing was concluded since %s: does the scheduler run?") % since, class_="lw-alarm"
                )
            )
        told += [element("p", clean(failure["message"]), class_="lw-alarm") for failure in data.get("failures", ())]
        return join(told)

    def heading(self) -> None:
        """The sentence is its own heading."""

    def _next(self, processes: list[dict[str, Any]]) -> Html | None:
        """Return what to do next: look into the process that leaks, replace the one at its limit."""
        actions = []
        worst = needs_look(processes)
        if worst is not None:
            name = worst["name"]
            href = self.sheet.address("view", vid="gc", process=name)
            actions.append(element("a", self._("Look into %s") % clean(name), href=href, class_="lw-next"))
            actions.append(element("a", self._("Why?"), href="#lw-findings", class_="lw-next"))
        full = over_limit(processes)
        if full is not None and self.sheet.launcher is not None:
            actions.append(self._replace(full["name"]))
        return element("div", join(actions, " "), class_="lw-nexts") if actions else None

    def _replace(self, name: str) -> Html:
        """Return the button that replaces a process; the way to its stages when that is under way."""
        if any(item["process"] == name and under_way(item) for item in self.sheet.replacements):
            return element("a", self._("%s is being replaced") % clean(name), href="#lw-restarts", class_="lw-next")
        return self.sheet.button("leakwatch-restart", self._("Restart %s") % clean(name), process=name)
