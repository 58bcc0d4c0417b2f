"""Retained sizes: what would be freed if an object went, by the dominator tree of the heap.

An object dominates another when every chain from a root to the other passes through it. igraph computes the tree
(Lengauer and Tarjan, in C): the same in plain Python took 5 s and 741 MB at a million objects. To keep its memory
small it is not given what needs no search: roots hang on the top by definition, a leaf with one holder on that holder,
and so does what is a leaf once such leaves are taken away.
"""

from dataclasses import dataclass

import igraph
import numpy as np

from cubicweb_leakwatch.heap.graph import Bools, HeapGraph, Ints, Longs
from cubicweb_leakwatch.heap.reach import Reach

NOT_REACHED = -2
TOP = -1
_MOST_PEELS = 12


@dataclass(frozen=True)
class Dominators:
    """The dominator tree over the rows of a heap graph.

    ``above``: the immediate dominator's row, TOP for what only the roots as a whole dominate, NOT_REACHED for trash.
    ``retained``: bytes that go with the row. ``first`` and ``last``: the row dominates exactly the rows whose ``first``
    lies in ``first[row] <= x < last[row]``; ``row_of`` gives the row back for a ``first``.
    """

    above: Ints
    retained: Longs
    first: Longs
    last: Longs
    row_of: Ints

    def below(self, rows: Ints) -> Ints:
        """Return all rows that these dominate, themselves included; none of ``rows`` may dominate another."""
        counts = self.last[rows] - self.first[rows]
        before = np.cumsum(counts) - counts
        found: Ints = self.row_of[np.repeat(self.first[rows] - before, counts) + np.arange(int(counts.sum()))]
        return found

    def inside(self, row: int) -> Bools:
        """Return which rows this one dominates, itself included."""
        found: Bools = (self.first >= self.first[row]) & (self.first < self.last[row])
        return found


def dominate(graph: HeapGraph, reach: Reach) -> Dominators:
    """Compute the dominator tree of everything that roots reach."""
    above = _dominators(graph, reach)
    levels = _levels(above)
    first, last = _number(above, levels)
    return Dominators(above, _sum_up(above, levels, graph.size), first, last, _row_of(first))


def root_rows(graph: HeapGraph, reach: Reach) -> Ints:
    """Return the rows that something outside the heap holds: modules, threads, unexplained references."""
    named = np.array([row for row in reach.names if row < graph.count], np.int32)
    own = graph.rows(graph.roots["own_frames"])
    held = np.nonzero(graph.excess > 0)[0].astype(np.int32)
    rows: Ints = np.unique(np.concatenate([named, own[own < graph.count], held]))
    return rows


def _dominators(graph: HeapGraph, reach: Reach) -> Ints:
    reached = ~reach.trash()
    reached[graph.count] = False
    above = np.full(graph.count + 1, NOT_REACHED, np.int32)
    above[reached] = TOP
    rootless = reached.copy()
    rootless[root_rows(graph, reach)] = False
    owners = np.repeat(np.arange(graph.count + 1, dtype=np.int32), np.diff(graph.offsets))
    wanted = rootless[graph.targets] & reached[owners] & (owners != graph.targets)
    sources, targets = owners[wanted], graph.targets[wanted]
    del owners, wanted
    left, shared = _peel(above, rootless, sources, targets)
    keep = left[targets]
    _search(above, left, sources[keep], targets[keep])
    _hang_shared_leaves(above, shared, sources, targets)
    return above


def _peel(above: Ints, rootless: Bools, sources: Ints, targets: Ints) -> tuple[Bools, Bools]:
    """Take leaves away: hang those with one holder on it, and again what has become a leaf; set the others aside.

    Returns the rows that are left to be searched, and the leaves with several holders: they dominate nothing, so that
    the search can do without them, too.
    """
    rows = len(above)
    low = np.full(rows, rows, np.int32)
    np.minimum.at(low, targets, sources)
    high = np.full(rows, -1, np.int32)
    np.maximum.at(high, targets, sources)
    single = rootless & (low == high)
    shared = rootless & ~single
    shared[sources] = False
    left = rootless & ~shared
    for _ in range(_MOST_PEELS):
        keep = left[targets]
        sources, targets = sources[keep], targets[keep]
        leaves = left & single
        leaves[sources] = False
        if not leaves.any():
            break
        above[leaves] = low[leaves]
        left &= ~leaves
    return left, shared


def _hang_shared_leaves(above: Ints, shared: Bools, sources: Ints, targets: Ints) -> None:
    """Hang every leaf with several holders on the nearest row that dominates them all."""
    above[shared] = NOT_REACHED
    first, last = _number(above, _levels(above))
    row_of = _row_of(first)
    edges = shared[targets]
    low = np.full(len(above), len(above), np.int64)
    np.minimum.at(low, targets[edges], first[sources[edges]])
    high = np.full(len(above), -1, np.int64)
    np.maximum.at(high, targets[edges], first[sources[edges]])
    leaves = np.nonzero(shared)[0]
    found, furthest = row_of[low[leaves]], high[leaves]
    outside = np.nonzero(last[found] <= furthest)[0]
    while len(outside):
        found[outside] = above[found[outside]]
        inner = outside[found[outside] >= 0]
        outside = inner[last[found[inner]] <= furthest[inner]]
    above[leaves] = found


def _search(above: Ints, inner: Bools, sources: Ints, targets: Ints) -> None:
    """Let igraph find the dominators of the inner rows; what only a root leads to stands for the top."""
    rows = np.nonzero(inner)[0].astype(np.int32)
    place = np.zeros(len(above), np.int64)  # number 0 is the top
    holders = np.unique(sources[~inner[sources]])  # roots that lead to inner rows: children of the top
    known = np.concatenate([rows, holders])
    place[known] = np.arange(1, len(known) + 1)
    edges = np.empty((len(sources) + len(holders), 2), np.int64)
    edges[: len(sources), 0], edges[: len(sources), 1] = place[sources], place[targets]
    edges[len(sources) :, 0], edges[len(sources) :, 1] = 0, place[holders]
    network = igraph.Graph(n=len(known) + 1, edges=edges, directed=True)
    found = np.array(network.dominator(0, mode="out"), np.float64)[1 : len(rows) + 1]
    found = np.where(np.isfinite(found), found, 0).astype(np.int64)
    above[rows] = np.where(found > 0, known[np.maximum(found, 1) - 1], TOP)


def _row_of(first: Longs) -> Ints:
    """Return the row of each number."""
    row_of = np.zeros(len(first), np.int32)
    there = np.nonzero(first >= 0)[0]
    row_of[first[there]] = there
    return row_of


def _levels(above: Ints) -> list[Ints]:
    """Return the rows of the tree level by level, siblings together."""
    children = np.argsort(above, kind="stable").astype(np.int32)
    starts = np.append(np.searchsorted(above[children], np.arange(-1, len(above))), len(children))
    level = children[starts[0] : starts[1]]
    levels = []
    while len(level):
        levels.append(level)
        begin, counts = starts[level + 1], starts[level + 2] - starts[level + 1]
        before = np.cumsum(counts) - counts
        level = children[np.repeat(begin - before, counts) + np.arange(int(counts.sum()))]
    return levels


def _sum_up(above: Ints, levels: list[Ints], own: Longs) -> Longs:
    """Add to each row's own figure those of all rows below it."""
    sums = own.copy()
    for level in reversed(levels[1:]):
        np.add.at(sums, above[level], sums[level])
    return sums


def _number(above: Ints, levels: list[Ints]) -> tuple[Longs, Longs]:
    """Number the rows so that what a row dominates has the numbers from its own up to its ``last``; -1: no row."""
    members = _sum_up(above, levels, np.ones(len(above), np.int64))
    first = np.full(len(above), -1, np.int64)
    for level in levels:
        holders = above[level]
        base = np.where(holders >= 0, first[np.maximum(holders, 0)] + 1, 0)
        sizes = members[level]
        ahead = np.cumsum(sizes) - sizes
        border = np.concatenate([[True], holders[1:] != holders[:-1]])
        start = np.maximum.accumulate(np.where(border, np.arange(len(level)), 0))
        first[level] = base + ahead - ahead[start]
    return first, first + members
