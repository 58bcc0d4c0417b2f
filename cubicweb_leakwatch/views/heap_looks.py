"""The further looks of the gc page as markup: what each costs, its button, what the last one found."""

from typing import Any

from cubicweb import _

from cubicweb_leakwatch.looks import GROWTH, HOLDERS, MARK, RETAINED
from cubicweb_leakwatch.views.figures import Figures
from cubicweb_leakwatch.views.gc_report import type_cell
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table
from cubicweb_leakwatch.views.sheet import Sheet

Found = dict[str, Any]
DUMP_SHARE = 0.5
"""Bytes of a dump for each byte that the process has resident; measured: 0.45."""

SECONDS_PER_GIB = 40.0
"""What copy and analysis take for each GiB that the process has resident."""

TITLES = {
    RETAINED: _("Suspects and retained sizes"),
    HOLDERS: _("Holders of a type"),
    MARK: _("A mark to compare with"),
    GROWTH: _("What grew since the mark"),
}


def further(sheet: Sheet, process: Found, kept: dict[str, Found]) -> Html:
    """Return the section of further looks into a process: one form a look, and what was found the last time."""
    words, figures, name = sheet._, sheet.figures, process["name"]
    rss = process.get("rss") or 0
    cost = words(
        "Each look copies the process, which stands still for some milliseconds, then works for about %(seconds)s s on "
        "one core outside it, with about %(size)s of memory. One look at a time."
    ) % {
        "seconds": figures.number(max(2.0, rss / (1 << 30) * SECONDS_PER_GIB), 0),
        "size": figures.size(max(rss, 64 << 20) * 2),
    }
    parts = [
        element("h2", words("Look further"), id="lw-look"),
        element("p", cost, class_="lw-note"),
        _part(sheet, name, RETAINED, kept, words("Look"), _retained),
        _part(sheet, name, HOLDERS, kept, words("Look"), _holders),
        _part(sheet, name, MARK, kept, words("Set a mark"), _marked),
        _part(sheet, name, GROWTH, kept, words("Compare"), _growth) if MARK in kept else None,
        element("h3", words("Heap dump")),
        element(
            "p",
            words("Types, sizes and references of every object, no contents; about %s.")
            % figures.size(rss * DUMP_SHARE),
            class_="lw-note",
        ),
        sheet.button("leakwatch-dump", words("Take a dump and download it"), process=name, sign=""),
    ]
    return join(parts)


def _part(sheet: Sheet, process: str, kind: str, kept: dict[str, Found], label: str, show: Any) -> Html:
    head = element("h3", sheet._(TITLES[kind]), id=f"lw-{kind}")
    found = kept.get(kind)
    fields = {"process": process, "kind": kind}
    form = (
        _type_form(sheet, fields, label, found) if kind == HOLDERS else sheet.button("leakwatch-look", label, **fields)
    )
    if found is None:
        return join([head, form])
    return join([head, form, _taken(found.get("taken") or {}, sheet.figures), show(found, sheet, process)])


def _taken(taken: Found, figures: Figures) -> Html | None:
    """Return when a look was taken, and whether it saw all there is."""
    words, told = figures._, []
    if taken.get("taken_at"):
        cost = words("the process stood still for %s ms") % figures.number(taken.get("pause_ms"), 1)
        told.append(element("p", figures.time(taken["taken_at"]), figures.colon, cost, class_="lw-note"))
    if taken.get("partial"):
        told.append(element("p", words("Partial answer: %s") % taken["partial"], class_="lw-verdict lw-warn"))
    return join(told) if told else None


def _type_form(sheet: Sheet, fields: dict[str, str], label: str, found: Found | None) -> Html:
    """Return the form that asks for a type: the one of the address or the last one stands in it."""
    words, known = sheet._, sheet.parameter("type") or (found or {}).get("type", "")
    field = element("input", type="text", name="type", value=known, size="50", required="required")
    asked = element("label", words("Type:"), " ", field)
    button = sheet.button("leakwatch-look", label, **fields)
    return Html(button.replace("<button", f"{asked} <button", 1))


def _retained(found: Found, sheet: Sheet, _process: str) -> Html:
    words, figures = sheet._, sheet.figures
    return join(
        [_suspects(found["suspects"], figures), _largest(found, figures), _trash(found, figures), _seen(words, found)]
    )


def _seen(words: Any, found: Found) -> Html | None:
    rows = found.get("over_referenced")
    if not rows:
        return None
    told = ", ".join(f"{row['type']} × {row['count']}" for row in rows[:8])
    return element("p", words("Nothing in Python holds them, their reference count is too high: %s") % told)


def _suspects(rows: list[Found], figures: Figures) -> Html:
    words = figures._
    columns = (
        Column(words("Type")),
        Column(words("Objects"), number=True),
        Column(words("Retained"), words("KiB"), number=True),
        Column(words("Share"), "%", number=True),
        Column(words("Held by")),
        Column(words("Known")),
        Column(words("Fingerprint")),
    )
    shown = [
        (
            type_cell(row["type"]),
            figures.count(row["objects"]),
            figures.kib(row["retained"]),
            Cell(figures.number(100 * row["share"], 1), row["share"]),
            Cell(row["holder"], css="lw-type"),
            _known(row, figures),
            element("code", row["fingerprint"], class_="lw-nowrap"),
        )
        for row in rows
    ]
    return table(words("Where objects pile up"), columns, shown)


def _known(row: Found, figures: Figures) -> str:
    words = figures._
    known = row.get("known")
    if not known:
        return str(words("no"))
    judged = words("harmless") if known["harmless"] else words("a leak")
    return f"{judged}{figures.colon}{words(known['sentence'])} ({known['reference']})"


def _largest(found: Found, figures: Figures) -> Html:
    words = figures._
    size = Column(words("Retained"), words("KiB"), number=True)
    objects = [
        (type_cell(row["type"]), figures.kib(row["retained"]), Cell(row["holder"], css="lw-type"))
        for row in found["largest"]
    ]
    modules = [(type_cell(row["module"]), figures.kib(row["retained"])) for row in found["modules"]]
    types = [
        (type_cell(row["type"]), figures.count(row["count"]), figures.kib(row["retained"]))
        for row in sorted(found["types"], key=lambda row: -row["retained"])
    ]
    return join(
        [
            table(words("Objects that retain most"), (Column(words("Type")), size, Column(words("Held by"))), objects),
            table(words("Types"), (Column(words("Type")), Column(words("Objects"), number=True), size), types),
            table(words("Modules"), (Column(words("Module")), size), modules),
        ]
    )


def _trash(found: Found, figures: Figures) -> Html:
    trash = found["unreachable"]
    told = figures._("Trash that waits for the collector: %(count)s objects, %(size)s.") % {
        "count": figures.number(trash["objects"]),
        "size": figures.size(trash["bytes"]),
    }
    return element("p", told)


def _holders(found: Found, sheet: Sheet, process: str) -> Html:
    words, figures = sheet._, sheet.figures
    told = words("%(count)s objects of %(type)s; %(examined)s examined.") % {
        "count": figures.number(found["instances"]),
        "type": found["type"],
        "examined": figures.number(found["examined"]),
    }
    groups = [_group(group, figures) for group in found["groups"]]
    return join([element("p", told), *groups, _picture(found, sheet, process)])


def _group(group: Found, figures: Figures) -> Html:
    """Return one way of being held: a sentence, and inside it the chain, each object within what holds it."""
    chain: Html | None = None
    steps = group["path"]
    pairs = [(steps[0], ""), *zip(steps[2::2], steps[1::2], strict=False)]
    for name, label in reversed(pairs):
        shown = element("code", f"{label} {name}".strip(), class_="lw-path")
        chain = element("details", element("summary", shown), chain, open="open") if chain else element("div", shown)
    share = f"{figures.number(100 * group['share'], 1)} % ({figures.number(group['count'])})"
    head = element("summary", element("strong", share), " ", element("code", group["text"], class_="lw-path"))
    source = element("p", group["source"]) if group.get("source") else None
    return element("details", head, source, chain, class_="lw-holder")


def _picture(found: Found, sheet: Sheet, process: str) -> Html:
    words = sheet._
    text = sheet.address("_leakwatch/holders.dot", process=process)
    dot = element("a", words("The graph as dot text"), href=text, class_="lw-next")
    if not found.get("picture"):
        return element("p", dot)
    source = sheet.address("_leakwatch/holders.svg", process=process)
    alt = words("What holds objects of %s: the chains above, drawn.") % found["type"]
    return join(
        [element("div", element("img", src=source, alt=alt), class_="lw-scroll", tabindex="0"), element("p", dot)]
    )


def _marked(found: Found, sheet: Sheet, _process: str) -> Html:
    told = sheet._("A dump of %(count)s objects is kept here, %(size)s, until the process ends.") % {
        "count": sheet.figures.number(found["taken"]["objects"]),
        "size": sheet.figures.size(found["taken"]["bytes"]),
    }
    return element("p", told)


def _growth(found: Found, sheet: Sheet, _process: str) -> Html:
    words, figures = sheet._, sheet.figures
    columns = (
        Column(words("Type")),
        Column(words("Growth"), words("objects"), number=True),
        Column(words("Growth"), words("KiB"), number=True),
        Column(words("Held by")),
    )
    rows = [
        (
            type_cell(row["type"]),
            figures.count(row["objects_delta"], sign=True),
            figures.kib(row["bytes_delta"]),
            Cell("; ".join(f"{held['text']} +{held['count']}" for held in row["holders"][:3]), css="lw-type"),
        )
        for row in found["growth"]
    ]
    shown = table(words("New since the mark, and what holds it"), columns, rows)
    if not found.get("marked_at"):
        return shown
    return join([element("p", words("Since the mark of"), " ", figures.time(found["marked_at"])), shown])
