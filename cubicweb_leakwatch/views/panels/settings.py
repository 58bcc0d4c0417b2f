"""Panel 6: the settings in force, and what leakwatch itself costs."""

from typing import Any

from cubicweb import _

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table
from cubicweb_leakwatch.views.panels.base import Panel


class SettingsPanel(Panel):
    """Every option with its value and where that comes from; and the price of watching."""

    name = "settings"
    title = _("Settings and cost")

    def data(self) -> dict[str, Any]:
        """Return ``options`` (name, value, default, origin) and ``cost``; see the service ``leakwatch_settings``."""
        data = dict(self.sheet.ask_database("leakwatch_settings"))
        return {**data, "cost": {**data["cost"], "probe_share": self._probe_share()}}

    def _probe_share(self) -> float | None:
        """Return how much of a core the probes have taken since their processes started, all together."""
        try:
            rows = self.sheet.status["processes"]
        except LeakwatchError:
            return None
        told = [(row["probe_cpu_s"], row["age_s"]) for row in rows if row.get("probe_cpu_s") and row.get("age_s")]
        return sum(spent / age for spent, age in told) if told else None

    def show(self, data: dict[str, Any]) -> Html:
        """Return both tables behind a click: one needs them seldom."""
        told = element("summary", self._("Settings in force"))
        return join([self._cost(data["cost"]), element("details", told, self._options(data["options"]))])

    def _options(self, options: list[dict[str, Any]]) -> Html:
        _ = self._
        columns = [Column(_("Option")), Column(_("Value")), Column(_("Default")), Column(_("From"))]
        rows = [
            [
                Cell(element("code", option["name"])),
                option["value"] or _("(empty)"),
                option["default"] or _("(empty)"),
                _(option["origin"]),
            ]
            for option in options
        ]
        return table(_("Settings in force"), columns, rows)

    def _cost(self, cost: dict[str, Any]) -> Html:
        _, figures = self._, self.figures
        columns = [Column(_("What")), Column(_("Figure"), number=True), Column(_("Unit"))]
        rows = [
            [_("Snapshots recorded"), figures.count(cost["snapshots"]), _("rows")],
            [_("Space in the database, about"), figures.mib(cost["database_bytes"]), _("MiB")],
            [_("Probes of all processes: share of one core"), _percent(figures, cost["probe_share"]), "%"],
            [_("Last round of the looping task: processor time"), _ms(figures, cost["round_cpu_ms"]), "ms"],
            [_("Last round of the looping task: it took"), _ms(figures, cost["round_elapsed_ms"]), "ms"],
            [_("Last copy of a process: it stood still for"), _ms(figures, cost["pause_ms"]), "ms"],
            [_("Last copy of a process: read within"), _ms(figures, cost["elapsed_ms"]), "ms"],
        ]
        return table(_("What leakwatch itself costs"), columns, rows)


def _percent(figures: Any, share: float | None) -> Cell:
    return Cell(figures.number(None if share is None else 100 * share, 2), share)


def _ms(figures: Any, value: float | None) -> Cell:
    return Cell(figures.number(value, 1), value)
