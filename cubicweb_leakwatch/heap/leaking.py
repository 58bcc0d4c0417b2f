"""A look at the types that grow in a process: whether anything holds their objects, what does, and who owns containers.

Asked for once, when a finding opens. It says what samples cannot: that objects live although no module, frame or
thread reaches them, and that the dictionaries which grow are the attributes of an application's class.
"""

from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.dominators import dominate
from cubicweb_leakwatch.heap.graph import Bools, HeapGraph, read_graph
from cubicweb_leakwatch.heap.holders import Group, group_by_holder
from cubicweb_leakwatch.heap.known import fingerprint, known_retention
from cubicweb_leakwatch.heap.reach import TRASH, UNEXPLAINED, Reach, reach
from cubicweb_leakwatch.heap.suspects import find_suspects

_EXAMINED = 300
_PILES = 5
_HOLDERS = 3
_LARGEST_BLOCK = 512
"""Bytes: what is larger, Python takes from malloc and does not count among its blocks (Objects/obmalloc.c)."""


def leaking_report(path: str, names: list[str]) -> dict[str, Any]:
    """Return what a dump shows of the types ``names`` (full names), and the largest piles of objects.

    ``types`` are those that are there, in the order asked for: ``instances``, ``unreached`` (how many nothing reaches),
    ``unreachable`` (of these, trash that waits for the collector), ``ending`` (how many lie in caches that are known to
    have an end), ``holder`` of most, ``fingerprint`` and ``known``. ``long`` and ``short`` tell who holds most bytes of
    strings and the like that Python took from malloc, and of smaller ones.
    Raises DumpUnreadable.
    """
    graph = read_graph(path)
    found = reach(graph)
    types = [about for name in names if (about := _about(graph, found, name)) is not None]
    return {
        "types": types,
        "piles": find_suspects(graph, found, dominate(graph, found), limit=_PILES),
        "long": _leaves(graph, found, graph.size > _LARGEST_BLOCK),
        "short": _leaves(graph, found, graph.size <= _LARGEST_BLOCK),
    }


def _about(graph: HeapGraph, found: Reach, name: str) -> dict[str, Any] | None:
    rows = np.nonzero(graph.of_types([info.name == name for info in graph.types]))[0].astype(np.int32)
    if not len(rows):
        return None
    groups = group_by_holder(graph, found, rows, examined=_EXAMINED)
    holder = groups[0].text
    known = known_retention(holder)
    ending = sum(group.count for group in groups if (of := known_retention(group.text)) is not None and of.harmless)
    return {
        "type": name,
        "instances": len(rows),
        "unreached": int(np.isin(found.stage[rows], (TRASH, UNEXPLAINED)).sum()),
        "unreachable": int((found.stage[rows] == TRASH).sum()),
        "ending": round(len(rows) * ending / sum(group.count for group in groups)),
        "holder": holder,
        "fingerprint": fingerprint(name, holder),
        "known": known.as_json() if known else None,
    }


def _leaves(graph: HeapGraph, found: Reach, sized: Bools) -> list[dict[str, Any]]:
    """Return who holds most bytes of the objects that hold nothing themselves: text, numbers, buffers.

    Of those in ``sized``, evenly spread over their bytes: one page of a megabyte counts as a thousand names do.
    """
    rows = np.nonzero(sized & (np.diff(graph.offsets) == 0))[0].astype(np.int32)
    rows = rows[rows < graph.count]
    ends = np.cumsum(graph.size[rows])
    if not len(rows) or not ends[-1]:
        return []
    step = float(ends[-1]) / _EXAMINED
    picked = rows[np.searchsorted(ends, (np.arange(_EXAMINED) + 0.5) * step)]
    groups = sorted(group_by_holder(graph, found, picked, examined=_EXAMINED), key=lambda group: -group.count)
    return [_held(graph, group, step) for group in groups[:_HOLDERS]]


def _held(graph: HeapGraph, group: Group, step: float) -> dict[str, Any]:
    """Return what a report says of leaves held one way: ``step`` bytes for each that was examined."""
    row = group.example[-1].row
    name, held = graph.type_name(row), group.count * step
    known = known_retention(group.text)
    return {
        "type": name,
        "objects": max(1, round(held / int(graph.size[row]))),
        "bytes": round(held),
        "holder": group.text,
        "fingerprint": fingerprint(name, group.text),
        "known": known.as_json() if known else None,
    }
