"""What has been given back is not leaked: the floor under a meter.

A collector that runs rarely, a cache that is purged, a nightly batch make a meter rise and fall. At any time no more
can have leaked than the least the meter shows afterwards. So where a meter falls clearly, it is replaced by the least
of what follows, as far ahead as its longest excursion took to come back; and a rise that is not longer or higher than
those that came back before proves nothing yet.
"""

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.watch.arithmetic import least_ahead, running_median, spread_of

Array = NDArray[np.float64]
_SMOOTH = 5
_SMOOTH_SHARE = 80
# A fall counts when it is this many deviations of the noise, and this share of the whole range.
_FALL_DEVIATIONS = 6.0
_FALL_SHARE = 0.2
# A start by more than all that comes after it is no part of that range.
_STARTING = 0.15
# A rise is more than another excursion when it is so much higher, or has lasted so much longer, than any before.
_HIGHER = 1.5
_LONGER = 2.0
# Excursions that take no more of the time than this are left out; of longer ones the floor is all there is to see.
_MOSTLY_THERE = 0.4
# What is within such a share of a fall of its bottom is as low as that.
_AS_LOW = 0.1
# An excursion reaches back to the bottom before it over a climb at most so many times as long as its rest.
_CLIMB = 3.0
# So many points stand for an excursion of which nothing but its ends is known, and so many at least for all of them.
_TOLD, _LEAST_TOLD, _ENDS = 3, 12, 2
# So many falls make teeth.
_AGAIN = 3


def floor_of(y: Array, resolution: float) -> tuple[Array, Array]:
    """Return the floor under the values of one life, and how much each of them proves.

    That is 1 for a value of its own, a share of it for the few that stand for an excursion together, and 0 for what may
    come back.
    """
    proven = np.ones(len(y))
    if len(y) < 3 * _SMOOTH:
        return y.copy(), proven
    smooth, deviation, falls = _excursions(y, resolution)
    # what is higher or lower for a few samples only has been given back, or taken back, at once
    calm = np.where(np.abs(y - smooth) > max(_FALL_DEVIATIONS * deviation, resolution), smooth, y)
    if not falls:
        return calm, proven
    longest = max(bottom - start for start, _, bottom in falls)
    deepest = max(float(smooth[peak] - smooth[bottom]) for _, peak, bottom in falls)
    last = falls[-1][2]
    rise = float(np.max(smooth[last:]) - smooth[last])
    end = len(y)
    if rise < _HIGHER * deepest:
        if end - last < _LONGER * longest:
            end = last + 1
        if end == len(y) or last - falls[-1][0] < longest / 2:
            # what came last has had no time to be given back
            proven[end - min(longest, end // 4) : end] = 0.0
    floor = calm
    floor[:end] = least_ahead(smooth[:end], longest)
    away = _away(falls, len(y))
    if away.mean() <= _MOSTLY_THERE:
        proven[away] = 0.0
    else:
        floor[away] = np.minimum(floor, _between(falls, smooth))[away]
        proven[away] *= _few(falls, len(y))[away]
    proven[end:] = 0.0
    return floor, proven


def longest_excursion(t: Array, y: Array, resolution: float) -> float:
    """Return how long the longest rise of ``y`` lasted that was given back, as a share of the time.

    0.0 unless ``y`` rises and falls for most of the time.
    """
    if len(y) < 3 * _SMOOTH:
        return 0.0
    falls = _excursions(y, resolution)[2]
    if _away(falls, len(y)).mean() <= _MOSTLY_THERE:
        return 0.0
    return max(float(t[bottom] - t[start]) for start, _, bottom in falls) / float(np.ptp(t))


def tooth_of(y: Array, resolution: float) -> float:
    """Return how deep the falls of ``y`` usually are; 0.0 unless it rises and falls again and again, mostly."""
    if len(y) < 3 * _SMOOTH:
        return 0.0
    smooth, _, falls = _excursions(y, resolution)
    if len(falls) < _AGAIN or _away(falls, len(y)).mean() <= _MOSTLY_THERE:
        return 0.0
    return float(np.median([smooth[peak] - smooth[bottom] for _, peak, bottom in falls]))


def came_back(t: Array, y: Array, resolution: float, rise: float, seconds: float) -> bool:
    """Whether ``y`` has risen before as a rise by ``rise`` over ``seconds`` does, and came back."""
    if len(y) < 3 * _SMOOTH:
        return False
    smooth, _, falls = _excursions(y, resolution)
    return any(
        rise < _HIGHER * (smooth[peak] - smooth[bottom]) and seconds < _LONGER * (t[bottom] - t[start])
        for start, peak, bottom in falls
    )


def _excursions(y: Array, resolution: float) -> tuple[Array, float, list[tuple[int, int, int]]]:
    """Return the values made smooth, the deviation of single ones from that, and the clear falls."""
    smooth = running_median(y, max(_SMOOTH, len(y) // _SMOOTH_SHARE) | 1)
    # told by the differences, noise is not overrated where there are few samples in a tooth
    deviation = min(spread_of(y - smooth), spread_of(np.diff(y)) / np.sqrt(2))
    return smooth, deviation, _whole(_falls(smooth, _least_fall(smooth, deviation, resolution)))


def _whole(falls: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Let an excursion that rises out of the bottom of the one before it begin there.

    With a leak beneath, a tooth is as low as its end will be only some way up: what it climbed until then is no less
    uncertain than the rest of it.
    """
    whole = falls[:1]
    for start, peak, bottom in falls[1:]:
        before = whole[-1][2]
        whole.append((before if start - before <= _CLIMB * (bottom - start) else start, peak, bottom))
    return whole


def _away(falls: list[tuple[int, int, int]], count: int) -> NDArray[np.bool_]:
    """Return which of ``count`` points lie in an excursion: of those it is only known what they are at most."""
    away = np.zeros(count, bool)
    for start, _, bottom in falls:
        away[start:bottom] = True
    return away


def _few(falls: list[tuple[int, int, int]], count: int) -> Array:
    """Return how much each of ``count`` points proves of the excursion it lies in, 0 for most.

    They lie on one straight way, of which its two ends were seen: more of them would tell no more.
    """
    few = np.zeros(count)
    told = max(_TOLD, -(-_LEAST_TOLD // len(falls)))
    for start, _, bottom in falls:
        few[np.linspace(bottom, start, told, endpoint=False).astype(int)] = _ENDS / told
    return few


def _between(falls: list[tuple[int, int, int]], smooth: Array) -> Array:
    """Return the straight way from where each excursion began to its bottom: a stair of floors is no stair of steps."""
    anchors = np.unique([index for start, _, bottom in falls for index in (start, bottom)])
    return np.asarray(np.interp(np.arange(len(smooth)), anchors, smooth[anchors]), float)


def _least_fall(smooth: Array, deviation: float, resolution: float) -> float:
    """Return how deep a fall has to be to count."""
    least, low, high = np.quantile(smooth, [0.01, _STARTING, 0.99])
    low = low if low - least > high - low else least
    return max(_FALL_DEVIATIONS * deviation, _FALL_SHARE * float(high - low), 4 * resolution)


def _falls(y: Array, least: float) -> list[tuple[int, int, int]]:
    """Return clear falls as indexes (where the excursion began, its peak, its bottom)."""
    falls: list[tuple[int, int, int]] = []
    peak = bottom = 0
    falling = False
    for index, value in enumerate(y.tolist()):
        if not falling:
            peak = index if value >= y[peak] else peak
            if value <= y[peak] - least:
                falling, bottom = True, index
        elif value < y[bottom]:
            bottom = index
        elif value >= y[bottom] + least:
            falls.append(_excursion(y, peak, bottom))
            falling, peak = False, index
    if falling:
        falls.append(_excursion(y, peak, bottom))
    return falls


def _excursion(y: Array, peak: int, bottom: int) -> tuple[int, int, int]:
    """Return when the meter last was, before the peak, as low as at the bottom, the peak, and when it was so again.

    It began at the peak when it never was so low. How low a calm meter happens to be long afterwards is noise.
    """
    level = y[bottom] + _AS_LOW * (y[peak] - y[bottom])
    low = np.flatnonzero(y[:peak] <= level)
    back = np.flatnonzero(y[peak : bottom + 1] <= level)
    return int(low[-1]) if len(low) else peak, peak, peak + int(back[0])
