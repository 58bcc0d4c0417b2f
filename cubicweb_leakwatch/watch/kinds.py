"""Which kind of growth it is: the meter in use that explains what the resident memory does.

Python objects show in the collector's count, memory of untracked objects in the allocated blocks, a C extension's in
malloc's figures; when RSS grows and none of them does, the allocators hold holes.
"""

import dataclasses

import numpy as np

from cubicweb_leakwatch.watch.arithmetic import running_median
from cubicweb_leakwatch.watch.finding import Kind
from cubicweb_leakwatch.watch.meters import IN_USE, SURE, Meter, Meters
from cubicweb_leakwatch.watch.sentences import _
from cubicweb_leakwatch.watch.trend import Trend

KIB = 1024.0
# What one leaked unit may cost, in bytes of RSS, before a meter that hardly moves no longer explains the growth, and
# before one that clearly does.
_BYTES_PER_OBJECT = 8 * KIB
_BYTES_PER_LARGE_OBJECT = 256 * KIB
_BYTES_PER_BLOCK = 4 * KIB
_BYTES_PER_FD = 64 * KIB
_BYTES_PER_THREAD = 1024 * KIB
_OBJECTS_PER_FD = 40
_OBJECTS_PER_THREAD = 200
_MALLOC_SHARE, _MALLOC_MOST = 0.3, 0.7
_AT_MOST = {"gc_objects": _BYTES_PER_OBJECT, "python_blocks": _BYTES_PER_BLOCK, "malloc_used": 1.0}
_LEAST_COUNT = 8
# Memory of which fewer points are proven tells nothing.
_PROVEN_POINTS = 8
_LEAST_SHARE = 0.01
# What grows as the memory does grows in the memory's shape at such a share of its own rate at least.
_AS_FAST = 0.3
# Growth that was over within this share of the history is a start, not a plateau.
_START_SHARE = 0.15
# A start that made up more of the level than this was over sooner still.
_LARGE_START_LEVEL, _LARGE_START_SHARE = 0.2, 0.08
_LONGEST_START = 0.25
_STARTS_SHARE = 0.25  # of several lives, each of which started
# Growth is over where all but this share of it has happened, by medians of so many points.
_OVER, _CALM_POINTS = 0.05, 5
# A saturating growth of which more than this share is still to come has no end in sight yet.
_END_IN_SIGHT = 0.15
# Growth that ended matters from this share of the level on.
_ENDED_SHARE = 0.05
# and is gradual where sudden steps beside it did not do twice as much.
_BESIDE_JUMPS = 0.5
# RSS follows a meter that accounts for this share of its variance.
_EXPLAINED = 0.85
# That memory never grew gradually is ruled out below this probability.
_HARDLY = 0.05
COUNTED = {
    "threads": _("threads are started and do not end"),
    "fds": _("files or sockets are opened and not closed"),
    "garbage": _("gc.garbage grows"),
}
_USED_AGAIN = _("memory is used and given back again and again; RSS stays as high as that takes")
_NO_KIND = _("memory grows; nothing recorded tells the kind, and this is the most common")
_NO_BLOCKS = _(
    "memory from malloc grows, which may be Python's own strings and bytes: its blocks are not counted apart"
)
_NO_ALLOCATORS = _("RSS grows, tracked objects do not, and allocators are not recorded")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The kind, how sure, the meter that says it (its trend tells since when), and the reason in words.

    ``doubt`` is what the confidence is lowered by (a factor) because nothing recorded tells the kind: that something
    leaks may be much surer.
    """

    kind: Kind
    confidence: float
    meter: str
    why: str
    doubt: float = 1.0

    @property
    def settled(self) -> bool:
        """Whether it is sure enough to be said from few samples, or from one life alone."""
        return self.confidence >= 0.8 * self.doubt


def judge(meters: Meters) -> Verdict:
    """Return the kind of what these meters do."""
    found = _counted(meters) or _leak(meters) or _calm(meters)
    if found.kind == "fragmentation" and _within_teeth(meters) and _used_again(meters):
        return Verdict("steady", SURE, "rss", _USED_AGAIN)
    return found


def _within_teeth(meters: Meters) -> bool:
    """Whether memory goes on growing, if it does, by no more than it falls again and again."""
    memory = [meters.by_name[name] for name in ("rss", "held") if name in meters.by_name]
    return max((meter.trend.growth for meter in memory if meter.grows), default=0.0) <= meters.tooth("rss")


def _counted(meters: Meters) -> Verdict | None:
    """Threads, file descriptors and uncollectable objects are counted one by one: no inference is needed."""
    counted: tuple[tuple[str, Kind, float, float], ...] = (
        ("threads", "threads", _BYTES_PER_THREAD, _OBJECTS_PER_THREAD),
        ("fds", "file-descriptors", _BYTES_PER_FD, _OBJECTS_PER_FD),
        ("garbage", "uncollectable", _BYTES_PER_LARGE_OBJECT, float("inf")),
    )
    for name, kind, cost, objects in counted:
        meter = meters.by_name.get(name)
        if meter is None or meter.trend.growth < _LEAST_COUNT or not _counts_up(meter):
            continue
        if _cost(meters, "rss", meter) <= cost and _cost(meters, "gc_objects", meter) <= objects:
            return Verdict(kind, max(meter.trend.growing, meter.trend.weights["slowing"]), name, COUNTED[name])
    return None


def _counts_up(meter: Meter) -> bool:
    """Whether a count surely goes on rising; ``gc.garbage`` also when it slows down, for it is no cache that fills."""
    if meter.name == "garbage" and meter.material and meter.trend.weights["slowing"] >= SURE:
        return True
    return meter.grows and meter.trend.z >= 4


def _cost(meters: Meters, of: str, each: Meter) -> float:
    """Return how much another meter grows for each unit of one that grows; 0 when the other does not grow."""
    other = meters.by_name.get(of)
    if other is None or not other.grows:
        return 0.0
    return other.trend.rate / max(each.trend.rate, 1e-12)


def _leak(meters: Meters) -> Verdict | None:
    """Return the verdict when memory goes on growing: RSS says so, or two meters in use that agree."""
    by_name = meters.by_name
    if any(by_name[name].grows for name in ("rss", "held") if name in by_name):
        return _explained(meters)
    if by_name["rss"].known.sum() < _PROVEN_POINTS:
        return None  # memory itself may all be given back again
    in_use = [by_name[name] for name in IN_USE if name in by_name]
    sure = [m for m in in_use if m.grows and m.trend.growing >= 0.97 and m.trend.z >= 6]
    if len(sure) >= 2 or any(_rises_with(meters, meter) for meter in sure):
        return _explained(meters)
    if any(meter.grows and meter.trend.stepwise and _goes_with(by_name["rss"], meter) for meter in in_use):
        return _explained(meters)
    # malloc counts bytes: where so many of them grow for sure, RSS is only too restless to show it
    if any(m.name == "malloc_used" and m.trend.growth >= _ENDED_SHARE * by_name["rss"].level for m in sure):
        return _explained(meters)
    return None


def _rises_with(meters: Meters, meter: Meter) -> bool:
    """Whether RSS, too noisy to tell its own shape, rises as a meter in use does that surely grows."""
    rss = meters.by_name["rss"]
    if rss.trend.growing >= 0.3:
        return True
    along = meters.along(rss, meter)
    return rss.moved and along.growing > 0.5 and along.z >= 6


def _explained(meters: Meters) -> Verdict:
    """Return which meter in use explains growing memory."""
    by_name = meters.by_name
    growing = [by_name[name] for name in ("held", "rss") if name in by_name and by_name[name].grows]
    memory = growing[0] if growing else None
    objects, blocks, malloc = (by_name.get(name) for name in IN_USE)
    sure = max(
        by_name[name].trend.growing for name in ("rss", "held", *IN_USE) if name in by_name and by_name[name].grows
    )
    if objects and _explains(meters, objects, memory, _BYTES_PER_OBJECT, _BYTES_PER_LARGE_OBJECT):
        return Verdict("python-objects", sure, "gc_objects", _("objects tracked by the collector grow with the memory"))
    # Python's blocks come from its own arenas: where malloc accounts for most, they may grow beside it, as caches do
    most = malloc is not None and memory is not None and _malloc_explains(meters, malloc, memory, _MALLOC_MOST)
    if blocks and not most and _explains(meters, blocks, memory, _BYTES_PER_BLOCK, _BYTES_PER_BLOCK):
        return Verdict(
            "python-memory", sure, "python_blocks", _("allocated Python blocks grow, tracked objects do not")
        )
    if malloc and _malloc_explains(meters, malloc, memory):
        if not meters.counts_blocks:
            return Verdict("native", 0.6 * sure, "malloc_used", _NO_BLOCKS, 0.6)
        return Verdict("native", sure, "malloc_used", _("memory from malloc grows, Python objects and blocks do not"))
    if malloc and (blocks or objects):
        return Verdict("fragmentation", sure, "rss", _("RSS grows while nothing in use does"))
    return _unexplained(meters, sure)


def _explains(meters: Meters, meter: Meter, memory: Meter | None, cheap: float, dear: float) -> bool:
    """Whether a count grows enough, and with the memory, to stand for it.

    A count that clearly grows may stand for large objects. One that moves little is asked whether it moves in the
    shape the memory does; and each of its units must then cost no more than objects usually do.
    """
    rate = memory.trend.rate if memory else 0.0
    along = meters.along(meter, memory) if memory else meter.trend
    if meter.grows and meter.large and along.rate > _AS_FAST * meter.trend.rate:
        return meter.trend.rate > 0 and rate / meter.trend.rate <= dear
    moves = along.growing >= 0.95 and along.z >= 4 and along.growth >= _LEAST_SHARE * meter.level
    return moves and along.rate > 0 and rate / along.rate <= cheap


def _malloc_explains(meters: Meters, malloc: Meter, memory: Meter | None, share: float = _MALLOC_SHARE) -> bool:
    """Whether memory from malloc grows by a fair share of what memory does, by itself or in the memory's shape."""
    trend: Trend = malloc.trend
    if memory and trend.growing <= 0.5:
        trend = meters.along(malloc, memory)
    rate = memory.trend.rate if memory else 0.0
    return trend.growing > 0.5 and (trend.z > 3 or trend.stepwise) and trend.rate >= share * rate


def _unexplained(meters: Meters, sure: float) -> Verdict:
    """Say what is most likely when the meters that would tell are not recorded."""
    by_name = meters.by_name
    free = by_name.get("malloc_free")
    if free and free.grows and free.trend.rate > 0.5 * by_name["rss"].trend.rate:
        return Verdict("fragmentation", sure, "malloc_free", _("free memory inside malloc grows as RSS does"))
    if "gc_objects" not in by_name:
        return Verdict("python-objects", 0.6 * sure, "rss", _NO_KIND, 0.6)
    return Verdict("native", 0.7 * sure, "rss", _NO_ALLOCATORS, 0.7)


def _calm(meters: Meters) -> Verdict:
    """Return the verdict when nothing goes on growing for sure."""
    rss = meters.by_name["rss"]
    in_use = [meters.by_name[name] for name in IN_USE if name in meters.by_name]
    used = [meter for meter in in_use if _has_ended(meter)]
    ended = _ended(meters, max(used, key=lambda meter: meter.trend.growth / max(meter.level, 1.0))) if used else None
    if ended and ended.kind != "steady":
        return ended
    if in_use and _stayed(meters) and not any(_stands_for(meters, meter) for meter in in_use):
        return Verdict(
            "fragmentation", SURE, "rss", _("RSS went up and stayed, while nothing in use did: it is free memory")
        )
    if ended or _has_ended(rss):
        return ended or _ended(meters, rss)
    # it surely grew, to no end that is seen: what is likeliest is said, and how unsure it is
    if rss.material and rss.trend.growing > 0.5 and rss.trend.weights["flat"] + rss.trend.weights["step"] < _HARDLY:
        leak = _leak(meters.likelier_than(0.5))
        if leak is not None and leak.kind != "fragmentation":
            return leak
    doubt = rss.trend.growing if rss.material else 0.0
    return Verdict("steady", max(0.5, 1.0 - doubt), "rss", _("no growth that goes on"))


def _used_again(meters: Meters) -> bool:
    """Whether what RSS keeps is no free memory for good: a meter in use comes back to it, tooth after tooth."""
    rss = meters.by_name["rss"]
    kept = (max(rss.trend.growth, 0.0) + max(rss.trend.jumped, 0.0)) / max(rss.level, 1.0)
    return any(meters.tooth_share(name) >= max(kept, _ENDED_SHARE) for name in IN_USE if name in meters.by_name)


def _has_ended(meter: Meter) -> bool:
    """Whether a meter grew gradually, by an amount that matters, and does no more."""
    trend = meter.trend
    least = max(_ENDED_SHARE * meter.level, _BESIDE_JUMPS * trend.jumped)
    return meter.material and trend.growing < 0.5 and trend.growth >= least


def _ended(meters: Meters, meter: Meter) -> Verdict:
    """Tell warming up, a plateau and a start that is long over."""
    trend = meter.trend
    sure = 1.0 - trend.growing
    if trend.family == "slowing" or trend.left > _END_IN_SIGHT:
        return Verdict("warming-up", sure, meter.name, _("growth slows down, its end is not in sight yet"))
    if _over(meters, meter) <= _start_share(meters, meter):
        return Verdict("steady", sure, meter.name, _("memory grew at the start and has stayed since"))
    return Verdict("plateau", sure, meter.name, _("growth that came to an end"))


def _over(meters: Meters, meter: Meter) -> float:
    """Return at what share of the history the growth of a meter was over, sudden steps that came later included."""
    if meters.longest_life_share < 1:
        return meter.trend.end_share * meters.longest_life_share
    t, values = meters.trends.t[meter.known], meter.points[meter.known]
    calm = running_median(values, _CALM_POINTS)
    rise = float(np.median(calm[-_CALM_POINTS:]) - calm[0])
    below = np.flatnonzero(calm < calm[0] + rise - max(_OVER * rise, meter.swing, 2 * meter.trend.noise))
    if rise <= 0 or not len(below):
        return meter.trend.end_share
    return max(meter.trend.end_share, float(t[below[-1]] - t[0]) / max(float(np.ptp(t)), 1e-9))


def _start_share(meters: Meters, meter: Meter) -> float:
    """Return within what share of the history growth has to be over to be the start of a process."""
    if meters.longest_life_share < 1:
        return _STARTS_SHARE
    rss = meters.by_name["rss"]
    large = rss.trend.growth > _LARGE_START_LEVEL * rss.level
    share = _LARGE_START_SHARE if large else _START_SHARE
    # where what rises is given back, the first rise is no other than those after it, but for what stayed of it
    if meter.trend.growth > meters.tooth(meter.name):
        return share
    return max(share, min(_LONGEST_START, meters.longest_excursion_share))


def _stands_for(meters: Meters, meter: Meter) -> bool:
    """Whether what is in use went up in a step, or whenever RSS did, by enough: then what stayed is no free memory."""
    rss = meters.by_name["rss"]
    rose = max(rss.trend.growth, 0.0) + max(rss.trend.jumped, 0.0)
    if (meter.trend.growth + meter.trend.jumped) * _AT_MOST[meter.name] < _MALLOC_SHARE * rose:
        return False
    if meter.trend.jumped >= _ENDED_SHARE * meter.level:
        return True
    return meter.material and _goes_with(rss, meter)


def _goes_with(rss: Meter, meter: Meter) -> bool:
    """Whether RSS follows a meter in use for the most part."""
    known = rss.known & meter.known
    if known.sum() < _LEAST_COUNT or not np.ptp(meter.points[known]) or not np.ptp(rss.points[known]):
        return False
    return bool(np.corrcoef(rss.points[known], meter.points[known])[0, 1] ** 2 > _EXPLAINED)


def _stayed(meters: Meters) -> bool:
    """Whether RSS rose by an amount that matters: at once, or gradually after the start of the history."""
    rss = meters.by_name["rss"]
    trend, level, start = rss.trend, rss.level, _start_share(meters, rss)
    gradual = _has_ended(rss) and trend.end_share * meters.longest_life_share > start
    if gradual and meters.longest_life_share == 1:
        gradual = level - float(trend.fitted[int(start * len(trend.fitted))]) >= _ENDED_SHARE * level
    return gradual or trend.jumped >= _ENDED_SHARE * level
