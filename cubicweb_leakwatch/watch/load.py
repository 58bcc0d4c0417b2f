"""Taking out of a meter what follows the load and the hour of the day.

A partially linear model in differences (Yatchew 1997): between moments that lie close together a trend hardly moves, so
what load and season do shows in the differences, whatever the trend is; and the regression is robust (Huber 1964), so
that steps, restarts of a cache and the first minutes do not bend it.
"""

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.watch.arithmetic import group_medians

Array = NDArray[np.float64]
_DAY_S = 86400.0
_BINS = 200
_LAGS = (1, 5, 15)
# The load explains a meter when it takes away at least this share of its differences.
_MATTERS = 0.03
_LEAST_POINTS = 30
_VARIES = 0.1


def without_load(
    t: Array, life: NDArray[np.int64], requests: Array | None, y: Array, in_flight: Array | None = None
) -> Array:
    """Return the meter ``y`` at unix times ``t`` without its daily wave and what follows the requests.

    That is how many are served a second, and how many were in flight at the moment (NaN where it is not known).
    """
    if len(y) < _LEAST_POINTS:
        return y.copy()
    columns = _columns(t, life, requests, in_flight)
    if not columns.shape[1]:
        return y.copy()
    size = -(-len(y) // _BINS)
    members = np.arange(-(-len(y) // size) * size).reshape(-1, size)
    members[members >= len(y)] = -1
    starts = members[:, 0]
    means = np.add.reduceat(columns, starts) / (members >= 0).sum(axis=1)[:, None]
    dy, dx, lag = _differences(group_medians(y, members), means, life[starts])
    # a load that only rises, evenly, cannot be told from a trend: such a column is left out
    beside = dx - np.outer(lag, lag @ dx / (lag @ lag))
    varies = np.linalg.norm(beside, axis=0) > _VARIES * np.linalg.norm(dx, axis=0)
    if not varies.any() or len(dy) < 3 * varies.sum():
        return y.copy()
    coefficients = _huber(np.column_stack([lag, beside[:, varies]]), dy)
    left = np.abs(dy - np.column_stack([lag, beside[:, varies]]) @ coefficients).sum()
    if left > (1 - _MATTERS) * np.abs(dy - lag * np.median(dy / lag)).sum():
        return y.copy()
    return np.asarray(y - columns[:, varies] @ coefficients[1:], float)


def _columns(t: Array, life: NDArray[np.int64], requests: Array | None, in_flight: Array | None) -> Array:
    """Return centred columns of size one: requests a second, in flight, and, over two days, the day's two waves."""
    columns: list[Array] = []
    if in_flight is not None and not np.isnan(in_flight).any():
        columns.append(in_flight)
    if requests is not None:
        columns.append(_rate(t, life, requests))
    if float(np.ptp(t)) >= 1.9 * _DAY_S:
        angle = 2 * np.pi * t / _DAY_S
        columns += [np.sin(angle), np.cos(angle), np.sin(2 * angle), np.cos(2 * angle)]
    if not columns:
        return np.zeros((len(t), 0))
    matrix = np.column_stack(columns)
    deviation = matrix.std(axis=0)
    moving = deviation > 1e-9
    return np.asarray((matrix - matrix.mean(axis=0))[:, moving] / deviation[moving], float)


def _rate(t: Array, life: NDArray[np.int64], requests: Array) -> Array:
    """Return requests a second around each moment, within its life."""
    rate = np.zeros(len(t))
    width = max(1, len(t) // _BINS) | 1
    for number in np.unique(life):
        at = np.flatnonzero(life == number)
        if len(at) < 3:
            continue
        steps = np.diff(requests[at]) / np.maximum(np.diff(t[at]), 1e-3)
        padded = np.pad(np.concatenate([steps[:1], steps]), width // 2, "edge")
        rate[at] = np.convolve(padded, np.ones(width) / width, "valid")[: len(at)]
    return rate


def _differences(y: Array, x: Array, life: NDArray[np.int64]) -> tuple[Array, Array, Array]:
    """Return differences over a few lags and the lag of each, none across two lives."""
    dys, dxs, lags = [], [], []
    for lag in _LAGS:
        if lag >= len(y) // 4:
            break
        same = life[lag:] == life[:-lag]
        dys.append((y[lag:] - y[:-lag])[same])
        dxs.append((x[lag:] - x[:-lag])[same])
        lags.append(np.full(int(same.sum()), float(lag)))
    return np.concatenate(dys), np.concatenate(dxs), np.concatenate(lags)


def _huber(columns: Array, target: Array) -> Array:
    """Return robust regression coefficients by iterated reweighting."""
    weight = np.ones(len(target))
    coefficients: Array = np.zeros(columns.shape[1])
    for _ in range(8):
        coefficients = np.asarray(np.linalg.lstsq(columns * weight[:, None], target * weight, rcond=1e-9)[0], float)
        left = np.abs(target - columns @ coefficients)
        scale = 1.345 * 1.4826 * float(np.median(left))
        weight = np.sqrt(np.minimum(1.0, scale / np.maximum(left, 1e-12))) if scale > 0 else np.ones(len(target))
    return coefficients
