"""Recorded samples as the dashboard shows them: lines of the chart, marks on it, tables."""

import itertools
import math
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Any

from cubicweb_leakwatch.recording.tracks import Track
from cubicweb_leakwatch.views.figures import Figures, parse_time
from cubicweb_leakwatch.views.launcher_words import in_words
from cubicweb_leakwatch.views.markup import Cell, Column, Html, element, join, table
from cubicweb_leakwatch.views.memory_chart import STYLES, Forecast, Line, Mark, Words, memory_chart
from cubicweb_leakwatch.views.span import Span

MAX_POINTS, FEWEST_POINTS, ALL_POINTS = 400, 120, 1600
"""Points of a line, and of all lines together: more than one sees would only make the page heavy."""

LATEST = 20
"""Snapshots in the table of the latest."""

TABLE_MOMENTS = 24
"""Rows of the table beneath the chart."""

SUMMARIZED = 12
"""Processes whose first, last, lowest and highest memory stand open beneath the chart; of more, behind a click."""

LETTERS = {"restart": "R", "deployment": "D", "finding": "F"}
Sample = dict[str, Any]


def slot_names(slots: Iterable[tuple[str, str]], hosts: Iterable[str] = ()) -> dict[tuple[str, str], str]:
    """Return the name of each slot, a host and a process, with the host only where there are several."""
    known = dict.fromkeys(slots)
    several = len({*hosts, *(host for host, _process in known)} - {""}) > 1
    return {slot: f"{slot[0]}:{slot[1]}" if several and slot[0] else slot[1] for slot in known}


def lines_of(
    tracks: Iterable[Track],
    limits: dict[str, int | None],
    findings: Iterable[dict[str, Any]] = (),
    hosts: Iterable[str] = (),
) -> list[Line]:
    """Return a line a slot, by name; ``limits`` are the memory limits by process, ``findings`` those that hold.

    ``hosts`` are those of the instance, of which the tracks may be of some alone.
    """
    lives: dict[tuple[str, str], list[Track]] = {}
    for track in sorted(tracks, key=lambda track: track.t[0]):
        lives.setdefault((track.host, track.process), []).append(track)
    hosts = sorted({*hosts, *(host for host, _process in lives)})
    names = slot_names(lives, hosts)
    host_of = {process: host for host, process in names}
    most = max(FEWEST_POINTS, min(MAX_POINTS, ALL_POINTS // max(1, len(names))))
    known = {(finding.get("host") or host_of.get(finding["process"], ""), finding["process"]): finding
             for finding in findings}  # fmt: skip
    return [
        Line(
            names[slot],
            tuple(thinned(*_measured(lives[slot]), most)),
            limits.get(slot[1]),
            tuple(life.t[0] for life in lives[slot][1:]),
            known.get(slot, {}).get("ceiling"),
            _forecast(known.get(slot, {})),
            (min(min(life.low) for life in lives[slot]), max(max(life.high) for life in lives[slot])),
            style_of(slot[1], hosts.index(slot[0])),
        )
        for slot in sorted(names, key=lambda slot: natural(names[slot]))
    ]


def style_of(process: str, host: int = 0) -> int:
    """Return the line style of a process on the host of this number: by its name alone, whoever is shown beside it.

    The scheduler has one to itself, the workers take turns with the others; a second host's have those left over.
    """
    number = re.search(r"\d+$", process)
    own = STYLES - 1 if process == "scheduler" else (int(number[0]) - 1 if number else len(process)) % (STYLES - 1)
    return (own + host * STYLES // 2) % STYLES


def _measured(lives: Sequence[Track]) -> tuple[Sequence[float], Sequence[float]]:
    """Return times and memory of a slot; from its first sample on a successor stands for it, while the other drains."""
    times, values = array("d"), array("d")
    for life, later in itertools.zip_longest(lives, lives[1:]):
        end = bisect_left(life.t, later.t[0]) if later else len(life.t)
        times += life.t[:end]
        values += life.rss[:end]
    return times, values


def natural(name: str) -> list[tuple[int, str]]:
    """Return what sorts ``web-2`` before ``web-10``."""
    return [(int(part), "") if part.isdecimal() else (0, part) for part in re.split(r"(\d+)", name)]


def _forecast(finding: dict[str, Any]) -> Forecast | None:
    """Return how memory goes on; what does not leak is not drawn on for ever."""
    rates = [finding.get(name) for name in ("rate_bytes_per_h", "rate_low", "rate_high")]
    if not finding.get("leak") or None in rates:
        return None
    rate, low, high = (float(value or 0.0) / 3600 for value in rates)
    return Forecast(rate, low, high)


def thinned(times: Sequence[float], values: Sequence[float], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Return at most about ``most`` points: of each stretch the lowest and the highest, so that no peak is lost."""
    if len(times) <= most:
        return list(zip(times, values, strict=True))
    size = -(-len(times) * 2 // most)
    found: list[tuple[float, float]] = []
    for begin in range(0, len(times), size):
        stretch = values[begin : begin + size]
        extremes = {stretch.index(min(stretch)), stretch.index(max(stretch))}
        found += [(times[begin + place], stretch[place]) for place in sorted(extremes)]
    return found


def finding_events(findings: Iterable[dict[str, Any]], span: Span) -> list[dict[str, Any]]:
    """Return when leakwatch first said that a process leaks, for the chart."""
    found = []
    for finding in findings:
        opened = parse_time(finding.get("opened_at"))
        if finding.get("leak") and opened and span.start <= opened.timestamp() <= span.end:
            event = {"t": opened.timestamp(), "kind": "finding", "text": finding["kind"]}
            found.append({"host": finding.get("host", ""), "process": finding["process"], **event})
    return found


def marks_of(events: Iterable[dict[str, Any]], figures: Figures) -> list[Mark]:
    """Return the marks of what stands on the chart."""
    _ = figures._
    return [
        Mark(
            event["t"],
            LETTERS[event["kind"]],
            f"{event['process']}{figures.colon}{_(event['kind'])} {_what(event, figures)}".strip(),
        )
        for event in events
        if event["kind"] in LETTERS
    ]


def _what(event: dict[str, Any], figures: Figures) -> str:
    """Return what an event tells beside its kind; that of a restart is its outcome and the launcher's reason."""
    outcome, colon, why = event["text"].partition(": ")
    if event["kind"] != "restart" or not colon:
        return figures._(event["text"]) if event["text"] else ""
    return f"{figures._(outcome)}{figures.colon}{in_words(why, figures)}"


def chart(
    tracks: Sequence[Track], events: Iterable[dict[str, Any]], limits: dict[str, int | None],
    findings: Iterable[dict[str, Any]], span: Span, figures: Figures, hosts: Iterable[str] = (),
) -> Html:  # fmt: skip
    """Return the chart of recorded memory with its tables; a sentence where nothing was recorded.

    ``findings`` are those that hold, where the chart ends now: they tell how it goes on. ``hosts`` are the instance's.
    """
    _ = figures._
    if not tracks:
        return element(
            "p",
            _("Nothing was recorded in this time. The scheduler records every leakwatch-interval: does it run?"),
            class_="lw-verdict lw-open",
        )
    lines = lines_of(tracks, limits, findings, hosts)
    marks = marks_of(events, figures)
    words = Words(
        _("Recorded memory of the processes"), described(lines, marks, figures), _("MiB"), _("limit"), _("ceiling"),
        _("predicted, with its 95 % interval"), figures.short_day, figures.colon,
    )  # fmt: skip
    begin = max(span.start, min(line.points[0][0] for line in lines))
    picture = memory_chart(lines, marks, words, (begin, span.end))
    numbers = _some_points(lines, (begin, span.end), figures)
    summary = _summary(lines, figures)
    if len(lines) > SUMMARIZED:
        summary = element("details", element("summary", _("Recorded memory, by process")), summary)
    return join([_figure(picture, words, figures), summary, numbers])


def _figure(picture: Html, words: Words, figures: Figures) -> Html:
    """Return the picture with its legend, and a place where the script tells the values at one moment."""
    _ = figures._
    caption = _(
        "Resident memory (RSS). R marks a restart, D a deployment, F a finding; "
        "a cone is what is predicted, with its 95 % interval."
    )
    keys = _("Arrow keys move the line, Shift and arrows choose a time, Enter zooms in, Escape zooms out.")
    scrolled = element(
        "div", picture, class_="lw-scroll lw-plot", tabindex="0", role="region", aria_label=words.title,
        aria_describedby="lw-chart-keys",
    )  # fmt: skip
    values = element(
        "p", class_="lw-values", role="status", aria_live="polite", data_offset=figures.offset(),
        data_zone=figures.zone(), data_day=figures.day, data_unit=words.unit,
    )  # fmt: skip
    legend = element("figcaption", caption, " ", element("span", keys, id="lw-chart-keys", class_="lw-keys"))
    return element("figure", scrolled, values, legend, class_="lw-figure lw-note")


def described(lines: Sequence[Line], marks: Sequence[Mark], figures: Figures) -> str:
    """Return what the chart shows as sentences, for those who do not see it."""
    _ = figures._
    told = [
        _("%(process)s: from %(first)s to %(last)s MiB, highest %(highest)s MiB.")
        % {"process": line.name, **{key: figures.mib(value).shown for key, value in _extremes(line).items()}}
        for line in lines
    ]
    restarts = sum(mark.letter == "R" for mark in marks)
    return " ".join([*told, _("%s restarts.") % restarts])


def _extremes(line: Line) -> dict[str, float]:
    values = () if line.extremes else [value for _t, value in line.points]
    lowest, highest = line.extremes or (min(values), max(values))
    return {"first": line.points[0][1], "last": line.points[-1][1], "lowest": lowest, "highest": highest}


def _summary(lines: Sequence[Line], figures: Figures) -> Html:
    _, mib = figures._, figures._("MiB")
    titles = (_("First"), _("Last"), _("Lowest"), _("Highest"))
    columns = [Column(_("Process")), *(Column(title, mib, number=True) for title in titles)]
    columns.append(Column(_("Change"), mib, number=True))
    rows = []
    for line in lines:
        values = _extremes(line)
        cells = [figures.mib(values[key]) for key in ("first", "last", "lowest", "highest")]
        rows.append([line.name, *cells, figures.mib(values["last"] - values["first"], sign=True)])
    return table(_("Recorded memory, by process"), columns, rows)


def _some_points(lines: Sequence[Line], span: tuple[float, float], figures: Figures) -> Html:
    """Return the chart as a table: a row a moment, a column a process."""
    _ = figures._
    columns = [Column(_("Time")), *(Column(line.name, _("MiB"), number=True) for line in lines)]
    step = (span[1] - span[0]) / TABLE_MOMENTS
    moments = [span[0] + step * (number + 0.5) for number in range(TABLE_MOMENTS)]
    values = [(t, [_value_near(line, t, step / 2) for line in lines]) for t in moments]
    rows = [
        [Cell(figures.time(t), t), *(figures.mib(value) for value in near)]
        for t, near in values
        if any(value is not None for value in near)
    ]
    shown = table(_("Memory (RSS) at some moments; the sample nearest to each"), columns, rows)
    return element("details", element("summary", _("The chart as numbers")), shown)


def _value_near(line: Line, t: float, within_s: float) -> float | None:
    """Return what was measured next to a moment; None where nobody measured near it."""
    at = bisect_left(line.points, (t,))
    around = [(abs(when - t), value) for when, value in line.points[max(0, at - 1) : at + 1]]
    away_s, value = min(around, default=(math.inf, None))
    return value if away_s <= within_s else None


def latest(samples: Sequence[Sample], figures: Figures) -> Html:
    """Return the table of the latest snapshots, the newest first."""
    _, mib = figures._, figures._("MiB")
    columns = [
        Column(_("Time")),
        Column(_("Process")),
        Column(_("pid"), number=True),
        Column("RSS", mib, number=True),
        Column("USS", mib, number=True),
        Column(_("Python blocks"), number=True),
        Column(_("malloc in use"), mib, number=True),
        Column(_("Tracked objects"), number=True),
        Column("gc.garbage", _("objects"), number=True),
        Column(_("Requests"), number=True),
        Column(_("Note")),
    ]
    names = slot_names((sample.get("host", ""), sample["process"]) for sample in samples)
    rows = [
        [
            Cell(figures.time(sample["t"]), sample["t"]),
            names[sample.get("host", ""), sample["process"]],
            sample.get("pid", figures.unknown),
            *(figures.mib(sample.get(key)) for key in ("rss", "uss")),
            figures.count(sample.get("python_blocks")),
            figures.mib(sample.get("malloc_used")),
            *(figures.count(sample.get(key)) for key in ("gc_objects", "garbage", "requests")),
            sample.get("note", ""),
        ]
        for sample in list(reversed(samples))[:LATEST]
    ]
    return table(_("Latest snapshots"), columns, rows)
