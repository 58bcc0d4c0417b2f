"""What holds what: the shortest way from a root to every object, and what no root reaches.

Roots come in stages, so that a lasting holder is named before a passing one: first modules; then what threads run and
own, and what is registered with ``atexit``; then leakwatch's own frames; last whatever has more references than the
heap explains, held by C code or by the working stack of a running frame. What none of them reaches is trash: the
collector would take it.
"""

from dataclasses import dataclass

import numpy as np

from cubicweb_leakwatch.heap.graph import Bools, HeapGraph, Ints
from cubicweb_leakwatch.heap.search import induce, spread, whole

TRASH, MODULE, THREAD, OURSELVES, UNEXPLAINED = range(5)
AT_EXIT = "atexit callbacks"


@dataclass(frozen=True)
class Reach:
    """For every row: the stage whose roots reach it (TRASH for none), and the row it is reached from (-1: a root).

    ``names`` says what the root rows are that have a name.
    """

    stage: Ints
    parent: Ints
    names: dict[int, str]

    def chain(self, row: int) -> list[int]:
        """Return the rows from a root to ``row``, both included."""
        rows = [row]
        while (row := int(self.parent[row])) >= 0:
            rows.append(row)
        return rows[::-1]

    def trash(self) -> Bools:
        """Return which rows nothing reaches."""
        unreached: Bools = self.stage == TRASH
        return unreached


def reach(graph: HeapGraph) -> Reach:
    """Search from all roots, stage by stage; each stage looks only at what the ones before left."""
    rows = graph.count + 1
    found = Reach(np.zeros(rows, np.int32), np.full(rows, -1, np.int32), {})
    stages = [
        (MODULE, _modules(graph, found.names)),
        (THREAD, _threads(graph, found.names)),
        (OURSELVES, graph.rows(graph.roots["own_frames"])),
        (UNEXPLAINED, np.nonzero(graph.excess > 0)[0].astype(np.int32)),
    ]
    for stage, starts in stages:
        _one_stage(graph, found, stage, starts)
        found.stage[graph.count], found.parent[graph.count] = UNEXPLAINED, -1  # what was not recorded
    return found


def _one_stage(graph: HeapGraph, found: Reach, stage: int, starts: Ints) -> None:
    part = whole(graph) if stage == MODULE else induce(graph, found.stage == TRASH)
    place = np.full(graph.count + 1, -1, np.int32)
    place[part.rows] = np.arange(part.count, dtype=np.int32)
    positions = np.unique(place[starts])
    order, parents = spread(part, positions[positions >= 0])
    reached = part.rows[order]
    found.stage[reached] = stage
    above = parents[order]
    found.parent[reached] = np.where(above >= 0, part.rows[above], -1)


def _modules(graph: HeapGraph, names: dict[int, str]) -> Ints:
    listed = graph.roots["modules"]
    rows = graph.rows([address for _, address in listed])
    for (name, _), row in zip(listed, rows.tolist(), strict=True):
        names.setdefault(row, f"module {name}")
    return rows


def _threads(graph: HeapGraph, names: dict[int, str]) -> Ints:
    found = [np.zeros(0, np.int32)]
    for thread in graph.roots["threads"]:
        frames, owned = graph.rows(thread["frames"]), graph.rows(thread["owned"])
        for row in frames.tolist():
            names.setdefault(row, thread["name"])
        for row in owned.tolist():
            names.setdefault(row, f"thread {thread['name']}")
        found += [frames, owned]
    exits = graph.rows(graph.roots.get("atexit", []))  # earlier dumps have none
    names.update((row, AT_EXIT) for row in exits.tolist() if row < graph.count and row not in names)
    found.append(exits)
    return np.concatenate(found)
