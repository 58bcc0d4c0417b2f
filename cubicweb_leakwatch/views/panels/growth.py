"""Panel 3: what grows in one process between two chosen snapshots."""

from collections.abc import Sequence
from typing import Any

from cubicweb import _

from cubicweb_leakwatch.errors import LeakwatchError
from cubicweb_leakwatch.live import one_a_slot
from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table
from cubicweb_leakwatch.views.panels.base import Panel
from cubicweb_leakwatch.views.verdict import needs_look

SPARK_WIDTH, SPARK_HEIGHT = 90, 18


class GrowthPanel(Panel):
    """Types whose counts rose, with the way they took; process and snapshots are chosen in a form."""

    name = "growth"
    title = _("What grows")

    def data(self) -> dict[str, Any]:
        """Return the result of the service ``leakwatch_growth``."""
        span = self.sheet.span
        data: dict[str, Any] = self.sheet.ask_database(
            "leakwatch_growth",
            since=span.start,
            until=span.end,
            process=self.sheet.parameter("of") or self._suspect(),
            first=_seconds(self.sheet.parameter("a")),
            last=_seconds(self.sheet.parameter("b")),
        )
        return data

    def _suspect(self) -> str | None:
        """Return the pid of the process that one wants to know about first."""
        try:
            worst = needs_look(one_a_slot(self.sheet.status["processes"]))
        except LeakwatchError:
            return None
        return str(worst["pid"]) if worst else None

    def show(self, data: dict[str, Any]) -> Html:
        """Return the form and the table; or why there is none."""
        if not data["processes"]:
            return element(
                "p", self._("No snapshot with type counts in this time (leakwatch-types, leakwatch-interval).")
            )
        if len(data["times"]) < 2:
            return join([self._form(data), element("p", self._("Two snapshots are needed to tell what grows."))])
        if not data["types"]:
            return join([self._form(data), element("p", self._("No recorded type grew between these snapshots."))])
        return join([self._form(data), self._table(data)])

    def _form(self, data: dict[str, Any]) -> Html:
        _, chosen = self._, data["process"]
        processes = [
            (str(each["pid"]), f"{each['process']} ({_('pid')} {each['pid']})", each["pid"] == chosen["pid"])
            for each in data["processes"]
        ]
        times = [(t, f"{t:.3f}", self.figures.second(t)) for t in data["times"]]
        fields = {"vid": "leakwatch", **self.sheet.span.as_parameters()}
        hidden = [element("input", type="hidden", name=name, value=value) for name, value in fields.items()]
        return element(
            "form",
            *hidden,
            _select("of", _("Process"), processes),
            _select("a", _("from"), [(t, shown, each == data["from"]) for each, t, shown in times]),
            _select("b", _("to"), [(t, shown, each == data["to"]) for each, t, shown in times]),
            element("button", _("Compare"), type="submit", class_="lw-do"),
            action=self.sheet.address("view") + "#lw-growth",
            method="get",
            class_="lw-choice",
            data_panel="growth",
        )

    def _table(self, data: dict[str, Any]) -> Html:
        _, figures = self._, self.figures
        objects = _("objects")
        columns = [
            Column(_("Type")),
            Column(_("Before"), objects, number=True),
            Column(_("After"), objects, number=True),
            Column(_("Growth"), objects, number=True),
            Column(_("Share of the growth"), "%", number=True),
            Column(_("On the way")),
        ]
        rows = [
            [
                Cell(row["type"], css="lw-type"),
                figures.count(row["before"]),
                figures.count(row["after"]),
                figures.count(row["delta"], sign=True),
                Cell(figures.number(100 * row["share"], 1), row["share"]),
                Cell(sparkline(row["counts"]), row["delta"]),
            ]
            for row in data["types"]
        ]
        note = _("Only the types recorded with the snapshots count; a type is counted from when it was among them.")
        caption = _("What grows in %s") % clean(data["process"]["process"])
        return join([table(caption, columns, rows), element("p", note, class_="lw-note")])


def _select(name: str, label: str, options: Sequence[tuple[str, str, bool]]) -> Html:
    listed = [
        element("option", shown, value=value, selected="selected" if on else None) for value, shown, on in options
    ]
    return element("label", label, " ", element("select", *listed, name=name))


def sparkline(counts: Sequence[int | None]) -> Html:
    """Return the way of a count as a small picture; its numbers stand in the same row."""
    known = [(index, count) for index, count in enumerate(counts) if count is not None]
    low, high = min(count for _index, count in known), max(count for _index, count in known)
    step, span = SPARK_WIDTH / max(1, len(counts) - 1), max(1, high - low)
    points = " ".join(
        f"{index * step:.1f},{(SPARK_HEIGHT - 2) * (1 - (count - low) / span) + 1:.1f}" for index, count in known
    )
    line = element("polyline", points=points, fill="none", class_="lw-spark-line")
    return element(
        "svg", line, class_="lw-spark", viewBox=f"0 0 {SPARK_WIDTH} {SPARK_HEIGHT}", aria_hidden="true",
        width=SPARK_WIDTH, height=SPARK_HEIGHT,
    )  # fmt: skip


def _seconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
