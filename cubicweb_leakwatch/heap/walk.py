"""Visit every object of the heap, in bulk: what the collector tracks, and the untracked objects that those reach.

To be used in a forked copy only: it allocates, and it must not meet objects that change under its hands. Whatever can
be done for many objects by one call in C is done so; a Python loop an object costs ten times as much.
"""

import gc
import sys
from array import array
from collections.abc import Iterator
from itertools import compress, filterfalse
from typing import Any

from cubicweb_leakwatch.heap.pins import Pins

# what sys.getrefcount says, called by map() over a list, of an object that only this list refers to
BIAS = next(map(sys.getrefcount, [object()]))


def own_objects(pins: Pins) -> list[object]:
    """Return the objects that exist because leakwatch looks, and are no part of the program."""
    mine: list[object] = [pins, pins.threads, pins.frames, pins.registered]
    for thread in pins.threads:
        mine += [thread, thread.owned]
    return mine


def tracked_by_type(own: list[object]) -> dict[int, list[object]]:
    """Return every tracked object but ``own``, in lists by the address of its type.

    Types are told apart by address: as dictionary keys they would run a metaclass's ``__hash__``. Objects that the
    program froze (``gc.freeze``) are thawed first; in the copy this changes nothing for anybody.
    """
    gc.unfreeze()
    objects = gc.get_objects()
    skip = set(map(id, own))
    skip.add(id(own))
    groups: dict[int, list[object]] = {}
    for found in objects:
        try:
            groups[id(type(found))].append(found)
        except KeyError:
            groups[id(type(found))] = [found]
    del objects
    for found in (own, *own):
        key = id(type(found))
        groups[key] = _less(groups.get(key, []), skip)
    return {key: group for key, group in groups.items() if group}


def _less(group: list[object], skip: set[int]) -> list[object]:
    return [found for found in group if id(found) not in skip]


class Untracked:
    """The untracked objects met so far: each is handed out once, in lists of one type, with its reference count."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._waiting: dict[int, tuple[list[object], array[int]]] = {}

    def know(self, objects: list[Any]) -> None:
        """Never hand these out: they are dealt with already (frames that run are untracked)."""
        self._seen.update(map(id, objects))

    def take(self, referents: list[object]) -> None:
        """Note the untracked ones among ``referents``; the list is emptied, for it would count as a reference.

        An object with a single reference cannot be met twice, so that it need not be remembered: most strings of a
        large heap are such, and the memory this walk needs stays small.
        """
        fresh = {id(found): found for found in filterfalse(gc.is_tracked, referents)}
        referents.clear()
        for known in self._seen.intersection(fresh):
            del fresh[known]
        counts = array("q", map(sys.getrefcount, fresh.values()))
        self._seen.update(compress(fresh, map((BIAS + 1).__lt__, counts)))
        for found, count in zip(fresh.values(), counts, strict=True):
            group = self._waiting.get(id(type(found)))
            if group is None:
                group = self._waiting[id(type(found))] = ([], array("q"))
            group[0].append(found)
            group[1].append(count - BIAS)

    def hand_out(self) -> Iterator[tuple[list[object], "array[int]"]]:
        """Yield lists of objects of one type and their reference counts, until nothing waits any more."""
        while self._waiting:
            _, group = self._waiting.popitem()
            yield group
