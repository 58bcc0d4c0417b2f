"""What each meter of a process does, judged for itself: its trend, and whether it moves enough to matter."""

import copy
import dataclasses

import numpy as np
from numpy.typing import NDArray

from cubicweb_leakwatch.watch.arithmetic import spread_of
from cubicweb_leakwatch.watch.givenback import longest_excursion, tooth_of
from cubicweb_leakwatch.watch.series import History, point_values, values_of
from cubicweb_leakwatch.watch.trend import Trend, Trends

Array = NDArray[np.float64]
# The least deviation a meter's values can have: pages come and go, the interpreter keeps free lists.
RESOLUTIONS = {
    "rss": 128 * 1024.0,
    "python_blocks": 100.0,
    "malloc_used": 64 * 1024.0,
    "malloc_free": 64 * 1024.0,
    "gc_objects": 100.0,
    "garbage": 1.0,
    "fds": 0.7,
    "threads": 0.7,
}
# Types the collector does not track: their counts are no sign of objects that hold one another.
UNTRACKED = frozenset(f"builtins.{name}" for name in ("str", "bytes", "int", "float", "bytearray", "complex", "bool"))
IN_USE = ("gc_objects", "python_blocks", "malloc_used")
# Growth matters when it is this share of the level, or so many times what the meter goes up and down anyway.
_LARGE_SHARE = 0.03
_SWINGS = 3.0
# and when it is larger than what came and went before growth began.
_WANDERINGS = 1.3
# A leak is said from this probability on. The shapes are weighed so carefully that a stricter limit gains nothing.
SURE = 0.7
# PYTHONMALLOC=malloc leaves next to no blocks to count.
_LEAST_BLOCKS = 1000
# A meter known for fewer of the samples is left alone: type counts are taken less often than samples.
_KNOWN_SHARE = 0.05
_LEAST_KNOWN = 10


@dataclasses.dataclass(frozen=True)
class Meter:
    """One meter's trend; ``level`` is its value now and ``swing`` the deviation of its samples from the trend.

    ``points`` are its values on the grid of the history, ``proof`` how much each of them proves (0 where not known).
    """

    name: str
    trend: Trend
    level: float
    swing: float
    points: Array
    proof: Array
    sure: float = SURE

    @property
    def known(self) -> NDArray[np.bool_]:
        """At which points its value is known."""
        return self.proof > 0

    @property
    def large(self) -> bool:
        """Whether it grew by a fair share of what it is."""
        return self.trend.growth >= _LARGE_SHARE * max(self.level, 1.0)

    @property
    def material(self) -> bool:
        """Whether it grew enough to matter, if it grew."""
        if self.trend.growth < _WANDERINGS * self.trend.wandered:
            return False
        swing = max(self.swing, self.trend.noise)
        return self.trend.growth >= (swing if self.large else _SWINGS * swing)

    @property
    def grows(self) -> bool:
        """Whether it surely goes on growing, by an amount that matters."""
        return self.trend.growing >= self.sure and self.material

    @property
    def moved(self) -> bool:
        """Whether it grew at all over the history, for ever or to an end, by an amount that matters."""
        weights = self.trend.weights
        return self.material and self.trend.growing + weights["ending"] + weights["slowing"] + weights["step"] > 0.5


class Meters:
    """All meters of one history by name; ``rss`` always is among them.

    ``held`` is RSS without what malloc keeps free, when that is known: the memory that cannot be used again.
    """

    def __init__(self, history: History) -> None:
        self.history = history
        self.trends = Trends(history)
        self.by_name: dict[str, Meter] = {}
        columns = {name: values_of(history.samples, name) for name in RESOLUTIONS}
        self.counts_malloc = bool(np.nanmax(columns["malloc_used"], initial=-1) != 0)
        if not self.counts_malloc:
            columns["malloc_used"][:] = columns["malloc_free"][:] = np.nan
        columns["held"] = columns["rss"] - columns["malloc_free"]
        # each request that is being answered, or waits for it, has a connection of its own
        columns["fds"] = columns["fds"] - np.nan_to_num(values_of(history.samples, "in_flight"))
        if np.isnan(columns["gc_objects"]).all():
            columns["gc_objects"] = _counted_by_type(history)
        self.counts_blocks = bool(np.nanmax(columns["python_blocks"], initial=0) >= _LEAST_BLOCKS)
        for name, values in columns.items():
            known = ~np.isnan(values)
            if known.sum() >= max(_LEAST_KNOWN, _KNOWN_SHARE * len(known)) and (
                name != "python_blocks" or self.counts_blocks
            ):
                self.by_name[name] = self._judged(name, values)

    def _judged(self, name: str, values: Array) -> Meter:
        """Return what a series of one value a sample does (NaN for unknown)."""
        least = RESOLUTIONS.get(name, RESOLUTIONS["rss"])
        points, proof = point_values(self.history, values, least)
        trend = self.trends.fit(points, proof, least)
        measured = values[~np.isnan(values)]
        level = float(np.median(measured[-max(5, len(values) // 50) :]))
        return Meter(name, trend, level, self._swing(values, trend), points, proof)

    def _swing(self, values: Array, trend: Trend) -> float:
        """Return how far samples usually are from the trend, robustly, as a deviation."""
        off = values - np.interp(self.history.t, self.trends.t, trend.fitted)
        return spread_of(off[~np.isnan(off)])

    def likelier_than(self, sure: float) -> "Meters":
        """Return the same meters, of which each grows that is likelier than ``sure`` to."""
        others = copy.copy(self)
        others.by_name = {name: dataclasses.replace(meter, sure=sure) for name, meter in self.by_name.items()}
        return others

    @property
    def memory(self) -> Meter:
        """The meter that says best how fast memory grows: what is held when that is the calmer one, else RSS."""
        rss, held = self.by_name["rss"], self.by_name.get("held")
        return held if held is not None and held.trend.noise <= 1.1 * rss.trend.noise else rss

    @property
    def longest_life_share(self) -> float:
        """The longest life's share of all the time lived."""
        lives = [
            float(np.ptp(self.history.age[self.history.life == number])) for number in np.unique(self.history.life)
        ]
        return max(lives) / max(sum(lives), 1e-9)

    @property
    def longest_excursion_share(self) -> float:
        """The share of the history that the longest rise of RSS took where it rises and falls most of the time."""
        return longest_excursion(self.history.t, values_of(self.history.samples, "rss"), RESOLUTIONS["rss"])

    def tooth(self, name: str) -> float:
        """Return how much a meter that rises and falls again and again falls by; 0.0 for any other."""
        return tooth_of(self._measured(name), RESOLUTIONS[name])

    def tooth_share(self, name: str) -> float:
        """Return the same as a share of the meter's highest value."""
        return self.tooth(name) / max(float(self._measured(name).max(initial=0.0)), 1.0)

    def _measured(self, name: str) -> Array:
        values = values_of(self.history.samples, name)
        return values[~np.isnan(values)]

    def along(self, meter: Meter, memory: Meter) -> Trend:
        """Return the trend of a meter if its shape is that of the memory, which goes on growing."""
        likelihoods = memory.trend.log_likelihoods
        if not len(likelihoods):
            return meter.trend
        going_on = np.where(self.trends.shapes.goes_on, likelihoods, -np.inf)
        return self.trends.fit(meter.points, meter.proof, RESOLUTIONS[meter.name], going_on)

    def memory_trend(self, explained_by: str) -> Trend:
        """Return how memory grows, in bytes, given that a meter in use explains it: the shape is one for both.

        The meter in use is calmer than RSS, so it tells when growth began and whether it was preceded by a warm-up;
        RSS only has to say how many bytes that is.
        """
        memory, meter = self.memory, self.by_name[explained_by]
        if meter.name in ("rss", "held") or not len(meter.trend.log_likelihoods) or not meter.trend.growing > 0.5:
            return memory.trend
        joint = self.trends.fit(memory.points, memory.proof, RESOLUTIONS["rss"], meter.trend.log_likelihoods)
        likely = joint.growing > 0.5 or memory.trend.growing <= 0.5
        if likely and joint.rate > 0:
            return joint
        # malloc counts bytes as well: where RSS is too restless to say how many, it does
        return meter.trend if meter.name == "malloc_used" and memory.trend.rate <= 0 else memory.trend


def _counted_by_type(history: History) -> Array:
    """Return how many tracked objects the recorded types come to, for recorders that keep the counts of types alone."""
    names = set.intersection(*[set(sample.types) for sample in history.samples if sample.types] or [set()])
    kept = names - UNTRACKED
    if not kept:
        return np.full(len(history.samples), np.nan)
    return np.array([np.nan if not s.types else sum(s.types[name] for name in kept) for s in history.samples], float)
