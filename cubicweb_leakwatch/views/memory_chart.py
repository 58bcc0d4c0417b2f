"""The chart of recorded memory: an SVG made here, without a script, from plain numbers.

The lines of the processes differ by dash pattern as well as by colour, restarts are marked by a line with a letter,
and the picture has a title and a description that say what it shows; the numbers stand in a table beside it.
"""

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cubicweb_leakwatch.views.axes import Scale, memory_ticks, time_ticks
from cubicweb_leakwatch.views.markup import Html, element, join, text
from cubicweb_leakwatch.watch.units import MIB

WIDTH, HEIGHT = 860, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 120, 26, 34
STYLES = 6
"""Line styles that the style sheet knows; more processes repeat them."""

GAP_FACTOR = 6.0
"""A pause longer than so many usual intervals breaks the line: nobody measured there."""


FUTURE_SHARE = 0.18
"""How much of the time that is shown a prediction adds to it."""

FAR_LIMIT = 3.0
"""A limit so many times above all that was measured is told, not drawn: it would press the lines flat."""

NAME_HEIGHT = 13
"""Pixels from one name at the right edge to the next."""

LETTER_WIDTH = 10.0
"""Pixels from one letter above the chart to the next; in a storm of restarts only some are named."""


@dataclass(frozen=True)
class Forecast:
    """How a line goes on, in bytes a second: most likely, and the two ends of the 95 % interval."""

    rate: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """The memory of one slot: ``points`` are (Unix seconds, bytes) in time order, ``limit`` bytes.

    ``births`` are the moments from which on it is another process: its line begins anew there. ``ceiling`` (bytes) is
    where its growth ends, ``forecast`` how it goes on, where that is known.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    limit: int | None = None
    births: tuple[float, ...] = ()
    ceiling: float | None = None
    forecast: Forecast | None = None
    extremes: tuple[float, float] | None = None
    """Lowest and highest of what was measured, where the points are means."""
    style: int = 0
    """Which of the line styles: it goes with the process, whatever else is shown beside it."""

    @property
    def css(self) -> str:
        """The classes of its strokes."""
        return f"lw-line lw-style-{self.style % STYLES + 1}"


@dataclass(frozen=True)
class Mark:
    """Something that happened at ``t`` (Unix seconds): its letter stands on the chart, its label is its tooltip."""

    t: float
    letter: str
    label: str


@dataclass(frozen=True)
class Words:
    """What the chart says in its reader's language: what it is, what it shows, its unit, and the names of its lines."""

    title: str
    description: str
    unit: str
    limit: str
    ceiling: str = "ceiling"
    forecast: str = "predicted"
    day: str = "%m-%d"
    """A day on the time axis, as for ``strftime``."""
    colon: str = ": "


def memory_chart(
    lines: Sequence[Line], marks: Sequence[Mark], words: Words, span: tuple[float, float], styles: Html | None = None
) -> Html:
    """Return the SVG of the lines between the two moments of ``span`` (Unix seconds).

    ``styles`` is a style element for a picture that has to stand alone.
    """
    future = _future(lines, span)
    ticks = memory_ticks(_highest(lines, future) * 1.05)
    x = Scale(span[0], future, LEFT, WIDTH - RIGHT)
    y = Scale(0, ticks[-1], HEIGHT - BOTTOM, TOP)
    return element(
        "svg",
        element("title", words.title, id="lw-chart-title"),
        element("desc", words.description, id="lw-chart-desc"),
        styles,
        *_grid(ticks, y, words.unit),
        *_times((x.low, x.high), x, words.day),
        *_marks(marks, x),
        *_forecasts(lines, words, x, y),
        *(_series(line, x, y) for line in lines),
        *_limit_lines(lines, y, words.limit),
        *_ceilings(lines, y, words),
        *_names(lines, y),
        class_="lw-chart",
        role="img",
        aria_labelledby="lw-chart-title lw-chart-desc",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        xmlns="http://www.w3.org/2000/svg",
        preserveAspectRatio="xMinYMin meet",
        data_from=f"{x.low:.3f}",
        data_to=f"{x.high:.3f}",
        data_left=LEFT,
        data_right=WIDTH - RIGHT,
        data_top=TOP,
        data_bottom=HEIGHT - BOTTOM,
    )


def _future(lines: Sequence[Line], span: tuple[float, float]) -> float:
    """Return where the time axis ends: later than the span where something is predicted."""
    predicted = any(line.forecast and line.points for line in lines)
    return span[1] + (span[1] - span[0]) * FUTURE_SHARE if predicted else span[1]


def _highest(lines: Sequence[Line], future: float) -> float:
    """Return the highest value that the chart must have room for; a steep prediction may leave it at the top."""
    measured = max([1.0, *(value for line in lines for _t, value in line.points)])
    known = [measured, *(limit for limit in _limits(lines) if limit <= FAR_LIMIT * measured)]
    known += [line.ceiling for line in lines if line.ceiling and line.points]
    top = max(known)
    for line in lines:
        if line.forecast and line.points:
            t, value = line.points[-1]
            known.append(min(1.4 * top, value + line.forecast.rate * (future - t)))
    return max(known)


def _limits(lines: Iterable[Line]) -> list[int]:
    return sorted({line.limit for line in lines if line.limit and line.points})


def _label(value: object, x: float, y: float, anchor: str, css: str = "lw-axis") -> Html:
    return element("text", value, x=x, y=y, text_anchor=anchor, class_=css)


def _grid(ticks: Sequence[float], y: Scale, unit: str) -> Iterator[Html]:
    yield _label(unit, LEFT - 8, TOP - 12, "end")
    for tick in ticks:
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(tick), y2=y(tick), class_="lw-grid")
        yield _label(f"{tick / MIB:g}", LEFT - 8, y(tick) + 4, "end")


def _times(span: tuple[float, float], x: Scale, day: str) -> Iterator[Html]:
    for moment, label in time_ticks(*span, day=day):
        yield element("line", x1=x(moment), x2=x(moment), y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 5, class_="lw-tick")
        yield _label(label, x(moment), HEIGHT - BOTTOM + 18, "middle")


def _limit_lines(lines: Sequence[Line], y: Scale, name: str) -> Iterator[Html]:
    """Each limit has its line, unless it is far above; they lie close together, so that one label tells them all."""
    limits = _limits(lines)
    if not limits:
        return
    told = "–".join(dict.fromkeys(f"{limit / MIB:.0f}" for limit in (limits[0], limits[-1])))
    if limits[0] > y.high:
        yield _label(f"↑ {name} {told}", LEFT + 4, TOP + 12, "start", "lw-axis lw-limit-name")
        return
    for limit in limits:
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(limit), y2=y(limit), class_="lw-limit")
    yield _label(f"{name} {told}", LEFT + 4, y(limits[-1]) - 4, "start", "lw-axis lw-limit-name")


def _marks(marks: Sequence[Mark], x: Scale) -> Iterator[Html]:
    named_until = float("-inf")
    for mark in sorted(marks, key=lambda mark: mark.t):
        if not x.low <= mark.t <= x.high:
            continue
        at = x(mark.t)
        named = at - named_until >= LETTER_WIDTH
        named_until = at if named else named_until
        letter = _label(mark.letter, at, TOP - 4, "middle", "lw-axis lw-mark-name") if named else ""
        # put together by hand: a month may have hundreds
        yield Html(
            f'<g class="lw-event" data-t="{mark.t:.0f}"><title>{text(mark.label)}</title>'
            f'<line x1="{at}" x2="{at}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" class="lw-mark"/>{letter}</g>'
        )


def _ceilings(lines: Sequence[Line], y: Scale, words: Words) -> Iterator[Html]:
    for line in lines:
        if line.ceiling and line.points:
            at = y(line.ceiling)
            yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=at, y2=at, class_="lw-ceiling")
            told = f"{_fitting(line.name)}{words.colon}{words.ceiling} {line.ceiling / MIB:.0f}"
            yield _label(Html(told), WIDTH - RIGHT - 4, at - 4, "end", "lw-axis lw-ceiling-name")


def _forecasts(lines: Sequence[Line], words: Words, x: Scale, y: Scale) -> Iterator[Html]:
    """Draw how lines most likely go on, in the cones of their 95 % intervals; fifty cones would be a black wall."""
    foreseen = [(line, line.forecast) for line in lines if line.forecast and line.points]
    for line, forecast in foreseen:
        if len(foreseen) <= STYLES:
            low, high = (_ahead(line.points[-1], rate, x, y) for rate in (forecast.low, forecast.high))
            told = element("title", f"{line.name}{words.colon}{words.forecast}")
            yield element("path", told, d=Html(_path([*low, *reversed(high)], x, y) + "Z"), class_="lw-cone")
        likely = _path(_ahead(line.points[-1], forecast.rate, x, y), x, y)
        yield element("path", d=likely, class_=f"{line.css} lw-ahead", fill="none")


def _ahead(start: tuple[float, float], rate: float, x: Scale, y: Scale) -> list[tuple[float, float]]:
    """Return the way from ``start`` at ``rate`` to the edge of the chart, along which it goes on to the end."""
    t, value = start
    edge = y.high if rate > 0 else 0.0
    meets = t + (edge - value) / rate if rate else float("inf")
    if meets >= x.high:
        return [start, (x.high, value + rate * (x.high - t))]
    return [start, (meets, edge), (x.high, edge)]


def _path(points: Iterable[tuple[float, float]], x: Scale, y: Scale) -> Html:
    return Html("M" + " L".join(f"{x(t)},{y(value)}" for t, value in points))


def _series(line: Line, x: Scale, y: Scale) -> Html:
    """Return a line with its numbers, for the script that shows them under the pointer."""
    numbers = Html(" ".join([f"{t:.0f}:{value:.0f}" for t, value in line.points]))
    return element("g", *_line(line, x, y), class_="lw-series", data_name=line.name, data_points=numbers)


def _line(line: Line, x: Scale, y: Scale) -> Iterator[Html]:
    for piece in pieces(line.points, line.births):
        if len(piece) == 1:
            yield element("circle", cx=x(piece[0][0]), cy=y(piece[0][1]), r=2.5, class_=f"{line.css} lw-dot")
        else:
            ways = zip(x.all([t for t, _value in piece]), y.all([value for _t, value in piece]), strict=True)
            points = Html(" ".join([f"{across:.1f},{up:.1f}" for across, up in ways]))
            yield element("polyline", points=points, class_=line.css, fill="none")


def pieces(points: Sequence[tuple[float, float]], births: Sequence[float] = ()) -> list[Sequence[tuple[float, float]]]:
    """Return the points cut where nobody measured for much longer than usual, and where another process began."""
    if not points:
        return []
    times = [t for t, _value in points]
    steps = [later - earlier for earlier, later in itertools.pairwise(times)]
    longest = max(1.0, GAP_FACTOR * sorted(steps)[len(steps) // 2]) if steps else 1.0
    cuts = {index for index, step in enumerate(steps, start=1) if step > longest}
    cuts.update(index for index in (bisect_left(times, birth) for birth in births) if 0 < index < len(points))
    return [points[begin:end] for begin, end in itertools.pairwise((0, *sorted(cuts), len(points)))]


def _names(lines: Sequence[Line], y: Scale) -> Iterator[Html]:
    """Name each line at its end; names that would overlap move down, and those without room are counted."""
    ends = sorted((line for line in lines if line.points), key=lambda line: y(line.points[-1][1]))
    lowest = float("-inf")
    for place, line in enumerate(ends):
        lowest = max(y(line.points[-1][1]) + 4, lowest + NAME_HEIGHT)
        if lowest > HEIGHT - NAME_HEIGHT and len(ends) - place > 1:
            yield element(
                "text", f"+{len(ends) - place}", x=WIDTH - RIGHT + 28, y=min(lowest, HEIGHT - 3), class_="lw-name"
            )
            break
        css = f"lw-name lw-name-{line.style % STYLES + 1}"
        key = element(
            "line", x1=WIDTH - RIGHT + 4, x2=WIDTH - RIGHT + 24, y1=lowest - 4, y2=lowest - 4, class_=line.css
        )  # fmt: skip
        yield join([key, element("text", _fitting(line.name), x=WIDTH - RIGHT + 28, y=lowest, class_=css)])


def _fitting(name: str) -> Html:
    return text(name if len(name) <= 14 else name[:13] + "…")
