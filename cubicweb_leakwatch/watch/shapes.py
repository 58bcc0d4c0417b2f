"""The shapes growth can take, as columns to fit: straight on, from a bend on, to an end, in steps.

Each column is a function of the age of the process, or of the requests it has served, scaled to 0..1. Saturating
exponentials are how a cache of many keys fills; a straight line that stops is a bounded cache filled evenly; the
logarithm and the root are caches under skewed popularity: they slow down but show no end yet.
"""

import dataclasses
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Family = Literal["flat", "step", "ending", "slowing", "growing"]
PRIOR: dict[Family, float] = {"flat": 0.3, "step": 0.1, "ending": 0.25, "slowing": 0.05, "growing": 0.3}

# The e-folding of a saturating exponential, as a share of the history. Longer than _END_IN_SIGHT the end is a guess.
_TAUS = tuple(0.01 * 1.15**step for step in range(34))
_END_IN_SIGHT = 0.5
_WARM_UP_TAUS = 0.12
_LATEST_END = 0.85
# Fewer points than this behind a bend prove nothing.
TAIL_POINTS = 8
END_POINTS = 4
_FINE_CUTS = 50
_COARSE_CUTS = 16


@dataclasses.dataclass(frozen=True)
class Model:
    """One way to explain a series: one or two columns; ``tail`` is the column that goes on for ever, or -1.

    ``start`` and ``end`` are where growth begins and is over (95 %), in the axis' 0..1; ``left`` the share of a
    saturating growth that is still to come.
    """

    family: Family
    columns: tuple[int, ...]
    tail: int = -1
    axis: int = 0
    start: float = 0.0
    end: float = 1.0
    left: float = 0.0


@dataclasses.dataclass(frozen=True)
class Shapes:
    """All columns (one a column of ``basis``, points × columns) and the models made of them.

    Column ``jumps`` is left to each meter: the sum of its own sudden steps. ``first`` and ``second`` are the columns of
    each model (-1: none), ``goes_on`` whether its last one is growth without end, ``rises`` whether its first one may
    only rise, ``stops`` whether growth comes to a sharp end.
    """

    axes: tuple[Array, ...]
    basis: Array
    models: tuple[Model, ...]
    jumps: int
    first: Numbers
    second: Numbers
    goes_on: Flags
    rises: Flags
    stops: Flags


def shapes_for(axes: tuple[Array, ...]) -> Shapes:
    """Return the shapes over the axes given: the age and, when known, the requests served, each within 0..1."""
    maker = _Maker(len(axes[0]))
    for number, axis in enumerate(axes):
        maker.add_axis(number, axis)
    models = tuple(maker.models)
    first = np.array([model.columns[0] if model.columns else -1 for model in models])
    second = np.array([model.columns[1] if len(model.columns) > 1 else -1 for model in models])
    goes_on = np.array([model.tail >= 0 for model in models])
    # a cache or a warm-up that shrinks explains nothing we know; a step may go either way, and so may a lone line
    rises = (first != maker.jumps) & ((second >= 0) | np.isin([m.family for m in models], ("ending", "slowing")))
    stops = np.array([m.family == "ending" and not m.left for m in models])
    return Shapes(axes, np.column_stack(maker.columns), models, maker.jumps, first, second, goes_on, rises, stops)


class _Maker:
    def __init__(self, points: int) -> None:
        self.columns: list[Array] = []
        self.models: list[Model] = [Model("flat", ())]
        self.jumps = self._column(np.zeros(points))
        self._add("step", self.jumps)

    def _column(self, values: Array) -> int:
        self.columns.append(values)
        return len(self.columns) - 1

    def _add(self, family: Family, *columns: int, **more: float) -> None:
        self.models.append(Model(family, columns, **more))  # type: ignore[arg-type]

    def add_axis(self, number: int, x: Array) -> None:
        """Add every shape along one axis, alone and after a warm-up or beside steps."""
        line = self._column(x)
        self._add("growing", line, tail=line, axis=number)
        self._add("growing", self.jumps, line, tail=line, axis=number)
        fine, coarse = _cuts(x, _FINE_CUTS), _cuts(x, _COARSE_CUTS)
        for c in fine:
            bend = self._column(np.maximum(0.0, x - c))
            self._add("growing", bend, tail=bend, axis=number, start=c)
            self._add("growing", self.jumps, bend, tail=bend, axis=number, start=c)
        for c in fine:
            self._stop(number, x, c, line)
        for position, tau in enumerate(_TAUS):
            self._saturating(number, x, position, tau, line, coarse)
        for values in (np.sqrt(np.maximum(x, 0.0)), np.log1p(x / 0.02), np.log1p(x / 0.1)):
            self._add("slowing", self._column(values), axis=number)

    def _stop(self, number: int, x: Array, c: float, line: int) -> None:
        """Add growth that stops at ``c``, and growth that goes on slower from there."""
        column = self._column(np.minimum(x, c))
        if c <= _LATEST_END:
            self._add("ending", column, axis=number, end=c)
            self._add("ending", self.jumps, column, axis=number, end=c)
        if c <= 0.4:
            self._add("growing", column, line, tail=line, axis=number, start=c)

    def _saturating(self, number: int, x: Array, position: int, tau: float, line: int, cuts: list[float]) -> None:
        """Add one saturating exponential; a fast one, a warm-up, also before steady growth."""
        column = self._column(1.0 - np.exp(-x / tau))
        family: Family = "ending" if tau <= _END_IN_SIGHT else "slowing"
        left = float(np.exp(-1.0 / tau))
        end = min(1.0, 3 * tau)
        self._add(family, column, axis=number, end=end, left=left)
        self._add(family, self.jumps, column, axis=number, end=end, left=left)
        if tau > _WARM_UP_TAUS:
            return
        self._add("growing", column, line, tail=line, axis=number, start=end)
        if position % 3:
            return
        for c in cuts:
            if c > end:
                bend = self._column(np.maximum(0.0, x - c))
                self._add("growing", column, bend, tail=bend, axis=number, start=c)


def _cuts(x: Array, count: int) -> list[float]:
    """Return where bends may be: spread over the points, so dense where samples are dense, never at the very end."""
    inner = np.sort(x)[2:-TAIL_POINTS]
    if not len(inner):
        return []
    picks = np.unique(np.linspace(0, len(inner) - 1, count).astype(int))
    return sorted({float(c) for c in inner[picks] if 0.01 < c < 0.995})
