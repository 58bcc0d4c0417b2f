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
# The first two are over with the first samples: imports between two of them.
_TAUS = (0.002, 0.005, *(0.01 * 1.15**step for step in range(34)))
_END_IN_SIGHT = 0.5
_WARM_UP_END = 0.4
_LATEST_END = 0.85
# Fewer points than this behind a bend prove nothing.
TAIL_POINTS = 8
END_POINTS = 4
_FINE_CUTS = 50


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
    only rise, ``fills`` whether its second one may, ``stops`` whether growth comes to a sharp end.
    """

    axes: tuple[Array, ...]
    basis: Array
    models: tuple[Model, ...]
    jumps: int
    first: Numbers
    second: Numbers
    goes_on: Flags
    rises: Flags
    fills: Flags
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
    bounded = np.isin([m.family for m in models], ("ending", "slowing"))
    rises = (first != maker.jumps) & ((second >= 0) | bounded)
    fills = (second >= 0) & bounded
    stops = np.array([m.family == "ending" and not m.left for m in models])
    basis = np.column_stack(maker.columns)
    return Shapes(axes, basis, models, maker.jumps, first, second, goes_on, rises, fills, stops)


class _Maker:
    """Collects columns and the models made of them."""

    def __init__(self, points: int) -> None:
        self.columns: list[Array] = []
        self.models: list[Model] = [Model("flat", ())]
        self.jumps = self.column(np.zeros(points))
        self.models.append(Model("step", (self.jumps,)))

    def column(self, values: Array) -> int:
        """Add a column and return its number."""
        self.columns.append(values)
        return len(self.columns) - 1

    def add_axis(self, number: int, x: Array) -> None:
        """Add every shape along one axis, alone, beside steps, and after a warm-up."""
        line = self.column(x)
        bends = [(self.column(np.maximum(0.0, x - c)), c) for c in _cuts(x, _FINE_CUTS)]
        ends = [
            Model("ending", (self.column(np.minimum(x, c)),), axis=number, end=c)
            for c in _cuts(x, _FINE_CUTS)
            if c <= _LATEST_END
        ]
        filling = [_filling(self.column(1.0 - np.exp(-x / tau)), tau, number) for tau in _TAUS]
        curves = [
            self.column(values) for values in (np.sqrt(np.maximum(x, 0.0)), np.log1p(x / 0.02), np.log1p(x / 0.1))
        ]
        going_on = [Model("growing", (bend,), tail=bend, axis=number, start=c) for bend, c in [(line, 0.0), *bends]]
        alone = [*going_on, *ends, *filling, *(Model("slowing", (curve,), axis=number) for curve in curves)]
        self.models += alone
        self.models += [_after(self.jumps, model) for model in alone]
        self._after_warm_up(going_on, ends, filling)

    def _after_warm_up(self, going_on: list[Model], ends: list[Model], filling: list[Model]) -> None:
        """Add what comes after imports and first caches: growth that goes on, or that ends later."""
        line, bends = going_on[0], going_on[1:]
        for start in filling:
            if start.end <= _WARM_UP_END:
                self.models.append(_after(start.columns[0], line, since=start.end))
        for start in ends:
            if start.end <= _WARM_UP_END:
                self.models.append(_after(start.columns[0], line, since=start.end))
        for start in [model for model in filling if model.end <= _WARM_UP_END][::3]:
            self.models += [_after(start.columns[0], bend) for bend in bends[::3] if bend.start > start.end]
            self.models += [_after(start.columns[0], end) for end in (*filling, *ends[::2]) if end.end > 2 * start.end]


def _filling(column: int, tau: float, axis: int) -> Model:
    """Return the model of a cache that fills with an e-folding of ``tau``."""
    family: Family = "ending" if tau <= _END_IN_SIGHT else "slowing"
    return Model(family, (column,), axis=axis, end=min(1.0, 3 * tau), left=float(np.exp(-1.0 / tau)))


def _after(column: int, model: Model, since: float | None = None) -> Model:
    """Return a model of one column beside another column that comes first."""
    start = model.start if since is None else since
    return dataclasses.replace(model, columns=(column, *model.columns), start=start)


def _cuts(x: Array, count: int) -> list[float]:
    """Return where bends may be: spread over the points, so dense where samples are dense, never at the very end."""
    inner = np.sort(x)[2:-TAIL_POINTS]
    if not len(inner):
        return []
    picks = np.unique(np.linspace(0, len(inner) - 1, count).astype(int))
    return sorted({float(c) for c in inner[picks] if 0.01 < c < 0.995})
