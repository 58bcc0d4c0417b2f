"""From samples to the points trends are fitted to: one grid for all meters of a process.

The newest samples stay single and older ones are taken together, so that a leak of the last minutes is seen within
minutes, a slow one over weeks, and both cost the same.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.arithmetic import group_medians
from cubicweb_leakwatch.watch.givenback import floor_of
from cubicweb_leakwatch.watch.load import without_load

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
_SINGLE = 40
_TOGETHER = 100
# Requests count as known when no more of the samples than these lack them.
_UNCOUNTED_SHARE = 0.2


@dataclasses.dataclass(frozen=True)
class History:
    """The samples of one or more lives as arrays; ``life`` numbers them, ``age`` is seconds since its first sample.

    ``requests`` counts since the life's first sample, None when it is not always known; each row of ``members`` holds
    the indexes of the samples that make one point (-1 for none).
    """

    samples: tuple[Sample, ...]
    t: Array
    life: Numbers
    age: Array
    requests: Array | None
    members: Numbers

    def mean(self, values: Array) -> Array:
        """Return the mean of each point's samples."""
        taken = np.where(self.members >= 0, values[self.members], 0.0)
        return np.asarray(taken.sum(axis=1) / self.counts, float)

    @property
    def point_lives(self) -> Numbers:
        """The life each point belongs to."""
        return np.asarray(self.life[self.members[:, 0]], np.int64)

    @property
    def counts(self) -> Array:
        """How many samples each point is made of."""
        return np.asarray((self.members >= 0).sum(axis=1), float)


def history_of(lives: Sequence[Sequence[Sample]]) -> History:
    """Return the arrays of process lives, the oldest first; each must hold a sample."""
    samples = tuple(sample for life in lives for sample in life)
    t = np.array([sample.t for sample in samples])
    life = np.repeat(np.arange(len(lives), dtype=np.int64), [len(members) for members in lives])
    starts = np.array([members[0].t for members in lives])
    served = values_of(samples, "requests")
    requests = None
    if np.isnan(served).mean() <= _UNCOUNTED_SHARE:
        served = np.concatenate([_counted(served[life == number]) for number in range(len(lives))])
        firsts = np.concatenate([[0], np.flatnonzero(np.diff(life)) + 1])
        requests = served - served[firsts][life]
    return History(samples, t, life, t - starts[life], requests, _grouped(life))


def _counted(served: Array) -> Array:
    """Return the running count of one life without gaps: before the first request, nobody had counted yet."""
    known = np.flatnonzero(~np.isnan(served))
    if not len(known):
        return np.zeros(len(served))
    filled = np.interp(np.arange(len(served)), known, served[known])
    filled[: known[0]] = 0.0
    return np.asarray(filled, float)


def values_of(samples: Sequence[Sample], meter: str) -> Array:
    """Return one meter of all samples, NaN where it is not known."""
    return np.array([np.nan if (v := getattr(s, meter)) is None else v for s in samples], float)


def point_values(history: History, values: Array, resolution: float) -> tuple[Array, Array]:
    """Return a meter (a value a sample, NaN for unknown) at the points, and how much each proves (0 where unknown).

    What follows the load is taken out, and so is what was given back later.
    """
    known = ~np.isnan(values)
    life = history.life[known]
    requests = None if history.requests is None else history.requests[known]
    waiting = values_of(history.samples, "in_flight")[known]
    y = without_load(history.t[known], life, requests, values[known], waiting)
    proven = np.ones(len(y))
    for number in np.unique(life):
        members = np.flatnonzero(life == number)
        y[members], proven[members] = floor_of(y[members], resolution)
    everywhere, proof = np.full(len(values), np.nan), np.zeros(len(values))
    everywhere[known], proof[known] = np.where(proven > 0, y, np.nan), proven
    most = np.where(history.members >= 0, proof[history.members], 0.0).max(axis=1)
    return group_medians(everywhere, history.members), np.asarray(most, float)


def _grouped(life: Numbers) -> Numbers:
    """Group samples to points: the newest one each, older ones several, never across two lives."""
    older = max(0, len(life) - _SINGLE)
    size = max(1, -(-older // _TOGETHER))
    cuts = {*range(0, older, size), *range(older, len(life)), *(np.flatnonzero(np.diff(life)) + 1).tolist()}
    starts = sorted(cuts)
    stops = np.array([*starts[1:], len(life)])
    indexes = np.array(starts)[:, None] + np.arange(size)[None, :]
    return np.where(indexes < stops[:, None], indexes, -1)
