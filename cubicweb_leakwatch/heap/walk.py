"""Visit every object of the heap, in bulk: what the collector tracks, and the untracked objects that those reach.

To be used in a forked copy only: it allocates, and it must not meet objects that change under its hands. Whatever can
be done for many objects by one call in C is done so; a Python loop an object costs ten times as much.
"""

import gc
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress, filterfalse, repeat
from operator import eq, lt, not_
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
    for kind, found in zip(map(id, map(type, objects)), objects, strict=True):
        try:
            groups[kind].append(found)
        except KeyError:
            groups[kind] = [found]
    del objects
    for kind in {id(type(found)) for found in (own, *own)}:
        groups[kind] = _less(groups.get(kind, []), skip)
    return {key: group for key, group in groups.items() if group}


def _less(group: list[object], skip: set[int]) -> list[object]:
    return list(compress(group, map(not_, map(skip.__contains__, map(id, group)))))


def by_type(objects: list[Any]) -> Iterable[tuple[int, Sequence[bool] | None]]:
    """Return for each type among ``objects`` its address and which of them are of it (None: all)."""
    kinds = list(map(id, map(type, objects)))
    distinct = set(kinds)
    if len(distinct) == 1:
        return [(kinds[0], None)]
    return [(kind, list(map(eq, kinds, repeat(kind)))) for kind in distinct]


class Untracked:
    """The untracked objects met so far: each is handed out once, in lists of one type, with its reference count."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._waiting: dict[int, tuple[list[object], array[int]]] = {}

    def know(self, objects: list[Any]) -> None:
        """Never hand these out: they are dealt with already (frames that run are untracked)."""
        self._seen.update(map(id, objects))

    def take(self, referents: list[Any]) -> None:
        """Note the untracked ones among ``referents``; the list is emptied, for it would count as a reference.

        An object with a single reference cannot be met twice, so that it need not be remembered: most strings of a
        large heap are such, and the memory this walk needs stays small.
        """
        found = list(filterfalse(gc.is_tracked, referents))
        referents.clear()
        counts = list(map(sys.getrefcount, found))  # each of several occurrences here counts as one more
        several = list(compress(found, map(lt, repeat(BIAS + 1), counts)))
        if several:
            found = list(compress(found, map(eq, counts, repeat(BIAS + 1))))
        self._wait(found, array("q", [1]) * len(found))
        del found
        if several:
            self._take_shared(several)

    def _take_shared(self, found: list[Any]) -> None:
        new = list(compress(found, map(not_, map(self._seen.__contains__, map(id, found)))))
        found.clear()
        fresh = dict(zip(map(id, new), new, strict=True))
        del new
        counts = array("q", map(sys.getrefcount, fresh.values()))
        self._seen.update(fresh)
        self._wait(list(fresh.values()), array("q", [count - BIAS for count in counts]))

    def _wait(self, found: list[Any], counts: "array[int]") -> None:
        for kind, chosen in by_type(found) if found else ():
            objects, numbers = self._waiting.setdefault(kind, ([], array("q")))
            objects += found if chosen is None else compress(found, chosen)
            numbers.extend(counts if chosen is None else array("q", compress(counts, chosen)))

    def hand_out(self) -> Iterator[tuple[list[object], "array[int]"]]:
        """Yield lists of objects of one type and their reference counts, until nothing waits any more."""
        while self._waiting:
            _, group = self._waiting.popitem()
            yield group
