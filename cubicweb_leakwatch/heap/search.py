"""Graph searches over parts of a heap, by SciPy's compiled routines."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from cubicweb_leakwatch.heap.graph import Bools, HeapGraph, Ints, Longs

_FEW = 6  # below this share of the rows it is quicker to visit them alone


@dataclass(frozen=True)
class Part:
    """Some rows of a heap graph and the references among them; position p stands for row ``rows[p]``."""

    rows: Ints
    offsets: Longs
    targets: Ints

    @property
    def count(self) -> int:
        """Number of rows."""
        return len(self.rows)


def induce(graph: HeapGraph, keep: Bools) -> Part:
    """Return the part of the graph whose rows are true in ``keep``."""
    rows = np.nonzero(keep)[0].astype(np.int32)
    place = np.full(len(keep), -1, np.int32)
    place[rows] = np.arange(len(rows), dtype=np.int32)
    if len(rows) * _FEW < len(keep):
        targets, counts = _few(graph, rows, place)
    else:
        targets, counts = _most(graph, keep, place)
    return Part(rows, np.concatenate([[0], np.cumsum(counts)]), targets)


def whole(graph: HeapGraph) -> Part:
    """Return the whole graph, with the last row, as a part; nothing is copied."""
    return Part(np.arange(graph.count + 1, dtype=np.int32), graph.offsets, graph.targets)


def _few(graph: HeapGraph, rows: Ints, place: Ints) -> tuple[Ints, Longs]:
    """Return the targets inside and how many each row has, by way of the references of these rows alone."""
    targets = place[graph.targets[_edges_of(graph, rows)]]
    owners = np.repeat(np.arange(len(rows)), np.diff(graph.offsets)[rows])
    inside = targets >= 0
    return targets[inside], np.bincount(owners[inside], minlength=len(rows))


def _most(graph: HeapGraph, keep: Bools, place: Ints) -> tuple[Ints, Longs]:
    """Do as ``_few`` by a pass over all references, which is quicker when most rows are kept."""
    inside = np.repeat(keep, np.diff(graph.offsets))
    inside &= keep[graph.targets]
    ends = np.concatenate([[0], np.cumsum(inside, dtype=np.int32)])[graph.offsets]
    return place[graph.targets[inside]], np.diff(ends)[keep].astype(np.int64)


def _edges_of(graph: HeapGraph, rows: Ints) -> Longs:
    """Return the positions in ``graph.targets`` of the references of these rows, in order."""
    starts, counts = graph.offsets[rows], np.diff(graph.offsets)[rows]
    total = int(counts.sum())
    before = np.concatenate([[0], np.cumsum(counts)[:-1]]) if len(rows) else np.zeros(0, np.int64)
    return np.repeat(starts - before, counts) + np.arange(total)


def _matrix(offsets: Longs, targets: Ints) -> csr_array:
    """Make SciPy's kind of graph; every reference weighs 1, and one number stands for all the weights."""
    count = len(offsets) - 1
    weights = np.broadcast_to(np.float64(1), len(targets))
    matrix = csr_array((count, count), dtype=np.float64)
    matrix.data, matrix.indices, matrix.indptr = weights, targets.astype(np.int32, copy=False), offsets.astype(np.int32)
    return matrix


def spread(part: Part, starts: Ints) -> tuple[Ints, Ints]:
    """Search breadth first from several positions at once.

    Returns the positions reached, nearest first, and for every position of the part the one it was reached from (-1 for
    a start, -2 for what was not reached).
    """
    offsets = np.append(part.offsets, part.offsets[-1] + len(starts))
    targets = np.concatenate([part.targets, starts.astype(np.int32)])
    order, parents = breadth_first_order(_matrix(offsets, targets), part.count, return_predecessors=True)
    parents = parents[: part.count].astype(np.int32)
    parents[parents < 0] = -2
    parents[parents == part.count] = -1
    return order[1:].astype(np.int32), parents


def strong_components(part: Part) -> Ints:
    """Return the number of the strongly connected component of every position.

    SciPy's routine never returns when a row names the same target twice, so that doubles are taken out first.
    """
    matrix = _matrix(part.offsets, part.targets)
    matrix.data, matrix.indices = np.ones(len(part.targets)), part.targets.astype(np.int32)
    matrix.sum_duplicates()
    labels: Ints = connected_components(matrix, directed=True, connection="strong")[1]
    return labels


def refers_to_itself(part: Part) -> Bools:
    """Return which positions have a reference to themselves."""
    owners = np.repeat(np.arange(part.count), np.diff(part.offsets))
    found = np.zeros(part.count, bool)
    found[owners[owners == part.targets]] = True
    return found
