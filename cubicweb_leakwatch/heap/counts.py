"""Count the objects of this process by type, in a forked copy."""

import gc
import time
from dataclasses import dataclass
from itertools import chain
from types import CodeType
from typing import Any

from cubicweb_leakwatch.heap.forked import run_with_pins
from cubicweb_leakwatch.heap.pins import Pins
from cubicweb_leakwatch.heap.sizes import shallow_sizes
from cubicweb_leakwatch.heap.typenames import mro, type_name
from cubicweb_leakwatch.heap.walk import Untracked, own_objects, tracked_by_type


@dataclass(frozen=True)
class TypeCounts:
    """Objects by type name. ``bytes`` are shallow, of whatever was counted; times in milliseconds and Unix seconds.

    ``everything`` also has the untracked objects that the tracked ones reach, or is None when that was not asked for.
    """

    tracked: dict[str, int]
    everything: dict[str, int] | None
    bytes: dict[str, int]
    gc_objects: int
    garbage: int
    pause_ms: float
    elapsed_ms: float
    taken_at: float


def take_counts(*, untracked: bool = False, time_limit_s: float = 60.0) -> TypeCounts:
    """Count the tracked objects, and with ``untracked`` also strings, numbers and the like that they reach.

    Raises CopyRefused or CopyFailed.
    """
    taken_at = time.time()
    result = run_with_pins(lambda pins: _count(pins, untracked), time_limit_s=time_limit_s)
    return TypeCounts(**result.value, pause_ms=result.pause_ms, elapsed_ms=result.elapsed_ms, taken_at=taken_at)


class _Tally:
    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.bytes: dict[str, int] = {}

    def add(self, group: list[Any]) -> None:
        tp = type(group[0])
        name = type_name(tp)
        self.counts[name] = self.counts.get(name, 0) + len(group)
        self.bytes[name] = self.bytes.get(name, 0) + sum(shallow_sizes(tp, group))


def _count(pins: Pins, untracked: bool) -> dict[str, Any]:
    """Do the counting, in the copy."""
    groups = tracked_by_type(own_objects(pins))
    garbage = len(gc.garbage)
    tally = _Tally()
    for group in groups.values():
        tally.add(group)
    tracked = dict(tally.counts)
    if untracked:
        _count_untracked(groups, tally)
    return {
        "tracked": tracked,
        "everything": tally.counts if untracked else None,
        "bytes": tally.bytes,
        "gc_objects": sum(tracked.values()),
        "garbage": garbage,
    }


def _count_untracked(groups: dict[int, list[object]], tally: _Tally) -> None:
    met = Untracked()
    while groups:
        _take_referents(met, groups.popitem()[1])
    for group, _ in met.hand_out():
        tally.add(group)
        _take_referents(met, group)


def _take_referents(met: Untracked, group: list[Any]) -> None:
    """Note what objects of one type refer to; the collector does not show a mapping's keys and a code's constants."""
    tp = type(group[0])
    for start in range(0, len(group), 20_000):
        part = group[start : start + 20_000]
        referents = gc.get_referents(*part)
        if any(base is dict for base in mro(tp)):
            referents.extend(chain.from_iterable(map(dict.keys, part)))
        elif tp is CodeType:
            referents.extend(chain.from_iterable((code.co_consts, code.co_names) for code in part))
        del part
        met.take(referents)
