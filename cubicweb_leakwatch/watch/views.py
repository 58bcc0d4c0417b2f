"""Which view leaks: the memory's growth laid to the requests that each view served.

Regression of the memory on the running request counts of all views at once, with no negative shares (Lawson & Hanson
1974), under the noise that fits best; so it works while requests of many views run side by side, as long as their mix
varies. Time itself stands among the views, for what grows without any request.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.finding import ViewShare
from cubicweb_leakwatch.watch.meters import IN_USE, Meter, Meters
from cubicweb_leakwatch.watch.noise import noises
from cubicweb_leakwatch.watch.trend import Trend

Array = NDArray[np.float64]
_LEAST_REQUESTS = 10
_LEAST_POINTS = 10
_LEAST_SHARE = 0.05
_MOST_VIEWS = 40
_95 = 1.96
_WIDER = 1.3
_KNOWN_SHARE = 0.8


def views_of(meters: Meters, trend: Trend) -> tuple[ViewShare, ...]:
    """Return the views whose requests leave memory behind, the one with the greatest share first.

    The meter that shows the growth most clearly is regressed, and brought to bytes by ``trend``'s rate.
    """
    meter = _clearest(meters)
    names, served = _served(meters.history.samples)
    if not names or trend.rate <= 0 or meter.trend.rate <= 0:
        return ()
    bytes_each = trend.rate / meter.trend.rate
    rows = meter.known.copy()
    if len(np.unique(meters.trends.life)) == 1:
        rows &= meters.trends.t >= trend.since
    if rows.sum() < max(_LEAST_POINTS, len(names) + 4):
        return ()
    columns = np.column_stack([meters.history.mean(column) for column in served.T] + [meters.trends.t])[rows]
    life, t = meters.trends.life[rows], meters.trends.t[rows]
    best = max(
        (_regressed(noise.whiten, life, meter.points[rows], columns, noise.log_scale))
        for noise in noises(t, life, meters.trends.counts[rows])
    )
    return _shares(names, columns, np.array(best[1]), np.array(best[2]), bytes_each)


def _clearest(meters: Meters) -> Meter:
    """Return the meter that grows with the least noise; memory itself when none of those in use grows."""
    growing = [m for m in meters.by_name.values() if m.grows and m.name in IN_USE and m.known.mean() > _KNOWN_SHARE]
    return max(growing, key=lambda meter: meter.trend.z, default=meters.memory)


def _served(samples: Sequence[Sample]) -> tuple[list[str], Array]:
    """Return the views that served enough requests, and their counts (samples × views) since the first sample."""
    totals = _running(samples)
    last: dict[str, int] = {}
    for views in totals:
        for name, count in views.items():
            last[name] = max(last.get(name, 0), count)
    names = sorted((name for name in last if last[name] >= _LEAST_REQUESTS), key=lambda name: -last[name])[:_MOST_VIEWS]
    return names, np.array([[views.get(name, 0) for name in names] for views in totals], float)


def _running(samples: Sequence[Sample]) -> list[Mapping[str, int]]:
    """Return each sample's counts; where they were not taken, those of the sample before it in its life."""
    found: list[Mapping[str, int]] = []
    for index, sample in enumerate(samples):
        same = index > 0 and samples[index - 1].pid == sample.pid
        found.append(sample.views if sample.views is not None else found[-1] if same else {})
    return found


def _regressed(
    whiten: Callable[[Array], Array], life: NDArray[np.int64], y: Array, columns: Array, log_det: float
) -> tuple[float, tuple[float, ...], tuple[float, ...]]:
    """Return the log likelihood under one noise, the coefficients and their deviations (0 where none is needed)."""
    # here alone, where views are recorded: importing it takes a quarter of a second
    from scipy.optimize import nnls

    levels = (life[:, None] == np.unique(life)[None, :]).astype(float)
    scale = np.maximum(np.ptp(columns, axis=0), 1e-9)
    white = whiten(np.column_stack([levels, y - np.median(y), (columns - columns[0]) / scale]))
    q = levels.shape[1]
    ortho, _ = np.linalg.qr(white[:, :q])
    rest = white[:, q:] - ortho @ (ortho.T @ white[:, q:])
    target, matrix = rest[:, 0], rest[:, 1:]
    coefficients, left = nnls(matrix, target)
    active = coefficients > 0
    freedom = max(len(y) - q - int(active.sum()), 1)
    deviation = np.zeros(len(coefficients))
    if active.any():
        inverse = np.linalg.pinv(matrix[:, active].T @ matrix[:, active])
        deviation[active] = left / np.sqrt(freedom) * np.sqrt(np.maximum(np.diag(inverse), 0.0))
    log_likelihood = -log_det - (len(y) - q) * float(np.log(max(left, 1e-12)))
    return log_likelihood, tuple(coefficients / scale), tuple(deviation / scale)


def _shares(
    names: Sequence[str], columns: Array, each: Array, deviation: Array, bytes_each: float
) -> tuple[ViewShare, ...]:
    """Turn units a request into bytes with intervals; leave out views whose share is small or may be nothing."""
    grown = each * np.ptp(columns, axis=0)
    total = float(grown.sum())
    if total <= 0:
        return ()
    found = []
    for index, name in enumerate(names):
        margin = _95 * _WIDER * deviation[index]
        share = float(grown[index]) / total
        if share >= _LEAST_SHARE and each[index] > margin:
            low, middle, high = (
                float(v * bytes_each) for v in (each[index] - margin, each[index], each[index] + margin)
            )
            found.append(ViewShare(name, middle, share, low, high))
    return tuple(sorted(found, key=lambda view: -view.share))
