"""Which recorded snapshots of one process to keep: fine for days, one an hour for months, one a day for years.

What is thinned is merged, not dropped: the mean stays as the value, the lowest and the highest beside it, so that a
peak is still seen on a chart of last year. Give the times of one process life at a time, so that nothing is merged
across a restart. Nothing but the standard library is imported.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

from cubicweb_leakwatch.errors import ConfigurationError
from cubicweb_leakwatch.watch.units import parse_duration

HOUR_S = 3600.0
DAY_S = 86400.0
_LEVELS = ("fine", "hourly", "daily")


@dataclasses.dataclass(frozen=True)
class Keep:
    """How old a snapshot may get, in seconds, as it is, as one an hour, as one a day; past ``daily_s`` it goes."""

    fine_s: float
    hourly_s: float
    daily_s: float


@dataclasses.dataclass(frozen=True)
class Merge:
    """Snapshots (``indexes`` into the times given, at least two) of one hour or day that become one."""

    start: float
    length_s: float
    indexes: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ThinningPlan:
    """What to do: ``delete`` holds the indexes of snapshots that are too old for any level."""

    delete: tuple[int, ...]
    merges: tuple[Merge, ...]


@dataclasses.dataclass(frozen=True)
class Spread:
    """A merged number: mean, lowest and highest of ``count`` recorded ones."""

    mean: float
    low: float
    high: float
    count: int = 1


def parse_keep(text: str) -> Keep:
    """Return the levels of ``fine=7d,hourly=90d,daily=2y``; a level left out lasts no longer than the one before it.

    Raises ConfigurationError for an unknown or repeated level, a bad duration, or a level shorter than a finer one.
    """
    given: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        level, equals, duration = (piece.strip() for piece in part.partition("="))
        if not equals or level not in _LEVELS or level in given:
            raise ConfigurationError(
                f"{part!r} does not say how long to keep", "write for example fine=7d,hourly=90d,daily=2y"
            )
        given[level] = parse_duration(duration)
    fine = given.get("fine", 0.0)
    hourly = given.get("hourly", fine)
    daily = given.get("daily", hourly)
    if daily <= 0 or not fine <= hourly <= daily:
        raise ConfigurationError(
            f"{text!r} keeps coarse snapshots for a shorter time than fine ones",
            "use rising durations: fine=7d,hourly=90d,daily=2y",
        )
    return Keep(fine, hourly, daily)


def thin(times: Sequence[float], now: float, keep: Keep) -> ThinningPlan:
    """Say which snapshots taken at ``times`` (unix seconds, any order) to delete and which to merge.

    An hour or day is merged only once all of it is old enough, so each is merged once and a second run does nothing.
    """
    delete = tuple(index for index, t in enumerate(times) if t < now - keep.daily_s)
    buckets: dict[tuple[float, float], list[int]] = {}
    for index, t in enumerate(times):
        length = _bucket_length(t, now, keep)
        if length:
            buckets.setdefault((math.floor(t / length) * length, length), []).append(index)
    merges = (Merge(start, length, tuple(indexes)) for (start, length), indexes in buckets.items() if len(indexes) > 1)
    return ThinningPlan(delete, tuple(sorted(merges, key=lambda merge: merge.start)))


def _bucket_length(t: float, now: float, keep: Keep) -> float:
    """Return the seconds of the bucket a snapshot of time ``t`` belongs to; 0 when it stays as it is or is deleted."""
    if t < now - keep.daily_s:
        return 0.0
    if (math.floor(t / DAY_S) + 1) * DAY_S <= now - keep.hourly_s:
        return DAY_S
    return HOUR_S if (math.floor(t / HOUR_S) + 1) * HOUR_S <= now - keep.fine_s else 0.0


def spread(values: Iterable[Spread | float | None]) -> Spread | None:
    """Return mean, lowest and highest of values that may be merged ones themselves; None when none is known."""
    known = [
        value if isinstance(value, Spread) else Spread(value, value, value) for value in values if value is not None
    ]
    if not known:
        return None
    count = sum(value.count for value in known)
    mean = sum(value.mean * value.count for value in known) / count
    return Spread(mean, min(value.low for value in known), max(value.high for value in known), count)
