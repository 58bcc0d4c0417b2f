"""The few numerical tools needed beyond NumPy: importing SciPy for them would take longer than most conclusions do."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]


def normal_below(x: Array) -> Array:
    """Return the normal distribution's share below ``x`` (Abramowitz & Stegun 1964, 7.1.26: right to 1e-7)."""
    z = np.abs(x) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * z)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    tail = 0.5 * series * np.exp(-np.minimum(z * z, 700.0))
    return np.asarray(np.where(x > 0, 1.0 - tail, tail), float)


def log_sum_exp(values: Array, axis: int | None = None) -> Array:
    """Return log(sum(exp(values))) without overflow; minus infinity where all are."""
    top = np.max(values, axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        total = np.log(np.sum(np.exp(values - top), axis=axis, keepdims=True)) + top
    return np.asarray(np.squeeze(total, axis=axis) if axis is not None else total.ravel()[0], float)


def running_median(y: Array, size: int) -> Array:
    """Return the median of the ``size`` (odd) values around each, the first repeated, the last ones mirrored.

    So one wild value at the end, the newest, is none: it stands alone.
    """
    half = size // 2
    padded = np.pad(np.pad(y, (half, 0), "edge"), (0, half), "reflect")
    return np.asarray(np.median(np.lib.stride_tricks.sliding_window_view(padded, size), axis=1), float)


def least_ahead(y: Array, ahead: int) -> Array:
    """Return the least of each value and the ``ahead`` ones that follow it; fewer at the end."""
    least, covered = y.copy(), 1
    # windows are doubled, so the cost does not depend on how far ahead one looks
    while covered < min(ahead + 1, len(y)):
        step = min(covered, ahead + 1 - covered)
        least[:-step] = np.minimum(least[:-step], least[step:])
        covered += step
    return least


def sen_slope(x: Array, y: Array) -> float:
    """Return the median slope of all pairs of points (Theil 1950, Sen 1968); 0 when no two differ in ``x``."""
    first, second = np.triu_indices(len(x), 1)
    apart = x[second] - x[first]
    apart[apart == 0] = np.nan
    slopes = (y[second] - y[first]) / apart
    known = slopes[~np.isnan(slopes)]
    return float(np.median(known)) if len(known) else 0.0


def spread_of(values: Array) -> float:
    """Return the deviation from the median, robustly (1.4826 times the median absolute deviation)."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def group_medians(values: Array, members: Numbers) -> Array:
    """Return the median of each row of ``members`` (indexes into ``values``, -1 for none); NaN when none is known."""
    taken = np.where(members >= 0, values[members], np.nan)
    # NaN sorts last
    ordered = np.sort(taken, axis=1)
    known = np.sum(~np.isnan(taken), axis=1)
    rows = np.arange(len(members))
    low, high = np.maximum(known - 1, 0) // 2, np.minimum(known // 2, ordered.shape[1] - 1)
    middle = 0.5 * (ordered[rows, low] + ordered[rows, high])
    return np.asarray(np.where(known > 0, middle, np.nan), float)
