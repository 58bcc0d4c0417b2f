"""Whose objects they are: the types whose growth goes with the memory's, those of the application first.

Ranked by growth in count alone, containers crowd the top: every object brings a dictionary, a few tuples and cells.
What a person wants to read is the type that owns them. So plumbing counts for little, the standard library for less
than the application; and what counts is growth that goes on as the memory's does (persistence and correlation), not the
difference of two moments.
"""

import sys

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.watch.arithmetic import group_medians, sen_slope
from cubicweb_leakwatch.watch.finding import Culprit
from cubicweb_leakwatch.watch.meters import UNTRACKED, Meters
from cubicweb_leakwatch.watch.trend import Trend

Array = NDArray[np.float64]
_PLUMBING = frozenset({"builtins", "collections", "types", "functools", "weakref", "_weakref", "_thread", "itertools"})
_APPLICATION_WEIGHT, _LIBRARY_WEIGHT, _PLUMBING_WEIGHT = 1.0, 0.4, 0.02
_OURSELVES = "cubicweb_leakwatch."  # what this watcher keeps has a limit, and is nobody's leak
_CANDIDATES = 60
_MOST = 5
_LEAST_GROWTH = 8.0
_LEAST_SHARE = 0.05
_GOES_WITH = 0.6
_IN_STEP = 0.95
_MOST_PARTS = 6.5
_WHOLE = 0.03
# An application's object may hold this much, natively or in strings, and still be what the memory is spent on.
_BYTES_PER_OWNER = 128 * 1024


def culprits_of(meters: Meters, trend: Trend, explained_by: str) -> tuple[Culprit, ...]:
    """Return the types that grow as the meter ``explained_by`` does, the likeliest owner first; bytes by ``trend``."""
    scored = _scored(meters, trend, explained_by)
    if explained_by != "gc_objects":
        # the collector does not see what grows, so these types can only hold it: not by the megabyte each
        scored = [item for item in scored if trend.rate <= _BYTES_PER_OWNER * item[2]]
    kept = [item for item in scored[:_MOST] if item[0] >= _LEAST_SHARE * scored[0][0]]
    total = sum(score for score, *_ in kept)
    rate = max(trend.rate, 0.0) * 3600
    return tuple(Culprit(name, slope * 3600, rate * score / total if rate else None) for score, name, slope, _ in kept)


def _scored(meters: Meters, trend: Trend, explained_by: str) -> list[tuple[float, str, float, float]]:
    """Return the growing types as score, name, objects a second and how well they go with the memory, best first.

    What is held through containers is so counted to their owners.
    """
    history = meters.history
    curve = meters.by_name[explained_by].trend.fitted
    tail = meters.trends.t >= (trend.since if len(np.unique(history.life)) == 1 else 0.0)
    if tail.sum() < 8 or not any(sample.types for sample in history.samples):
        return []
    scored: list[tuple[float, str, float, float]] = []
    for name, counts in _growing_types(meters):
        slope, fit = _growth(meters.trends.t, meters.trends.life, counts, curve, tail)
        grown = slope * float(np.ptp(meters.trends.t[tail]))
        if fit >= _GOES_WITH and grown >= _LEAST_GROWTH:
            scored.append((grown * fit**2 * _weight(name), name, slope, fit))
    return _owners_first(scored)


def _owners_first(scored: list[tuple[float, str, float, float]]) -> list[tuple[float, str, float, float]]:
    """Rank by score, but a type that comes in whole numbers for each of another of its package is a part."""
    ranked = []
    for score, name, slope, fit in scored:
        package = name.partition(".")[0]
        times = [slope / other for _, whole, other, _ in scored if whole.partition(".")[0] == package and other < slope]
        parts = [ratio for ratio in times if 1.5 < ratio < _MOST_PARTS and abs(ratio - round(ratio)) < _WHOLE * ratio]
        ranked.append((score / (max(parts) + 1) if parts else score, name, slope, fit))
    return sorted(ranked, key=lambda item: (-item[0], item[1]))


def owner_of(meters: Meters, trend: Trend, explained_by: str) -> str | None:
    """Return the type, no plumbing, that grows in step with memory that no meter in use explains as objects.

    A few large objects hardly move the collector's count; their own type gives them away.
    """
    for _, name, slope, fit in _scored(meters, trend, explained_by)[:1]:
        large = trend.rate <= _BYTES_PER_OWNER * slope
        if fit >= _IN_STEP and large and name not in UNTRACKED and _weight(name) > _PLUMBING_WEIGHT:
            return name
    return None


def _weight(name: str) -> float:
    package = name.partition(".")[0]
    if package in _PLUMBING:
        return _PLUMBING_WEIGHT
    return _LIBRARY_WEIGHT if package in sys.stdlib_module_names else _APPLICATION_WEIGHT


def _growing_types(meters: Meters) -> list[tuple[str, Array]]:
    """Return the types with the most growth and their counts at the points, NaN where they were not recorded."""
    samples, members = meters.history.samples, meters.history.members
    growth: dict[str, float] = {}
    recorded = [sample.types for sample in samples if sample.types]
    ends = recorded[-max(3, len(recorded) // 10) :]
    starts = recorded[: max(3, len(recorded) // 10)]
    for name in (name for name in ends[-1] if not name.startswith(_OURSELVES)):
        late = [types[name] for types in ends if name in types]
        early = [types[name] for types in starts if name in types] or [min(late)]
        growth[name] = (float(np.median(late)) - float(np.median(early))) * _weight(name)
    names = sorted(growth, key=lambda name: -growth[name])[:_CANDIDATES]
    columns = {
        name: np.array([np.nan if not s.types or name not in s.types else s.types[name] for s in samples])
        for name in names
    }
    return [(name, group_medians(column, members)) for name, column in columns.items()]


def _growth(
    t: Array, life: NDArray[np.int64], counts: Array, curve: Array, tail: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return objects a second (Theil–Sen: Theil 1950, Sen 1968) and how well they go with the memory's growth, 0..1."""
    known = tail & ~np.isnan(counts)
    if known.sum() < 8:
        return 0.0, 0.0
    life, x, y, c = life[known], t[known], counts[known], curve[known]
    for number in np.unique(life):
        members = life == number
        x, y, c = (np.where(members, values - np.median(values[members]), values) for values in (x, y, c))
    if np.std(y) == 0 or np.std(c) == 0:
        return 0.0, 0.0
    # the clock stands in where the curve is a poor one: what grows with time at all still grows with the memory
    fit = max(float(np.corrcoef(y, other)[0, 1]) for other in (c, x))
    return sen_slope(x, y), max(0.0, fit)
