"""A look at the types that grow in a process: whether anything holds their objects, what does, and who owns containers.

Asked for once, when a finding opens. It says what samples cannot: that objects live although no module, frame or
thread reaches them, and that the dictionaries which grow are the attributes of an application's class.
"""

from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.dominators import dominate
from cubicweb_leakwatch.heap.graph import HeapGraph, read_graph
from cubicweb_leakwatch.heap.holders import group_by_holder
from cubicweb_leakwatch.heap.known import fingerprint, known_retention
from cubicweb_leakwatch.heap.reach import TRASH, UNEXPLAINED, Reach, reach
from cubicweb_leakwatch.heap.suspects import find_suspects

_EXAMINED = 300
_PILES = 5


def leaking_report(path: str, names: list[str]) -> dict[str, Any]:
    """Return what a dump shows of the types ``names`` (full names), and the largest piles of objects.

    ``types`` are those that are there, in the order asked for: ``instances``, ``unreached`` (how many nothing reaches),
    ``unreachable`` (of these, trash that waits for the collector), ``ending`` (how many lie in caches that are known to
    have an end), ``holder`` of most, ``fingerprint`` and ``known``.
    Raises DumpUnreadable.
    """
    graph = read_graph(path)
    found = reach(graph)
    types = [about for name in names if (about := _about(graph, found, name)) is not None]
    return {"types": types, "piles": find_suspects(graph, found, dominate(graph, found), limit=_PILES)}


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
