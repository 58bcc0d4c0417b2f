"""Panel 6: the settings in force, and what leakwatch itself costs."""

from typing import Any

from cubicweb import _

from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table
from cubicweb_leakwatch.views.panels.base import Panel


class SettingsPanel(Panel):
    """Every option with its value and where that comes from; and the price of watching."""

    name = "settings"
    title = _("Settings and cost")

    def data(self) -> dict[str, Any]:
        """Return ``options`` (name, value, default, origin) and ``cost``; see the service ``leakwatch_settings``."""
        return dict(self.sheet.ask_database("leakwatch_settings"))

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
            [_("Last copy of a process: it stood still for"), _ms(figures, cost["pause_ms"]), "ms"],
            [_("Last copy of a process: read within"), _ms(figures, cost["elapsed_ms"]), "ms"],
        ]
        return table(_("What leakwatch itself costs"), columns, rows)


def _ms(figures: Any, value: float | None) -> Cell:
    return Cell(figures.number(value, 1), value)
