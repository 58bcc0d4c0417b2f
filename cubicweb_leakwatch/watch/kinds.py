"""Which kind of growth it is: the meter in use that explains what the resident memory does.

Python objects show in the collector's count, memory of untracked objects in the allocated blocks, a C extension's in
malloc's figures; when RSS grows and none of them does, the allocators hold holes.
"""

import dataclasses
from collections.abc import Mapping

from cubicweb_leakwatch.watch.finding import Kind
from cubicweb_leakwatch.watch.meters import IN_USE, SURE, Meter

KIB = 1024.0
# What one leaked unit may cost, in bytes of RSS, before the meter no longer explains the growth.
_BYTES_PER_OBJECT = 4 * KIB
_BYTES_PER_LARGE_OBJECT = 256 * KIB
_BYTES_PER_BLOCK = 4 * KIB
_BYTES_PER_FD = 64 * KIB
_BYTES_PER_THREAD = 1024 * KIB
_OBJECTS_PER_FD = 40
_OBJECTS_PER_THREAD = 200
_MALLOC_SHARE = 0.3
_LEAST_COUNT = 8
# Growth that was over within this share of the history is a start, not a plateau.
_START_SHARE = 0.12
# A saturating growth of which more than this share is still to come has no end in sight yet.
_END_IN_SIGHT = 0.15


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The kind, how sure, and the meter that says it (its trend tells since when)."""

    kind: Kind
    confidence: float
    meter: str
    why: str


def judge(meters: Mapping[str, Meter]) -> Verdict:
    """Return the kind of what these meters do; ``rss`` must be among them."""
    return _counted(meters) or _leak(meters) or _calm(meters)


def _counted(meters: Mapping[str, Meter]) -> Verdict | None:
    """Threads, file descriptors and uncollectable objects are counted one by one: no inference is needed."""
    for name, kind, cost, objects in (
        ("threads", "threads", _BYTES_PER_THREAD, _OBJECTS_PER_THREAD),
        ("fds", "file-descriptors", _BYTES_PER_FD, _OBJECTS_PER_FD),
        ("garbage", "uncollectable", _BYTES_PER_LARGE_OBJECT, float("inf")),
    ):
        meter = meters.get(name)
        if meter is None or not meter.grows or meter.trend.growth < _LEAST_COUNT or meter.trend.z < 4:
            continue
        if _cost(meters, "rss", meter) <= cost and _cost(meters, "gc_objects", meter) <= objects:
            return Verdict(kind, meter.trend.growing, name, f"{name} grow")  # type: ignore[arg-type]
    return None


def _cost(meters: Mapping[str, Meter], of: str, each: Meter) -> float:
    """Return how much another meter grows for each unit of one that grows; 0 when the other does not grow."""
    other = meters.get(of)
    if other is None or not other.grows:
        return 0.0
    return other.trend.rate / max(each.trend.rate, 1e-12)


def _leak(meters: Mapping[str, Meter]) -> Verdict | None:
    """Return the verdict when memory goes on growing: RSS says so, or two meters in use that agree."""
    rss = meters["rss"]
    in_use = [meters[name] for name in IN_USE if name in meters]
    if rss.grows or ("held" in meters and meters["held"].grows):
        return _explained(meters)
    sure = [m for m in in_use if m.grows and m.trend.growing >= 0.97 and m.trend.z >= 6]
    if not sure or (rss.trend.weights["ending"] > SURE and len(sure) < 2):
        return None
    if len(sure) >= 2 or rss.trend.growing >= 0.3:
        return _explained(meters)
    return None


def _explained(meters: Mapping[str, Meter]) -> Verdict:
    """Return which meter in use explains growing memory."""
    growing = [meters[name].trend for name in ("held", "rss") if name in meters and meters[name].grows]
    rate = growing[0].rate if growing else 0.0
    objects, blocks, malloc = (meters.get(name) for name in IN_USE)
    sure = max(meters[name].trend.growing for name in ("rss", "held", *IN_USE) if name in meters and meters[name].grows)
    if objects and _explains(objects, rate, _BYTES_PER_OBJECT, _BYTES_PER_LARGE_OBJECT):
        return Verdict("python-objects", sure, "gc_objects", "objects tracked by the collector grow with the memory")
    if blocks and _explains(blocks, rate, _BYTES_PER_BLOCK, _BYTES_PER_BLOCK):
        return Verdict("python-memory", sure, "python_blocks", "allocated Python blocks grow, tracked objects do not")
    if malloc and malloc.trend.growing > 0.5 and malloc.trend.rate >= _MALLOC_SHARE * rate and malloc.trend.z > 3:
        return Verdict("native", sure, "malloc_used", "memory from malloc grows, Python objects and blocks do not")
    if malloc and (blocks or objects):
        return Verdict("fragmentation", sure, "rss", "RSS grows while nothing in use does")
    return _unexplained(meters, sure)


def _explains(meter: Meter, rate: float, cheap: float, dear: float) -> bool:
    """Whether a count grows enough to stand for memory growing at ``rate`` bytes a second."""
    trend = meter.trend
    if trend.growing < 0.5 or trend.z < 3 or trend.rate <= 0:
        return False
    each = rate / trend.rate
    if meter.large:
        return each <= dear
    return meter.grows and each <= cheap


def _unexplained(meters: Mapping[str, Meter], sure: float) -> Verdict:
    """Say what is most likely when the meters that would tell are not recorded."""
    free = meters.get("malloc_free")
    rss = meters["rss"]
    if free and free.grows and free.trend.rate > 0.5 * rss.trend.rate:
        return Verdict("fragmentation", sure, "malloc_free", "free memory inside malloc grows as RSS does")
    if "gc_objects" not in meters:
        return Verdict("python-objects", 0.6 * sure, "rss", "nothing recorded tells the kind; this is the most common")
    return Verdict("native", 0.7 * sure, "rss", "RSS grows, tracked objects do not, and allocators are not recorded")


def _calm(meters: Mapping[str, Meter]) -> Verdict:
    """Return the verdict when nothing goes on growing for sure."""
    rss = meters["rss"]
    doubt = max([rss.trend.growing if rss.material else 0.0])
    ended = [m for m in meters.values() if m.name in ("rss", *IN_USE) and m.moved and m.trend.growing < 0.5]
    used = [m for m in ended if m.name != "rss" and m.trend.growth >= 0.05 * m.level]
    if rss in ended and rss.trend.growth >= 0.05 * rss.level:
        if used or not any(name in meters for name in IN_USE):
            return _ended(rss, max(used or [rss], key=lambda m: m.trend.growth / max(m.level, 1.0)))
        return _held(rss)
    if used and not rss.trend.growing > 0.5:
        return _ended(rss, max(used, key=lambda m: m.trend.growth / m.level))
    return Verdict("steady", max(0.5, 1.0 - doubt), "rss", "no growth that goes on")


def _ended(rss: Meter, meter: Meter) -> Verdict:
    """Tell warming up, a plateau and a start that is long over."""
    trend = meter.trend
    sure = trend.weights["ending"] + trend.weights["slowing"] + trend.weights["flat"] + trend.weights["step"]
    if trend.family == "slowing" or trend.left > _END_IN_SIGHT:
        return Verdict("warming-up", sure, meter.name, "growth slows down, its end is not in sight yet")
    if trend.family == "step" or trend.end_share <= _START_SHARE:
        return Verdict("steady", sure, meter.name, "memory grew once, at the start or in a step, and has stayed since")
    return Verdict("plateau", sure, meter.name, "growth that came to an end")


def _held(rss: Meter) -> Verdict:
    """RSS grew and stayed while nothing in use did: one high-water mark, or holes that added up."""
    trend = rss.trend
    if trend.family == "step" or trend.end_share <= 0.3:
        return Verdict(
            "steady", 0.8, "rss", "a high-water mark: memory once used, free since, and kept by the allocator"
        )
    return Verdict("fragmentation", 0.8, "rss", "RSS grew while nothing in use did")
