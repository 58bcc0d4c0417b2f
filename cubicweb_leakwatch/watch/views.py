"""Which view leaks: the memory's growth laid to the requests that each view served.

Regression of what grows on the running request counts of all views at once, with no negative shares, under the noise
that fits best; so it works while requests of many views run side by side, as long as their mix varies. Time itself
stands among the views, for what grows without any request.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.arithmetic import group_medians
from cubicweb_leakwatch.watch.finding import Culprit, ViewShare
from cubicweb_leakwatch.watch.meters import IN_USE, Meters
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
# The culprit's count is so much clearer that fewer points of it tell more.
_COUNTED_SHARE = 0.3
_MOST_NAMED = 5
# The noise is never quite as assumed: what is left of it looks like another view, so another one costs more.
_ANOTHER = 2.5
# A view is named when it is so much more probable than all others in its place together.
_SURE = 0.8


def views_of(meters: Meters, trend: Trend, culprits: Sequence[Culprit] = ()) -> tuple[ViewShare, ...]:
    """Return the views whose requests leave memory behind, the one with the greatest share first.

    What tells the views apart most clearly is regressed, the count of the first of ``culprits`` where it is recorded,
    and brought to bytes by ``trend``'s rate.
    """
    names, served = _served(meters.history.samples)
    if not names or trend.rate <= 0:
        return ()
    columns = np.column_stack([meters.history.mean(column) for column in served.T] + [meters.trends.t])
    found = [
        (selection, trend.rate / rate)
        for points, rate in _growing(meters, culprits)
        if rate > 0 and (selection := _explained(meters, trend, points, columns)) is not None
    ]
    if not found:
        return ()
    best, bytes_each = max(found, key=lambda item: item[0].gain)
    return _shares(names, columns, best, trend, bytes_each)


def _growing(meters: Meters, culprits: Sequence[Culprit]) -> list[tuple[Array, float]]:
    """Return what grows, at the points (NaN for unknown), with its rate a second.

    The culprit's own count is free of what other requests leave behind for a while; else all meters that grow.
    """
    for culprit in culprits[:1]:
        counts = np.array([(sample.types or {}).get(culprit.type, np.nan) for sample in meters.history.samples], float)
        points = group_medians(counts, meters.history.members)
        if culprit.objects_per_h > 0 and (~np.isnan(points)).mean() > _COUNTED_SHARE:
            return [(points, culprit.objects_per_h / 3600)]
    growing = {m.name: m for m in meters.by_name.values() if m.grows and m.name in (*IN_USE, "rss")}
    known = [m for m in (growing or {"": meters.memory}).values() if m.known.mean() > _KNOWN_SHARE]
    return [(np.where(meter.known, meter.points, np.nan), meter.trend.rate) for meter in known]


def _explained(meters: Meters, trend: Trend, points: Array, columns: Array) -> "_Selection | None":
    """Return the columns that explain a meter under the noise that fits best; None where too few points are known."""
    rows = ~np.isnan(points)
    if len(np.unique(meters.trends.life)) == 1:
        rows &= meters.trends.t >= trend.since
    if rows.sum() < max(_LEAST_POINTS, columns.shape[1] + 3):
        return None
    life, t = meters.trends.life[rows], meters.trends.t[rows]
    found = [
        _selected(noise.whiten, life, points[rows], columns[rows], noise.log_scale)
        for noise in noises(t, life, meters.trends.counts[rows])
    ]
    return max(found, key=lambda selection: selection.log_likelihood)


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


@dataclasses.dataclass(frozen=True)
class _Selection:
    """The columns that explain a meter: how much each leaves behind at a time, its deviation, and how sure it is.

    ``sure`` is the probability that it is this column, and not another in its place; 0 for those not chosen. ``gain``
    is by how much more likely (a logarithm) they make the meter than time alone, the last column, does.
    """

    log_likelihood: float
    gain: float
    each: Array
    deviation: Array
    sure: Array


def _selected(
    whiten: Callable[[Array], Array], life: NDArray[np.int64], y: Array, columns: Array, log_det: float
) -> _Selection:
    """Return the few columns that explain ``y`` under one noise.

    One after the other the column is taken that explains most of what is left, as long as that is worth its price
    (forward selection by the Schwarz criterion, extended by the number of candidates: Chen & Chen 2008): it is seldom
    that all views leak, and columns that rise together would else share what one of them did.
    """
    levels = (life[:, None] == np.unique(life)[None, :]).astype(float)
    scale = np.maximum(np.ptp(columns, axis=0), 1e-9)
    white = whiten(np.column_stack([levels, y - np.median(y), (columns - columns[0]) / scale]))
    q = levels.shape[1]
    ortho, _ = np.linalg.qr(white[:, :q])
    rest = white[:, q:] - ortho @ (ortho.T @ white[:, q:])
    fit = _Fit(rest[:, 0], rest[:, 1:], len(y) - q)
    chosen: list[int] = []
    price = 0.5 * np.log(len(y)) + np.log(columns.shape[1])
    while len(chosen) < _MOST_NAMED:
        gains = fit.gains(chosen)
        best = int(np.argmax(gains))
        if gains[best] <= (_ANOTHER if chosen else 1.0) * price:
            break
        chosen.append(best)
    log_likelihood = fit.log_likelihood(chosen) - log_det - price * len(chosen)
    each, deviation = fit.coefficients(chosen)
    gain = fit.log_likelihood(chosen) - fit.log_likelihood([columns.shape[1] - 1])
    return _Selection(log_likelihood, gain, each / scale, deviation / scale, fit.sure(chosen))


@dataclasses.dataclass(frozen=True)
class _Fit:
    """Non-negative least squares (Lawson & Hanson 1974) of a target on some of the columns of a matrix."""

    target: Array
    matrix: Array
    freedom: int

    def solved(self, chosen: Sequence[int]) -> tuple[Array, float]:
        """Return the coefficients of the columns chosen, and the norm of what they leave."""
        # here alone, where views are recorded: importing it takes a quarter of a second
        from scipy.optimize import nnls

        if not chosen:
            return np.zeros(0), float(np.linalg.norm(self.target))
        coefficients, left = nnls(self.matrix[:, list(chosen)], self.target)
        return np.asarray(coefficients, float), float(left)

    def log_likelihood(self, chosen: Sequence[int]) -> float:
        """Return the restricted log likelihood, but for a constant."""
        return -self.freedom * float(np.log(max(self.solved(chosen)[1], 1e-12)))

    def gains(self, chosen: Sequence[int]) -> Array:
        """Return what each column would add to the log likelihood of those chosen; nothing for the chosen."""
        before = self.log_likelihood(chosen)
        others = (number not in chosen for number in range(self.matrix.shape[1]))
        return np.array(
            [self.log_likelihood([*chosen, number]) - before if other else 0.0 for number, other in enumerate(others)]
        )

    def coefficients(self, chosen: Sequence[int]) -> tuple[Array, Array]:
        """Return the coefficient of every column and its deviation, 0 for those not chosen."""
        values, left = self.solved(chosen)
        each, deviation = np.zeros(self.matrix.shape[1]), np.zeros(self.matrix.shape[1])
        active = [number for number, value in zip(chosen, values, strict=True) if value > 0]
        each[list(chosen)] = values
        if active:
            inverse = np.linalg.pinv(self.matrix[:, active].T @ self.matrix[:, active])
            spread = left / np.sqrt(max(self.freedom - len(active), 1))
            deviation[active] = spread * np.sqrt(np.maximum(np.diag(inverse), 0.0))
        return each, deviation

    def sure(self, chosen: Sequence[int]) -> Array:
        """Return how probable each column chosen is, beside any other in its place."""
        sure = np.zeros(self.matrix.shape[1])
        reached = self.log_likelihood(chosen)
        for number in chosen:
            others = [other for other in chosen if other != number]
            rivals = self.gains(others) + self.log_likelihood(others) - reached
            rivals[[number, *others]] = -np.inf
            sure[number] = 1.0 / (1.0 + float(np.exp(np.minimum(rivals, 50.0)).sum()))
        return sure


def _shares(
    names: Sequence[str], columns: Array, found: _Selection, trend: Trend, bytes_each: float
) -> tuple[ViewShare, ...]:
    """Turn units a request into bytes with intervals; leave out views whose share is small or may be another's."""
    grown = found.each * np.ptp(columns, axis=0)
    total = float(grown.sum())
    if total <= 0:
        return ()
    # how many bytes a unit is, is no better known than how fast memory grows
    blur = (trend.high - trend.low) / 2 / trend.rate
    views = []
    for index, name in enumerate(names):
        each, margin = float(found.each[index]), _95 * _WIDER * float(found.deviation[index])
        share = float(grown[index]) / total
        if share >= _LEAST_SHARE and each > margin and found.sure[index] >= _SURE:
            margin = min(each, float(np.hypot(margin, blur * each)))
            low, middle, high = (value * bytes_each for value in (each - margin, each, each + margin))
            views.append(ViewShare(name, middle, share, low, high))
    return tuple(sorted(views, key=lambda view: -view.share))
