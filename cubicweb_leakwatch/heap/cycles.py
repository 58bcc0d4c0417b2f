"""Cycles that hold objects with a finalizer: in ``gc.garbage``, in trash that waits for the collector, and alive.

*Set aside* before cycles are looked for: modules and their dictionaries, classes, functions and methods of the
interpreter, frames and code. They tie every object to every other (instance → class → module → everything), so that
with them the whole heap is one component. In the reachable part, *hubs* are set aside too: where one component holds
several objects with finalizers, whatever lies on the shortest way from a root to two or more of them (the
registry that keeps them all, and that they point back to) is what they share, not what each cycle is made of.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cubicweb_leakwatch.heap.graph import Bools, HeapGraph, Ints
from cubicweb_leakwatch.heap.reach import Reach
from cubicweb_leakwatch.heap.search import Part, induce, refers_to_itself, spread, strong_components

_ASIDE = {
    "builtins.module",
    "builtins.type",
    "builtins.function",
    "builtins.builtin_function_or_method",
    "builtins.method_descriptor",
    "builtins.wrapper_descriptor",
    "builtins.getset_descriptor",
    "builtins.member_descriptor",
    "builtins.frame",
    "builtins.code",
}
_MOST_ROUNDS = 4


@dataclass(frozen=True)
class Cycle:
    """One strongly connected component: its rows, and those among them (or hanging off it, if dead) that finalize."""

    rows: Ints
    finalizers: Ints
    reachable: bool


def set_aside(graph: HeapGraph) -> Bools:
    """Return which rows tie everything to everything."""
    aside = graph.of_types([info.name in _ASIDE or "builtins.type" in info.bases for info in graph.types])
    modules = graph.of_types(["builtins.module" in (info.name, *info.bases) for info in graph.types])
    for row in np.nonzero(modules)[0].tolist():
        for target in graph.references(row).tolist():
            aside[target] |= graph.type_name(target) == "builtins.dict"
    aside |= modules
    aside[graph.count] = True
    return aside


def find_cycles(graph: HeapGraph, reach: Reach) -> list[Cycle]:
    """Return the dead cycles, and the live ones that hold an object with a finalizer."""
    finalizers = graph.of_types([info.finalizer for info in graph.types])
    aside = set_aside(graph)
    dead = _dead_cycles(graph, reach.trash() & ~aside, finalizers)
    return [*dead, *_live_cycles(graph, reach, ~reach.trash() & ~aside, finalizers)]


def _components(part: Part) -> Iterator[Ints]:
    """Yield the positions of each component of two or more, and of each object that refers to itself."""
    labels = strong_components(part)
    sizes = np.bincount(labels, minlength=1)
    cyclic = (sizes[labels] > 1) | refers_to_itself(part)
    positions = np.nonzero(cyclic)[0]
    positions = positions[np.argsort(labels[positions], kind="stable")]
    borders = np.nonzero(np.diff(labels[positions]))[0] + 1
    yield from np.split(positions.astype(np.int32), borders) if len(positions) else ()


def _dead_cycles(graph: HeapGraph, keep: Bools, finalizers: Bools) -> Iterator[Cycle]:
    part = induce(graph, keep)
    cycles = [part.rows[positions] for positions in _components(part)]
    hanging = _hanging(part, cycles, finalizers)
    for number, rows in enumerate(cycles):
        yield Cycle(rows, np.concatenate([rows[finalizers[rows]], np.array(hanging[number], np.int32)]), False)


def _hanging(part: Part, cycles: list[Ints], finalizers: Bools) -> dict[int, list[int]]:
    """Return, by the number of a dead cycle, the objects with finalizers that are no part of it but die with it."""
    if not cycles:
        return defaultdict(list)
    place = {int(row): position for position, row in enumerate(part.rows)}
    owner = {place[int(row)]: number for number, rows in enumerate(cycles) for row in rows}
    order, parents = spread(part, np.array(sorted(owner), np.int32))
    found: dict[int, list[int]] = defaultdict(list)
    for position in order.tolist():
        if position in owner:
            continue
        owner[position] = owner[int(parents[position])]
        if finalizers[part.rows[position]]:
            found[owner[position]].append(int(part.rows[position]))
    return found


def _live_cycles(graph: HeapGraph, reach: Reach, keep: Bools, finalizers: Bools) -> Iterator[Cycle]:
    """Look only at what the objects with finalizers lead to; split components along hubs until no more come apart."""
    keep = _led_to(graph, keep, finalizers)
    for round_ in range(_MOST_ROUNDS):
        hubs = np.zeros(len(keep), bool)
        part = induce(graph, keep)
        for positions in _components(part):
            rows = part.rows[positions]
            own = rows[finalizers[rows]]
            if len(own) == 0:
                continue
            shared = _shared_holders(reach, rows, own) if len(own) > 1 and round_ < _MOST_ROUNDS - 1 else []
            if shared:
                hubs[shared] = True
                continue
            yield Cycle(rows, own, True)
            hubs[rows] = True  # done with
        if not hubs.any():
            return
        keep &= ~hubs


def _led_to(graph: HeapGraph, keep: Bools, finalizers: Bools) -> Bools:
    part = induce(graph, keep)
    order, _ = spread(part, np.nonzero(finalizers[part.rows])[0].astype(np.int32))
    found = np.zeros(len(keep), bool)
    found[part.rows[order]] = True
    return found


def _shared_holders(reach: Reach, rows: Ints, finalizing: Ints) -> list[int]:
    """Return the members of a component on the shortest ways to two or more of its objects with finalizers."""
    members = set(rows.tolist())
    passed: Counter[int] = Counter()
    for row in finalizing.tolist():
        above = int(reach.parent[row])
        while above >= 0:
            passed[above] += 1
            above = int(reach.parent[above])
    ends = set(finalizing.tolist())
    return [row for row, times in passed.items() if times > 1 and row in members and row not in ends]
