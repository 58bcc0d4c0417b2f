"""The scales of a chart: round steps for memory and for time, and where a value lies between two pixels."""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cubicweb_leakwatch.watch.units import MIB

_TIME_STEPS = (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000)
"""Seconds between two marks of a time axis, those that a clock or a calendar has."""


@dataclass(frozen=True)
class Scale:
    """Maps values between ``low`` and ``high`` to pixels between ``start`` and ``end``."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``, rounded to a tenth, kept inside the scale."""
        span = self.high - self.low
        share = (value - self.low) / span if span > 0 else 0.5
        return round(self.start + min(1.0, max(0.0, share)) * (self.end - self.start), 1)

    def all(self, values: Sequence[float]) -> list[float]:
        """Return the pixels of many values, not rounded: what a chart of fifty lines spends its time on."""
        span, low, high, start = self.high - self.low, self.low, self.high, self.start
        if span <= 0:
            return [self(value) for value in values]
        if values and (min(values) < low or max(values) > high):
            values = [min(high, max(low, value)) for value in values]
        factor = (self.end - start) / span
        return [start + (value - low) * factor for value in values]


def memory_ticks(highest: float, wanted: int = 5) -> list[float]:
    """Return round sizes in bytes from 0 to at least ``highest``, about ``wanted`` steps apart."""
    top = max(highest, MIB) / MIB
    step = _round_step(top / wanted)
    return [index * step * MIB for index in range(math.ceil(top / step) + 1)]


def _round_step(raw: float) -> float:
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)


def time_ticks(start: float, end: float, wanted: int = 6, day: str = "%m-%d") -> Iterator[tuple[float, str]]:
    """Give round local times between ``start`` and ``end`` (Unix seconds) with their label; ``day`` as for strftime."""
    span = max(end - start, 1.0)
    step = next((s for s in _TIME_STEPS if s >= span / wanted), _TIME_STEPS[-1])
    offset = time.localtime(start).tm_gmtoff or 0  # days begin at local midnight, not at that of Greenwich
    moment = math.ceil((start + offset) / step) * step - offset
    while moment <= end:
        yield moment, time.strftime(_label_format(step, day), time.localtime(moment))
        moment += step


def _label_format(step: int, day: str) -> str:
    if step < 60:
        return "%H:%M:%S"
    return "%H:%M" if step < 86400 else day
