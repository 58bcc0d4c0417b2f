"""Dominators and retained sizes equal a slow, obvious reference."""

from collections import deque

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cubicweb_leakwatch.heap.dominators import NOT_REACHED, TOP, dominate
from cubicweb_leakwatch.heap.graph import HeapGraph, TypeInfo
from cubicweb_leakwatch.heap.reach import reach


def made_graph(count: int, edges: list[tuple[int, int]], roots: set[int], sizes: list[int]) -> HeapGraph:
    """Build a heap graph by hand: ``roots`` are held from outside."""
    lists = [[target for source, target in edges if source == row] for row in range(count)]
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in lists]), [len(edges)]]).astype(np.int64)
    zeros = np.zeros(count + 1, np.int32)
    excess = np.array([*(int(row in roots) for row in range(count)), 0], np.int64)
    return HeapGraph(
        header={},
        roots={"modules": [], "threads": [], "own_frames": [], "thread_locals": []},
        types=[TypeInfo("made.Thing", (), False, None), TypeInfo("?", (), False, None)],
        layouts=[[]],
        type_of=np.append(np.zeros(count, np.int32), np.int32(1)),
        kind=zeros.astype(np.uint8),
        size=np.array([*sizes, 0], np.int64),
        items=zeros,
        layout=zeros,
        offsets=offsets,
        targets=np.array([target for row in lists for target in row], np.int32),
        excess=excess,
        addresses=np.arange(count, dtype=np.uint64),
        order=np.arange(count, dtype=np.int32),
    )


def reached(count: int, edges: list[tuple[int, int]], roots: set[int], without: int | None = None) -> set[int]:
    """Return what roots reach when one node is taken away."""
    found = {root for root in roots if root != without}
    waiting = deque(found)
    while waiting:
        node = waiting.popleft()
        for source, target in edges:
            if source == node and target != without and target not in found:
                found.add(target)
                waiting.append(target)
    return found


@st.composite
def heaps(draw: st.DrawFn) -> tuple[int, list[tuple[int, int]], set[int], list[int]]:
    """Small graphs with roots and sizes: trees, cycles, shared objects, unreachable parts."""
    count = draw(st.integers(1, 14))
    node = st.integers(0, count - 1)
    edges = draw(st.lists(st.tuples(node, node), max_size=40))
    roots = draw(st.sets(node, min_size=1, max_size=3))
    sizes = draw(st.lists(st.integers(1, 1000), min_size=count, max_size=count))
    return count, edges, roots, sizes


@settings(max_examples=300, deadline=None)
@given(heaps())
def test_retained_is_what_becomes_unreachable_without_the_object(heap):
    """An object retains its own size and that of everything that only it leads to."""
    count, edges, roots, sizes = heap
    graph = made_graph(count, edges, roots, sizes)
    tree = dominate(graph, reach(graph))
    everything = reached(count, edges, roots)
    for row in range(count):
        if row not in everything:
            assert tree.above[row] == NOT_REACHED
            continue
        lost = everything - reached(count, edges, roots, without=row)
        assert tree.retained[row] == sum(sizes[other] for other in lost)
        assert set(np.nonzero(tree.inside(row))[0].tolist()) == lost


@settings(max_examples=100, deadline=None)
@given(heaps())
def test_retained_is_the_own_size_and_the_retained_of_the_children(heap):
    """The sum over the children and the shallow size is the retained size; over the top it is the whole heap."""
    count, edges, roots, sizes = heap
    graph = made_graph(count, edges, roots, sizes)
    tree = dominate(graph, reach(graph))
    for row in reached(count, edges, roots):
        children = tree.retained[tree.above == row].sum()
        assert tree.retained[row] == children + sizes[row]
    assert tree.retained[tree.above == TOP].sum() == sum(sizes[row] for row in reached(count, edges, roots))


def test_a_very_deep_chain_is_no_problem():
    """A linked list of 30,000 objects neither recurses nor takes long."""
    count = 30_000
    lists = [(row, row + 1) for row in range(count - 1)]
    graph = made_graph(3, [], {0}, [1, 1, 1])
    graph.size = np.array([1] * count + [0], np.int64)
    graph.type_of = np.append(np.zeros(count, np.int32), np.int32(1))
    graph.offsets = np.array([*range(count), count - 1, count - 1], np.int64)
    graph.targets = np.array([target for _, target in lists], np.int32)
    graph.excess = np.zeros(count + 1, np.int64)
    graph.excess[0] = 1
    graph.addresses, graph.order = np.arange(count, dtype=np.uint64), np.arange(count, dtype=np.int32)
    graph.kind, graph.items, graph.layout = (np.zeros(count + 1, np.int32) for _ in range(3))
    tree = dominate(graph, reach(graph))
    assert tree.retained[0] == count
    assert tree.retained[count - 1] == 1
