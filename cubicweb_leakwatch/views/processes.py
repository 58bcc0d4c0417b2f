"""The table of processes: memory beside its limit, growth, verdict."""

from collections.abc import Callable
from typing import Any

from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Cell, Column, Html, table

Process = dict[str, Any]


def overview(processes: list[Process], figures: Figures, actions: Callable[[Process], object] | None = None) -> Html:
    """Return one row a process; ``actions`` gives what can be done with it, for the last column."""
    _, mib = figures._, figures._("MiB")
    columns = [
        Column(_("Process")),
        Column(_("pid"), number=True),
        Column(_("State")),
        Column(_("Age")),
        Column(_("Requests"), number=True),
        Column(_("In flight"), number=True),
        Column("RSS", mib, number=True),
        Column("USS", mib, number=True),
        Column(_("Limit"), mib, number=True),
        Column(_("Growth"), _("MiB/h"), number=True),
        Column("gc.garbage", _("objects"), number=True),
        Column(_("Verdict")),
    ]
    rows = [_row(process, figures) for process in processes]
    if actions is not None:
        columns.append(Column(_("Actions")))
        rows = [[*row, Cell(actions(process), css="lw-nowrap")] for row, process in zip(rows, processes, strict=True)]
    return table(_("Processes of the instance"), columns, rows)


def asked_as(process: Process) -> str:
    """Return by what a page asks for a process: its name, or the pid of one that leaves its name to a successor."""
    return str(process["pid"] if process.get("state") in ("draining", "stopping") else process["name"])


def _row(process: Process, figures: Figures) -> list[object]:
    _ = figures._
    limit = process.get("limit")
    return [
        process["name"],
        process["pid"],
        _("silent" if process.get("silent") else process["state"]),
        Cell(figures.duration(process.get("age_s")), process.get("age_s"), "lw-nowrap"),
        figures.count(process.get("requests")),
        figures.count(process.get("in_flight")),
        _memory(process, figures),
        figures.mib(process.get("uss")),
        figures.mib(limit) if limit else Cell(_("none"), 0),
        figures.mib(process.get("rate_bytes_per_h"), sign=True),
        _garbage(process, figures),
        Cell(_(process.get("verdict") or "n/a"), css="lw-alarm" if process.get("leak") else ""),
    ]


def _memory(process: Process, figures: Figures) -> Cell:
    cell = figures.mib(process.get("rss"))
    limit, used = process.get("limit"), process.get("uss")
    return Cell(cell.shown, cell.sorts, "lw-alarm") if limit and used and used >= 0.9 * limit else cell


def _garbage(process: Process, figures: Figures) -> Cell:
    cell = figures.count(process.get("garbage"))
    return Cell(cell.shown, cell.sorts, "lw-alarm") if process.get("garbage") else cell
