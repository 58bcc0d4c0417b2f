"""The gc report of one process as markup: the data of ``leak-gc``, shown and nothing else."""

from collections.abc import Callable, Iterator
from typing import Any

from cubicweb_leakwatch.plain_text import clean
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table

Report = dict[str, Any]
HoldersOf = Callable[[str], str]


def report(data: Report, figures: Figures, holders_of: HoldersOf | None = None, then: Html | None = None) -> Html:
    """Return the whole report of one process, what matters most first; ``then``, what to do next, stands beside that.

    ``holders_of`` gives the address where one asks who holds the objects of a type.
    """
    finalized = with_finalizers(data)
    trash = [cycle for cycle in data["cycles"] if not cycle["finalizers"]]
    return join(
        [
            heading(data, figures),
            verdict(finalized, data["garbage"], figures, then) if not data.get("partial") else then,
            memory(data["memory"], figures),
            cycles(finalized, figures),
            garbage(data["garbage"], figures),
            types(data["types"], data.get("growth_since"), figures, holders_of),
            waiting(trash, figures),
            roles(data.get("roles"), figures),
        ]
    )


def with_finalizers(data: Report) -> list[Report]:
    """Return the cycles of a report that hold an object with ``__del__``."""
    return [cycle for cycle in data["cycles"] if cycle["finalizers"]]


def summary(data: Report, figures: Figures) -> Html:
    """Return when a process was looked at, and what was found, in two lines."""
    return join([heading(data, figures), verdict(with_finalizers(data), data["garbage"], figures)])


def suspect(data: Report) -> str | None:
    """Return the type whose holders one wants to know first: the finalizer of the most numerous cycle."""
    worst = max(with_finalizers(data), key=lambda cycle: cycle["count"], default=None)
    return worst["finalizers"][0] if worst and worst["count"] > 1 else None


def verdict(finalized: list[Report], garbage: Report, figures: Figures, then: Html | None = None) -> Html:
    """Return the sentence that comes before the numbers: the most numerous cycle and what holds it."""
    _ = figures._
    told = []
    if garbage["count"]:
        told.append(_("gc.garbage holds %s uncollectable objects.") % figures.number(garbage["count"]))
    worst = max(finalized, key=lambda cycle: cycle["count"], default=None)
    if worst is not None and worst["count"] > 1:
        count, name = figures.number(worst["count"]), worst["finalizers"][0]
        if worst.get("holder"):
            told.append(
                _("%(count)s cycles hold %(type)s; %(holder)s keeps them alive.")
                % {"count": count, "type": name, "holder": worst["holder"]}
            )
        else:
            told.append(_("%(count)s cycles hold %(type)s.") % {"count": count, "type": name})
    if told:
        return element("div", element("p", " ".join(told), role="status"), then, class_="lw-verdict lw-bad")
    calm = _("Nothing uncollectable, and no repeated cycle with a finalizer.")
    return element("div", element("p", calm, role="status"), then, class_="lw-verdict")


def heading(data: Report, figures: Figures) -> Html:
    """Return which process this is, when it was looked at, and what the look cost it."""
    _, process = figures._, data["process"]
    cost = _("stopped for %(pause)s ms, looked at for %(elapsed)s s") % {
        "pause": figures.number(data["pause_ms"], 1),
        "elapsed": figures.number(data["elapsed_ms"] / 1000, 1),
    }
    who = f" ({_('pid')} {process['pid']}), "
    taken_at = figures.time(data["taken_at"])
    told = element("p", element("strong", process["name"]), who, taken_at, f"{figures.colon}{cost}")
    if not data.get("partial"):
        return told
    return join([told, element("p", _("Partial answer: %s") % data["partial"], class_="lw-verdict lw-warn")])


def memory(values: Report, figures: Figures) -> Html:
    """Return the memory of the process, by who counts it, in one row."""
    _, mib = figures._, figures._("MiB")
    columns = (
        Column(_("Resident: RSS"), mib, number=True),
        Column(_("Private: USS"), mib, number=True),
        Column(_("Python blocks"), number=True),
        Column(_("malloc in use"), mib, number=True),
        Column(_("malloc free"), mib, number=True),
    )
    row = [
        figures.mib(values.get("rss")),
        figures.mib(values.get("uss")),
        figures.count(values.get("python_blocks")),
        figures.mib(values.get("malloc_used")),
        figures.mib(values.get("malloc_free")),
    ]
    shown = table(_("Memory of the process"), columns, [row], row_heads=False)
    return join([element("h2", _("Memory")), shown])


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


def waiting(items: list[Report], figures: Figures) -> Html | None:
    """Return the cycles without a finalizer that nothing reaches: ordinary trash until the collector comes by."""
    if not items:
        return None
    _ = figures._
    columns = (
        Column(_("Path round the cycle")),
        Column(_("Cycles"), number=True),
        Column(_("Objects"), number=True),
        Column(_("Size"), _("KiB"), number=True),
    )
    rows = [
        (
            Cell(path_text(item["path"]), css="lw-type"),
            figures.count(item["count"]),
            figures.count(item["objects"]),
            figures.kib(item["bytes"]),
        )
        for item in items
    ]
    shown = table(_("Cycles that nothing reaches"), columns, rows)
    return join([element("h2", _("Trash that waits for the collector")), shown])


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


def types(items: list[Report], since: str | None, figures: Figures, holders_of: HoldersOf | None = None) -> Html:
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
    rows = [_type_row(item, figures, holders_of) for item in items]
    return join([element("h2", _("Object types")), element("p", told), table(_("Most frequent types"), columns, rows)])


def _type_row(item: Report, figures: Figures, holders_of: HoldersOf | None) -> tuple[object, ...]:
    delta = item.get("delta")
    shown = figures.count(delta, sign=True)
    growth = Cell(shown.shown, shown.sorts, "lw-grows") if delta is not None and delta > 0 else shown
    name = type_cell(item["type"])
    if holders_of is not None:
        asks = figures._("Who holds objects of %s?") % clean(item["type"])
        name = name._replace(shown=element("a", item["type"], href=holders_of(item["type"]), title=asks))
    return name, figures.count(item["count"]), figures.kib(item.get("bytes")), growth


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
        "hook": _("hooks pending"),
        "operation": _("operations pending"),
    }
    rows = [(names.get(key, key), figures.count(value)) for key, value in values.items() if key != "entity"]
    entities = values.get("entity") or {}
    rows += [(_("entities: %s") % etype, figures.count(count)) for etype, count in sorted(entities.items())]
    columns = (Column(_("Part")), Column(_("Objects"), number=True))
    return join(
        [element("h2", _("CubicWeb objects alive")), table(_("Objects by their part in CubicWeb"), columns, rows)]
    )
