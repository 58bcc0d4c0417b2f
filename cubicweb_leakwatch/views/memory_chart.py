"""The chart of recorded memory: an SVG made here, without a script, from plain numbers.

The lines of the processes differ by dash pattern as well as by colour, restarts are marked by a line with a letter,
and the picture has a title and a description that say what it shows; the numbers stand in a table beside it.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cubicweb_leakwatch.views.axes import Scale, memory_ticks, time_ticks
from cubicweb_leakwatch.views.markup import Html, element, join, text
from cubicweb_leakwatch.watch.units import MIB

WIDTH, HEIGHT = 860, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 120, 18, 34
STYLES = 6
"""Line styles that the style sheet knows; more processes repeat them."""

GAP_FACTOR = 6.0
"""A pause longer than so many usual intervals breaks the line: nobody measured there."""


@dataclass(frozen=True)
class Line:
    """The memory of one slot: ``points`` are (Unix seconds, bytes) in time order, ``limit`` bytes.

    ``births`` are the moments from which on it is another process: its line begins anew there.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    limit: int | None = None
    births: tuple[float, ...] = ()


@dataclass(frozen=True)
class Mark:
    """Something that happened at ``t`` (Unix seconds): its letter stands on the chart, its label is its tooltip."""

    t: float
    letter: str
    label: str


@dataclass(frozen=True)
class Words:
    """What the chart says in its reader's language: what it is, what it shows, its unit, and the name of a limit."""

    title: str
    description: str
    unit: str
    limit: str


def memory_chart(
    lines: Sequence[Line], marks: Sequence[Mark], words: Words, span: tuple[float, float], styles: Html | None = None
) -> Html:
    """Return the SVG of the lines between the two moments of ``span`` (Unix seconds).

    ``styles`` is a style element for a picture that has to stand alone.
    """
    highest = max([1.0, *(value for line in lines for _t, value in line.points), *_limits(lines)])
    ticks = memory_ticks(highest * 1.05)
    x = Scale(*span, LEFT, WIDTH - RIGHT)
    y = Scale(0, ticks[-1], HEIGHT - BOTTOM, TOP)
    return element(
        "svg",
        element("title", words.title, id="lw-chart-title"),
        element("desc", words.description, id="lw-chart-desc"),
        styles,
        *_grid(ticks, y, words.unit),
        *_times(span, x),
        *_limit_lines(lines, y, words.limit),
        *_marks(marks, x),
        *(part for index, line in enumerate(lines) for part in _line(line, index, x, y)),
        *_names(lines, y),
        class_="lw-chart",
        role="img",
        aria_labelledby="lw-chart-title lw-chart-desc",
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        xmlns="http://www.w3.org/2000/svg",
        preserveAspectRatio="xMinYMin meet",
    )


def _limits(lines: Iterable[Line]) -> list[int]:
    return sorted({line.limit for line in lines if line.limit and line.points})


def _label(value: object, x: float, y: float, anchor: str, css: str = "lw-axis") -> Html:
    return element("text", value, x=x, y=y, text_anchor=anchor, class_=css)


def _grid(ticks: Sequence[float], y: Scale, unit: str) -> Iterator[Html]:
    yield _label(unit, LEFT - 8, TOP - 6, "end")
    for tick in ticks:
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(tick), y2=y(tick), class_="lw-grid")
        yield _label(f"{tick / MIB:g}", LEFT - 8, y(tick) + 4, "end")


def _times(span: tuple[float, float], x: Scale) -> Iterator[Html]:
    for moment, label in time_ticks(*span):
        yield element("line", x1=x(moment), x2=x(moment), y1=HEIGHT - BOTTOM, y2=HEIGHT - BOTTOM + 5, class_="lw-tick")
        yield _label(label, x(moment), HEIGHT - BOTTOM + 18, "middle")


def _limit_lines(lines: Sequence[Line], y: Scale, name: str) -> Iterator[Html]:
    """Each limit has its line; they lie close together, so that one label tells them all."""
    limits = _limits(lines)
    for limit in limits:
        yield element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y(limit), y2=y(limit), class_="lw-limit")
    if limits:
        told = "–".join(dict.fromkeys(f"{limit / MIB:.0f}" for limit in (limits[0], limits[-1])))
        yield _label(f"{name} {told}", LEFT + 4, y(limits[-1]) - 4, "start", "lw-axis lw-limit-name")


def _marks(marks: Sequence[Mark], x: Scale) -> Iterator[Html]:
    for mark in marks:
        if x.low <= mark.t <= x.high:
            at = x(mark.t)
            yield element(
                "g",
                element("title", mark.label),
                element("line", x1=at, x2=at, y1=TOP, y2=HEIGHT - BOTTOM, class_="lw-mark"),
                _label(mark.letter, at, TOP - 4, "middle", "lw-axis lw-mark-name"),
            )


def _line(line: Line, index: int, x: Scale, y: Scale) -> Iterator[Html]:
    css = f"lw-line lw-style-{index % STYLES + 1}"
    for piece in pieces(line.points, line.births):
        if len(piece) == 1:
            yield element("circle", cx=x(piece[0][0]), cy=y(piece[0][1]), r=2.5, class_=f"{css} lw-dot")
        else:
            points = " ".join(f"{x(t)},{y(value)}" for t, value in piece)
            yield element("polyline", points=points, class_=css, fill="none")


def pieces(points: Sequence[tuple[float, float]], births: Sequence[float] = ()) -> list[list[tuple[float, float]]]:
    """Return the points cut where nobody measured for much longer than usual, and where another process began."""
    if not points:
        return []
    steps = sorted(later[0] - earlier[0] for earlier, later in itertools.pairwise(points))
    longest = max(1.0, GAP_FACTOR * steps[len(steps) // 2]) if steps else 1.0
    found = [[points[0]]]
    for earlier, later in itertools.pairwise(points):
        if later[0] - earlier[0] > longest or any(earlier[0] < birth <= later[0] for birth in births):
            found.append([])
        found[-1].append(later)
    return found


def _names(lines: Sequence[Line], y: Scale) -> Iterator[Html]:
    """Name each line at its end; names that would overlap move down."""
    ends = sorted((y(line.points[-1][1]), index, line.name) for index, line in enumerate(lines) if line.points)
    lowest = float("-inf")
    for wanted, index, name in ends:
        lowest = max(wanted + 4, lowest + 13)
        if lowest > HEIGHT:
            break
        css = f"lw-name lw-name-{index % STYLES + 1}"
        key = element(
            "line", x1=WIDTH - RIGHT + 4, x2=WIDTH - RIGHT + 24, y1=lowest - 4, y2=lowest - 4,
            class_=f"lw-line lw-style-{index % STYLES + 1}",
        )  # fmt: skip
        yield join([key, element("text", _fitting(name), x=WIDTH - RIGHT + 28, y=lowest, class_=css)])


def _fitting(name: str) -> Html:
    return text(name if len(name) <= 14 else name[:13] + "…")
