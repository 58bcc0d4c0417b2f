"""The gc report of one process as markup: the data of ``leak-gc``, shown and nothing else."""

from collections.abc import Iterator
from typing import Any

from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table

Report = dict[str, Any]


def report(data: Report, figures: Figures) -> Html:
    """Return the whole report of one process."""
    return join(
        [
            heading(data, figures),
            memory(data["memory"], figures),
            garbage(data["garbage"], figures),
            cycles(data["cycles"], figures),
            types(data["types"], data.get("growth_since"), figures),
            roles(data.get("roles"), figures),
        ]
    )


def heading(data: Report, figures: Figures) -> Html:
    """Return which process this is, when it was looked at, and what the look cost it."""
    _, process = figures._, data["process"]
    cost = _("stopped for %(pause)s ms, looked at for %(elapsed)s s") % {
        "pause": figures.number(data["pause_ms"], 1),
        "elapsed": figures.number(data["elapsed_ms"] / 1000, 1),
    }
    who = f" ({_('pid')} {process['pid']}), "
    told = element("p", element("strong", process["name"]), who, figures.time(data["taken_at"]), f": {cost}")
    if not data.get("partial"):
        return told
    return join([told, element("p", f"{_('Partial answer:')} {data['partial']}", class_="lw-verdict lw-warn")])


def memory(values: Report, figures: Figures) -> Html:
    """Return the memory of the process, by who counts it."""
    _, mib = figures._, figures._("MiB")
    rows: list[tuple[object, object, str]] = [
        (_("Resident (RSS)"), figures.mib(values.get("rss")), mib),
        (_("Private (USS)"), figures.mib(values.get("uss")), mib),
        (_("Python blocks"), figures.count(values.get("python_blocks")), _("blocks")),
        (_("malloc in use"), figures.mib(values.get("malloc_used")), mib),
        (_("malloc free"), figures.mib(values.get("malloc_free")), mib),
    ]
    columns = (Column(_("What")), Column(_("Amount"), number=True), Column(_("Unit")))
    return join([element("h2", _("Memory")), table(_("Memory of the process"), columns, rows)])


def garbage(values: Report, figures: Figures) -> Html:
    """Return what ``gc.garbage`` holds: objects that the collector gave up."""
    _, title = figures._, element("h2", "gc.garbage")
    if not values["count"]:
        return join([title, element("p", _("gc.garbage is empty."))])
    told = _("%(count)s uncollectable objects") % {"count": figures.number(values["count"])}
    if values.get("bytes") is not None:
        told = f"{told}, {figures.size(values['bytes'])}"
    columns = (Column(_("Type")), Column(_("Objects"), number=True), Column(_("Size"), _("KiB"), number=True))
    rows = [
        (type_cell(item["type"]), figures.count(item["count"]), figures.kib(item.get("bytes")))
        for item in values["types"]
    ]
    shown = table(_("Types in gc.garbage"), columns, rows) if rows else None
    return join([title, element("p", told, class_="lw-alarm"), shown])


def type_cell(name: str) -> Cell:
    """Return a type's name, as hostile as it may be."""
    return Cell(name, css="lw-type")


def cycles(items: list[Report], figures: Figures) -> Html:
    """Return the cycles that hold finalizers, one box a shape."""
    _, title = figures._, element("h2", figures._("Cycles with finalizers (__del__)"))
    if not items:
        return join([title, element("p", _("No object with __del__ is in a reference cycle."))])
    return join([title, *(cycle(item, figures) for item in items)])


def cycle(item: Report, figures: Figures) -> Html:
    """Return one shape of cycle: members, how many, how large, the way round, and what holds it."""
    _ = figures._
    members = ", ".join(f"{member['type']} × {figures.number(member['count'])}" for member in item["types"])
    facts = [
        (_("Cycles of this shape"), figures.number(item["count"])),
        (_("Objects"), figures.number(item["objects"])),
        (_("Size"), f"{figures.number(item['bytes'] / 1024, 1)} {_('KiB')}"),
        (_("Reachable"), _("yes") if item["reachable"] else _("no: waits for the collector")),
        (_("Members"), members),
        (_("Path round the cycle"), element("span", path_text(item["path"]), class_="lw-path")),
        (_("Held by"), _holder(item, figures)),
    ]
    described = join(join([element("dt", name), element("dd", value)]) for name, value in facts)
    return element("div", element("h3", ", ".join(item["finalizers"])), element("dl", described), class_="lw-cycle")


def _holder(item: Report, figures: Figures) -> Html:
    if item.get("holder"):
        return element("code", item["holder"], class_="lw-path")
    return element("span", figures.unknown if item["reachable"] else figures._("nothing"))


def path_text(path: list[str]) -> str:
    """Return the way round a cycle: ``A.attr → B['key'] → A``."""
    return " → ".join(_steps(path))


def _steps(path: list[str]) -> Iterator[str]:
    step = ""
    for part in path:
        if step and not part.startswith((".", "[")):
            yield step
            step = ""
        step += part
    if step:
        yield step


def types(items: list[Report], since: str | None, figures: Figures) -> Html:
    """Return how many objects of each type there are, and their growth since the process's baseline."""
    _ = figures._
    told = (
        join([_("Growth since"), " ", figures.time(since)]) if since else Html(_("No baseline yet: growth is unknown."))
    )
    columns = (
        Column(_("Type")),
        Column(_("Objects"), number=True),
        Column(_("Size"), _("KiB"), number=True),
        Column(_("Growth"), _("objects"), number=True),
    )
    rows = [_type_row(item, figures) for item in items]
    return join([element("h2", _("Object types")), element("p", told), table(_("Most frequent types"), columns, rows)])


def _type_row(item: Report, figures: Figures) -> tuple[object, ...]:
    delta = item.get("delta")
    shown = figures.count(delta, sign=True)
    growth = Cell(shown.shown, shown.sorts, "lw-grows") if delta is not None and delta > 0 else shown
    return type_cell(item["type"]), figures.count(item["count"]), figures.kib(item.get("bytes")), growth


def roles(values: Report | None, figures: Figures) -> Html | None:
    """Return how many objects play each part in CubicWeb; nothing where nobody counted."""
    if not values:
        return None
    _ = figures._
    names = {
        "request": _("requests"),
        "connection_open": _("open connections"),
        "connection_closed": _("closed connections"),
        "rset": _("result sets"),
        "rql": _("RQL syntax trees"),
        "form": _("forms"),
        "session": _("sessions"),
    }
    rows = [(names.get(key, key), figures.count(value)) for key, value in values.items() if key != "entity"]
    entities = values.get("entity") or {}
    rows += [(f"{_('entities')}: {etype}", figures.count(count)) for etype, count in sorted(entities.items())]
    columns = (Column(_("Part")), Column(_("Objects"), number=True))
    return join(
        [element("h2", _("CubicWeb objects alive")), table(_("Objects by their part in CubicWeb"), columns, rows)]
    )
