"""The gc report: what ``leak-gc`` and the gc page show of one process, from its dump alone."""

from typing import Any

import numpy as np

from cubicweb_leakwatch.heap.cycles import find_cycles
from cubicweb_leakwatch.heap.graph import HeapGraph, read_graph
from cubicweb_leakwatch.heap.reach import reach
from cubicweb_leakwatch.heap.roles import count_roles
from cubicweb_leakwatch.heap.shapes import describe_cycles
from cubicweb_leakwatch.heap.typestats import type_rows, with_growth


def gc_report(path: str, *, limit: int = 20) -> dict[str, Any]:
    """Return one item of ``leak-gc``'s list: memory, garbage, types with growth, cycles with finalizers, roles.

    ``limit`` bounds types and cycle shapes. Raises DumpUnreadable.
    """
    graph = read_graph(path)
    found = reach(graph)
    cycles = describe_cycles(graph, found, find_cycles(graph, found))
    header = graph.header
    return {
        "process": header.get("process"),
        "taken_at": header.get("taken_at"),
        "pause_ms": header.get("pause_ms"),
        "elapsed_ms": header.get("elapsed_ms"),
        "partial": header.get("partial"),
        "memory": header.get("memory"),
        "garbage": _garbage(graph),
        "types": with_growth(graph, _top(type_rows(graph), limit)),
        "growth_since": header.get("growth_since"),
        "cycles": cycles[:limit],
        "roles": count_roles(graph),
    }


def _top(rows: list[dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """Return the largest types by bytes and by count: neither a few huge nor very many small ones are missed."""
    by_count = sorted(rows, key=lambda row: -row["count"])
    chosen = {row["type"]: row for pair in zip(rows, by_count, strict=True) for row in pair}
    return sorted(list(chosen.values())[:limit], key=lambda row: -row["bytes"])


def _garbage(graph: HeapGraph) -> dict[str, Any]:
    rows = graph.rows(graph.roots["garbage"])
    keep = np.zeros(graph.count + 1, bool)
    keep[rows] = True
    return {"count": len(rows), "bytes": int(graph.size[rows].sum()), "types": type_rows(graph, keep)}
