"""Whether a meter goes on growing, since when and how fast: every shape is weighed, none is tested alone.

Bayesian model averaging (Raftery 1995) with the Schwarz criterion (1978) as the price of a parameter: each shape under
each assumption about the noise gets a weight; the probability that growth goes on is the weight of the shapes that end
with it, and the rate is the mixture of theirs. So a cache that fills and a leak are compared with one another, not each
with "nothing happens", which is why a filled cache does not look like a leak, as it does to a trend test.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.watch.arithmetic import log_sum_exp, normal_below, running_median
from cubicweb_leakwatch.watch.noise import Noise, noises
from cubicweb_leakwatch.watch.regression import Fit, fit_all, tempered
from cubicweb_leakwatch.watch.series import History
from cubicweb_leakwatch.watch.shapes import END_POINTS, PRIOR, TAIL_POINTS, Family, shapes_for
from cubicweb_leakwatch.watch.steps import jumps_of, stair_of

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
_LEAST_POINTS = 8
_NEGLIGIBLE = 1e-3
_PARTS = 60
# Deviations are widened by this: no noise model is quite right, and a rate is not better known than to a few per cent.
_WIDER = 1.8
_RATE_RESOLUTION = 0.02
# No shape is quite right: what is smaller than this share of all that happened is not explained by another one.
_SHAPE_RESOLUTION = 0.005
# Growth goes on when its second half is at least this share as steep as its first.
_GOES_ON = 0.3
_TWO_HALVES = 12
# How surely a stair that goes on is a leak, and not a cache that has been filling for the whole history.
_STAIR = 0.9
# Growth of which a smooth shape lays such a share to sudden steps beside it may be all steps.
_JUMPED_SHARE = 0.2
_PROVEN = 0.9
_95 = 1.96


@dataclasses.dataclass(frozen=True)
class Trend:
    """What a meter does; rates are of the meter's unit a second, with the 95 % interval low..high.

    ``growing`` is the probability that growth goes on, ``weights`` those of all families. Of the best shape: ``since``
    and ``until`` (unix seconds) bound its growth, ``end_share`` is where in the history it was over, ``growth`` how
    much it grew from ``since`` on, ``jumped`` how much in sudden steps beside that,
    ``wandered`` how far it went from the shape and back before, for as long, ``left`` the share of a saturating
    growth still to come, ``ceiling`` where it ends. ``noise`` is the deviation of single points from it, ``fitted`` its
    value at the points, ``z`` the rate in deviations, ``stepwise`` whether growth is a stair.
    """

    growing: float
    weights: dict[Family, float]
    rate: float = 0.0
    low: float = 0.0
    high: float = 0.0
    z: float = 0.0
    since: float = 0.0
    until: float = 0.0
    end_share: float = 0.0
    growth: float = 0.0
    jumped: float = 0.0
    wandered: float = 0.0
    left: float = 0.0
    ceiling: float | None = None
    noise: float = 0.0
    per_request: float | None = None
    stepwise: bool = False
    fitted: Array = dataclasses.field(default_factory=lambda: np.zeros(0))
    log_likelihoods: Array = dataclasses.field(default_factory=lambda: np.zeros(0))

    @property
    def family(self) -> Family:
        """The family with the greatest weight."""
        return max(self.weights, key=lambda family: self.weights[family])


class Trends:
    """Fits the meters of one history; what depends on the times alone is worked out once."""

    def __init__(self, history: History) -> None:
        self.t = history.mean(history.t)
        self.life = history.point_lives
        self.counts = history.counts
        age = history.mean(history.age)
        requests = None if history.requests is None else history.mean(history.requests)
        axes, self.scales = _axes(age, requests, self.life)
        self.top_requests = None if requests is None else float(np.max(requests))
        self.shapes = shapes_for(axes)
        self._log_prior = _log_prior([(m.family, len(m.columns), m.axis) for m in self.shapes.models])
        self._white: dict[bytes, list[tuple[Noise, Array]]] = {}

    def fit(self, y: Array, proof: Array, resolution: float, prior: Array | None = None) -> Trend:
        """Weigh all shapes for a meter at the points; ``resolution`` is the least deviation its values can have.

        ``proof`` is how much each point proves, 0 where the meter is not known; ``prior`` holds log weights of the
        models (of another meter's trend) to use in place of the usual ones.
        """
        known = proof > 0
        if known.sum() < _LEAST_POINTS or float(np.ptp(y[known])) <= resolution:
            return self._flat(y, known)
        level = float(np.median(y[known]))
        resolution = max(resolution, _SHAPE_RESOLUTION * float(np.ptp(y[known])))
        jumps = jumps_of(y[known], self.life[known], proof[known])
        log_prior = self._log_prior if prior is None else prior
        fits = [
            fit_all(noise, basis, self.shapes, self.life[known], np.column_stack([y[known] - level, jumps]), resolution)
            for noise, basis in self._whitened(known)
        ]
        fits = [tempered(fit, float(proof[known].mean())) for fit in fits]
        trend = self._averaged(fits, log_prior, y, known, jumps)
        smooth = trend.growing > _STAIR and trend.jumped < _JUMPED_SHARE * trend.growth
        # each start is a step, and where much is not proven what lies between the floors is a stair of our own making
        one_way = self.life[0] == self.life[-1] and known.mean() >= _PROVEN
        return trend if smooth or not one_way else self._by_steps(trend, y, known, resolution)

    def _whitened(self, known: Flags) -> list[tuple[Noise, Array]]:
        """Return each noise with the columns made independent under it, for the points that are known."""
        key = known.tobytes()
        if key not in self._white:
            found = noises(self.t[known], self.life[known], self.counts[known])
            self._white[key] = [(noise, noise.whiten(self.shapes.basis[known])) for noise in found]
        return self._white[key]

    def _shown(self, known: Flags) -> Flags:
        """Return which models show in the known points: some behind the bend, some after the end."""
        columns = self.shapes.basis[known]
        moved = (columns > columns.min(axis=0)).sum(axis=0) >= TAIL_POINTS
        ended = (columns >= self.shapes.basis.max(axis=0)).sum(axis=0) >= END_POINTS
        moved[self.shapes.jumps] = True
        last = np.where(self.shapes.second >= 0, self.shapes.second, self.shapes.first)
        return np.asarray((last < 0) | (moved[last] & (ended[last] | ~self.shapes.stops)), bool)

    def _flat(self, y: Array, known: Flags) -> Trend:
        """Return the trend of a meter that never moves, or that has too few points to say more."""
        weights: dict[Family, float] = {family: float(family == "flat") for family in PRIOR}
        level = float(np.median(y[known])) if known.any() else 0.0
        return Trend(0.0, weights, since=float(self.t[0]), until=float(self.t[0]), fitted=np.full(len(y), level))

    def _averaged(self, fits: Sequence[Fit], log_prior: Array, y: Array, known: Flags, jumps: Array) -> Trend:
        """Mix the models of all noises by their weight into one statement."""
        shapes = self.shapes
        log_weight = np.stack([fit.log_likelihood for fit in fits]) + np.where(self._shown(known), log_prior, -np.inf)
        if not np.isfinite(log_weight).any():  # no shape of another meter's shows in the few points known
            return self._flat(y, known)
        weight = np.exp(log_weight - log_sum_exp(log_weight))
        families = np.array([model.family for model in shapes.models])
        weights: dict[Family, float] = {family: float(weight[:, families == family].sum()) for family in PRIOR}
        scale = np.array([self.scales[model.axis] for model in shapes.models])
        slope = np.stack([fit.slope for fit in fits]) / scale
        slope_sd = np.maximum(np.stack([fit.slope_sd for fit in fits]) / scale, 1e-300)
        up = np.where(shapes.goes_on, weight * normal_below(slope / slope_sd), 0.0)
        growing = float(up.sum())
        best = self._described(fits, up if growing > 0.5 else weight, y, known, jumps)
        likelihoods = log_sum_exp(np.stack([fit.log_likelihood for fit in fits]), axis=0)
        level = y.copy()
        level[known] -= _scaled(jumps, best.jumped)
        if growing > 0.5 and self._stopped(best, level, known):
            growing, weights["growing"], weights["slowing"] = 0.0, 0.0, weights["slowing"] + weights["growing"]
        best = dataclasses.replace(best, growing=growing, weights=weights, log_likelihoods=likelihoods)
        kept = up > _NEGLIGIBLE * max(growing, 1e-12)
        if not kept.any():
            return best
        low, rate, high = _mixture(up[kept], slope[kept], _WIDER * slope_sd[kept])
        z = float(np.sum(up[kept] * slope[kept] / slope_sd[kept]) / up[kept].sum())
        # bends are tried at so many places only: the shorter the time since, the more that matters
        grown_for = (self.t[-1] - best.since) / max(float(np.ptp(self.t)), 1e-9)
        blur = _RATE_RESOLUTION * abs(rate) / min(max(grown_for, 0.1), 1.0)
        return dataclasses.replace(best, rate=rate, low=low - blur, high=high + blur, z=z)

    def _described(self, fits: Sequence[Fit], weight: Array, y: Array, known: Flags, jumps: Array) -> Trend:
        """Describe the best single model: since when, until when, how much, to which ceiling."""
        number, best = (int(index) for index in np.unravel_index(int(np.argmax(weight)), weight.shape))
        model, fit = self.shapes.models[best], fits[number]
        axis = self.shapes.axes[model.axis]
        newest = self.life == self.life[-1]
        since, until = (float(np.interp(x, axis[newest], self.t[newest])) for x in (model.start, model.end))
        moved = fit.curve(best, self.shapes, known, jumps)
        moved = moved + _levels(y[known] - moved, self.life[known])
        growth = self._growth(fit, best)
        jumped = float(fit.first[best] * (jumps[-1] - jumps[0])) if self.shapes.jumps in model.columns else 0.0
        per_request = None
        if model.axis == 1 and model.tail >= 0 and self.top_requests:
            per_request = float(fit.slope[best]) / self.top_requests
        return Trend(
            0.0, {}, since=since, until=until, end_share=model.end, growth=growth, jumped=jumped,
            wandered=self._wandered(y[known] - moved, known, since),
            left=model.left,
            ceiling=float(moved[-1]) + growth * model.left if model.family == "ending" else None,
            noise=float(fit.spread[best]), per_request=per_request, fitted=np.interp(self.t, self.t[known], moved),
        )  # fmt: skip

    def _stopped(self, best: Trend, y: Array, known: Flags) -> bool:
        """Whether growth did not go on in the second half of its time, whatever shape fits best on the whole.

        It has to have stopped by the clock and, where they are counted, by the requests too: a quiet night is no end.
        """
        tail = known & (self.t >= best.since)
        if len(np.unique(self.life)) > 1 or tail.sum() < _TWO_HALVES:
            return False
        return all(_flattens(axis[tail], y[tail]) for axis in self.shapes.axes)

    def _wandered(self, left: Array, known: Flags, since: float) -> float:
        """Return the range of what the shape leaves over before growth began, over times half as long as the growth.

        A rise no larger than those that came and went before proves nothing.
        """
        before = self.t[known] < since
        samples = float(self.counts[known][~before].sum())
        if before.sum() < 2 * TAIL_POINTS:
            return 0.0
        size = int(samples / 2 / float(np.median(self.counts[known][before])))
        calm = running_median(left[before], min(max(1, size), int(before.sum()) // 4) | 1)
        return float(np.ptp(calm))

    def _by_steps(self, trend: Trend, y: Array, known: Flags, resolution: float) -> Trend:
        """Return the trend of a meter that no smooth shape fits because it grows by steps, and goes on to."""
        stair = stair_of(self.t[known], y[known], resolution)
        if stair is None:
            return trend
        margin, growing = _95 * stair.deviation, max(trend.growing, _STAIR)
        weights: dict[Family, float] = {**dict.fromkeys(PRIOR, 0.0), "growing": growing, "flat": 1 - growing}
        return dataclasses.replace(
            trend, growing=growing, weights=weights, rate=stair.rate, low=stair.rate - margin, high=stair.rate + margin,
            z=stair.rate / stair.deviation, since=stair.since, until=float(self.t[-1]), end_share=1.0,
            growth=stair.growth, jumped=0.0, wandered=0.0, left=0.0, ceiling=None, stepwise=True,
        )  # fmt: skip

    def _growth(self, fit: Fit, best: int) -> float:
        """Return how much the best model grew in the longest life, but for jumps: from its bend on, or to its end."""
        model, top = self.shapes.models[best], float(np.max(self.shapes.axes[self.shapes.models[best].axis]))
        if model.tail >= 0:
            return float(fit.slope[best]) * max(0.0, top - model.start)
        if not model.columns or model.family == "step":
            return 0.0
        column = self.shapes.basis[:, model.columns[-1]]
        return float(fit.slope[best]) * float(np.max(column))


def _scaled(jumps: Array, jumped: float) -> Array:
    """Return the sudden steps so scaled that they make up ``jumped`` in all."""
    whole = float(jumps[-1] - jumps[0])
    return jumps * (jumped / whole) if whole else np.zeros(len(jumps))


def _axes(age: Array, requests: Array | None, life: NDArray[np.int64]) -> tuple[tuple[Array, ...], list[float]]:
    """Return the axes within 0..1 and how many seconds one unit of each is."""
    span = max(float(np.max(age)), 1.0)
    axes, scales = [age / span], [span]
    if requests is not None and float(np.max(requests)) > 0:
        lives = [life == number for number in np.unique(life)]
        served = sum(float(np.ptp(requests[members])) for members in lives)
        if served > 0:
            seconds = sum(float(np.ptp(age[members])) for members in lives)
            axes.append(requests / float(np.max(requests)))
            scales.append(float(np.max(requests)) * seconds / served)
    return tuple(axes), scales


def _log_prior(groups: Sequence[tuple[Family, int, int]]) -> Array:
    """Return the prior of each model: its family's, shared by axis and number of columns, then evenly."""
    size = {group: groups.count(group) for group in set(groups)}
    shares = {family: len({group for group in size if group[0] == family}) for family, _, _ in groups}
    return np.log([PRIOR[group[0]] / shares[group[0]] / size[group] for group in groups])


def _mixture(weight: Array, mean: Array, sd: Array) -> tuple[float, float, float]:
    """Return the 2.5 % point, mean and 97.5 % point of a mixture of normal distributions."""
    heaviest = np.argsort(-weight)[:_PARTS]
    weight, mean, sd = weight[heaviest], mean[heaviest], sd[heaviest]
    share = weight / weight.sum()
    # the points where any part of the mixture bends
    grid = np.unique((mean[:, None] + sd[:, None] * np.linspace(-4, 4, 25)[None, :]).ravel())
    below = share @ normal_below((grid[None, :] - mean[:, None]) / sd[:, None])
    low, high = np.interp([0.025, 0.975], below, grid)
    return float(low), float(share @ mean), float(high)


def _flattens(x: Array, y: Array) -> bool:
    """Whether a series is surely much less steep in the second half of ``x`` than in the first."""
    late = x > 0.5 * (x[0] + x[-1])
    if min(late.sum(), (~late).sum()) < _TWO_HALVES // 2:
        return False
    (first, error_1), (second, error_2) = (_line(x[part], y[part]) for part in (~late, late))
    return second + 2 * float(np.hypot(error_2, _GOES_ON * error_1)) < _GOES_ON * first


def _line(x: Array, y: Array) -> tuple[float, float]:
    """Return the slope of a straight line and its deviation, counting neighbouring points as half a point each."""
    x, y = x - x.mean(), y - y.mean()
    energy = max(float(x @ x), 1e-12)
    slope = float(x @ y) / energy
    left = y - slope * x
    return slope, float(np.sqrt(2 * float(left @ left) / max(len(x) - 2, 1) / energy))


def _levels(left: Array, life: NDArray[np.int64]) -> Array:
    """Return, for each point, the median of what is left in its life."""
    numbers, where = np.unique(life, return_inverse=True)
    medians = np.array([np.median(left[life == number]) for number in numbers])
    return np.asarray(medians[where], float)
