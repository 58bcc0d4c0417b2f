"""Group cycles by shape, and describe each shape: members, sizes, the way round, what holds them."""

from collections import Counter, defaultdict, deque
from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.cycles import Cycle
from cubicweb_leakwatch.heap.graph import HeapGraph, Ints
from cubicweb_leakwatch.heap.reach import Reach
from cubicweb_leakwatch.heap.words import Sentence, links, path_of

_EXAMINED = 200  # cycles of one shape whose holder is looked for
_Shape = tuple[bool, frozenset[str], frozenset[str]]


def describe_cycles(graph: HeapGraph, reach: Reach, cycles: list[Cycle]) -> list[dict[str, Any]]:
    """Return one description a shape: those with finalizers first, then by size.

    Two cycles have the same shape when the same types take part and the same types finalize. Objects, bytes and the
    counts of types are sums over all cycles of the shape.
    """
    shapes: dict[_Shape, list[Cycle]] = defaultdict(list)
    for cycle in cycles:
        shapes[_shape(graph, cycle)].append(cycle)
    found = [_describe(graph, reach, members) for members in shapes.values()]
    return sorted(
        found, key=lambda shape: (not shape["finalizers"], -shape["count"] * bool(shape["finalizers"]), -shape["bytes"])
    )


def _shape(graph: HeapGraph, cycle: Cycle) -> _Shape:
    names = frozenset(graph.types[number].name for number in np.unique(graph.type_of[cycle.rows]).tolist())
    finalizing = frozenset(graph.types[number].name for number in np.unique(graph.type_of[cycle.finalizers]).tolist())
    return cycle.reachable, names, finalizing


def _describe(graph: HeapGraph, reach: Reach, cycles: list[Cycle]) -> dict[str, Any]:
    rows = np.concatenate([cycle.rows for cycle in cycles])
    smallest = min(cycles, key=lambda cycle: len(cycle.rows))
    finalizing = Counter(graph.type_name(row) for cycle in cycles for row in cycle.finalizers.tolist())
    return {
        "count": len(cycles),
        "objects": len(rows),
        "bytes": int(graph.size[rows].sum()),
        "reachable": cycles[0].reachable,
        "finalizers": [name for name, _ in finalizing.most_common()],
        "types": _count_types(graph, rows, finalizing),
        "path": way_round(graph, smallest),
        "holder": _holder(graph, reach, cycles) if cycles[0].reachable else None,
    }


def _count_types(graph: HeapGraph, rows: Ints, finalizing: Counter[str]) -> list[dict[str, Any]]:
    """Count the members by type: those that finalize first, the interpreter's own containers last."""
    counts = np.bincount(graph.type_of[rows], minlength=len(graph.types))
    merged: Counter[str] = Counter()
    for number in np.nonzero(counts)[0].tolist():
        merged[graph.types[number].name] += int(counts[number])
    own = sorted(
        merged.items(), key=lambda item: (item[0] not in finalizing, item[0].startswith("builtins."), -item[1])
    )
    return [{"type": name, "count": count} for name, count in own]


def way_round(graph: HeapGraph, cycle: Cycle) -> list[str]:
    """Return the shortest way from one member back to itself: types and labels by turns, the first type last too."""
    members = set(cycle.rows.tolist())
    start = next((row for row in cycle.finalizers.tolist() if row in members), int(cycle.rows[0]))
    came: dict[int, int] = {}
    waiting = deque([start])
    while waiting:
        row = waiting.popleft()
        for target in graph.references(row).tolist():
            if target == start:
                return path_of(graph, links(graph, _walked(came, start, row)))
            if target in members and target not in came:
                came[target] = row
                waiting.append(target)
    return []


def _walked(came: dict[int, int], start: int, last: int) -> list[int]:
    rows = [last]
    while rows[-1] != start:
        rows.append(came[rows[-1]])
    return [*rows[::-1], start]


def _holder(graph: HeapGraph, reach: Reach, cycles: list[Cycle]) -> str:
    """Return the words for the shortest chain from a root to the cycles; the most frequent, if they differ."""
    sentence = Sentence(graph, reach)
    step = max(1, len(cycles) // _EXAMINED)
    texts = Counter(sentence.text(links(graph, _chain_to(reach, cycle))) for cycle in cycles[::step])
    return texts.most_common(1)[0][0]


def _chain_to(reach: Reach, cycle: Cycle) -> list[int]:
    chain = reach.chain(int(cycle.finalizers[0]) if len(cycle.finalizers) else int(cycle.rows[0]))
    members = set(cycle.rows.tolist())
    entry = next((place for place, row in enumerate(chain) if row in members), len(chain) - 1)
    return chain[: entry + 1]
