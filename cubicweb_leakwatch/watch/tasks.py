"""Which looping task leaks: what each was weighed to leave behind, laid beside the growth of the whole process."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.probe.sample import Sample
from cubicweb_leakwatch.watch.finding import ViewShare
from cubicweb_leakwatch.watch.meters import Meters
from cubicweb_leakwatch.watch.trend import Trend

Array = NDArray[np.float64]
_LEAST_STEPS = 5
_LEAST_SHARE = 0.1
_95 = 1.96
_WEIGHED_BY = (("blocks", "python_blocks"), ("malloc", "malloc_used"))


def tasks_of(meters: Meters, trend: Trend) -> tuple[ViewShare, ...]:
    """Return the looping tasks that leave memory behind, ``task NAME``, the one with the greatest share first.

    The median of what a run left, between two samples each: a collection in between is no task's doing.
    """
    samples = [sample for sample in meters.history.samples if sample.tasks and sample.t >= trend.since]
    growing = [(key, meters.by_name[name]) for key, name in _WEIGHED_BY if name in meters.by_name]
    growing = [(key, meter) for key, meter in growing if meter.grows and meter.trend.rate > 0]
    if not samples or not growing or trend.rate <= 0:
        return ()
    key, meter = max(growing, key=lambda item: item[1].trend.z)
    bytes_each = trend.rate / meter.trend.rate
    found = []
    for name in samples[-1].tasks or ():
        runs_per_s, left = _left(samples, name, key)
        if len(left) < _LEAST_STEPS:
            continue
        middle = float(np.median(left))
        margin = _95 * 1.2533 * float(np.std(left)) / np.sqrt(len(left))  # of a median
        share = min(1.0, middle * runs_per_s / meter.trend.rate)
        if share >= _LEAST_SHARE and middle > margin:
            low, each, high = (value * bytes_each for value in (middle - margin, middle, middle + margin))
            found.append(ViewShare(f"task {name}", each, share, float(low), float(high)))
    return tuple(sorted(found, key=lambda task: -task.share))


def _left(samples: Sequence[Sample], name: str, key: str) -> tuple[float, Array]:
    """Return a task's runs a second, and what a run left behind between each two samples in which it ran."""
    runs = seconds = 0.0
    left = []
    for before, now in pairwise(samples):
        more = _told(now, name)["runs"] - _told(before, name)["runs"]
        if before.pid != now.pid or more < 0:
            continue
        seconds += now.t - before.t
        runs += more
        if more:
            left.append((_told(now, name)[key] - _told(before, name)[key]) / more)
    return runs / max(seconds, 1e-9), np.array(left, float)


def _told(sample: Sample, name: str) -> Mapping[str, int]:
    return (sample.tasks or {}).get(name) or {"runs": 0, "blocks": 0, "malloc": 0}
