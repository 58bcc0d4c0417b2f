"""Sudden steps of a meter: a few beside other growth, or so many that they are the growth.

A leak in bursts is a stair that no smooth shape fits. Its steps are taken for events: whether they come less and less
often, as those of a cache that fills do, is Laplace's test for a trend in a series of events (Cox & Lewis 1966).
"""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.watch.arithmetic import running_median, spread_of

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
_MOST_JUMPS = 5
_JUMP_DEVIATIONS = 8.0
_JUMP_WINDOW = 3
_START_POINTS = 6
# A stair is made of this many steps, each so many deviations high, which are most of what the meter did.
_LEAST_STEPS = 8
_STEP_DEVIATIONS = 4.0
_STEPS_SHARE = 0.6
_BACK_SHARE = 0.15
# or of so many at least, when heights and gaps deviate by no more than this share, and the next is not overdue.
_LEAST_REGULAR, _EVEN, _OVERDUE = 5, 0.2, 1.3
# Steps go on when their times, and the time without one at the end, are no stranger than this under an even pace.
_EARLIER = -1.64
_NONE_SINCE = 0.05


@dataclasses.dataclass(frozen=True)
class Stair:
    """Growth by steps that go on: since when (unix seconds), how much, its rate a second and that rate's deviation."""

    since: float
    growth: float
    rate: float
    deviation: float


def stair_of(t: Array, y: Array, resolution: float) -> Stair | None:
    """Return the growth of a meter ``y`` at ``t``, over one life, when it is a stair that goes on; None when it is not.

    ``resolution`` is the least that counts for a step.
    """
    # what comes at once after a start is the start
    rise, lived = np.diff(y)[_START_POINTS:], t[_START_POINTS + 1 :]
    least = max(_STEP_DEVIATIONS * _deviation(rise), resolution)
    steps = np.flatnonzero(rise > least)
    few = len(steps) <= _LEAST_STEPS and not _regular(lived, rise, steps)
    if few or -rise[rise < -least].sum() > _BACK_SHARE * rise[steps].sum():
        return None
    if not _STEPS_SHARE * float(rise.sum()) <= rise[steps].sum() <= float(rise.sum()) / _STEPS_SHARE:
        return None
    # from the first step on: before it nothing had begun
    span = float(lived[-1] - lived[steps[0]])
    after, heights = (lived[steps[1:]] - lived[steps[0]]) / max(span, 1e-9), rise[steps[1:]]
    if not _go_on(after, heights):
        return None
    growth = float(rise[steps[0] + 1 :].sum())
    return Stair(float(lived[steps[0]]), growth, growth / span, float(np.sqrt(heights @ heights)) / span)


def _regular(lived: Array, rise: Array, steps: Numbers) -> bool:
    """Whether the steps, however few, are as high as one another and as far apart: what fills slows down."""
    first = steps[np.diff(steps, prepend=-2) > 1]  # a step between two points is one, though it shows in both
    if len(first) < _LEAST_REGULAR:
        return False
    heights = np.add.reduceat(np.where(np.isin(np.arange(len(rise)), steps), rise, 0.0), first)
    gaps = np.diff(lived[first])
    even = all(float(np.std(values)) <= _EVEN * float(np.mean(values)) for values in (heights, gaps))
    return even and float(lived[-1] - lived[first[-1]]) <= _OVERDUE * float(np.mean(gaps))


def _deviation(rise: Array) -> float:
    """Return the deviation of the noise between two points: that of the falls, for there steps do not show."""
    falls = rise[rise < 0]
    return 1.4826 * float(np.median(-falls)) if len(falls) >= _LEAST_STEPS else spread_of(rise) if len(rise) else 0.0


def _go_on(places: Array, heights: Array) -> bool:
    """Whether steps at these places (0..1) neither become rarer or lower nor have stopped."""
    lasting = float(places[-1]) ** len(places) > _NONE_SINCE
    return lasting and all(_centre(places, weight) > _EARLIER for weight in (np.ones(len(places)), heights))


def _centre(places: Array, weight: Array) -> float:
    """Return how far the centre of weighted events lies from the middle, in deviations; negative is earlier."""
    share = weight / weight.sum()
    return (float(share @ places) - 0.5) * float(np.sqrt(12 / (share @ share)))


def jumps_of(y: Array, life: Numbers, proof: Array) -> Array:
    """Return the sum of the sudden steps of a meter up to each point: at most a few, far out of its usual moves.

    A point of which ``proof`` is less than 1 lies between two floors, where nobody saw a step.
    """
    total = np.zeros(len(y))
    if len(y) < 4 * _JUMP_WINDOW:
        return total
    smooth = running_median(y, _JUMP_WINDOW)
    half = _JUMP_WINDOW // 2 + 1
    # the level after a point less the level before it, each from the window that touches it
    step = np.zeros(len(y))
    step[half:-half] = smooth[2 * half - 1 : -1] - smooth[: -2 * half]
    step[half:-half][life[2 * half - 1 : -1] != life[: -2 * half]] = 0.0
    # what comes at once after a start is the start
    step[np.arange(len(y)) - np.searchsorted(life, life) < _START_POINTS] = 0.0
    step[proof < 1] = 0.0
    usual = float(np.median(step))
    least = _JUMP_DEVIATIONS * spread_of(step)
    for _ in range(_MOST_JUMPS):
        at = int(np.argmax(np.abs(step - usual)))
        if abs(step[at] - usual) <= max(least, 1e-12):
            break
        # medians tell how much, but blur when: that is where two neighbours differ most, or three, where a point is
        # made of samples from before and after
        first = max(1, at - half)
        parts = np.maximum(np.diff(y[first - 1 : at + half + 1]) * np.sign(step[at]), 0.0)
        exactly = int(np.argmax(parts))
        parts[: max(0, exactly - 1)] = parts[exactly + 2 :] = 0.0
        total[first : first + len(parts)] += step[at] * np.cumsum(parts) / max(parts.sum(), 1e-12)
        total[first + len(parts) :] += step[at]
        step[max(0, at - _JUMP_WINDOW) : at + _JUMP_WINDOW + 1] = usual
    return total
